"""RouteLMT and RouteLMT-Q: the small model predicts gain or its own quality (RouteLMT §4, §5).

A LoRA on every linear layer of the small model's decoder and a linear head on the final hidden
state at the last prompt token are trained together by mean squared error.
"""

from __future__ import annotations

import hashlib
import json
import math
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from routelmt import tables
from routelmt.device import find_device
from routelmt.errors import UserError
from routelmt.routers import fitting
from routelmt.routers.artifact import atomic_folder, read_record, work_folder, write_record
from routelmt.routers.base_model import BaseModel, load_base
from routelmt.routers.inputs import Priorities, RouterInputs, TrainingContext
from routelmt.routers.lora_card import card
from routelmt.routers.prompt_rows import PromptReader, PromptRows
from routelmt.routers.regressor import PromptRegressor

HEAD = "head.safetensors"
PACKAGES = ("torch", "transformers", "peft", "tokenizers")
# Priority is sign x prediction: the largest gain first, the lowest quality first.
SIGNS = {"gain": 1.0, "quality_small": -1.0}


@dataclass(frozen=True)
class Scaling:
    """head unit = (target - shift) / scale; targets are points of the 0-100 scale."""

    shift: float
    scale: float

    @classmethod
    def of(cls, kind: str, targets: npt.NDArray[np.float64]) -> Scaling:
        """'standard': by the training rows' mean and deviation; 'raw': points to 0-1."""
        if kind == "raw":
            return cls(0.0, 100.0)
        return cls(float(targets.mean()), float(targets.std()))

    def apply(self, targets: npt.NDArray[np.float64]) -> npt.NDArray[np.float32]:
        """Points to the head's unit."""
        scaled: npt.NDArray[np.float32] = ((targets - self.shift) / self.scale).astype(np.float32)
        return scaled

    def undo(self, values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """The head's unit to points."""
        return values * self.scale + self.shift


# --- training --------------------------------------------------------------------------------


def train(
    spec: Mapping[str, Any],
    training: RouterInputs,
    validation: RouterInputs,
    context: TrainingContext,
    out: Path,
) -> dict[str, Any]:
    """Train the router that `spec` describes and leave it in the folder `out`; returns its record.

    spec: the `lora` entry of the config, defaults filled in. Each learning rate of a list is
    trained, and the one with the lowest validation error kept. The state is kept beside `out`
    until the end: the same call goes on where a killed one stopped.
    Raises UserError where there is nothing to learn from, and where every training diverges.
    """
    import torch

    torch.set_num_threads(context.speed["threads"])
    targets = training.gain(spec["target"], spec["type"])
    _check_rows(spec, targets, validation)
    scaling = Scaling.of(spec["scaling"], targets)
    device = find_device(context.speed["device"])
    base = load_base(context.model, spec["dtype"], device, training=True)
    reader = PromptReader(
        base.tokenizer, context.model["prompt"], context.languages, spec["max_length"]
    )
    rows, valid_rows = (reader.read(i.directions, i.sources) for i in (training, validation))
    record = _record(spec, training, validation, context, base, reader, scaling)
    record["rows"]["truncated"] = rows.truncated
    work = _work(out, record)
    regressor = _fresh(base, spec, context, device)
    fits = _fit_all(
        regressor,
        _labelled(rows, scaling.apply(targets)),
        _labelled(valid_rows, scaling.apply(validation.gain(spec["target"], spec["type"]))),
        spec, context, work,
    )  # fmt: skip
    rate, best = min(fits.items(), key=lambda item: item[1].best_mse)
    if not math.isfinite(best.best_mse):
        raise UserError(
            f"router '{spec['type']}': training diverged with learning rate "
            f"{', '.join(f'{r:g}' for r in fits)}; lower 'learning_rate'."
        )
    fitting.restore(regressor, best.best)
    record["result"] = _result(rate, best, scaling)
    with atomic_folder(out) as folder:
        _write(folder, regressor, record, fits)
    shutil.rmtree(work, ignore_errors=True)
    return record


def _check_rows(
    spec: Mapping[str, Any], targets: npt.NDArray[np.float64], validation: RouterInputs
) -> None:
    if np.ptp(targets) == 0:
        raise UserError(
            f"router '{spec['type']}': the {spec['target']} of all {len(targets)} training rows is "
            f"{targets[0]:g}: there is nothing to learn. Look at the gains tables."
        )
    if validation.segments.num_rows == 0:
        raise UserError(f"router '{spec['type']}': there are no validation rows.")


def _fresh(
    base: BaseModel, spec: Mapping[str, Any], context: TrainingContext, device: str
) -> PromptRegressor:
    """The base with a new LoRA (which changes nothing yet) and a head that says zero."""
    import torch
    from peft import LoraConfig, get_peft_model

    torch.manual_seed(context.seed)
    config = LoraConfig(
        r=spec["rank"],
        lora_alpha=spec["alpha"],
        lora_dropout=0.0,
        target_modules="all-linear",  # peft leaves the vocabulary projection out
        base_model_name_or_path=context.model["path"],
        revision=context.model.get("revision"),
    )
    head = _head(base, device)
    torch.nn.init.zeros_(head.weight)
    torch.nn.init.zeros_(head.bias)
    return PromptRegressor(get_peft_model(base.causal, config), head, spec["dtype"], device)


def _head(base: BaseModel, device: str) -> Any:
    import torch

    hidden = base.causal.config.get_text_config(decoder=True).hidden_size
    return torch.nn.Linear(hidden, 1, dtype=torch.float32).to(device)


def _fit_all(
    regressor: PromptRegressor,
    training: fitting.LabelledPrompts,
    validation: fitting.LabelledPrompts,
    spec: Mapping[str, Any],
    context: TrainingContext,
    work: Path,
) -> dict[float, fitting.FitState]:
    """The end state by learning rate; every training starts from the same weights."""
    rates = spec["learning_rate"]
    start = fitting.snapshot(regressor)
    fits = {}
    for rate in rates if isinstance(rates, list) else [rates]:
        fitting.restore(regressor, start)
        schedule = fitting.Schedule(
            rate, spec["epochs"], spec["batch_size"], spec["warmup_ratio"], spec["weight_decay"],
            context.seed,
        )  # fmt: skip
        saved = work / f"learning-rate-{rate:g}.pt"
        fits[rate] = fitting.fit(
            regressor, training, validation, schedule, context.speed["batch_tokens"], saved
        )
    return fits


def _labelled(rows: PromptRows, targets: npt.NDArray[np.float32]) -> fitting.LabelledPrompts:
    return fitting.LabelledPrompts([rows.ids[i] for i in rows.of_row], targets)


def _work(out: Path, record: Mapping[str, Any]) -> Path:
    """Folder of the training state of exactly this training; that of any other is thrown away."""
    text = json.dumps(record, sort_keys=True, ensure_ascii=False)
    identity = hashlib.sha256(text.encode()).hexdigest()
    folder = work_folder(out)
    mark = folder / "identity"
    if not mark.is_file() or mark.read_text() != identity:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        mark.write_text(identity)
    return folder


# --- the artifact ------------------------------------------------------------------------------


def _record(
    spec: Mapping[str, Any],
    training: RouterInputs,
    validation: RouterInputs,
    context: TrainingContext,
    base: BaseModel,
    reader: PromptReader,
    scaling: Scaling,
) -> dict[str, Any]:
    """All that shapes the router, as router.json has it; a run is known by it."""
    return {
        "type": spec["type"],
        "target": spec["target"],
        "shift": scaling.shift,
        "scale": scaling.scale,
        "prompt": context.model["prompt"],
        "prompt_fingerprint": reader.fingerprint(),
        "languages": dict(context.languages),
        "directions": sorted(set(training.directions)),
        "base": {
            "path": context.model["path"],
            "revision": context.model.get("revision"),
            "weights_sha256": base.weights_sha256,
        },
        "dtype": spec["dtype"],
        "max_length": spec["max_length"],
        "hyperparameters": dict(spec),
        "seed": context.seed,
        "rows": {"training": _rows(training), "validation": _rows(validation)},
        "packages": {name: metadata.version(name) for name in PACKAGES},
    }


def _rows(inputs: RouterInputs) -> dict[str, Any]:
    """How many rows of each dataset and direction, and the hash of what was learned from."""
    assert inputs.gains is not None
    counts = inputs.segments.group_by(["dataset", "direction"]).aggregate([([], "count_all")])
    learned = [*tables.JOIN_KEY, "source"]
    labels = [*tables.JOIN_KEY, "gain", "quality_small"]
    return {
        "count": inputs.segments.num_rows,
        "by_direction": {
            f"{row['dataset']}/{row['direction']}": row["count_all"]
            for row in counts.sort_by([("dataset", "ascending"), ("direction", "ascending")])
            .to_pylist()
        },
        "segments_sha256": tables.content_hash(inputs.segments.select(learned)),
        "labels_sha256": tables.content_hash(inputs.gains.select(labels)),
    }  # fmt: skip


def _result(rate: float, state: fitting.FitState, scaling: Scaling) -> dict[str, float]:
    """What the kept epoch reached on the validation rows; points are those of the metric."""
    best = min(state.history, key=lambda entry: entry["validation_mse"])
    return {
        "learning_rate": rate,
        "epoch": best["epoch"],
        "validation_mse": best["validation_mse"],
        "validation_rmse_points": math.sqrt(best["validation_mse"]) * scaling.scale,
        "validation_spearman": best["validation_spearman"],
        "training_seconds": state.seconds,
    }


def _write(
    folder: Path,
    regressor: PromptRegressor,
    record: dict[str, Any],
    fits: Mapping[float, fitting.FitState],
) -> None:
    """Fill the router's folder: adapter, head, record, history, card."""
    from safetensors.torch import save_file

    regressor.causal.save_pretrained(folder, save_embedding_layers=False)
    head = {n: p.detach().cpu().contiguous() for n, p in regressor.head.named_parameters()}
    save_file(head, folder / HEAD)
    write_record(folder, record)
    with (folder / "history.jsonl").open("w", encoding="utf-8") as lines:
        for rate, state in fits.items():
            for entry in state.history:
                lines.write(json.dumps({"learning_rate": rate, **entry}) + "\n")
    # After the adapter: peft leaves a card of its own.
    (folder / "README.md").write_text(card(record), encoding="utf-8")


# --- using it ------------------------------------------------------------------------------------


class LoraRouter:
    """A trained router with its base model loaded. `record` is its router.json."""

    def __init__(
        self, record: Mapping[str, Any], reader: PromptReader, regressor: PromptRegressor,
        batch_tokens: int,
    ) -> None:  # fmt: skip
        self.record, self.reader, self.regressor = record, reader, regressor
        self.batch_tokens = batch_tokens
        self.truncated = 0

    def score(self, directions: Sequence[str], sources: Sequence[str]) -> Priorities:
        """(prediction in points of the target, priority) of each request, both of shape (n,).

        The same request has the same prediction wherever it stands: it is computed once.
        """
        rows = self.reader.read(directions, sources)
        self.truncated = rows.truncated
        values = self.regressor.predict(rows.ids, self.batch_tokens, "routing")[rows.of_row]
        prediction = Scaling(self.record["shift"], self.record["scale"]).undo(values)
        return prediction, SIGNS[self.record["target"]] * prediction


def open_trained(
    artifact: Path, speed: Mapping[str, Any], base: Mapping[str, Any] | None = None
) -> LoraRouter:
    """Load a router and its base model.

    base: path and revision of the base, if it is not where it was in training.
    Raises UserError if the folder is not a router, or the base or its tokenizer another one.
    """
    import torch
    from peft import PeftModel
    from safetensors.torch import load_file

    torch.set_num_threads(speed["threads"])
    record = read_record(artifact)
    device = find_device(speed["device"])
    loaded = load_base(
        base or record["base"], record["dtype"], device, training=False,
        expected=record["base"]["weights_sha256"],
    )  # fmt: skip
    reader = PromptReader(
        loaded.tokenizer, record["prompt"], record["languages"], record["max_length"]
    )
    if reader.fingerprint() != record["prompt_fingerprint"]:
        raise UserError(
            f"{artifact}: the base model's tokenizer or chat template is not the one this router "
            "was trained with (the same prompt gives other tokens). Restore it, or train again."
        )
    head = _head(loaded, device)
    head.load_state_dict(load_file(artifact / HEAD))
    causal = PeftModel.from_pretrained(loaded.causal, artifact)
    if record["dtype"] == "float32":
        # A third faster. Not in bfloat16: rounding the sum would lose most of the LoRA.
        causal = causal.merge_and_unload()
    regressor = PromptRegressor(causal, head, record["dtype"], device)
    return LoraRouter(record, reader, regressor, speed["batch_tokens"])


def predict_trained(artifact: Path, inputs: RouterInputs, context: TrainingContext) -> Priorities:
    """(prediction in points of the target, priority) of each row; see `open_trained`."""
    router = open_trained(artifact, context.speed, context.model)
    return router.score(inputs.directions, inputs.sources)
