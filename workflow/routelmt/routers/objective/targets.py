"""What a trained router learns to predict of a request, computed from its gains or samples.

| target | of a row | priority | loss |
|---|---|---|---|
| gain | q_L - q_S, in points (RouteLMT) | largest first | mse |
| quality_small | q_S, in points (RouteLMT-Q) | lowest first | mse |
| small-wins | 1[q_S >= q_L] (Hybrid LLM det, ProbeDirichlet) | lowest first | bce |
| small-wins-sampled | mean over sampled pairs of 1[q_S >= q_L] (prob) | lowest first | bce |
| small-within | mean over pairs of 1[q_S >= q_L - t*] (trans) | lowest first | bce |
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from routelmt import tables
from routelmt.errors import UserError
from routelmt.routers.inputs import RouterInputs

FloatArray = npt.NDArray[np.float64]

# Candidates for t*: this many quantiles of q_L - q_S over the validation pairs, and 0. An odd
# number: the median is among them, the best for one hypothesis per model.
CANDIDATES = 201
# What these targets need more: see RouterType.needs_if.
SAMPLED_LABELS = {
    ("target", "small-wins-sampled"): frozenset({"sample_scores"}),
    ("samples", True): frozenset({"sample_scores"}),
}
_SHOWN = 5  # rows named in an error


class Target(NamedTuple):
    """sign: priority is sign x prediction. loss: the default. points: of the metric's scale."""

    sign: float
    loss: str
    points: bool


TARGETS: dict[str, Target] = {
    "gain": Target(1.0, "mse", True),
    "quality_small": Target(-1.0, "mse", True),
    "small-wins": Target(-1.0, "bce", False),
    "small-wins-sampled": Target(-1.0, "bce", False),
    "small-within": Target(-1.0, "bce", False),
}


@dataclass(frozen=True)
class Labels:
    """Targets of the training and the validation rows, each float64 (rows,).

    margin: t* of small-within in points, None for other targets. samples: hypotheses per row of
    (small, large) that they were computed from; (1, 1) is the gains table.
    """

    training: FloatArray
    validation: FloatArray
    margin: float | None = None
    samples: tuple[int, int] = (1, 1)

    def record(self) -> dict[str, Any]:
        """What router.json says of them."""
        return {} if self.margin is None else {"margin": self.margin, "samples": list(self.samples)}


def labels(
    spec: Mapping[str, Any], training: RouterInputs, validation: RouterInputs, target: str = ""
) -> Labels:
    """The labels of spec["target"], or of `target`; t* is found on the validation rows.

    Raises UserError where there are no rows, a label is not finite (naming rows), all training
    labels are equal, or the samples that the target needs are not there.
    """
    name, router = target or spec["target"], spec["type"]
    for inputs, role in ((training, "training"), (validation, "validation")):
        if inputs.segments.num_rows == 0:
            raise UserError(f"router '{router}': there are no {role} rows.")
    if TARGETS[name].points:
        found = Labels(training.gain(name, router), validation.gain(name, router))
    else:
        found = _win_labels(name, spec, training, validation)
    _check(found.training, training, name, router, "training")
    _check(found.validation, validation, name, router, "validation")
    if np.ptp(found.training) == 0:
        raise UserError(
            f"router '{router}': the {name} of all {len(found.training)} training rows is "
            f"{found.training[0]:g}: there is nothing to learn. Look at the gains tables."
        )
    return found


def _win_labels(
    name: str, spec: Mapping[str, Any], training: RouterInputs, validation: RouterInputs
) -> Labels:
    sampled = name == "small-wins-sampled" or (name == "small-within" and bool(spec.get("samples")))
    train, valid = (
        _qualities(inputs, name, spec["type"], sampled) for inputs in (training, validation)
    )
    margin = best_margin(*valid) if name == "small-within" else 0.0
    return Labels(
        win_rates(*train, margin),
        win_rates(*valid, margin),
        margin if name == "small-within" else None,
        (train[0].shape[1], train[1].shape[1]),
    )


def _qualities(
    inputs: RouterInputs, name: str, router: str, sampled: bool
) -> tuple[FloatArray, FloatArray]:
    """(q_S, q_L) of each row's hypotheses, shapes (rows, k_S) and (rows, k_L), in points."""
    if not sampled:
        small, large = (
            inputs.gain(f"quality_{model}", router)[:, None] for model in ("small", "large")
        )
        _check(large[:, 0], inputs, "quality_large", router, "given")
        _check(small[:, 0], inputs, "quality_small", router, "given")
        return small, large
    if inputs.sample_scores is None:
        raise UserError(
            f"router '{router}': target '{name}' compares sampled translations; there are none. "
            "Set 'samples' of both models in the config, such as {count: 5}; one translation of "
            "each is enough for target 'small-wins', or 'small-within' with 'samples: false'."
        )
    small, large = (_by_row(table, inputs.segments.num_rows) for table in inputs.sample_scores)
    _check(small.sum(axis=1), inputs, "sampled score (small)", router, "given")
    _check(large.sum(axis=1), inputs, "sampled score (large)", router, "given")
    return small, large


def _by_row(scores: pa.Table, rows: int) -> FloatArray:
    values: FloatArray = scores.column("score").to_numpy().astype(np.float64)
    return values.reshape(rows, -1)


def win_rates(small: FloatArray, large: FloatArray, margin: float = 0.0) -> FloatArray:
    """Mean over all pairs of a row's hypotheses of 1[q_S >= q_L - margin], shape (rows,).

    small (rows, k_S), large (rows, k_L). O(rows k log k): in one sort of both lists, with q_L
    before an equal q_S, every q_S wins against the q_L that stand before it (Hybrid LLM §3).
    """
    both = np.concatenate((large - margin, small), axis=1)
    order = np.argsort(both, axis=1, kind="stable")
    is_small = order >= large.shape[1]
    beaten = np.cumsum(~is_small, axis=1)
    wins: FloatArray = np.where(is_small, beaten, 0).sum(axis=1) / (small.shape[1] * large.shape[1])
    return wins


def mean_difference(values: FloatArray) -> float:
    """Mean |y_i - y_j| over all n x n pairs: 2 sum_i (2i - n - 1) y_(i) / n^2, in O(n log n)."""
    n = len(values)
    weights = 2.0 * np.arange(1, n + 1) - n - 1
    return float(2.0 * (weights @ np.sort(values)) / n**2)


def best_margin(small: FloatArray, large: FloatArray) -> float:
    """t*: the candidate whose win rates differ most from row to row (Hybrid LLM §3.3).

    small (rows, k_S), large (rows, k_L). With one hypothesis per model that is the median of
    q_L - q_S: the labels split the rows in half. Of equal candidates the one nearest 0.
    """
    gaps = (large[:, :, None] - small[:, None, :]).ravel()
    quantiles = np.quantile(gaps, np.linspace(0, 1, CANDIDATES), method="higher")
    candidates = np.unique(np.append(quantiles, 0.0))
    candidates = candidates[np.argsort(np.abs(candidates), kind="stable")]
    spreads = [mean_difference(win_rates(small, large, float(t))) for t in candidates]
    return float(candidates[int(np.argmax(spreads))])


def _check(values: FloatArray, inputs: RouterInputs, name: str, router: str, role: str) -> None:
    """Raise UserError naming the first rows whose value is NaN or infinite."""
    bad = np.flatnonzero(~np.isfinite(values))
    if len(bad):
        keys = inputs.segments.select(list(tables.JOIN_KEY)).take(pa.array(bad[:_SHOWN]))
        shown = ", ".join("/".join(str(v) for v in row.values()) for row in keys.to_pylist())
        more = f" and {len(bad) - _SHOWN} more" if len(bad) > _SHOWN else ""
        raise UserError(
            f"router '{router}': {name} is not a number in {len(bad)} of the {len(values)} {role} "
            f"rows: {shown}{more}. Score them again, or leave them out."
        )
