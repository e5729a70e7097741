"""Metrics of a router's whole curve of quality against call rate, on every bootstrap replicate.

The curve is the polyline through (K/n, mean quality with K requests routed) for every K = 0 .. n:
between two K lies what routing one more request with some probability gives. Requests of equal
priority are one straight piece, the expectation over ways to break the tie. So everything here is
exact, without a grid of call rates. Replicates, which only give the interval, draw their curves
through at least CURVE_POINTS of their points: see there.
Blocks are as in weighted: (replicates, requests) or (B, n).
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from routelmt.evaluate import weighted
from routelmt.evaluate.arrays import AnyArray, BoolArray, FloatArray
from routelmt.evaluate.bootstrap import (
    MINIMUM_REPLICATES,
    DirectionData,
    Estimates,
    Kernel,
    bootstrap_estimates,
    sorted_by,
)
from routelmt.evaluate.metrics import SMALLEST_HEADROOM

CURVE_METRICS = ("apgr", "cpt_50", "cpt_80", "aiq", "auroc", "lpm", "mpm", "hcr")
# Shares of Q_L - Q_S whose call rates CPT gives (RouteLLM).
CPT_LEVELS = (0.5, 0.8)
# Call rate that ends LPM's band, and the shares of Q_L - Q_S between which HCR's lies
# (ProbeDirichlet).
LOW_BUDGET = 0.30
HIGH_BAND = (0.85, 0.95)
# A replicate's neighbouring priorities count as tied as long as this many pieces are left. At
# n = 3368 that moves no metric of a replicate by more than its standard error, nor their mean by
# more than 1/20 of it (AIQ; the others 1/100).
CURVE_POINTS = 500
# Share of Q_L - Q_S by which sums of gains in another order may differ.
ROUNDING = 1e-9
# A concave curve with a late rise loses one vertex a pass; past this, one walk along it is faster.
HULL_PASSES = 64
# Speed and memory only: more than for other figures, since most are merged at once.
REQUESTS_PER_BLOCK = 2**18
# Speed only: vertices between two that are looked at first.
HULL_CHUNK = 32


class Curve(NamedTuple):
    """A block's curves by run of equal priorities; every column has shape (B, runs).

    copies, gain: of the run; running, routed: the same up to its end; area: copies times points
    below the polyline of `routed`, of the run. The curve begins at (0, 0).
    """

    copies: FloatArray
    gain: FloatArray
    running: FloatArray
    routed: FloatArray
    area: FloatArray

    @property
    def requests(self) -> FloatArray:
        """Copies of every replicate, shape (B,)."""
        return self.running[:, -1]

    @property
    def total(self) -> FloatArray:
        """Gain of sending everything to the large model, shape (B,); NaN where there is none."""
        total = self.routed[:, -1]
        enough = total > SMALLEST_HEADROOM * self.requests
        return np.where(enough, total, np.nan)


def bootstrap_curves(
    directions: Sequence[DirectionData], replicates: int = MINIMUM_REPLICATES, seed: int = 0
) -> Estimates:
    """CURVE_METRICS of every router: point (directions, metrics, routers).

    aiq, lpm and mpm are qualities (points of the 0-100 scale), the others shares of 1. apgr, cpt,
    mpm and hcr are NaN unless Q_L > Q_S, mpm where its band is empty, auroc where all gains have
    one sign. Replicates are those of bootstrap.bootstrap_table.
    """
    kernels = [_curve_kernel(direction, CURVE_POINTS) for direction in directions]
    (found,) = bootstrap_estimates(directions, kernels, replicates, seed, REQUESTS_PER_BLOCK)
    exact = [_curve_kernel(d, len(d.gain))(np.ones((1, len(d.gain))))[0] for d in directions]
    return Estimates(np.stack(exact)[..., 0], found.samples)


def _curve_kernel(direction: DirectionData, points: int) -> Kernel:
    columns = [sorted_by(direction, values) for values in direction.priorities.values()]
    routers = [_coarse(column, points) for column in columns]

    def kernel(weights: AnyArray) -> tuple[FloatArray, ...]:
        small = weighted.ratio(weights @ direction.quality_small, weights.sum(axis=1))
        found = [_metrics(weights, direction.gain, small, router) for router in routers]
        return (np.stack(found, axis=1),)

    return kernel


def _coarse(column: weighted.SortedColumn, points: int) -> weighted.SortedColumn:
    """The column with neighbouring runs as one, at least `points` of them if it has so many."""
    together = max(1, column.starts.size // points)
    return weighted.SortedColumn(column.order, column.starts[::together])


def _metrics(
    weights: AnyArray, gain: FloatArray, small: FloatArray, router: weighted.SortedColumn
) -> FloatArray:
    """CURVE_METRICS of one router, (metrics, B); small: mean quality of the small model, (B,)."""
    block, in_order = weighted.routed(weights, router), gain[router.order]
    curve = _curve(block, in_order, router)
    requests, total = curve.requests, curve.total
    cpt = [_first_at(curve, level * total) / requests for level in CPT_LEVELS]
    hull = _hull_area(curve.running, curve.routed)
    low = _area_to(curve, LOW_BUDGET * requests)
    lost = weighted.run_sums(block.in_order * (in_order <= 0), router)
    return np.stack(
        [
            weighted.ratio(curve.area.sum(axis=1), requests * total),
            *cpt,
            small + weighted.ratio(hull, requests**2),
            _auroc(block, lost),
            small + weighted.ratio(low, requests**2) / LOW_BUDGET,
            small + _middle(curve, low) / requests,
            1 - _mean_place_in_band(curve) / requests,
        ]
    )  # fmt: skip


def _curve(block: weighted.Routed, in_order: FloatArray, router: weighted.SortedColumn) -> Curve:
    gain = weighted.run_sums(block.in_order * in_order, router)
    routed = np.cumsum(gain, axis=1)
    area = gain * -0.5
    area += routed
    area *= block.copies
    return Curve(block.copies, gain, block.count, routed, area)


def _before(column: FloatArray, run: AnyArray) -> FloatArray:
    """A cumulative column before some run of every replicate; run: (B,)."""
    found: FloatArray = np.where(run > 0, column[np.arange(len(run)), run - 1], 0.0)
    return found


def _first_at(curve: Curve, level: FloatArray) -> FloatArray:
    """Copies at which the routed gain first reaches a level above 0, (B,); NaN for a NaN level."""
    slack = ROUNDING * np.abs(curve.routed[:, -1])
    run = np.argmax(curve.routed >= (level - slack)[:, np.newaxis], axis=1)
    row = np.arange(len(run))
    part = weighted.ratio(level - _before(curve.routed, run), curve.gain[row, run])
    first: FloatArray = _before(curve.running, run) + np.clip(part, 0, 1) * curve.copies[row, run]
    return first


def _area_to(curve: Curve, k: FloatArray) -> FloatArray:
    """Area under the routed gain up to k copies, (B,); k need not be whole, NaN stays NaN."""
    end = weighted.first_reaching(curve.running, k[:, np.newaxis])[:, 0]
    run = np.minimum(end, curve.running.shape[1] - 1)
    row, copies = np.arange(len(run)), k - _before(curve.running, run)
    slope = curve.gain[row, run] / np.maximum(curve.copies[row, run], 1.0)
    rise = _before(curve.routed, run) + slope * copies / 2
    whole = weighted.prefix_sums(curve.area, run[:, np.newaxis])[:, 0]
    area: FloatArray = whole + copies * rise
    return area


def _middle(curve: Curve, area: FloatArray) -> FloatArray:
    """Mean routed gain from LOW_BUDGET to where HIGH_BAND begins, (B,); NaN if that is empty.

    area: under the routed gain up to LOW_BUDGET, (B,).
    """
    low, high = LOW_BUDGET * curve.requests, _first_at(curve, HIGH_BAND[0] * curve.total)
    width = np.where(high > low, high - low, np.nan)
    return (_area_to(curve, high) - area) / width


def _mean_place_in_band(curve: Curve) -> FloatArray:
    """Mean copies routed over the part of the curve within HIGH_BAND, (B,)."""
    low, high = (share * curve.total[:, np.newaxis] for share in HIGH_BAND)
    reached, passed = curve.routed >= low, curve.routed > high
    changes = np.empty(reached.shape, dtype=np.bool_)
    changes[:, 0] = reached[:, 0]
    changes[:, 1:] = (reached[:, 1:] != reached[:, :-1]) | (passed[:, 1:] != passed[:, :-1])
    row, run = np.nonzero(changes)
    # Pieces that enter or leave the band, and the whole ones up to the next such piece.
    copies, gain, end = (a[row, run] for a in (curve.copies, curve.gain, curve.running))
    start = curve.routed[row, run] - gain
    enters, leaves = (np.clip((edge[row, 0] - start) / gain, 0, 1) for edge in (low, high))
    begin = end - copies
    inside = reached[row, run] & ~passed[row, run]  # the curve ends above the band
    following = np.append(begin[1:], 0.0)
    intervals = [
        (begin + np.minimum(enters, leaves) * copies, begin + np.maximum(enters, leaves) * copies),
        (end[inside], following[inside]),
    ]
    length, moment = np.zeros(len(reached)), np.zeros(len(reached))
    for (first, last), rows in zip(intervals, (row, row[inside]), strict=True):
        length += np.bincount(rows, last - first, minlength=len(length))
        moment += np.bincount(rows, (last - first) * (first + last) / 2, minlength=len(length))
    return np.where(np.isnan(curve.total), np.nan, weighted.ratio(moment, length))


def _auroc(block: weighted.Routed, lost: FloatArray) -> FloatArray:
    """Chance that a request without gain has a lower priority than one with gain, ties 1/2, (B,).

    lost: copies of each run whose gain is 0 or less, (B, runs).
    """
    without = lost.sum(axis=1)
    behind = (
        np.einsum("bn,bn->b", lost, block.count) - np.einsum("bn,bn->b", lost, block.copies) / 2
    )
    return weighted.ratio(behind - without**2 / 2, without * (block.count[:, -1] - without))


class Vertices(NamedTuple):
    """Some vertices of every replicate's curve, left to right; columns of shape (vertices,)."""

    x: FloatArray
    y: FloatArray
    row: AnyArray  # replicate

    def of(self, chosen: AnyArray) -> "Vertices":
        """Some of them."""
        return Vertices(self.x[chosen], self.y[chosen], self.row[chosen])


def _hull_area(running: FloatArray, routed: FloatArray) -> FloatArray:
    """Area under the non-decreasing concave hull of curves that begin at (0, 0), shape (B,)."""
    hull = _hull(*_padded(running, routed))
    within = hull.row[1:] == hull.row[:-1]
    starts = np.flatnonzero(np.append(True, ~within))
    y, top = hull.y, np.maximum.reduceat(hull.y, starts)[hull.row[1:]]
    height = np.where(y[1:] > y[:-1], (y[1:] + y[:-1]) / 2, top)
    areas = np.where(within, np.diff(hull.x) * height, 0)
    return np.bincount(hull.row[1:], areas, minlength=len(running)).astype(np.float64)


def _padded(running: FloatArray, routed: FloatArray) -> tuple[FloatArray, FloatArray]:
    """The curves with their origin, to whole chunks: the last vertex is repeated."""
    replicates, runs = running.shape
    width = -(-runs // HULL_CHUNK) * HULL_CHUNK + 1
    found = []
    for column in (running, routed):
        wide = np.empty((replicates, width))
        wide[:, 0] = 0
        wide[:, 1 : runs + 1] = column
        wide[:, runs + 1 :] = column[:, -1:]
        found.append(wide)
    return found[0], found[1]


def _hull(x: FloatArray, y: FloatArray) -> Vertices:
    """Vertices of the upper hulls, of (B, chunks * HULL_CHUNK + 1).

    The hull of the chunks' ends is straight within a chunk and never above the hull itself, so
    only vertices above it can be new: a few of a hundred.
    """
    replicates, width = x.shape
    ends = slice(None, None, HULL_CHUNK)
    row = np.repeat(np.arange(replicates), (width - 1) // HULL_CHUNK + 1)
    coarse = _peeled(Vertices(x[:, ends].ravel(), y[:, ends].ravel(), row))
    apart = 2 * float(x.max()) + 1  # of two replicates on one axis
    at = x[:, ends] + apart * np.arange(replicates)[:, np.newaxis]
    level = np.interp(at, coarse.x + apart * coarse.row, coarse.y)
    left, right = x[:, ends][:, :-1], x[:, ends][:, 1:]
    slope = np.diff(level, axis=1) / np.maximum(right - left, 1)
    base = level[:, :-1] - slope * left
    chunks = (replicates, -1, HULL_CHUNK)
    rise = x[:, :-1].reshape(chunks) * slope[..., np.newaxis]
    np.subtract(y[:, :-1].reshape(chunks), rise, out=rise)
    above = np.empty((replicates, width), dtype=np.bool_)
    np.greater(rise, base[..., np.newaxis], out=above[:, :-1].reshape(chunks))
    above[:, ends] = True
    chosen = np.flatnonzero(above)
    return _peeled(Vertices(x.ravel()[chosen], y.ravel()[chosen], chosen // width))


def _peeled(left: Vertices) -> Vertices:
    """Vertices of the upper hull of every replicate."""
    for _ in range(HULL_PASSES):
        kept = _outer(*left)
        if kept.all():
            return left
        left = left.of(kept)
    rows = [left.of(left.row == row) for row in range(int(left.row[-1]) + 1)]
    return left.of(np.concatenate([_walk(own.x, own.y) for own in rows]))


def _outer(x: FloatArray, y: FloatArray, row: AnyArray) -> BoolArray:
    """Vertices above the chord of their neighbours, and the ends of every row.

    All others are off the hull, so all of them can go at once; of equal vertices the first stays.
    """
    kept = np.ones(x.size, dtype=np.bool_)
    dx, dy = np.diff(x), np.diff(y)
    above = (dy[:-1] * dx[1:] > dy[1:] * dx[:-1]) | (dx[1:] == 0)
    kept[1:-1] = (above & (dx[:-1] > 0)) | (row[2:] != row[:-2])
    return kept


def _walk(x: FloatArray, y: FloatArray) -> BoolArray:
    """Vertices of the upper hull of one curve, from left to right (Andrew's monotone chain)."""
    hull: list[int] = []
    for i in range(x.size):
        while len(hull) > 1 and _below(x, y, hull[-2], hull[-1], i):
            hull.pop()
        hull.append(i)
    kept = np.zeros(x.size, dtype=np.bool_)
    kept[hull] = True
    return kept


def _below(x: FloatArray, y: FloatArray, left: int, middle: int, right: int) -> bool:
    rise, run = y[middle] - y[left], x[middle] - x[left]
    return bool(rise * (x[right] - x[middle]) <= (y[right] - y[middle]) * run)
