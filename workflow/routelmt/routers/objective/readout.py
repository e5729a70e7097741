"""What a trained router's outputs mean: from the head's columns to named answers and a priority."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from routelmt.errors import UserError
from routelmt.routers.inputs import Priorities
from routelmt.routers.objective.losses import loss_name, make_loss
from routelmt.routers.objective.targets import TARGETS, FloatArray

Answers = dict[str, FloatArray]  # by name, each (rows,)


@dataclass(frozen=True)
class Scaling:
    """head unit = (target - shift) / scale; targets are points of the 0-100 scale."""

    shift: float
    scale: float

    @classmethod
    def of(cls, kind: str, targets: FloatArray) -> Scaling:
        """'standard': by the training rows' mean and deviation; 'raw': points to 0-1."""
        if kind == "raw":
            return cls(0.0, 100.0)
        return cls(float(targets.mean()), float(targets.std()))

    def apply(self, targets: FloatArray) -> npt.NDArray[np.float32]:
        """Points to the head's unit."""
        scaled: npt.NDArray[np.float32] = ((targets - self.shift) / self.scale).astype(np.float32)
        return scaled

    def undo(self, values: FloatArray) -> FloatArray:
        """The head's unit to points."""
        return values * self.scale + self.shift


UNSCALED = Scaling(0.0, 1.0)  # of what is not in points: 0-1 labels


@dataclass(frozen=True)
class Readout:
    """How a router's outputs are read; kept in its record.

    Answers by loss: "gain" or "quality_small" (points of the metric) from mse, pairwise and top_p;
    the same (the median) and "quantile-Q" from quantile; the same (the mean) and "spread" (the
    deviation, points) from gaussian; "probability" from bce. `also` adds the other of gain and
    quality_small. rank_by: the quantile that is the priority. deviations: c of the gaussian
    priority, prediction + c x spread.
    """

    target: str
    loss: str
    scaling: Scaling
    quantiles: tuple[float, ...] = ()
    rank_by: float = 0.5
    deviations: float = 0.0
    also: str | None = None
    also_scaling: Scaling = UNSCALED

    @classmethod
    def of(cls, spec: Mapping[str, Any], *targets: FloatArray) -> Readout:
        """Of a router of the config, scaled by its training targets (that of `also` last).

        Raises UserError where the ranking asked for does not fit the loss.
        """
        kind, scaled = spec.get("scaling", "standard"), TARGETS[spec["target"]].points
        name = loss_name(spec)
        quantiles = getattr(make_loss({**spec, "also": None}), "quantiles", ())
        rank_by = spec.get("rank_by") or 0.5
        if rank_by != 0.5 and rank_by not in quantiles:
            raise UserError(
                f"router '{spec['type']}': 'rank_by: {rank_by:g}' is not one of the quantiles that "
                f"loss '{name}' predicts ({', '.join(f'{q:g}' for q in quantiles) or 'none'})."
            )
        deviations = spec.get("rank_by_deviations") or 0.0
        if deviations and name != "gaussian":
            raise UserError(
                f"router '{spec['type']}': 'rank_by_deviations' needs the spread of 'loss: "
                f"gaussian'; found loss '{name}'."
            )
        return cls(
            spec["target"],
            name,
            Scaling.of(kind, targets[0]) if scaled else UNSCALED,
            quantiles,
            rank_by,
            deviations,
            spec.get("also"),
            Scaling.of(kind, targets[1]) if spec.get("also") else UNSCALED,
        )

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> Readout:
        """As `as_record` left it. ValueError for a target or a quantile that is none."""
        also, rank_by = record.get("also") or {}, record.get("rank_by", 0.5)
        if not {record["target"], also.get("target", "gain")} <= TARGETS.keys():
            raise ValueError(f"target {record['target']!r}")
        if rank_by not in (0.5, *record.get("quantiles", ())):
            raise ValueError(f"rank_by {rank_by!r}")
        return cls(
            record["target"],
            record.get("loss", "mse"),
            Scaling(record["shift"], record["scale"]),
            tuple(record.get("quantiles", ())),
            rank_by,
            record.get("rank_by_deviations", 0.0),
            also.get("target"),
            Scaling(also["shift"], also["scale"]) if also else UNSCALED,
        )

    def as_record(self) -> dict[str, Any]:
        """Fields of router.json: target, loss, shift, scale, and what the loss and `also` add."""
        found: dict[str, Any] = {"target": self.target, "loss": self.loss}
        found |= {"shift": self.scaling.shift, "scale": self.scaling.scale}
        if self.loss == "quantile":
            found |= {"quantiles": list(self.quantiles), "rank_by": self.rank_by}
        if self.loss == "gaussian":
            found |= {"rank_by_deviations": self.deviations}
        if self.also:
            scaling = self.also_scaling
            found |= {"also": {"target": self.also, "shift": scaling.shift, "scale": scaling.scale}}
        return found

    def scaled(self, *targets: FloatArray) -> npt.NDArray[np.float32]:
        """Targets in the head's unit, float32 (rows, targets)."""
        scalings = (self.scaling, self.also_scaling)
        return np.stack([s.apply(t) for s, t in zip(scalings, targets, strict=False)], axis=1)

    def answers(self, outputs: FloatArray) -> Answers:
        """The named answers in outputs (rows, columns)."""
        found: Answers = {}
        if self.also:
            found[self.also] = self.also_scaling.undo(outputs[:, -1])
            outputs = outputs[:, :-1]
        if self.loss == "quantile":
            values = self.scaling.undo(np.sort(outputs, axis=1))  # sorted: they never cross
            by_quantile = {
                f"quantile-{q:g}": values[:, i].copy() for i, q in enumerate(self.quantiles)
            }
            return {self.target: by_quantile["quantile-0.5"], **by_quantile, **found}
        if self.loss == "gaussian":
            found["spread"] = np.exp(outputs[:, 1]) * self.scaling.scale
        if self.loss == "bce":
            return {"probability": _sigmoid(outputs[:, 0]), **found}
        return {self.target: self.scaling.undo(outputs[:, 0]), **found}

    def priorities(self, answers: Answers) -> Priorities:
        """(prediction, priority) of each row."""
        prediction = answers["probability" if self.loss == "bce" else self.target]
        ranked = prediction
        if self.loss == "quantile":
            ranked = answers[f"quantile-{self.rank_by:g}"]
        elif self.loss == "gaussian" and self.deviations:
            ranked = prediction + self.deviations * answers["spread"]
        return prediction, TARGETS[self.target].sign * ranked

    def sign(self, answer: str) -> float:
        """Priority is this x the answer: the largest gain and spread first, the lowest quality."""
        if answer == "spread":
            return 1.0
        return TARGETS[answer if answer in TARGETS else self.target].sign


def _sigmoid(values: FloatArray) -> FloatArray:
    """1 / (1 + e^-x) without overflow."""
    small = np.exp(-np.abs(values))
    return np.where(values >= 0, 1.0, small) / (1.0 + small)
