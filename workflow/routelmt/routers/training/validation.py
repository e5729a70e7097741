"""How well a trained router routes its validation rows: what its card and record say."""

from __future__ import annotations

from typing import Any

import numpy as np

from routelmt.routers.inputs import RouterInputs
from routelmt.routers.objective.targets import FloatArray

BUDGET = 0.3


def routing_metrics(
    inputs: RouterInputs, priority: FloatArray, budget: float = BUDGET
) -> dict[str, Any]:
    """Spearman, HitRate and MeanDelta at `budget`, per direction and as their plain average.

    Keys budget, spearman, hit_rate (0-1), mean_delta (points), by_direction. Left out are
    directions whose budget is no request; None where a value is undefined.
    """
    from routelmt.join import tie_keys
    from routelmt.stats.metrics import hit_rate, mean_delta, spearman
    from routelmt.stats.selection import budget_count, ranking

    gain = inputs.gain("gain", "validation")
    directions = np.array(inputs.directions)
    keys = tie_keys(inputs.segments.column("segment_id").to_pylist())
    found: dict[str, dict[str, Any]] = {}
    for direction in np.unique(directions):
        rows = np.flatnonzero(directions == direction)
        k = budget_count(budget, len(rows))
        if k > 0:
            order = ranking(priority[rows], keys[rows])
            values = (
                spearman(priority[rows], gain[rows]),
                hit_rate(order, gain[rows], k),
                mean_delta(order, gain[rows], k),
            )
            found[str(direction)] = dict(zip(_NAMES, map(_defined, values), strict=True))
    averages = {name: _mean([v[name] for v in found.values()]) for name in _NAMES}
    return {"budget": budget, **averages, "by_direction": found}


_NAMES = ("spearman", "hit_rate", "mean_delta")


def _defined(value: float) -> float | None:
    return None if np.isnan(value) else value


def _mean(values: list[float | None]) -> float | None:
    """None unless every value is defined."""
    known = [v for v in values if v is not None]
    return float(np.mean(known)) if known and len(known) == len(values) else None
