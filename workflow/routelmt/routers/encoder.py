"""A multilingual encoder as a router: fine-tuned in full, on the source alone.

The direction stands before the source as text ("English to Chinese: ..."); the last layer's state
of the first token goes through a linear head. With targets gain and quality_small and XLM-R-large
these are RouteLMT's baselines XLM-R-delta and XLM-R-Q (its App. A); with the small-* targets they
are Hybrid LLM's det, prob and trans. With `hypothesis` the encoder also reads the small model's
translation: a quality or gain estimator, supervised, for the decision after decoding.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy.typing as npt

from routelmt.device import find_device
from routelmt.errors import UserError
from routelmt.routers.artifact import (
    CURE,
    atomic_folder,
    open_record,
    read_tensors,
    write_record,
)
from routelmt.routers.inputs import Priorities, RouterContext, RouterInputs
from routelmt.routers.networks.encoder_model import (
    Encoder,
    SourceReader,
    SourceRows,
    open_encoder,
    read_encoder,
)
from routelmt.routers.networks.regressor import fresh_head
from routelmt.routers.objective.losses import make_loss
from routelmt.routers.objective.readout import Readout
from routelmt.routers.objective.targets import SAMPLED_LABELS, FloatArray, Labels, labels
from routelmt.routers.registry import RouterType, costs_of
from routelmt.routers.training import fitting, run
from routelmt.routers.training.accelerated import launch, worker_device, workers
from routelmt.routers.training.card import card
from routelmt.routers.training.validation import routing_metrics
from routelmt.strict_json import cut

BEHAVIOUR = 1
ROUTER = RouterType(
    trained=True,
    needs=frozenset({"gains"}),
    needs_if={("hypothesis", True): frozenset({"hypotheses"}), **SAMPLED_LABELS},
    seeded=True,
    costs=("encoder",),
    costs_if={("hypothesis", True): ("decode",)},
)

HEAD = "head.safetensors"
PACKAGES = ("torch", "transformers", "tokenizers")


@dataclass(frozen=True)
class EncoderRegressor:
    """W h + b, h the last layer's state of a row's first token. head: float32 Linear."""

    encoder: Encoder
    head: Any

    @property
    def device(self) -> str:
        """Where it runs."""
        return self.encoder.device

    def outputs(self, rows: Sequence[Sequence[int]]) -> Any:
        """Float32 tensor (rows, outputs) in the head's unit."""
        return self.head(self.encoder.first(rows))

    def trainable(self) -> dict[str, Any]:
        """Every parameter of encoder and head, by name."""
        found = dict(self.encoder.model.named_parameters())
        return found | {f"head.{n}": p for n, p in self.head.named_parameters()}

    def running(self, training: bool) -> AbstractContextManager[None]:
        """Train or eval mode, then as it was before."""
        return self.encoder.running(training)

    def predict(
        self, ids: Sequence[Sequence[int]], batch_tokens: int, what: str | None = None
    ) -> FloatArray:
        """Outputs of each row, (rows, outputs), with a progress bar called `what`."""
        columns = self.head.out_features
        return self.encoder.each(ids, self.outputs, columns, batch_tokens, what).astype("float64")

    def batch_tokens(self, wanted: int) -> int:
        """The token budget of one pass on this device."""
        return self.encoder.batch_tokens(wanted)


# --- training --------------------------------------------------------------------------------


def train(
    spec: Mapping[str, Any],
    training: RouterInputs,
    validation: RouterInputs,
    context: RouterContext,
    out: Path,
) -> dict[str, Any]:
    """Train the router that `spec` describes and leave it in the folder `out`; returns its record.

    spec: the `encoder` or `xlmr` entry of the config, defaults filled in. Each learning rate of a
    list is trained, and the one with the lowest validation loss kept. The state is kept beside
    `out` until the end: the same call goes on where a killed one stopped.
    Raises UserError where there is nothing to learn from, the encoder cannot be had, or every
    training diverges.
    """
    import torch

    torch.set_num_threads(context.speed["threads"])
    found = labels(spec, training, validation)
    loss, readout = make_loss(spec), Readout.of(spec, found.training)
    texts = [_hypotheses(spec, inputs) for inputs in (training, validation)]
    device = find_device(context.speed["device"])
    launch(context.speed, device)
    encoder, start = _start(spec, context, worker_device(device))
    reader = SourceReader(encoder.tokenizer, context.languages, spec["max_length"])
    rows, valid_rows = (
        reader.read(inputs.directions, inputs.sources, text)
        for inputs, text in zip((training, validation), texts, strict=True)
    )
    record = _record(spec, training, validation, context, start, reader, readout, found)
    record["rows"]["truncated"] = rows.truncated
    work = run.resumable(out, record)
    head = fresh_head(encoder.hidden, loss.outputs, spec["head_init"], context.seed)
    regressor = EncoderRegressor(encoder, head.to(encoder.device))
    train_data = _labelled(rows, readout, found.training)
    valid_data = _labelled(valid_rows, readout, found.validation)

    def fit(schedule: fitting.Schedule, saved: Path) -> fitting.FitState:
        return fitting.fit(
            regressor, train_data, valid_data, loss, schedule, context.speed["batch_tokens"],
            saved, context.speed.get("save_minutes", fitting.SAVE_MINUTES),
        )  # fmt: skip

    rate, fits = run.fit_rates(spec, context.seed, fit, regressor, work)
    if workers().main:
        record |= _results(rate, fits[rate], readout, validation)
        seconds = fits[rate].predict_seconds * workers().count / validation.rows
        budget = regressor.batch_tokens(context.speed["batch_tokens"])
        record["cost"] = run.measured(
            costs_of(spec), seconds, regressor.device, context.speed, budget
        )
        record["about"] = _about(record)
        with atomic_folder(out) as folder:
            _write(folder, regressor, record, fits)
        shutil.rmtree(work, ignore_errors=True)
    workers().wait()
    return record


def _labelled(rows: SourceRows, readout: Readout, targets: FloatArray) -> fitting.Labelled:
    return fitting.Labelled([rows.ids[i] for i in rows.of_row], readout.scaled(targets))


def _hypotheses(spec: Mapping[str, Any], inputs: RouterInputs) -> list[str] | None:
    """The small model's translation of each row, if the router reads it."""
    if not spec.get("hypothesis"):
        return None
    if inputs.hypotheses is None:
        raise UserError(
            f"router '{spec['type']}' with 'hypothesis: true' reads the small model's "
            "translations: give it --hypotheses (in training --train- and --valid-hypotheses)."
        )
    found: list[str] = inputs.hypotheses.column("hypothesis").to_pylist()
    return found


def _start(
    spec: Mapping[str, Any], context: RouterContext, device: str
) -> tuple[Encoder, dict[str, Any]]:
    """(the encoder that training starts from, which one that is)."""
    encoder, start = open_encoder(spec, context.seed, device, training=True)
    if context.speed.get("gradient_checkpointing"):
        encoder.model.gradient_checkpointing_enable({"use_reentrant": False})
    return encoder, start


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
    """All that shapes the router, as router.json has it; a run is known by it."""
    return {
        "type": spec["type"],
        **readout.as_record(),
        **found.record(),
        "hypothesis": bool(spec.get("hypothesis")),
        "directions": sorted(set(training.directions)),
        "languages": dict(context.languages),
        "start": dict(start),
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


def _results(
    rate: float,
    state: fitting.FitState,
    readout: Readout,
    validation: RouterInputs,
) -> dict[str, Any]:
    """result and validation of the record."""
    _, priority = readout.priorities(readout.answers(state.best_outputs.numpy()))
    return {
        "result": run.result(rate, state),
        "validation": routing_metrics(validation, priority),
    }


_LOADING = """\
This folder is the whole fine-tuned encoder; it needs nothing else. Without this package
(a report that the pooler is new is harmless: that layer is not used):

```python
import torch
from safetensors.torch import load_file
from transformers import AutoModel, AutoTokenizer

tokenizer, encoder = AutoTokenizer.from_pretrained(DIR), AutoModel.from_pretrained(DIR).eval()
head = load_file(f"{{DIR}}/head.safetensors")
inputs = tokenizer({texts}, truncation={cut}, max_length={max_length}, return_tensors="pt")
state = encoder(**inputs).last_hidden_state[0, 0].detach()
output = float(head["weight"][0] @ state + head["bias"][0])
prediction = {prediction}
```"""
_HYBRID = {"small-wins": "det", "small-wins-sampled": "prob", "small-within": "trans"}


def _about(record: Mapping[str, Any]) -> dict[str, Any]:
    """What the card says of this type."""
    shape = record["start"].get("from_scratch")
    reads = "the source, with the direction before it as text"
    if record["hypothesis"]:
        reads += ", and the small model's translation of it as a second segment"
    return {
        "title": _title(record),
        "reads": f"One pass of an encoder over {reads}; all of its weights were trained.",
        "method": _method(record["target"]),
        "loading": _loading(record),
        "limits": [*_limits(record, shape)],
    }


def _title(record: Mapping[str, Any]) -> str:
    start = record["start"]
    name = "Small encoder from scratch" if "from_scratch" in start else f"Encoder {start['path']}"
    return f"{name}, {record['target']}{' after decoding' if record['hypothesis'] else ''}"


def _method(target: str) -> str:
    if target in _HYBRID:
        return f"Hybrid LLM (Ding et al. 2024), {_HYBRID[target]}."
    name = "XLM-R-Δ" if target == "gain" else "XLM-R-Q"
    return f"as the baseline {name} of RouteLMT, arXiv 2604.22520."


def _loading(record: Mapping[str, Any]) -> str:
    pair = record["hypothesis"]
    if record["loss"] == "bce":
        prediction = "1 / (1 + 2.718281828459045**-output)"
    else:
        prediction = f"output * {record['scale']!r} + {record['shift']!r}"
    return _LOADING.format(
        texts='"English to Chinese: Open the file."' + (', "打开文件。"' if pair else ""),
        cut='"longest_first"' if pair else True,
        max_length=record["max_length"],
        prediction=prediction,
    )


def _limits(record: Mapping[str, Any], shape: Mapping[str, Any] | None) -> list[str]:
    count = record["rows"]["training"]["count"]
    found = [
        f"Texts that make more than {record['max_length']} tokens lose their end; "
        f"{record['rows']['truncated']} of the training rows did."
    ]
    if shape:
        found.append(
            f"The encoder was not pretrained: it is small ({shape['layers']} layers of "
            f"{shape['hidden']} units), started from random weights, and the {count} training rows "
            "are all the text it has ever seen. It stands in for XLM-RoBERTa-large where that "
            "cannot be downloaded, and says little about how well that would route."
        )
    if record["hypothesis"]:
        found.append("It needs the small model's translation, so every request is decoded first.")
    return found


def _write(
    folder: Path,
    regressor: EncoderRegressor,
    record: dict[str, Any],
    fits: Mapping[float, fitting.FitState],
) -> None:
    """Fill the router's folder: encoder, tokenizer, head, record, history, card."""
    from safetensors.torch import save_file

    regressor.encoder.model.save_pretrained(folder)
    regressor.encoder.tokenizer.save_pretrained(folder)
    head = {n: p.detach().cpu().contiguous() for n, p in regressor.head.named_parameters()}
    save_file(head, folder / HEAD)
    write_record(folder, record)
    fitting.write_history(folder, fits)
    (folder / "README.md").write_text(card(record), encoding="utf-8")


# --- using it ------------------------------------------------------------------------------------


class EncoderRouter:
    """A trained router, loaded. `record` is its router.json."""

    def __init__(
        self,
        record: Mapping[str, Any],
        reader: SourceReader,
        regressor: EncoderRegressor,
        batch_tokens: int,
    ) -> None:
        self.record, self.reader, self.regressor = record, reader, regressor
        self.batch_tokens = batch_tokens
        self.cut: Any = None  # (n,) which of the last requests were read in part

    def score(
        self,
        directions: Sequence[str],
        sources: Sequence[str],
        hypotheses: Sequence[str] | None = None,
    ) -> Priorities:
        """(prediction, priority) of each request, both of shape (n,).

        The same request has the same prediction wherever it stands: it is computed once.
        hypotheses: translations of the small model, for a router that reads them, and only then.
        """
        if self.record["hypothesis"] and hypotheses is None:
            raise UserError(
                "this router reads the small model's translations, and requests have none: ask it "
                "with `python -m routelmt predict --hypotheses`."
            )
        rows: SourceRows = self.reader.read(
            directions, sources, hypotheses if self.record["hypothesis"] else None
        )
        self.cut = rows.cut[rows.of_row]
        outputs: npt.NDArray[Any] = self.regressor.predict(rows.ids, self.batch_tokens, "routing")
        readout = Readout.from_record(self.record)
        return readout.priorities(readout.answers(outputs[rows.of_row]))


def open_trained(
    artifact: Path, speed: Mapping[str, Any], base: Mapping[str, Any] | None = None
) -> EncoderRouter:
    """Load a router. Nothing but its folder is needed; `base` is for other types.

    Raises UserError if the folder is not a router, or damaged.
    """
    import torch

    torch.set_num_threads(speed["threads"])
    record = open_record(artifact)
    encoder = read_encoder(artifact, record["dtype"], find_device(speed["device"]))
    readout = Readout.from_record(record)
    loss = make_loss({**record["hyperparameters"], "loss": readout.loss})
    head = fresh_head(encoder.hidden, loss.outputs).to(encoder.device)
    try:
        head.load_state_dict(read_tensors(artifact / HEAD))
    except RuntimeError as error:
        raise UserError(
            f"{artifact / HEAD}: not a head of this encoder ({cut(str(error))}); {CURE}."
        ) from None
    reader = SourceReader(encoder.tokenizer, record["languages"], record["max_length"])
    if reader.fingerprint() != record["tokens_fingerprint"]:
        raise UserError(
            f"{artifact}: its tokenizer is not the one it was trained with (the same text gives "
            "other tokens). Copy the router again, or train it again."
        )
    return EncoderRouter(record, reader, EncoderRegressor(encoder, head), speed["batch_tokens"])


def predict_trained(artifact: Path, inputs: RouterInputs, context: RouterContext) -> Priorities:
    """(prediction, priority) of each row; see `open_trained`."""
    router = open_trained(artifact, context.speed)
    return router.score(inputs.directions, inputs.sources, _hypotheses(router.record, inputs))
