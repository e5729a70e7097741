"""RouteLMT and RouteLMT-Q: the small model predicts gain or its own quality (RouteLMT §4, §5).

A LoRA on every linear layer of the small model's decoder and a linear head on the final hidden
state at the last prompt token are trained together: by mean squared error as the paper does, or
towards another target, by another loss, with a second answer, or on a lower layer (our variants).
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from routelmt.device import find_device
from routelmt.routers.artifact import atomic_folder, base_of, write_record
from routelmt.routers.inputs import Priorities, RouterContext, RouterInputs
from routelmt.routers.networks import in_model
from routelmt.routers.networks.base_model import BaseModel, load_base
from routelmt.routers.networks.in_model import HEAD, Artifact, LoraRouter, SharedBase
from routelmt.routers.networks.prompt_rows import PromptReader, PromptRows
from routelmt.routers.networks.regressor import PromptRegressor, fresh_head
from routelmt.routers.objective.losses import make_loss
from routelmt.routers.objective.readout import Answers, Readout
from routelmt.routers.objective.targets import SAMPLED_LABELS, FloatArray, Labels, labels
from routelmt.routers.registry import RouterType
from routelmt.routers.training import fitting
from routelmt.routers.training.accelerated import launch, worker_device, workers
from routelmt.routers.training.card import card
from routelmt.routers.training.run import fit_rates, measured, result, resumable, rows_record
from routelmt.routers.training.validation import routing_metrics

BEHAVIOUR = 1
ROUTER = RouterType(
    trained=True,
    needs=frozenset({"gains", "model"}),
    needs_if=SAMPLED_LABELS,
    seeded=True,
    in_model=True,
    costs=("prefill",),
)
PACKAGES = ("torch", "transformers", "peft", "tokenizers")

# --- training --------------------------------------------------------------------------------


def train(
    spec: Mapping[str, Any],
    training: RouterInputs,
    validation: RouterInputs,
    context: RouterContext,
    out: Path,
) -> dict[str, Any]:
    """Train the router that `spec` describes and leave it in the folder `out`; returns its record.

    spec: the `lora` entry of the config, defaults filled in. Each learning rate of a list is
    trained, and the one with the lowest validation loss kept. The state is kept beside `out`
    until the end: the same call goes on where a killed one stopped. With several processes (a
    speed setting) the command starts again in each, and only the main one writes.
    Raises UserError where there is nothing to learn from, and where every training diverges.
    """
    import torch

    torch.set_num_threads(context.speed["threads"])
    wanted = [labels(spec, training, validation)]
    if spec.get("also"):
        wanted.append(labels(spec, training, validation, spec["also"]))
    readout = Readout.of(spec, *(label.training for label in wanted))
    loss = make_loss(spec)
    device = find_device(context.speed["device"])
    launch(context.speed, device)
    group, device = workers(), worker_device(device)
    base = load_base(context.model, spec["dtype"], device, training=True, layers=spec.get("layer"))
    reader = PromptReader(
        base.tokenizer, context.model["prompt"], context.languages,
        base.longest(spec["max_length"]),
    )  # fmt: skip
    rows, valid_rows = (reader.read(i.directions, i.sources) for i in (training, validation))
    record = _record(spec, training.directions, context, base, reader) | readout.as_record()
    record |= wanted[0].record()
    record["rows"] = {
        "training": rows_record(training, np.stack([w.training for w in wanted])),
        "validation": rows_record(validation, np.stack([w.validation for w in wanted])),
        "truncated": rows.truncated,
    }
    work = resumable(out, record)
    regressor = _fresh(base, spec, context, device, loss.outputs)
    data = _labelled(rows, readout.scaled(*(w.training for w in wanted)))
    valid = _labelled(valid_rows, readout.scaled(*(w.validation for w in wanted)))

    def fit(schedule: fitting.Schedule, saved: Path) -> fitting.FitState:
        return fitting.fit(
            regressor, data, valid, loss, schedule, context.speed["batch_tokens"], saved,
            context.speed.get("save_minutes", fitting.SAVE_MINUTES),
        )  # fmt: skip

    rate, fits = fit_rates(spec, context.seed, fit, regressor, work)
    record |= _reached(rate, fits[rate], readout, wanted, validation)
    seconds = fits[rate].predict_seconds * group.count / validation.rows
    budget = regressor.batch_tokens(context.speed["batch_tokens"])
    record["cost"] = measured(ROUTER.costs, seconds, device, context.speed, budget)
    record["about"] = _about(record)
    if group.main:
        with atomic_folder(out) as folder:
            _write(folder, regressor, record, fits)
        shutil.rmtree(work, ignore_errors=True)
    group.leave()
    return record


def _fresh(
    base: BaseModel, spec: Mapping[str, Any], context: RouterContext, device: str, outputs: int
) -> PromptRegressor:
    """The base with a new LoRA (which changes nothing yet) and a head that says zero."""
    import torch
    from peft import LoraConfig, get_peft_model

    torch.manual_seed(context.seed)
    config = LoraConfig(
        r=spec["rank"],
        lora_alpha=spec["alpha"],
        lora_dropout=spec["dropout"],
        target_modules="all-linear",  # peft leaves the vocabulary projection out
        base_model_name_or_path=context.model["path"],
        revision=context.model.get("revision"),
    )
    head = fresh_head(base.hidden_size, outputs, spec["head_init"], context.seed).to(device)
    return PromptRegressor(
        get_peft_model(base.causal, config), head, spec["dtype"], device,
        checkpointing=bool(context.speed.get("gradient_checkpointing")),
    )  # fmt: skip


def _labelled(rows: PromptRows, targets: npt.NDArray[np.float32]) -> fitting.Labelled:
    return fitting.Labelled([rows.ids[i] for i in rows.of_row], targets)


# --- the artifact ------------------------------------------------------------------------------


def _record(
    spec: Mapping[str, Any],
    directions: Sequence[str],
    context: RouterContext,
    base: BaseModel,
    reader: PromptReader,
) -> dict[str, Any]:
    """What shapes the router beside rows and readout, as router.json has it."""
    return {
        "type": spec["type"],
        "prompt": context.model["prompt"],
        "prompt_fingerprint": reader.fingerprint(),
        "languages": dict(context.languages),
        "directions": sorted(set(directions)),
        "base": {
            "path": context.model["path"],
            "revision": context.model.get("revision"),
            "weights_sha256": base.weights_sha256,
        },
        "dtype": spec["dtype"],
        "layer": spec.get("layer"),
        "max_length": spec["max_length"],
        "hyperparameters": dict(spec),
        "seed": context.seed,
        "provenance": dict(context.provenance),
        "packages": {name: metadata.version(name) for name in PACKAGES},
    }


def _reached(
    rate: float,
    state: fitting.FitState,
    readout: Readout,
    wanted: Sequence[Labels],
    validation: RouterInputs,
) -> dict[str, Any]:
    """`result` and `validation` of the record: what the kept epoch reached on these rows."""
    answers = readout.answers(state.best_outputs.numpy())
    prediction, priority = readout.priorities(answers)
    reached = result(rate, state)
    if readout.loss != "bce":
        reached["validation_rmse_points"] = _rmse(prediction, wanted[0].validation)
    if readout.also:
        reached["also_rmse_points"] = _rmse(answers[readout.also], wanted[1].validation)
    return {"result": reached, "validation": routing_metrics(validation, priority)}


def _rmse(prediction: FloatArray, label: FloatArray) -> float:
    return float(np.sqrt(np.mean((prediction - label) ** 2)))


def _about(record: Mapping[str, Any]) -> dict[str, Any]:
    """What the card says of this type; see `card`."""
    plain = record["loss"] == "mse" and not record["layer"] and "also" not in record
    names = {"gain": "RouteLMT", "quality_small": "RouteLMT-Q"}
    name = names.get(record["target"], f"In-model {record['target']}")
    state = f"decoder layer {record['layer']}" if record["layer"] else "the decoder"
    loading = (
        "The LoRA alone loads with `PeftModel.from_pretrained(AutoModelForCausalLM."
        "from_pretrained(BASE), DIR)`. The outputs are `weight @ h + bias`, with `weight` and "
        f"`bias` from `head.safetensors` and h the state after {state} and the final norm, at the "
        f"last prompt token; points are `output * {record['scale']:.6g} + {record['shift']:.6g}`."
    )
    method = "RouteLMT, arXiv 2604.22520"
    if record["target"].startswith("small-"):
        method += "; target of Hybrid LLM (Ding et al. 2024)"
    return {
        "title": f"{name} router" + ("" if plain or name not in names.values() else ", variant"),
        "reads": "Reads the prompt that the small model would translate from, in one prefill of "
        "the small model with this LoRA.",
        "method": method + ("." if plain else f"; loss {record['loss']}, a variant of it."),
        "loading": loading,
        "limits": ["The LoRA changes keys and values: translating needs a prefill of its own."],
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
    fitting.write_history(folder, fits)
    # After the adapter: peft leaves a card of its own.
    (folder / "README.md").write_text(card(record), encoding="utf-8")


# --- using it ------------------------------------------------------------------------------------


def open_trained(
    artifact: Path, speed: Mapping[str, Any], base: Mapping[str, Any] | None = None
) -> LoraRouter:
    """Load a router and its base model.

    base: path and revision of the base, if it is not where it was in training.
    Raises UserError if the folder is not a whole router, or the base or its tokenizer another one.
    """
    found = Artifact.read(artifact)
    shared = SharedBase(
        base or base_of(artifact, found.record), found, speed, found.record.get("layer")
    )
    return LoraRouter(found, shared, speed["batch_tokens"])


def predict_together(
    artifacts: Sequence[Path], inputs: RouterInputs, context: RouterContext
) -> list[Answers]:
    """The answers of several routers of context.model to the same rows; see `in_model`."""
    return in_model.predict_together(
        artifacts, inputs.directions, inputs.sources, context.model, context.speed
    )


def predict_trained(artifact: Path, inputs: RouterInputs, context: RouterContext) -> Priorities:
    """(prediction in the target's unit, priority) of each row; see `in_model`."""
    (answers,) = predict_together([artifact], inputs, context)
    return answers["prediction"], answers["priority"]
