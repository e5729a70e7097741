"""A linear probe on the frozen states of several layers: its arithmetic.

This module loads torch: import it inside functions.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch.distributions import Dirichlet

from routelmt.routers.objective.targets import FloatArray
from routelmt.states import HalfArray, IntArray, Pool, States

WEIGHTED = ("mix", "dirichlet", "dirichlet-input")
EVERY_LAYER = (*WEIGHTED, "stacked")  # the others read one fixed vector a row
START_TOTAL = 1.0  # b0 at the start: a total concentration of e, draws of one or two layers
BLOCK_ROWS = 64  # neighbours that are shuffled together where rows are streamed
LOAD_BYTES = 2**28  # of states read at a time; a probe whose states are no more reads them once
READ_ROWS = 64  # of a pass that does not train: as much as a cache holds


# --- rows ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Vectors:
    """One fixed vector a row, in memory: float32 (rows, 1, hidden)."""

    values: torch.Tensor

    @property
    def rows(self) -> int:
        """How many."""
        return len(self.values)

    @property
    def shape(self) -> tuple[int, int]:
        """(layers, hidden)."""
        return self.values.shape[1], self.values.shape[2]

    def batches(self, parts: Sequence[IntArray]) -> Iterator[tuple[IntArray, torch.Tensor]]:
        """(rows, float32 (n, 1, hidden)) of each part."""
        for rows in parts:
            yield rows, self.values[torch.from_numpy(rows)]

    def order(self, rng: np.random.Generator, batch: int) -> IntArray:
        """All rows, shuffled."""
        return rng.permutation(self.rows)


@dataclass(frozen=True)
class HalfRows:
    """Some rows of states in memory as they are on disk: memory[place] of each place.

    memory: fp16 (m, layers, hidden); places: (n,).
    """

    memory: HalfArray
    places: IntArray

    @property
    def bits(self) -> npt.NDArray[np.uint16]:
        """The same memory, as compiled loops take it."""
        return self.memory.view(np.uint16)

    def float(self) -> torch.Tensor:
        """A float32 copy, (n, layers, hidden)."""
        return torch.from_numpy(self.memory[self.places]).float()

    def embedding(self) -> torch.Tensor:
        """A float32 copy of the embedding layer, (n, hidden)."""
        return torch.from_numpy(self.memory[self.places, 0]).float()


class Layers:
    """The states of every layer: kept in memory if they are few, else read in every pass."""

    def __init__(self, states: States, pool: Pool) -> None:
        self.states, self.pool = states, pool
        self._load_rows = max(1, LOAD_BYTES // (2 * states.layers * states.hidden))
        # The one that is worked on, and the one that the next rows are read into meanwhile.
        self._memories = [self._memory(0), self._memory(0)]

    @property
    def rows(self) -> int:
        """How many."""
        return self.states.rows

    @property
    def shape(self) -> tuple[int, int]:
        """(layers, hidden)."""
        return self.states.layers, self.states.hidden

    def batches(self, parts: Sequence[IntArray]) -> Iterator[tuple[IntArray, HalfRows]]:
        """(rows, their states) of each part, valid until the next one."""
        for group, loaded, memory in self._loads(parts):
            for rows in group:
                yield rows, HalfRows(memory, np.searchsorted(loaded, rows))

    def _loads(
        self, parts: Sequence[IntArray]
    ) -> Iterator[tuple[Sequence[IntArray], IntArray, HalfArray]]:
        """(parts, their rows sorted, states of these); a thread reads the next ones meanwhile."""
        if self.rows <= self._load_rows:
            everything = np.arange(self.rows)
            if not len(self._memories[0]):
                self._read(everything, 0)
            yield parts, everything, self._memories[0]
            return
        groups = list(self._groups(parts))
        wanted = [np.unique(np.concatenate(group)) for group in groups]
        with ThreadPoolExecutor(1) as thread:
            coming = thread.submit(self._read, wanted[0], 0)
            for i, group in enumerate(groups):
                memory = coming.result()
                if i + 1 < len(groups):
                    coming = thread.submit(self._read, wanted[i + 1], (i + 1) % 2)
                yield group, wanted[i], memory

    def _groups(self, parts: Sequence[IntArray]) -> Iterator[Sequence[IntArray]]:
        """Parts that are read at a time: as many as there is memory for, at least one."""
        group: list[IntArray] = []
        for part in parts:
            if group and sum(map(len, group)) + len(part) > self._load_rows:
                yield group
                group = []
            group.append(part)
        if group:
            yield group

    def _read(self, rows: IntArray, which: int) -> HalfArray:
        """The states of sorted rows, in one of the memories; neighbours are read in one go."""
        if len(self._memories[which]) < len(rows):
            self._memories[which] = self._memory(max(len(rows), min(self.rows, self._load_rows)))
        memory = self._memories[which][: len(rows)]
        self.states.take(self.pool, rows, out=memory)
        return memory

    def _memory(self, rows: int) -> HalfArray:
        return np.empty((rows, *self.shape), np.float16)

    def order(self, rng: np.random.Generator, batch: int) -> IntArray:
        """All rows, shuffled, for batches of so many.

        Of streamed rows, blocks of neighbours are shuffled, and then the rows of every load: what
        is read lies together, and a batch has rows of some 70 places (29 layers of 1024).
        """
        if self.rows <= self._load_rows:
            return rng.permutation(self.rows)
        blocks = np.array_split(np.arange(self.rows), max(1, self.rows // BLOCK_ROWS))
        rows = np.concatenate([blocks[i] for i in rng.permutation(len(blocks))])
        load = max(1, self._load_rows // batch) * batch
        return np.concatenate([rng.permutation(rows[i : i + load])
                               for i in range(0, len(rows), load)])  # fmt: skip


def features(states: States, layers: str, pool: Pool) -> Vectors | Layers:
    """What a probe reads of each row: "final" the last layer, "mean" the mean of all, else all."""
    if layers in EVERY_LAYER:
        return Layers(states, pool)
    values = torch.empty((states.rows, 1, states.hidden))
    if layers == "final":
        for rows in states.batches(READ_ROWS):
            values[torch.from_numpy(rows)] = torch.from_numpy(states.take(pool, rows, -1)).float()
    else:
        for rows, found in Layers(states, pool).batches(runs(states.rows)):
            values[torch.from_numpy(rows)] = as_float(found).mean(dim=1, keepdim=True)
    return Vectors(values)


def moments(data: Vectors | Layers) -> tuple[torch.Tensor, torch.Tensor]:
    """(mean, deviation) of every dimension of every layer, float32 (layers, hidden), in one pass.

    A deviation of 0 is given as 1. Sums are of differences from the first rows' mean, so that a
    large mean costs no digits of a small deviation.
    """
    sums = torch.zeros((2, *data.shape), dtype=torch.float64)
    reference = None
    for _, states in data.batches(runs(data.rows)):
        part = as_float(states)
        reference = part.mean(dim=0) if reference is None else reference
        part = (part - reference).flatten(1)
        ones = torch.ones(len(part))  # a product of matrices is ten times as fast as a sum
        sums[0] += (ones @ part).reshape(data.shape)
        sums[1] += (ones @ part.square_()).reshape(data.shape)
    assert reference is not None
    shift = sums[0] / data.rows
    deviation = (sums[1] / data.rows - shift.square()).clamp(min=0).sqrt()
    varies = deviation > 1e-6 * reference.abs()  # beyond the rounding of the sums
    mean = (reference.double() + shift).float()
    return mean, torch.where(varies, deviation, 1.0).float()


def runs(rows: int) -> list[IntArray]:
    """All rows in order, a batch at a time."""
    return [np.arange(i, min(i + READ_ROWS, rows)) for i in range(0, rows, READ_ROWS)]


# --- the probe -----------------------------------------------------------------------------------


def as_float(states: torch.Tensor | HalfRows) -> torch.Tensor:
    """Float32 (n, layers, hidden)."""
    return states.float() if isinstance(states, HalfRows) else states


def layer_dots(states: torch.Tensor | HalfRows, heads: torch.Tensor) -> torch.Tensor:
    """h_l . v_l of each row and layer, (n, layers), differentiable in the heads v.

    states: of layers h_l, (n, layers, hidden); heads: (layers, hidden), or (1, hidden) for all.
    """
    if isinstance(states, HalfRows):
        found: torch.Tensor = _HalfDots.apply(heads, states)
        return found
    return (states * heads).sum(2)


def layer_sums(states: torch.Tensor | HalfRows, factors: torch.Tensor) -> torch.Tensor:
    """Sum over the rows of factor x h_l, (layers, hidden), for factors (n,)."""
    if isinstance(states, HalfRows):
        from routelmt.routers.networks.half_loops import gradient

        layers = states.memory.shape[1]
        of_layers = factors[:, None].expand(-1, layers).contiguous().numpy()
        return torch.from_numpy(gradient(states.bits, states.places, of_layers, layers))
    return torch.einsum("n,nlh->lh", factors, states)


def _embedding(states: torch.Tensor | HalfRows) -> torch.Tensor:
    """Of the layer before all others, (n, hidden)."""
    return states.embedding() if isinstance(states, HalfRows) else states[:, 0]


class _HalfDots(torch.autograd.Function):  # type: ignore[misc]
    """layer_dots of rows that stay as they are on disk."""

    @staticmethod
    def forward(context: Any, heads: torch.Tensor, rows: HalfRows) -> torch.Tensor:
        """The products."""
        from routelmt.routers.networks.half_loops import dots

        context.rows, context.heads = rows, len(heads)
        return torch.from_numpy(dots(rows.bits, rows.places, heads.detach().contiguous().numpy()))

    @staticmethod
    def backward(context: Any, of_dots: torch.Tensor) -> tuple[torch.Tensor, None]:
        """Of the heads."""
        from routelmt.routers.networks.half_loops import gradient

        rows, factors = context.rows, of_dots.contiguous().numpy()
        found = gradient(rows.bits, rows.places, factors, context.heads)
        return torch.from_numpy(found), None


class Probe(torch.nn.Module):  # type: ignore[misc]
    """score = sum_l w_l (z_l . v) + b, z_l the standardised states of layer l.

    kind: "final" and "mean" have one layer with w = 1; "mix": w = softmax(a). "dirichlet": in
    training every row draws w ~ Dirichlet(e^b0 softmax(a)), otherwise w is its mean, softmax(a)
    (ProbeDirichlet's pseudo-code). "dirichlet-input": the same with a = A e + a0 of each row, e its
    embedding layer. All begin at zero: equal layers, and a score of b.
    """

    def __init__(
        self,
        kind: str,
        shape: tuple[int, int],
        scaling: tuple[torch.Tensor, torch.Tensor] | None = None,
    ) -> None:
        """shape: (layers, hidden). scaling: mean and deviation of every dimension of each layer."""
        super().__init__()
        layers, hidden = shape
        self.kind, self.scaling = kind, scaling
        self.head = torch.nn.Parameter(torch.zeros(hidden))
        self.bias = torch.nn.Parameter(torch.zeros(1))
        if kind in WEIGHTED:
            self.logits = torch.nn.Parameter(torch.zeros(layers))
        if kind.startswith("dirichlet"):
            self.log_total = torch.nn.Parameter(torch.tensor(START_TOTAL))
        if kind == "dirichlet-input":
            self.gate = torch.nn.Parameter(torch.zeros(layers, hidden))

    def trainable(self) -> dict[str, torch.Tensor]:
        """All parameters, by name."""
        return dict(self.named_parameters())

    def forward(self, states: torch.Tensor | HalfRows) -> torch.Tensor:
        """Scores (n, 1) of states (n, layers, hidden)."""
        return ((self.weights(states) * self.layer_scores(states)).sum(1) + self.bias)[:, None]

    def layer_scores(self, states: torch.Tensor | HalfRows) -> torch.Tensor:
        """z_l . v of each row and layer, (n, layers)."""
        if self.scaling is None:
            return layer_dots(states, self.head[None])
        centre, deviation = self.scaling
        heads = self.head / deviation  # standardises without touching the states
        return layer_dots(states, heads) - (centre * heads).sum(1)

    def weights(self, states: torch.Tensor | HalfRows) -> torch.Tensor:
        """w, (layers,) or (n, layers); a draw in training, the mean otherwise."""
        if self.kind not in WEIGHTED:
            return torch.ones(1)
        means = self._layer_logits(states).softmax(dim=-1)
        if not self.training or self.kind == "mix":
            return means
        rows = len(states.places) if isinstance(states, HalfRows) else len(states)
        concentration = (self.log_total.exp() * means).expand(rows, -1)
        return Dirichlet(concentration, validate_args=False).rsample()

    def _layer_logits(self, states: torch.Tensor | HalfRows) -> torch.Tensor:
        if self.kind != "dirichlet-input":
            return self.logits
        embedding = _embedding(states)
        if self.scaling is not None:
            embedding = (embedding - self.scaling[0][0]) / self.scaling[1][0]
        return embedding @ self.gate.T + self.logits

    def folded(self) -> FoldedProbe:
        """The same scores, with the standardisation inside the weights."""
        with torch.no_grad():
            heads, offsets = self.head[None], torch.zeros(1)
            if self.scaling is not None:
                heads = self.head / self.scaling[1]
                offsets = -(self.scaling[0] * heads).sum(1)
            if self.kind != "dirichlet-input":
                weights = self.weights(torch.empty(0)) if self.kind not in WEIGHTED else (
                    self.logits.softmax(0)
                )  # fmt: skip
                bias = self.bias + (weights * offsets).sum()
                return FoldedProbe((weights[:, None] * heads).contiguous(), bias.clone())
            layers = len(self.logits)
            gate, gate_bias = self.gate, self.logits
            if self.scaling is not None:
                gate = self.gate / self.scaling[1][0]
                gate_bias = self.logits - gate @ self.scaling[0][0]
            return FoldedProbe(
                heads.expand(layers, -1).contiguous(), self.bias.clone(),
                offsets.expand(layers).contiguous(), gate.clone(), gate_bias.clone(),
            )  # fmt: skip


@dataclass(frozen=True)
class FoldedProbe:
    """What is kept of a probe: score = sum_l heads_l . h_l + bias, of raw states h.

    With a gate (dirichlet-input): sum_l w_l (heads_l . h_l + offsets_l) + bias, with
    w = softmax(gate e + gate_bias) and e the embedding layer. heads: (layers, hidden), bias (1,).
    Crossed with the direction (ridge): one score for each of heads (n, layers, hidden), bias (n,).
    """

    heads: torch.Tensor
    bias: torch.Tensor
    offsets: torch.Tensor | None = None
    gate: torch.Tensor | None = None
    gate_bias: torch.Tensor | None = None

    def scores(self, states: torch.Tensor | HalfRows) -> FloatArray:
        """Float64 (n, 1), or (n, heads) if crossed, of states (n, layers, hidden)."""
        if self.heads.dim() == 3:
            crossed = torch.stack([layer_dots(states, head).sum(1) for head in self.heads], dim=1)
            scores: FloatArray = (crossed + self.bias).double().numpy()
            return scores
        by_layer = layer_dots(states, self.heads)
        if self.gate is None or self.gate_bias is None or self.offsets is None:
            found = by_layer.sum(1) + self.bias
        else:
            weights = (_embedding(states) @ self.gate.T + self.gate_bias).softmax(dim=1)
            found = (weights * (by_layer + self.offsets)).sum(1) + self.bias
        values: FloatArray = found.double().numpy()[:, None]
        return values

    @classmethod
    def of(
        cls, tensors: dict[str, torch.Tensor], scores: int, shape: tuple[int, int]
    ) -> FoldedProbe:
        """From `tensors`, for states of (layers, hidden); scores: of crossed heads, else 1.

        Raises TypeError or ValueError for tensors of other names or shapes.
        """
        probe = cls(**tensors)
        crossed = (scores,) if scores > 1 else ()
        allowed = {(*crossed, layers, shape[1]) for layers in (1, shape[0])}
        if tuple(probe.heads.shape) not in allowed or tuple(probe.bias.shape) != (scores,):
            raise ValueError(
                f"heads {tuple(probe.heads.shape)} and bias {tuple(probe.bias.shape)} are not of "
                f"{scores} scores of states {shape}"
            )
        return probe

    def tensors(self) -> dict[str, Any]:
        """By name, for a safetensors file."""
        return {name: value for name, value in vars(self).items() if value is not None}
