"""Metrics of a router's whole curve of quality against call rate, on every bootstrap replicate.

The curve is the polyline through (K/n, mean quality with K requests routed) for every K = 0 .. n:
between two K lies what routing one more request with some probability gives. Requests of equal
priority are one straight piece, the expectation over ways to break the tie. So everything here is
exact, without a grid of call rates. Replicates, which only give the interval, draw their curves
through at least CURVE_POINTS of their points: see there.
Blocks and compiled loops are as in weighted.
"""

from collections.abc import Sequence

import numpy as np

from routelmt.compiled import compiled
from routelmt.stats import weighted
from routelmt.stats.arrays import AnyArray, FloatArray, IntArray, PlaceArray
from routelmt.stats.bootstrap import (
    MINIMUM_REPLICATES,
    DirectionData,
    Estimates,
    Kernel,
    bootstrap_estimates,
    sorted_by,
)
from routelmt.stats.metrics import SMALLEST_HEADROOM

CURVE_METRICS = ("apgr", "cpt_50", "cpt_80", "aiq", "auroc", "lpm", "lpm_25_30", "mpm", "hcr")
# Shares of Q_L - Q_S whose call rates CPT gives (RouteLLM).
CPT_LEVELS = (0.5, 0.8)
# LPM's band (ProbeDirichlet): from 0 to LOW_BUDGET in its formula, from LOW_BUDGET_START in its
# experiments (lpm_25_30); and the shares of Q_L - Q_S between which HCR's lies.
LOW_BUDGET = 0.30
LOW_BUDGET_START = 0.25
HIGH_BAND = (0.85, 0.95)
# A replicate's neighbouring priorities count as tied as long as this many pieces are left. At
# n = 3368 that moves no metric of a replicate by more than its standard error, nor their mean by
# more than 1/20 of it (AIQ; the others 1/100).
CURVE_POINTS = 500
# Share of Q_L - Q_S by which sums of gains in another order may differ.
ROUNDING = 1e-9


def bootstrap_curves(
    directions: Sequence[DirectionData], replicates: int = MINIMUM_REPLICATES, seed: int = 0
) -> Estimates:
    """CURVE_METRICS of every router: point (directions, metrics, routers).

    aiq (over the call rate; over costs: see cost_curves), lpm, lpm_25_30 and mpm are qualities
    (points of the 0-100 scale), the others shares of 1. apgr, cpt, mpm and hcr are NaN unless
    Q_L > Q_S, mpm where its band is empty, auroc where all gains have one sign. Replicates are
    those of bootstrap.bootstrap_table.
    """
    kernels = [_curve_kernel(direction, CURVE_POINTS) for direction in directions]
    (found,) = bootstrap_estimates(directions, kernels, replicates, seed)
    exact = [_curve_kernel(d, len(d.gain))(once(d))[0] for d in directions]
    return Estimates(np.stack(exact)[..., 0], found.samples)


def _curve_kernel(direction: DirectionData, points: int) -> Kernel:
    columns = [sorted_by(direction, values) for values in direction.priorities.values()]
    routers = [coarse(column, points) for column in columns]

    def kernel(weights: AnyArray) -> tuple[FloatArray, ...]:
        small = weighted.ratio(weights @ direction.quality_small, weights.sum(axis=1))
        metrics = [_metrics(weights, *column, direction.gain) for column in routers]
        found = np.stack(metrics, axis=1)
        found[_QUALITIES] += small
        return (found,)

    return kernel


def coarse(column: weighted.SortedColumn, points: int) -> weighted.SortedColumn:
    """The column with neighbouring runs as one, at least `points` of them if it has so many."""
    runs = column.bounds.size - 1
    bounds = column.bounds[: -1 : max(1, runs // points)]
    return weighted.SortedColumn(column.order, np.append(bounds, column.bounds[-1]))


def once(direction: DirectionData) -> AnyArray:
    """The requests as they are, as a block of one replicate."""
    return np.ones((1, len(direction.gain)), np.uint8)


# CURVE_METRICS that are a quality: what the loop finds of them is above the small model's.
_QUALITIES = [CURVE_METRICS.index(name) for name in ("aiq", "lpm", "lpm_25_30", "mpm")]


@compiled
def _metrics(
    weights: AnyArray, order: PlaceArray, bounds: PlaceArray, gain: FloatArray
) -> FloatArray:
    """CURVE_METRICS of one router, (metrics, B); qualities without that of the small model."""
    runs = bounds.size - 1
    x, y = np.zeros(runs + 1), np.zeros(runs + 1)  # copies routed, and gain so far
    found = np.empty((len(CURVE_METRICS), len(weights)))
    for b in range(len(weights)):
        area, without, behind = 0.0, 0.0, 0.0
        for run in range(runs):
            copies, won, lost = 0, 0.0, 0
            for place in range(bounds[run], bounds[run + 1]):
                row = order[place]
                own = weights[b, row]
                copies += own
                won += own * gain[row]
                if gain[row] <= 0:
                    lost += own
            area += copies * (y[run] + won / 2)
            behind += lost * (x[run] + copies / 2)
            without += lost
            x[run + 1], y[run + 1] = x[run] + copies, y[run] + won
        n = x[-1]
        total = y[-1] if y[-1] > SMALLEST_HEADROOM * n else np.nan
        low = _area_to(x, y, LOW_BUDGET * n)
        found[0, b] = area / (n * total)
        found[1, b] = _first_at(x, y, CPT_LEVELS[0] * total) / n
        found[2, b] = _first_at(x, y, CPT_LEVELS[1] * total) / n
        found[3, b] = _hull_area(x, y) / (n * n)
        pairs = without * (n - without)
        found[4, b] = (behind - without * without / 2) / pairs if pairs > 0 else np.nan
        found[5, b] = low / (n * n) / LOW_BUDGET
        above = low - _area_to(x, y, LOW_BUDGET_START * n)
        found[6, b] = above / (n * n) / (LOW_BUDGET - LOW_BUDGET_START)
        found[7, b] = _middle(x, y, total, low) / n
        found[8, b] = 1 - _mean_place_in_band(x, y, total) / n
    return found


@compiled
def _first_at(x: FloatArray, y: FloatArray, level: float) -> float:
    """Copies at which the routed gain first reaches a level above 0; NaN for a NaN level."""
    slack = ROUNDING * abs(y[-1])
    for run in range(x.size - 1):
        if y[run + 1] >= level - slack:
            part = (level - y[run]) / (y[run + 1] - y[run])
            return float(x[run] + min(max(part, 0.0), 1.0) * (x[run + 1] - x[run]))
    return np.nan


@compiled
def _area_to(x: FloatArray, y: FloatArray, k: float) -> float:
    """Area under the routed gain up to k copies; k need not be whole, NaN stays NaN."""
    area = 0.0
    for run in range(x.size - 1):
        copies, won = x[run + 1] - x[run], y[run + 1] - y[run]
        if x[run + 1] >= k:
            within = k - x[run]
            rise = y[run] + (won / copies * within / 2 if copies > 0 else 0.0)
            return float(area + within * rise)
        area += copies * (y[run] + won / 2)
    return np.nan


@compiled
def _middle(x: FloatArray, y: FloatArray, total: float, area: float) -> float:
    """Mean routed gain from LOW_BUDGET to where HIGH_BAND begins; NaN if that is empty.

    area: under the routed gain up to LOW_BUDGET.
    """
    low, high = LOW_BUDGET * x[-1], _first_at(x, y, HIGH_BAND[0] * total)
    if not high > low:
        return np.nan
    return float((_area_to(x, y, high) - area) / (high - low))


@compiled
def _mean_place_in_band(x: FloatArray, y: FloatArray, total: float) -> float:
    """Mean copies routed over the part of the curve within HIGH_BAND; NaN without such a part."""
    low, high = HIGH_BAND[0] * total, HIGH_BAND[1] * total
    length, moment = 0.0, 0.0
    for run in range(x.size - 1):
        copies, won = x[run + 1] - x[run], y[run + 1] - y[run]
        if won == 0:
            first, last = 0.0, 1.0 if low <= y[run] <= high else 0.0
        else:
            ends = (low - y[run]) / won, (high - y[run]) / won
            first = min(max(min(ends), 0.0), 1.0)
            last = min(max(max(ends), 0.0), 1.0)
        inside = (last - first) * copies
        length += inside
        moment += inside * (x[run] + (first + last) / 2 * copies)
    return moment / length if length > 0 else np.nan


@compiled
def upper_hull(x: FloatArray, y: FloatArray) -> IntArray:
    """Places of the vertices of the concave hull of points, x ascending (Andrew's monotone chain).

    Of points of one x the highest counts.
    """
    hull, last = np.empty(x.size, dtype=np.int64), -1
    for i in range(x.size):
        if last >= 0 and x[i] == x[hull[last]]:
            if y[i] <= y[hull[last]]:
                continue
            last -= 1
        while last > 0:
            left, middle = hull[last - 1], hull[last]
            rise, width = y[middle] - y[left], x[middle] - x[left]
            if rise * (x[i] - x[middle]) > (y[i] - y[middle]) * width:
                break
            last -= 1
        last += 1
        hull[last] = i
    return hull[: last + 1]


@compiled
def _hull_area(x: FloatArray, y: FloatArray) -> float:
    """Area under the non-decreasing concave hull of a curve that begins at 0."""
    hull = upper_hull(x, y)
    area, top = 0.0, 0.0
    for vertex in range(1, hull.size):
        left, right = hull[vertex - 1], hull[vertex]
        top = max(top, y[left])
        height = (y[left] + y[right]) / 2 if y[right] > y[left] else top
        area += (x[right] - x[left]) * height
    return float(area)
