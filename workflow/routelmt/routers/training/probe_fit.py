"""Training a probe: Adam, early stopping on the validation rows.

This module loads torch: import it inside functions.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from routelmt.errors import UserError
from routelmt.progress import progress
from routelmt.routers.networks.probe_model import (
    FoldedProbe,
    Layers,
    Probe,
    Vectors,
    as_float,
    moments,
    runs,
)
from routelmt.routers.objective.losses import Loss, make_loss
from routelmt.routers.objective.targets import FloatArray
from routelmt.routers.training.fitting import (
    FitState,
    Labelled,
    Schedule,
    validation_metrics,
)
from routelmt.routers.training.run import fit_rates, result


@dataclass(frozen=True)
class ProbeRows:
    """What a probe reads of each row, and its target in the head's unit, float32 (rows, 1)."""

    features: Vectors | Layers
    targets: npt.NDArray[np.float32]


def fit_probe(
    spec: Mapping[str, Any], data: ProbeRows, valid: ProbeRows, labels: FloatArray, seed: int
) -> tuple[FoldedProbe, dict[float, FitState], dict[str, Any]]:
    """(the probe of the best learning rate, all trainings, fields of the record).

    labels: of the training rows, in their own unit. Raises UserError where every one diverges.
    """
    scaling = moments(data.features) if spec["standardise"] else None
    probe = Probe(spec["layers"], data.features.shape, scaling)
    if spec["target"].startswith("small-"):
        share = float(np.clip(labels.mean(), 1e-3, 1 - 1e-3))
        probe.bias.data.fill_(math.log(share / (1 - share)))  # begin at the base rate
    loss = make_loss(spec)

    def fit_once(schedule: Schedule, _: Path) -> FitState:
        return fit(probe, data, valid, loss, schedule)

    constant = {**spec, "warmup_ratio": 0.0}
    rate, fits = fit_rates(constant, seed, fit_once, probe, Path())
    fields: dict[str, Any] = {"result": result(rate, fits[rate])}
    if probe.kind in ("mix", "dirichlet"):
        with torch.no_grad():
            fields["layer_weights"] = [round(w, 5) for w in probe.logits.softmax(0).tolist()]
    return probe.folded(), fits, fields


def fit(
    probe: Probe, training: ProbeRows, validation: ProbeRows, loss: Loss, schedule: Schedule
) -> FitState:
    """Train at most `epochs` epochs, until `patience` of them brought no lower validation loss.

    The schedule's rate is constant. Batches of `batch_size` rows; the last one of an epoch has what
    is left. Weight decay is decoupled and on the head alone. The same seed and threads give the
    same weights. Raises UserError where states are not finite.
    """
    start, held_out = time.monotonic(), Labelled([], validation.targets)
    others = [p for n, p in probe.named_parameters() if n != "head"]
    optimizer = torch.optim.AdamW(
        [{"params": [probe.head], "weight_decay": schedule.weight_decay}, {"params": others}],
        lr=schedule.learning_rate, weight_decay=0.0, fused=True,
    )  # fmt: skip
    state, size = FitState(), schedule.batch_size
    what = f"probe, rate {schedule.learning_rate:g}"
    with torch.random.fork_rng(devices=[]), _no_denormals():
        torch.manual_seed(schedule.seed)  # the Dirichlet's draws
        for epoch in progress(range(1, schedule.epochs + 1), what, "epoch"):
            order = training.features.order(np.random.default_rng([schedule.seed, epoch]), size)
            train_loss = _epoch(probe, training, order, size, loss, optimizer)
            outputs = predict(probe, validation.features)
            losses = validation_metrics(outputs, held_out, loss, size)
            state.step = epoch * math.ceil(len(order) / size)
            state.seconds = time.monotonic() - start
            losses = {"train_loss": train_loss, **losses}
            state.end_epoch(epoch, losses, torch.from_numpy(outputs), probe, schedule.patience)
            if not math.isfinite(losses["validation_loss"]):
                check_finite(training.features, "training")
                check_finite(validation.features, "validation")
            if state.done:
                break
    return state


@contextmanager
def _no_denormals() -> Iterator[None]:
    """Take numbers below 1e-38 for 0: as Adam's squares of small gradients they cost seconds."""
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(False)


def _epoch(
    probe: Probe, data: ProbeRows, order: Any, size: int, loss: Loss, optimizer: Any
) -> float:
    """One pass over the rows; returns the mean loss as it went."""
    probe.train()
    total = 0.0
    targets = torch.from_numpy(data.targets)
    parts = [order[start : start + size] for start in range(0, len(order), size)]
    for rows, states in data.features.batches(parts):
        found = loss.total(probe(states), targets[torch.from_numpy(rows)])
        optimizer.zero_grad(set_to_none=True)
        (found / len(rows)).backward()
        optimizer.step()
        total += float(found.detach())
    return total / len(order)


def predict(probe: Probe, features: Vectors | Layers) -> FloatArray:
    """Scores (rows, 1) of every row, with the layers' mean weights."""
    probe.eval()
    values = np.empty((features.rows, 1))
    with torch.no_grad():
        for rows, states in features.batches(runs(features.rows)):
            values[rows] = probe(states).numpy()
    return values


def check_finite(features: Vectors | Layers, role: str) -> None:
    """Raise UserError naming the first row whose states are not."""
    for rows, states in features.batches(runs(features.rows)):
        bad = ~torch.isfinite(as_float(states)).flatten(1).all(1)
        if bad.any():
            raise UserError(
                f"the states of {role} row {int(rows[int(bad.nonzero()[0])])} are not finite (so "
                "may be others'): the small model overflows in its number format. Set its 'dtype' "
                "to bfloat16 or float32."
            )
