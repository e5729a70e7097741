"""A linear probe on the frozen states of several layers: its arithmetic.

This module loads torch: import it inside functions.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch.distributions import Dirichlet

from routelmt.routers.training.targets import FloatArray
from routelmt.states import IntArray, Pool, States

WEIGHTED = ("mix", "dirichlet", "dirichlet-input")  # the others read one fixed vector a row
START_TOTAL = 1.0  # b0 at the start: a total concentration of e, draws of one or two layers
BLOCK_ROWS = 64  # neighbours that are shuffled together where rows are streamed
LOAD_BYTES = (
    2**28
)  # of states in memory at a time; a probe whose states are no more reads them once
UNIT_PARTS, AHEAD = 4, 4  # batches that are gathered at a time, and how often beforehand
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


class Layers:
    """The states of every layer: kept in memory if they are few, else read in every pass."""

    def __init__(self, states: States, pool: Pool) -> None:
        self.states, self.pool = states, pool
        self._load_rows = max(1, LOAD_BYTES // (2 * states.layers * states.hidden))
        self._memory = np.empty((min(states.rows, self._load_rows), *self.shape), np.float16)
        self._loaded: IntArray = np.empty(0, np.int64)  # rows whose states are in memory, sorted

    @property
    def rows(self) -> int:
        """How many."""
        return self.states.rows

    @property
    def shape(self) -> tuple[int, int]:
        """(layers, hidden)."""
        return self.states.layers, self.states.hidden

    def batches(self, parts: Sequence[IntArray]) -> Iterator[tuple[IntArray, torch.Tensor]]:
        """(rows, float32 (n, layers, hidden)) of each part, valid until the next one.

        The memory is used again: fresh pages for every batch take longer than reading it.
        """
        buffer = torch.empty((max(map(len, parts)), *self.shape))
        for rows, half in zip(parts, self._halves(parts), strict=True):
            yield rows, buffer[: len(rows)].copy_(half)

    def _halves(self, parts: Sequence[IntArray]) -> Iterator[torch.Tensor]:
        """The states of each part as they are on disk; a thread reads and gathers ahead.

        It does so for several parts at a time, as it waits for Python's lock at every step.
        """
        units = [parts[i : i + UNIT_PARTS] for i in range(0, len(parts), UNIT_PARTS)]
        shape = max(sum(map(len, unit)) for unit in units), *self.shape
        ring = [torch.empty(shape, dtype=torch.float16) for _ in range(AHEAD + 1)]

        def gather(i: int) -> torch.Tensor:
            rows = np.concatenate(units[i])
            if not np.isin(rows, self._loaded, assume_unique=True).all():
                self._load(units[i:])
            places = torch.from_numpy(np.searchsorted(self._loaded, rows))
            found = ring[i % len(ring)][: len(rows)]
            return torch.index_select(torch.from_numpy(self._memory), 0, places, out=found)

        for unit, found in zip(units, _ahead(gather, len(units), self._few()), strict=True):
            yield from found.split([len(rows) for rows in unit])

    def _few(self) -> bool:
        return self.rows <= self._load_rows

    def _load(self, units: Sequence[Sequence[IntArray]]) -> None:
        """Read the rows of the next units, as many as memory is for; neighbours in one go."""
        wanted: list[IntArray] = []
        count = 0
        for unit in units:
            count += sum(map(len, unit))
            if wanted and count > self._load_rows:
                break
            wanted.extend(unit)
        self._loaded = np.arange(self.rows) if self._few() else np.sort(np.concatenate(wanted))
        if len(self._loaded) > len(self._memory):  # a single unit that is larger
            self._memory = np.empty((len(self._loaded), *self.shape), np.float16)
        self.states.take(self.pool, self._loaded, out=self._memory)

    def order(self, rng: np.random.Generator, batch: int) -> IntArray:
        """All rows, shuffled, for batches of so many.

        Of streamed rows, blocks of neighbours are shuffled, and then the rows of every load: what
        is read lies together, and a batch has rows of some 70 places (29 layers of 1024).
        """
        if self._few():
            return rng.permutation(self.rows)
        blocks = np.array_split(np.arange(self.rows), max(1, self.rows // BLOCK_ROWS))
        rows = np.concatenate([blocks[i] for i in rng.permutation(len(blocks))])
        load = max(1, self._load_rows // (UNIT_PARTS * batch)) * UNIT_PARTS * batch
        return np.concatenate([rng.permutation(rows[i : i + load])
                               for i in range(0, len(rows), load)])  # fmt: skip


def _ahead(
    work: Callable[[int], torch.Tensor], count: int, at_once: bool
) -> Iterator[torch.Tensor]:
    """work(0), work(1), ...; a thread does up to AHEAD of them beforehand, unless `at_once`."""
    if at_once:
        yield from map(work, range(count))
        return
    with ThreadPoolExecutor(1) as thread:
        waiting = deque(thread.submit(work, i) for i in range(min(AHEAD, count)))
        for i in range(count):
            found = waiting.popleft().result()
            if i + AHEAD < count:
                waiting.append(thread.submit(work, i + AHEAD))
            yield found


def features(states: States, layers: str, pool: Pool) -> Vectors | Layers:
    """What a probe reads of each row: "final" the last layer, "mean" the mean of all, else all."""
    if layers in WEIGHTED:
        return Layers(states, pool)
    values = torch.empty((states.rows, 1, states.hidden))
    if layers == "final":
        for rows in states.batches(READ_ROWS):
            values[torch.from_numpy(rows)] = torch.from_numpy(states.take(pool, rows, -1)).float()
    else:
        for rows, found in Layers(states, pool).batches(runs(states.rows)):
            values[torch.from_numpy(rows)] = found.mean(dim=1, keepdim=True)
    return Vectors(values)


def moments(data: Vectors | Layers) -> tuple[torch.Tensor, torch.Tensor]:
    """(mean, deviation) of every dimension of every layer, float32 (layers, hidden), in one pass.

    A deviation of 0 is given as 1. Sums are of differences from the first rows' mean, so that a
    large mean costs no digits of a small deviation.
    """
    sums = torch.zeros((2, *data.shape), dtype=torch.float64)
    reference = None
    for _, part in data.batches(runs(data.rows)):
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


class LayerDots(torch.autograd.Function):  # type: ignore[misc]
    """h_l . v_l of each row and layer, (n, layers), of states (n, layers, hidden), heads (layers,
    hidden); differentiable in the heads. Twice as fast as torch.bmm, which copies the states.
    """

    @staticmethod
    def forward(context: Any, states: torch.Tensor, heads: torch.Tensor) -> torch.Tensor:
        """The products."""
        context.save_for_backward(states)
        found = states.new_empty((states.shape[1], len(states)))
        for layer, head in enumerate(heads):
            torch.mv(states[:, layer], head, out=found[layer])
        return found.T

    @staticmethod
    def backward(context: Any, gradient: torch.Tensor) -> tuple[None, torch.Tensor]:
        """Of the heads."""
        (states,) = context.saved_tensors
        found = states.new_empty(states.shape[1:])
        columns = gradient.T.contiguous()
        for layer in range(len(found)):
            torch.mv(states[:, layer].T, columns[layer], out=found[layer])
        return None, found


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

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        """Scores (n, 1) of states (n, layers, hidden)."""
        return ((self.weights(states) * self.layer_scores(states)).sum(1) + self.bias)[:, None]

    def layer_scores(self, states: torch.Tensor) -> torch.Tensor:
        """z_l . v of each row and layer, (n, layers)."""
        rows, layers, hidden = states.shape
        if self.scaling is None:
            return (states.reshape(-1, hidden) @ self.head).reshape(rows, layers)
        centre, deviation = self.scaling
        heads = self.head / deviation  # standardises without touching the states
        return LayerDots.apply(states, heads) - (centre * heads).sum(1)

    def weights(self, states: torch.Tensor) -> torch.Tensor:
        """w, (layers,) or (n, layers); a draw in training, the mean otherwise."""
        if self.kind not in WEIGHTED:
            return torch.ones(1)
        means = self._layer_logits(states).softmax(dim=-1)
        if not self.training or self.kind == "mix":
            return means
        concentration = (self.log_total.exp() * means).expand(len(states), -1)
        return Dirichlet(concentration, validate_args=False).rsample()

    def _layer_logits(self, states: torch.Tensor) -> torch.Tensor:
        if self.kind != "dirichlet-input":
            return self.logits
        embedding = states[:, 0]
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
    w = softmax(gate e + gate_bias) and e the embedding layer. heads: (layers, hidden).
    """

    heads: torch.Tensor
    bias: torch.Tensor
    offsets: torch.Tensor | None = None
    gate: torch.Tensor | None = None
    gate_bias: torch.Tensor | None = None

    def scores(self, states: torch.Tensor) -> FloatArray:
        """Float64 (n, 1) of float32 states (n, layers, hidden)."""
        if self.gate is None or self.gate_bias is None or self.offsets is None:
            found = states.flatten(1) @ self.heads.flatten() + self.bias
        else:
            weights = (states[:, 0] @ self.gate.T + self.gate_bias).softmax(dim=1)
            by_layer = torch.einsum("nld,ld->nl", states, self.heads) + self.offsets
            found = (weights * by_layer).sum(1) + self.bias
        values: FloatArray = found.double().numpy()[:, None]
        return values

    def tensors(self) -> dict[str, Any]:
        """By name, for a safetensors file."""
        return {name: value for name, value in vars(self).items() if value is not None}
