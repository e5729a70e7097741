"""AIQ over costs against SciPy's convex hull, on requests as they are and on copied rows."""

import contextlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial import ConvexHull, QhullError

from routelmt.stats import bootstrap, curves
from routelmt.stats.bootstrap import DirectionData
from routelmt.stats.cost_curves import Spending, bootstrap_cost_aiq, zero_router_aiq

# The same sums in another order, and QHull's own rounding.
ROUNDING = 1e-7
REPLICATES = 8


def direction_of(gain: np.ndarray, priority: np.ndarray) -> DirectionData:
    n = len(gain)
    return DirectionData(
        "en-ru", np.arange(n), np.arange(n, dtype=np.uint64), np.full(n, 50.0), gain,
        {"router": priority},
    )  # fmt: skip


def upper_hull(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Vertices of the upper hull by x (SciPy); points on one line are its ends."""
    order = np.lexsort((points[:, 1], points[:, 0]))
    points = points[order]
    with contextlib.suppress(QhullError):  # all on one line
        points = points[np.sort(ConvexHull(points).vertices)]
    ends = points[:, 0].min(), points[:, 0].max()
    best = [points[points[:, 0] == end, 1].max() for end in ends]
    above = [
        (x, y) for x, y in points if y >= np.interp(x, ends, best) - 1e-12 and ends[0] < x < ends[1]
    ]
    kept = sorted([(ends[0], best[0]), *above, (ends[1], best[1])])
    return np.array([x for x, _ in kept]), np.array([y for _, y in kept])


def plain(gain: np.ndarray, priority: np.ndarray, spending: Spending) -> float:
    """Mean height of the non-decreasing hull over the range between the models alone, on a grid
    that has every vertex."""
    always, _, small, large = (part.mean() for part in spending)
    xs, ys = [always, small, large], [0.0, 0.0, gain.mean()]
    for value in sorted(set(priority.tolist()), reverse=True):
        first = priority >= value
        xs.append(always + spending.routed[first].sum() / len(gain))
        ys.append(gain[first].sum() / len(gain))
    if large <= small:
        return float("nan")
    x, y = upper_hull(np.stack([xs, ys], axis=1))
    grid = np.unique(np.concatenate((x, [small, large])))
    height = np.maximum.accumulate(np.interp(grid, x, y))
    within = (grid >= small) & (grid <= large)
    return float(50 + np.trapezoid(height[within], grid[within]) / (large - small))


def spending_of(rng: np.random.Generator, n: int, overhead: float) -> Spending:
    small, large = rng.uniform(1, 3, n), rng.uniform(2, 20, n)
    return Spending(small + overhead, large - small, small, large)


@pytest.mark.parametrize("seed", range(8))
def test_aiq_is_that_of_scipys_hull_for_every_replicate(seed: int) -> None:
    rng = np.random.default_rng(seed)
    n = 70
    gain = rng.normal(2, 6, n)
    priority = gain + rng.normal(0, 8, n)
    if seed % 2:
        priority = np.round(priority / 5)  # many ties
    spending = spending_of(rng, n, overhead=(0, 0.5, 4)[seed % 3])
    direction = direction_of(gain, priority)
    found = bootstrap_cost_aiq([direction], [spending], REPLICATES, 1)
    assert found.point[0, 0] == pytest.approx(plain(gain, priority, spending), abs=ROUNDING)
    weights = np.concatenate(list(bootstrap.replicate_weights(direction.group_ids, REPLICATES, 1)))
    for b, drawn in enumerate(weights):
        rows = np.repeat(np.arange(n), drawn)
        copied = Spending(*(part[rows] for part in spending))
        expected = plain(gain[rows], priority[rows], copied)
        assert found.samples[0, 0, b] == pytest.approx(expected, abs=ROUNDING)


@given(data=st.data())
@settings(deadline=None, max_examples=60)
def test_no_router_is_below_the_zero_router_and_none_above_the_best_quality(
    data: st.DataObject,
) -> None:
    n = data.draw(st.integers(1, 8))

    def whole(low: int, high: int) -> np.ndarray:
        return np.array(data.draw(st.lists(st.integers(low, high), min_size=n, max_size=n)), float)

    gain, priority, small, routed = whole(-3, 3), whole(0, 2), whole(1, 4), whole(-2, 9)
    overhead = data.draw(st.integers(0, 3))
    spending = Spending(small + overhead, routed, small, small + routed)
    direction = direction_of(gain, priority)
    found = bootstrap_cost_aiq([direction], [spending], 1, 0).point[0, 0]
    if routed.sum() <= 0:
        assert np.isnan(found)
        return
    assert found == pytest.approx(plain(gain, priority, spending), abs=ROUNDING)
    assert found >= zero_router_aiq(direction) - ROUNDING
    assert found <= 50 + np.maximum(gain, 0).mean() + ROUNDING


def test_with_unit_costs_it_is_the_aiq_over_the_call_rate() -> None:
    rng = np.random.default_rng(3)
    gain = rng.normal(2, 6, 90)
    direction = direction_of(gain, gain + rng.normal(0, 6, 90))
    ones = np.ones(90)
    unit = Spending(0 * ones, ones, 0 * ones, ones)
    found = bootstrap_cost_aiq([direction], [unit], REPLICATES, 0)
    rate = curves.bootstrap_curves([direction], REPLICATES, 0)
    at = curves.CURVE_METRICS.index("aiq")
    assert found.point[0] == pytest.approx(rate.point[0, at])
    assert found.samples[0] == pytest.approx(rate.samples[0, at])


def test_a_router_that_costs_more_than_it_finds_is_the_zero_router() -> None:
    rng = np.random.default_rng(4)
    gain = rng.normal(2, 6, 90)
    direction = direction_of(gain, gain)
    costly = spending_of(rng, 90, overhead=500.0)
    found = bootstrap_cost_aiq([direction], [costly], 1, 0).point[0, 0]
    assert found == pytest.approx(zero_router_aiq(direction))
    assert zero_router_aiq(direction) == pytest.approx(50 + gain.mean() / 2)
    worse = direction_of(-np.abs(gain), gain)
    assert zero_router_aiq(worse) == 50
