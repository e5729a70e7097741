"""A frozen multilingual encoder and a small network on top (the baseline of ProbeDirichlet).

The mean of the last layer's token states, special tokens included, goes through an MLP with ReLU
and dropout. Embeddings are computed once, each distinct text once; the MLP trains in memory with
Adam and stops early. Each dimension is standardised by the training rows first, which the paper
does not say: a common offset takes most of an embedding's length otherwise.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from routelmt.device import find_device
from routelmt.errors import UserError
from routelmt.routers.artifact import (
    CURE,
    atomic_folder,
    base_of,
    open_record,
    read_tensors,
    write_record,
)
from routelmt.routers.inputs import Priorities, RouterContext, RouterInputs
from routelmt.routers.networks.base_model import weights_hash
from routelmt.routers.networks.encoder_model import (
    Encoder,
    SourceReader,
    load_encoder,
    open_encoder,
    read_encoder,
)
from routelmt.routers.objective.losses import Loss, make_loss
from routelmt.routers.objective.readout import Readout
from routelmt.routers.objective.targets import SAMPLED_LABELS, FloatArray, Labels, labels
from routelmt.routers.registry import RouterType
from routelmt.routers.training import fitting, run
from routelmt.routers.training.card import card
from routelmt.routers.training.validation import routing_metrics
from routelmt.strict_json import cut

BEHAVIOUR = 1
ROUTER = RouterType(
    trained=True,
    needs=frozenset({"gains"}),
    needs_if=SAMPLED_LABELS,
    seeded=True,
    costs=("encoder",),
)

WEIGHTS = "mlp.safetensors"
ENCODER = "encoder"  # folder of an encoder that exists nowhere else
PACKAGES = ("torch", "transformers", "tokenizers")
Embeddings = npt.NDArray[np.float32]  # (rows, dimensions)


@dataclass(frozen=True)
class Mlp:
    """Outputs (rows, outputs) from embeddings: layers((x - mean) / deviation)."""

    layers: Any
    mean: Any
    deviation: Any

    @classmethod
    def new(cls, widths: Sequence[int], dropout: float, mean: Any, deviation: Any) -> Mlp:
        """Linear layers of these widths, the first that of the embeddings, the last the outputs."""
        from torch import nn

        layers: list[Any] = []
        for width, size in pairwise(widths[:-1]):
            layers += [nn.Linear(width, size), nn.ReLU(), nn.Dropout(dropout)]
        layers.append(nn.Linear(*widths[-2:]))
        return cls(nn.Sequential(*layers), mean, deviation)

    def outputs(self, embeddings: Any) -> Any:
        """Of a tensor (rows, dimensions)."""
        return self.layers((embeddings - self.mean) / self.deviation)

    def trainable(self) -> dict[str, Any]:
        """The layers' parameters by name."""
        return dict(self.layers.named_parameters())

    def predict(self, embeddings: Embeddings) -> FloatArray:
        """Without dropout, (rows, outputs)."""
        import torch

        self.layers.eval()
        with torch.inference_mode():
            found: npt.NDArray[np.float32] = self.outputs(torch.from_numpy(embeddings)).numpy()
        return found.astype(np.float64)

    def state(self) -> dict[str, Any]:
        """Tensors by name."""
        tensors = {f"layers.{n}": p.detach().contiguous() for n, p in self.trainable().items()}
        return {**tensors, "mean": self.mean, "deviation": self.deviation}


# --- training --------------------------------------------------------------------------------


def train(
    spec: Mapping[str, Any],
    training: RouterInputs,
    validation: RouterInputs,
    context: RouterContext,
    out: Path,
) -> dict[str, Any]:
    """Train the router that `spec` describes and leave it in the folder `out`; returns its record.

    spec: the `embedding-mlp` entry of the config, defaults filled in. Of a list of learning rates
    the one with the lowest validation loss is kept. A killed call starts over.
    Raises UserError where there is nothing to learn from or the encoder cannot be had.
    """
    import torch

    torch.set_num_threads(context.speed["threads"])
    found = labels(spec, training, validation)
    loss, readout = make_loss(spec), Readout.of(spec, found.training)
    encoder, start = _encoder(spec, context)
    reader = SourceReader(encoder.tokenizer, context.languages, spec["max_length"])
    began = time.monotonic()
    embeddings, truncated, texts = _embed_all(encoder, reader, [training, validation], context)
    seconds = (time.monotonic() - began) / texts
    record = _record(spec, training, validation, context, start, reader, readout, found)
    record["rows"]["truncated"] = truncated
    mlp = _new_mlp(spec, embeddings[0], loss.outputs, context.seed)
    data = [
        (x, readout.scaled(y))
        for x, y in zip(embeddings, (found.training, found.validation), strict=True)
    ]

    def fit(schedule: fitting.Schedule, _: Path) -> fitting.FitState:
        return fit_mlp(mlp, data[0], data[1], loss, schedule)

    constant = {**spec, "warmup_ratio": 0.0, "weight_decay": spec.get("weight_decay", 0.0)}
    rate, fits = run.fit_rates(constant, context.seed, fit, mlp, out)
    _, priority = readout.priorities(readout.answers(fits[rate].best_outputs.numpy()))
    record |= {
        "result": run.result(rate, fits[rate]),
        "validation": routing_metrics(validation, priority),
        "cost": run.measured(
            ROUTER.costs, seconds, encoder.device, context.speed,
            encoder.batch_tokens(context.speed["batch_tokens"]),
        ),
        "about": _about(record),
    }  # fmt: skip
    with atomic_folder(out) as folder:
        _write(folder, mlp, encoder, record, fits)
    return record


def fit_mlp(
    mlp: Mlp,
    training: tuple[Embeddings, npt.NDArray[np.float32]],
    validation: tuple[Embeddings, npt.NDArray[np.float32]],
    loss: Loss,
    schedule: fitting.Schedule,
) -> fitting.FitState:
    """Train on (embeddings, targets in the head's unit) until validation stops getting better.

    Leaves the last weights in the network and returns the state with the best ones.
    """
    import torch

    torch.manual_seed(schedule.seed)  # of the dropout
    inputs, targets = (torch.from_numpy(a) for a in training)
    valid = fitting.Labelled([], validation[1])
    # At one rate; without weight decay this is Adam.
    optimizer = torch.optim.AdamW(
        mlp.layers.parameters(), lr=schedule.learning_rate, weight_decay=schedule.weight_decay
    )
    state, started = fitting.FitState(), time.monotonic()
    for epoch in range(schedule.epochs):
        mlp.layers.train()
        total = 0.0
        for batch in map(torch.from_numpy, schedule.batches(epoch, len(inputs))):
            value = loss.total(mlp.outputs(inputs[batch]), targets[batch])
            optimizer.zero_grad()
            (value / len(batch)).backward()
            optimizer.step()
            total += value.item()
            state.step += 1
        outputs = mlp.predict(validation[0])
        metrics = fitting.validation_metrics(outputs, valid, loss, schedule.batch_size)
        state.seconds = time.monotonic() - started
        losses = {"train_loss": total / len(inputs), **metrics}
        state.end_epoch(epoch + 1, losses, torch.from_numpy(outputs), mlp, schedule.patience)
        if state.done:
            break
    return state


def _encoder(spec: Mapping[str, Any], context: RouterContext) -> tuple[Encoder, dict[str, Any]]:
    """(the frozen encoder, which one that is, as fields of the record)."""
    device = find_device(context.speed["device"])
    encoder, start = open_encoder(spec, context.seed, device, training=False)
    return encoder, start if "from_scratch" in start else {"base": start}


def _embed_all(
    encoder: Encoder, reader: SourceReader, parts: Sequence[RouterInputs], context: RouterContext
) -> tuple[list[Embeddings], int, int]:
    """(embeddings of each part's rows, rows of the first that were cut, distinct texts)."""
    read = reader.read(
        [d for part in parts for d in part.directions],
        [s for part in parts for s in part.sources],
    )
    values = encoder.each(
        read.ids, encoder.mean, encoder.hidden, context.speed["batch_tokens"], "embedding"
    )
    rows = np.split(read.of_row, np.cumsum([part.rows for part in parts])[:-1])
    return [values[of_row] for of_row in rows], int(read.cut[rows[0]].sum()), len(read.ids)


def _new_mlp(spec: Mapping[str, Any], embeddings: Embeddings, outputs: int, seed: int) -> Mlp:
    import torch

    deviation = embeddings.std(axis=0)
    deviation[deviation == 0] = 1.0
    torch.manual_seed(seed)
    return Mlp.new(
        [embeddings.shape[1], *spec["hidden"], outputs], spec["dropout"],
        torch.from_numpy(embeddings.mean(axis=0)), torch.from_numpy(deviation),
    )  # fmt: skip


# --- the artifact ------------------------------------------------------------------------------


def _record(
    spec: Mapping[str, Any],
    training: RouterInputs,
    validation: RouterInputs,
    context: RouterContext,
    start: Mapping[str, Any],
    reader: SourceReader,
    readout: Readout,
    found: Labels,
) -> dict[str, Any]:
    """All that shapes the router, as router.json has it."""
    return {
        "type": spec["type"],
        **readout.as_record(),
        **found.record(),
        "directions": sorted(set(training.directions)),
        "languages": dict(context.languages),
        **start,
        "tokens_fingerprint": reader.fingerprint(),
        "dtype": spec["dtype"],
        "max_length": spec["max_length"],
        "hyperparameters": dict(spec),
        "seed": context.seed,
        "provenance": dict(context.provenance),
        "rows": {
            "training": run.rows_record(training, found.training),
            "validation": run.rows_record(validation, found.validation),
        },
        "packages": {name: metadata.version(name) for name in PACKAGES},
    }


_LOADING = """\
`mlp.safetensors` holds `mean`, `deviation` and the linear layers: with x the mean of the encoder's
last token states for `English to Chinese: SOURCE`, the output is that of the layers, ReLU between,
for (x - mean) / deviation. {where}"""


def _about(record: Mapping[str, Any]) -> dict[str, Any]:
    """What the card says of this type."""
    shape = record.get("from_scratch")
    limits = []
    if shape:
        limits.append(
            f"The encoder was never trained: {shape['layers']} layers of {shape['hidden']} units "
            "with random weights. It stands in for a pretrained one where that cannot be "
            "downloaded, and says little about how well such a router would do."
        )
    return {
        "title": f"MLP on a frozen encoder, {record['target']}",
        "reads": "One pass of a frozen encoder over the source, with the direction before it as "
        "text; the mean of its token states goes through a small network.",
        "method": "the embedding baseline of ProbeDirichlet, features standardised.",
        "loading": _LOADING.format(
            where="The encoder is in `encoder/`." if shape else "The encoder is the base below."
        ),
        "limits": limits,
    }


def _write(
    folder: Path,
    mlp: Mlp,
    encoder: Encoder,
    record: dict[str, Any],
    fits: Mapping[float, fitting.FitState],
) -> None:
    """Fill the router's folder: network, record, history, card; the encoder if it is its own."""
    from safetensors.torch import save_file

    if "from_scratch" in record:
        encoder.model.save_pretrained(folder / ENCODER)
        encoder.tokenizer.save_pretrained(folder / ENCODER)
    save_file(mlp.state(), folder / WEIGHTS)
    write_record(folder, record)
    fitting.write_history(folder, fits)
    (folder / "README.md").write_text(card(record), encoding="utf-8")


# --- using it ------------------------------------------------------------------------------------


class EmbeddingRouter:
    """A trained router with its encoder loaded. `record` is its router.json."""

    def __init__(
        self,
        record: Mapping[str, Any],
        reader: SourceReader,
        encoder: Encoder,
        mlp: Mlp,
        batch_tokens: int,
    ) -> None:
        self.record, self.reader, self.encoder, self.mlp = record, reader, encoder, mlp
        self.batch_tokens = batch_tokens
        self.cut: Any = None  # (n,) which of the last requests were read in part

    def score(self, directions: Sequence[str], sources: Sequence[str]) -> Priorities:
        """(prediction, priority) of each request, both of shape (n,); distinct ones read once."""
        rows = self.reader.read(directions, sources)
        self.cut = rows.cut[rows.of_row]
        embeddings = self.encoder.each(
            rows.ids, self.encoder.mean, self.encoder.hidden, self.batch_tokens, "routing"
        )
        readout = Readout.from_record(self.record)
        return readout.priorities(readout.answers(self.mlp.predict(embeddings)[rows.of_row]))


def open_trained(
    artifact: Path, speed: Mapping[str, Any], base: Mapping[str, Any] | None = None
) -> EmbeddingRouter:
    """Load a router and its encoder.

    base: path and revision of the encoder, if it is not where it was in training.
    Raises UserError if the folder is not a router or damaged, or the encoder another one.
    """
    import torch

    torch.set_num_threads(speed["threads"])
    record = open_record(artifact)
    device = find_device(speed["device"])
    if "from_scratch" in record:
        encoder = read_encoder(artifact / ENCODER, record["dtype"], device)
    else:
        where = base or base_of(artifact, record)
        encoder, folder = load_encoder(
            where["path"], where.get("revision"), record["dtype"], device
        )
        _check_same(folder, record["base"]["weights_sha256"])
    reader = SourceReader(encoder.tokenizer, record["languages"], record["max_length"])
    if reader.fingerprint() != record["tokens_fingerprint"]:
        raise UserError(
            f"{artifact}: the encoder's tokenizer is not the one this router was trained with (the "
            "same text gives other tokens). Restore it, or train again."
        )
    return EmbeddingRouter(record, reader, encoder, _load_mlp(artifact), speed["batch_tokens"])


def _check_same(folder: Path, expected: str) -> None:
    found = weights_hash(folder)
    if found != expected:
        raise UserError(
            f"encoder '{folder}': its weights (SHA-256 {found[:12]}) are not those that this "
            f"router was trained on ({expected[:12]}). Give the folder of the original with "
            "--base, or train the router again."
        )


def _load_mlp(artifact: Path) -> Mlp:
    tensors = read_tensors(artifact / WEIGHTS)
    layers = {n.removeprefix("layers."): t for n, t in tensors.items() if n.startswith("layers.")}
    names = sorted((n for n in layers if n.endswith(".weight")), key=lambda n: int(n.split(".")[0]))
    try:
        widths = [layers[names[0]].shape[1], *(layers[n].shape[0] for n in names)]
        mlp = Mlp.new(widths, 0.0, tensors["mean"], tensors["deviation"])
        mlp.layers.load_state_dict(layers)
    except (IndexError, KeyError, RuntimeError) as error:
        raise UserError(
            f"{artifact / WEIGHTS}: not the layers of one network ({cut(str(error))}); {CURE}."
        ) from None
    return mlp


def predict_trained(artifact: Path, inputs: RouterInputs, context: RouterContext) -> Priorities:
    """(prediction, priority) of each row; see `open_trained`."""
    return open_trained(artifact, context.speed).score(inputs.directions, inputs.sources)
