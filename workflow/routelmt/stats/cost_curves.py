"""AIQ over costs: area under the hull of quality against seconds or money (RouterBench).

A router's points are (mean cost, mean quality) with K of its requests routed, for every K. Beside
them stand both models alone, which need no router: whoever deploys may mix any of these by chance,
so the non-decreasing concave hull of all is what can be had for a cost. Its area from the small
model's cost to the large one's, divided by that range, is the same range for every router. The zero
router is the hull of the two models alone: no router is below it, and one that is not above it buys
nothing. Replicates draw through curves.CURVE_POINTS of the points, as curves does.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from routelmt.compiled import compiled
from routelmt.stats import weighted
from routelmt.stats.arrays import AnyArray, FloatArray, PlaceArray
from routelmt.stats.bootstrap import (
    DirectionData,
    Estimates,
    Kernel,
    bootstrap_estimates,
    sorted_by,
)
from routelmt.stats.curves import CURVE_POINTS, coarse, once, upper_hull


class Spending(NamedTuple):
    """Costs of a direction's requests under a router, each (n,), in one unit.

    always: spent on every request; routed: what routing it adds (may be negative); small, large:
    what each model alone costs.
    """

    always: FloatArray
    routed: FloatArray
    small: FloatArray
    large: FloatArray


def bootstrap_cost_aiq(
    directions: Sequence[DirectionData],
    spending: Sequence[Spending],
    replicates: int,
    seed: int,
) -> Estimates:
    """AIQ over costs of every priority column: (directions, columns), points of quality.

    NaN where the large model alone costs no more than the small one: there is no range.
    """
    pairs = list(zip(directions, spending, strict=True))
    kernels = [_kernel(*pair, CURVE_POINTS) for pair in pairs]
    (found,) = bootstrap_estimates(directions, kernels, replicates, seed)
    exact = [_kernel(*pair, len(pair[0].gain))(once(pair[0]))[0] for pair in pairs]
    return Estimates(np.stack(exact)[..., 0], found.samples)


def zero_router_aiq(direction: DirectionData) -> float:
    """AIQ of the zero router: the line between the models alone, or the small one's quality."""
    return float(direction.quality_small.mean() + max(0.0, direction.gain.mean()) / 2)


def _kernel(direction: DirectionData, spending: Spending, points: int) -> Kernel:
    columns = [sorted_by(direction, values) for values in direction.priorities.values()]
    routers = [coarse(column, points) for column in columns]

    def kernel(weights: AnyArray) -> tuple[FloatArray, ...]:
        small = weighted.ratio(weights @ direction.quality_small, weights.sum(axis=1))
        found = [_areas(weights, *column, *spending, direction.gain) for column in routers]
        return (small + np.stack(found),)

    return kernel


@compiled
def _areas(
    weights: AnyArray,
    order: PlaceArray,
    bounds: PlaceArray,
    always: FloatArray,
    routed: FloatArray,
    small: FloatArray,
    large: FloatArray,
    gain: FloatArray,
) -> FloatArray:
    """Mean height of one router's hull above the small model's quality, (B,)."""
    runs = bounds.size - 1
    x, y = np.zeros(runs + 3), np.zeros(runs + 3)
    found = np.full(len(weights), np.nan)
    for b in range(len(weights)):
        own = weights[b]
        spent, cheap, dear, n = 0.0, 0.0, 0.0, 0
        for row in range(own.size):
            n += own[row]
            spent += own[row] * always[row]
            cheap += own[row] * small[row]
            dear += own[row] * large[row]
        x[0], y[0] = spent, 0.0
        for run in range(runs):
            x[run + 1], y[run + 1] = x[run], y[run]
            for place in range(bounds[run], bounds[run + 1]):
                row = order[place]
                x[run + 1] += own[row] * routed[row]
                y[run + 1] += own[row] * gain[row]
        x[runs + 1], y[runs + 1] = cheap, 0.0
        x[runs + 2], y[runs + 2] = dear, y[runs]
        if dear > cheap:
            found[b] = _hull_area_within(x, y, cheap, dear) / (dear - cheap) / n
    return found


@compiled
def _hull_area_within(x: FloatArray, y: FloatArray, low: float, high: float) -> float:
    """Area under the non-decreasing concave hull of points in any order, from low to high.

    low and high must be among x, or between its ends.
    """
    order = np.argsort(x)
    x, y = x[order], y[order]
    hull = upper_hull(x, y)
    area, top = 0.0, y[hull[0]]
    for vertex in range(1, hull.size):
        left, right = hull[vertex - 1], hull[vertex]
        start, end = max(x[left], low), min(x[right], high)
        if end > start:
            slope = max(0.0, (y[right] - y[left]) / (x[right] - x[left]))
            height = max(top, y[left])
            area += (end - start) * (height + slope * ((start + end) / 2 - x[left]))
        top = max(top, y[right])
    return area
