"""Training a probe: Adam, early stopping on the validation rows.

This module loads torch: import it inside functions.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
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
from routelmt.routers.training.fitting import Labelled, validation_metrics


@dataclass(frozen=True)
class ProbeRows:
    """What a probe reads of each row, and its target in the head's unit, float32 (rows, 1)."""

    features: Vectors | Layers
    targets: npt.NDArray[np.float32]


@dataclass
class Fit:
    """A finished training: an entry an epoch; weights and validation outputs of the best."""

    rate: float
    history: list[dict[str, float]] = field(default_factory=list)
    best_loss: float = math.inf
    best: dict[str, Any] = field(default_factory=dict)
    outputs: FloatArray = field(default_factory=lambda: np.empty((0, 1)))
    seconds: float = 0.0

    @property
    def best_epoch(self) -> dict[str, float]:
        """The entry with the lowest validation loss."""
        return min(self.history, key=lambda entry: entry["validation_loss"])


def fit_rates(
    spec: Mapping[str, Any], data: ProbeRows, valid: ProbeRows, labels: FloatArray, seed: int
) -> tuple[FoldedProbe, list[Fit], dict[str, Any]]:
    """(the probe of the best learning rate, all trainings, fields of the record).

    labels: of the training rows, in their own unit. Raises UserError where every one diverges.
    """
    scaling = moments(data.features) if spec["standardise"] else None
    probe = Probe(spec["layers"], data.features.shape, scaling)
    loss = make_loss(spec)
    start = {n: p.detach().clone() for n, p in probe.named_parameters()}
    if spec["target"].startswith("small-"):
        share = float(np.clip(labels.mean(), 1e-3, 1 - 1e-3))
        start["bias"] = torch.tensor([math.log(share / (1 - share))])  # begin at the base rate
    rates = spec["learning_rate"]
    fits = []
    for rate in rates if isinstance(rates, list) else [rates]:
        probe.load_state_dict(start)
        fits.append(fit(probe, data, valid, loss, spec, rate, seed))
    best = min(fits, key=lambda f: f.best_loss)
    if not math.isfinite(best.best_loss):
        raise UserError(
            f"router '{spec['type']}': training diverged with learning rate "
            f"{', '.join(f'{f.rate:g}' for f in fits)}; lower 'learning_rate'."
        )
    probe.load_state_dict(best.best)
    names = ("epoch", "validation_loss", "validation_spearman")
    result = {
        "learning_rate": best.rate,
        **{name: best.best_epoch[name] for name in names},
        "training_seconds": best.seconds,
    }
    fields: dict[str, Any] = {"result": result}
    if probe.kind in ("mix", "dirichlet"):
        with torch.no_grad():
            fields["layer_weights"] = [round(w, 5) for w in probe.logits.softmax(0).tolist()]
    return probe.folded(), fits, fields


def fit(
    probe: Probe,
    training: ProbeRows,
    validation: ProbeRows,
    loss: Loss,
    spec: Mapping[str, Any],
    rate: float,
    seed: int,
) -> Fit:
    """Train at most `epochs` epochs, until `patience` of them brought no lower validation loss.

    Batches of `batch_size` rows; the last one of an epoch has what is left. Weight decay is
    decoupled and on the head alone. The same seed and threads give the same weights. The best ones
    are put back; best_loss is infinite if no epoch was sound. Raises UserError where states are not
    finite.
    """
    start, held_out = time.monotonic(), Labelled([], validation.targets)
    others = [p for n, p in probe.named_parameters() if n != "head"]
    optimizer = torch.optim.AdamW(
        [{"params": [probe.head], "weight_decay": spec["weight_decay"]}, {"params": others}],
        lr=rate, weight_decay=0.0, fused=True,
    )  # fmt: skip
    result = Fit(rate)
    with torch.random.fork_rng(devices=[]), _no_denormals():
        torch.manual_seed(seed)  # the Dirichlet's draws
        for epoch in progress(range(1, spec["epochs"] + 1), f"probe, rate {rate:g}", "epoch"):
            rng, size = np.random.default_rng([seed, epoch]), spec["batch_size"]
            order = training.features.order(rng, size)
            train_loss = _epoch(probe, training, order, size, loss, optimizer)
            outputs = predict(probe, validation.features)
            entry = {
                "epoch": epoch,
                "step": epoch * math.ceil(len(order) / size),
                "train_loss": train_loss,
                **validation_metrics(outputs, held_out, loss, spec["batch_size"]),
                "seconds": time.monotonic() - start,
            }
            result.history.append(entry)
            if not math.isfinite(entry["validation_loss"] + train_loss):
                check_finite(training.features, "training")
                check_finite(validation.features, "validation")
                break
            if entry["validation_loss"] < result.best_loss:
                result.best_loss, result.outputs = entry["validation_loss"], outputs
                result.best = {n: p.detach().clone() for n, p in probe.named_parameters()}
            elif epoch - result.best_epoch["epoch"] >= spec["patience"]:
                break
    result.seconds = time.monotonic() - start
    return result


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
