"""What trainings by gradient descent share: their identity, their state on disk, their search."""

from __future__ import annotations

import hashlib
import json
import math
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from routelmt import tables
from routelmt.device import device_name
from routelmt.errors import UserError
from routelmt.routers.artifact import work_folder
from routelmt.routers.inputs import RouterInputs
from routelmt.routers.objective.targets import FloatArray
from routelmt.routers.training import fitting
from routelmt.routers.training.accelerated import workers
from routelmt.translate.batches import token_budget


def rows_record(inputs: RouterInputs, labels: FloatArray) -> dict[str, Any]:
    """How many rows of each dataset and direction, and hashes of texts and labels."""
    counts = inputs.segments.group_by(["dataset", "direction"]).aggregate([([], "count_all")])
    ordered = counts.sort_by([("dataset", "ascending"), ("direction", "ascending")])
    learned = inputs.segments.select([*tables.JOIN_KEY, "source"])
    if inputs.hypotheses is not None:
        learned = learned.append_column("hypothesis", inputs.hypotheses.column("hypothesis"))
    return {
        "count": inputs.rows,
        "by_direction": {
            f"{row['dataset']}/{row['direction']}": row["count_all"] for row in ordered.to_pylist()
        },
        "segments_sha256": tables.content_hash(learned),
        "labels_sha256": hashlib.sha256(labels.tobytes()).hexdigest(),
    }


def resumable(out: Path, record: Mapping[str, Any]) -> Path:
    """Folder of the training state of exactly this training; that of any other is thrown away."""
    folder, mark = work_folder(out), work_folder(out) / "identity"
    text = json.dumps(record, sort_keys=True, ensure_ascii=False)
    identity = hashlib.sha256(text.encode()).hexdigest()
    if workers().main and (not mark.is_file() or mark.read_text() != identity):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        mark.write_text(identity)
    workers().wait()
    return folder


def fit_rates(
    spec: Mapping[str, Any],
    seed: int,
    fit: Callable[[fitting.Schedule, Path], fitting.FitState],
    regressor: fitting.Trainable,
    work: Path,
) -> tuple[float, dict[float, fitting.FitState]]:
    """(the best learning rate of `spec`, the end state of each); the best weights are put back.

    fit: trains by a schedule, its state in a file. regressor: what it trains, with `trainable()`.
    Every training starts from the same weights; the best has the lowest validation loss.
    Raises UserError where all diverge.
    """
    rates = spec["learning_rate"]
    start = fitting.snapshot(regressor)
    fits = {}
    for rate in rates if isinstance(rates, list) else [rates]:
        fitting.restore(regressor, start)
        schedule = fitting.Schedule.of(spec, rate, seed)
        fits[rate] = fit(schedule, work / f"learning-rate-{rate:g}.pt")
    best, state = min(fits.items(), key=lambda item: item[1].best_loss)
    if not math.isfinite(state.best_loss):
        raise UserError(
            f"router '{spec['type']}': training diverged with learning rate "
            f"{', '.join(f'{r:g}' for r in fits)}; lower 'learning_rate'."
        )
    fitting.restore(regressor, state.best)
    return best, fits


def measured(
    terms: Sequence[str], seconds: float, device: str, speed: Mapping[str, Any], budget: int | None
) -> dict[str, Any]:
    """The record's `cost`: what a request takes, and where and how that was measured.

    seconds: of a request. budget: tokens of a forward pass; None for a router without one.
    """
    return {
        "terms": list(terms),
        "milliseconds": 1000 * seconds,
        "device": device_name(device, speed["threads"]),
        "batches": None if budget is None else token_budget(budget),
    }


def result(rate: float, state: fitting.FitState) -> dict[str, float]:
    """What the kept epoch reached on the validation rows; losses in the head's unit."""
    best = state.best_epoch
    return {
        "learning_rate": rate,
        "epoch": best["epoch"],
        "validation_loss": best["validation_loss"],
        "validation_spearman": best["validation_spearman"],
        "training_seconds": state.seconds,
    }
