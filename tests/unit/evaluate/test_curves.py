"""Metrics of the whole curve against plain computations on rows that are really copied."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from routelmt.stats import bootstrap, curves
from routelmt.stats.bootstrap import DirectionData

# The same sums in another order, of curves of some hundred points.
ROUNDING = 1e-8
# A grid of call rates this fine stands in for the integrals of LPM, MPM and HCR.
GRID = np.linspace(0, 1, 400_001)
GRID_ERROR = 1e-4
REPLICATES = 6


def direction_of(gain: np.ndarray, priority: np.ndarray, small: float = 50.0) -> DirectionData:
    n = len(gain)
    return DirectionData(
        "en-ru", np.arange(n), np.arange(n, dtype=np.uint64), np.full(n, small),
        np.asarray(gain, dtype=float), {"router": np.asarray(priority, dtype=float)},
    )  # fmt: skip


def polyline(gain: np.ndarray, priority: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Call rate and gain per request at the end of every set of equal priorities."""
    rate, won = [0.0], [0.0]
    for value in sorted(set(priority.tolist()), reverse=True):
        tied = priority == value
        rate.append(rate[-1] + tied.mean())
        won.append(won[-1] + gain[tied].sum() / len(gain))
    return np.array(rate), np.array(won)


def hull_area(x: np.ndarray, y: np.ndarray) -> float:
    """Under the concave hull up to its top, and flat from there, from all pairs of vertices."""
    top = int(np.argmax(y))
    at = np.concatenate((x[: top + 1], [1.0]))
    x, y = np.append(x, 1.0), np.append(y, y[top])
    height = np.full(len(at), -np.inf)
    for i in range(len(x)):
        for j in range(i, len(x)):
            within = (at >= x[i]) & (at <= x[j])
            line = np.interp(at[within], [x[i], x[j]], [y[i], y[j]]) if x[j] > x[i] else y[j]
            height[within] = np.maximum(height[within], line)
    return float(np.trapezoid(height, at))


def plain(gain: np.ndarray, priority: np.ndarray, small: float = 50.0) -> dict[str, float]:
    x, y = polyline(gain, priority)
    total, found = y[-1], dict.fromkeys(curves.CURVE_METRICS, np.nan)
    fine = np.interp(GRID, x, y)
    found["aiq"] = small + hull_area(x, y)
    found["lpm"] = small + fine[GRID <= 0.3].mean()
    found["lpm_25_30"] = small + fine[(GRID >= 0.25) & (GRID <= 0.3)].mean()
    lost = gain <= 0
    if 0 < lost.sum() < len(gain):
        found["auroc"] = roc_auc_score(lost, -priority)
    if total > 0:
        found["apgr"] = np.trapezoid(y, x) / total
        reached = {
            share: GRID[np.argmax(fine >= share * total - 1e-9)] for share in (0.5, 0.8, 0.85)
        }
        found["cpt_50"], found["cpt_80"] = reached[0.5], reached[0.8]
        band = (fine >= 0.85 * total - 1e-9) & (fine <= 0.95 * total + 1e-9)
        found["hcr"] = 1 - GRID[band].mean()
        if reached[0.85] > 0.3:
            found["mpm"] = small + fine[(GRID >= 0.3) & (reached[0.85] >= GRID)].mean()
    return found


def check(found: np.ndarray, expected: dict[str, float], n: int) -> None:
    """found: (metrics,)."""
    for value, (name, number) in zip(found, expected.items(), strict=True):
        exact = name in ("apgr", "aiq", "auroc")
        tolerance = ROUNDING if exact else GRID_ERROR * (1 if name.startswith("cpt") else 30)
        assert value == pytest.approx(number, abs=tolerance, nan_ok=True), name


@pytest.mark.parametrize("seed", range(6))
def test_every_metric_is_that_of_the_plain_curve(seed: int) -> None:
    generator = np.random.default_rng(seed)
    gain = generator.normal(2, 6, 150)
    priority = gain + generator.normal(0, 8, 150)
    if seed % 2:
        priority = np.round(priority / 6)  # many ties
    found = curves.bootstrap_curves([direction_of(gain, priority)], 1)
    check(found.point[0, :, 0], plain(gain, priority), 150)


@pytest.mark.parametrize("levels", [3, 1000])
def test_the_metrics_of_every_replicate_are_those_of_the_copied_rows(levels: int) -> None:
    generator = np.random.default_rng(4)
    gain = generator.normal(2, 6, 60)
    priority = np.round(generator.normal(0, levels, 60))
    direction = direction_of(gain, priority)
    found = curves.bootstrap_curves([direction], REPLICATES, seed=1)
    weights = np.concatenate(list(bootstrap.replicate_weights(direction.group_ids, REPLICATES, 1)))
    for b, drawn in enumerate(weights):
        rows = np.repeat(np.arange(60), drawn)
        check(found.samples[0, :, 0, b], plain(gain[rows], priority[rows]), 60)


@given(
    gain=st.lists(st.integers(-3, 3), min_size=1, max_size=9),
    priority=st.lists(st.integers(0, 3), min_size=9, max_size=9),
)
@settings(deadline=None, max_examples=60)
def test_aiq_apgr_and_auroc_hold_for_ties_everywhere(gain: list[int], priority: list[int]) -> None:
    gains, order = np.array(gain, float), np.array(priority[: len(gain)], float)
    found = dict(
        zip(
            curves.CURVE_METRICS,
            curves.bootstrap_curves([direction_of(gains, order)], 1).point[0, :, 0],
            strict=True,
        )
    )
    x, y = polyline(gains, order)
    assert found["aiq"] == pytest.approx(50 + hull_area(x, y), abs=ROUNDING)
    if gains.mean() > 1e-9:
        assert found["apgr"] == pytest.approx(np.trapezoid(y, x) / y[-1], abs=ROUNDING)
        assert found["cpt_50"] <= found["cpt_80"] <= 1
    else:
        for name in ("apgr", "cpt_50", "cpt_80", "mpm", "hcr"):
            assert np.isnan(found[name])
    if 0 < (gains <= 0).sum() < len(gains):
        assert found["auroc"] == pytest.approx(roc_auc_score(gains <= 0, -order), abs=ROUNDING)
    else:
        assert np.isnan(found["auroc"])


def test_a_constant_priority_is_the_straight_line() -> None:
    gain = np.random.default_rng(0).normal(2, 6, 100)
    total = gain.mean()
    found = curves.bootstrap_curves([direction_of(gain, np.zeros(100))], 1).point[0, :, 0]
    expected = {
        "apgr": 0.5, "cpt_50": 0.5, "cpt_80": 0.8, "aiq": 50 + total / 2, "auroc": 0.5,
        "lpm": 50 + 0.15 * total, "lpm_25_30": 50 + 0.275 * total, "mpm": 50 + 0.575 * total, "hcr": 0.1,
    }  # fmt: skip
    assert found == pytest.approx(list(expected.values()), abs=ROUNDING)


def test_the_oracle_reaches_mpms_band_too_early_and_that_is_not_a_0() -> None:
    gain = np.concatenate((np.full(20, 50.0), np.zeros(80)))
    found = curves.bootstrap_curves([direction_of(gain, gain)], 1).point[0, :, 0]
    assert np.isnan(found[curves.CURVE_METRICS.index("mpm")])


def test_a_plateau_at_the_level_is_reached_at_its_beginning() -> None:
    gain = np.array([1.0, 0, 0, 0, 1.0])  # half of the gain after one request
    found = curves.bootstrap_curves([direction_of(gain, -np.arange(5.0))], 1).point[0, :, 0]
    assert found[curves.CURVE_METRICS.index("cpt_50")] == pytest.approx(0.2)


def test_a_late_jump_is_above_all_of_a_concave_curve() -> None:
    gain = np.append(np.linspace(3, 1, 200), 900.0)
    found = curves.bootstrap_curves([direction_of(gain, -np.arange(201.0))], 3)
    x, y = polyline(gain, -np.arange(201.0))
    at = curves.CURVE_METRICS.index("aiq")
    assert found.point[0, at, 0] == pytest.approx(50 + hull_area(x, y), abs=ROUNDING)


def test_merging_a_replicates_neighbours_moves_it_by_far_less_than_its_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    generator = np.random.default_rng(2)
    gain = generator.normal(3, 10, 3368)
    direction = direction_of(gain, gain + generator.normal(0, 15, 3368))
    merged = curves.bootstrap_curves([direction], 60).samples[0, :, 0]
    monkeypatch.setattr(curves, "CURVE_POINTS", 10**9)
    exact = curves.bootstrap_curves([direction], 60).samples[0, :, 0]
    for name, one, other in zip(curves.CURVE_METRICS, merged, exact, strict=True):
        defined = ~np.isnan(other)
        if defined.sum() < 10:
            continue
        error = other[defined].std()
        difference = one[defined] - other[defined]
        assert np.abs(difference).max() < error, name
        assert abs(difference.mean()) < 0.05 * error, name
