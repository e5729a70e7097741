"""Every metric of one direction against an independent computation."""

from itertools import combinations, permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import spearmanr

from routelmt.join import tie_keys
from routelmt.stats import metrics
from routelmt.stats.selection import ranking

# Sums of at most a few thousand values of two digits: rounding stays far below this.
ROUNDING = 1e-12

gains_with_ties = st.lists(st.integers(-2, 2), min_size=1, max_size=6)


def order_of(priority: np.ndarray) -> np.ndarray:
    return ranking(priority, tie_keys(str(row) for row in range(len(priority))))


@given(st.lists(st.tuples(st.integers(-3, 3), st.integers(-3, 3)), min_size=2, max_size=30))
@settings(deadline=None)
def test_spearman_is_scipys_and_undefined_only_with_a_reason(pairs: list[tuple[int, int]]) -> None:
    priority, gain = np.array(pairs, dtype=float).T
    found = metrics.spearman(priority, gain)
    if np.ptp(priority) == 0 or np.ptp(gain) == 0:
        assert np.isnan(found)
        assert metrics.undefined_reason(priority, gain)
    else:
        assert found == pytest.approx(spearmanr(priority, gain).statistic, abs=ROUNDING)
        assert metrics.undefined_reason(priority, gain) is None


def test_the_reason_says_which_column_is_constant() -> None:
    assert metrics.undefined_reason([2, 2, 2], [1, 2, 3]) == "priority is 2 for all 3 requests"
    assert metrics.undefined_reason([1, 2, 3], [0, 0, 0]) == "gain is 0 for all 3 requests"
    assert metrics.undefined_reason([1], [2]) == "a single request has no rank correlation"


def hit_rate_by_enumeration(routed: set[int], gain: list[int], k: int) -> float:
    """The largest overlap with any of the sets of k requests that gain most."""
    sets = [set(rows) for rows in combinations(range(len(gain)), k)]
    most = max(sum(gain[row] for row in rows) for rows in sets)
    best = [rows for rows in sets if sum(gain[row] for row in rows) == most]
    return max(len(routed & rows) for rows in best) / k


@given(gain=gains_with_ties, data=st.data())
@settings(deadline=None)
def test_hit_rate_is_the_largest_overlap_with_any_best_set(
    gain: list[int], data: st.DataObject
) -> None:
    order = np.array(data.draw(st.permutations(range(len(gain)))))
    k = data.draw(st.integers(1, len(gain)))
    expected = hit_rate_by_enumeration(set(order[:k].tolist()), gain, k)
    assert metrics.hit_rate(order, gain, k) == pytest.approx(expected, abs=ROUNDING)


@given(gain=gains_with_ties, data=st.data())
@settings(deadline=None)
def test_a_random_router_hits_k_over_n_or_more_and_gains_the_mean(
    gain: list[int], data: st.DataObject
) -> None:
    k = data.draw(st.integers(1, len(gain)))
    orders = [np.array(order) for order in permutations(range(len(gain)))]
    hits = np.mean([metrics.hit_rate(order, gain, k) for order in orders])
    delta = np.mean([metrics.mean_delta(order, gain, k) for order in orders])
    assert delta == pytest.approx(np.mean(gain), abs=ROUNDING)
    assert hits >= k / len(gain) - ROUNDING
    if len(set(gain)) == len(gain):
        assert hits == pytest.approx(k / len(gain), abs=ROUNDING)


@given(gain=gains_with_ties)
@settings(deadline=None)
def test_every_router_that_cannot_be_bettered_hits_everything(gain: list[int]) -> None:
    for order in permutations(range(len(gain))):
        if sorted(gain, reverse=True) == [gain[row] for row in order]:
            rates = [metrics.hit_rate(np.array(order), gain, k + 1) for k in range(len(gain))]
            assert rates == [1.0] * len(gain)


def test_the_gain_oracle_hits_everything_where_most_gains_tie() -> None:
    gain = [5.0, *[0.0] * 8, -3.0]
    assert metrics.hit_rate(order_of(np.array(gain)), gain, 3) == 1
    assert metrics.hit_rate(np.arange(9, -1, -1), gain, 3) == pytest.approx(2 / 3)


@given(gain=gains_with_ties)
@settings(deadline=None)
def test_routing_everything_hits_everything_and_gains_the_mean(gain: list[int]) -> None:
    order = order_of(np.arange(len(gain), dtype=float))
    assert metrics.hit_rate(order, gain, len(gain)) == pytest.approx(1, abs=ROUNDING)
    assert metrics.mean_delta(order, gain, len(gain)) == pytest.approx(np.mean(gain), abs=ROUNDING)


@given(gain=gains_with_ties)
@settings(deadline=None)
def test_no_router_gains_more_than_the_oracle(gain: list[int]) -> None:
    values = np.array(gain, dtype=float)
    for k in range(1, len(gain) + 1):
        best = metrics.mean_delta(order_of(values), gain, k)
        others = [sum(chosen) / k for chosen in combinations(gain, k)]
        assert best == pytest.approx(max(others), abs=ROUNDING)


def test_headroom_recovered_is_0_for_random_1_for_the_oracle_and_nan_without_headroom() -> None:
    assert metrics.headroom_recovered([2.0, 8.0, 5.0, -1.0], 2.0, 8.0).tolist() == [0, 1, 0.5, -0.5]
    assert np.isnan(metrics.headroom_recovered(0.3, 0.3, 0.1 + 0.2))


@given(st.lists(st.sampled_from([-9, -5, -4.9, -0.5, -0.4, 0, 0.5, 0.6, 7]), min_size=1))
@settings(deadline=None)
def test_risk_buckets_are_the_four_conditions_of_the_paper(gain: list[float]) -> None:
    conditions = [
        lambda g: g <= -5,
        lambda g: -5 < g < -0.5,
        lambda g: abs(g) <= 0.5,
        lambda g: g > 0.5,
    ]
    expected = [sum(map(condition, gain)) / len(gain) for condition in conditions]
    shares = metrics.risk_buckets(gain)
    assert shares.tolist() == expected
    assert shares.sum() == pytest.approx(1, abs=ROUNDING)


def test_risk_edges_come_from_the_caller_and_must_increase() -> None:
    assert metrics.risk_buckets([-3, -1, 0, 3], (-2, -1, 2)).tolist() == [0.25, 0, 0.5, 0.25]
    with pytest.raises(ValueError, match="three increasing numbers"):
        metrics.risk_buckets([1.0], (-0.5, -5, 0.5))


@pytest.mark.parametrize("metric", [metrics.hit_rate, metrics.mean_delta])
@pytest.mark.parametrize("k", [0, 4])
def test_k_must_choose_some_of_the_requests(metric, k: int) -> None:
    with pytest.raises(ValueError, match="expected 0 < k <= 3"):
        metric([0, 1, 2], [1.0, 2.0, 3.0], k)


@pytest.mark.parametrize("order", [[0, 0, 1], [0, 1], [True, False, True], [0.0, 1.0, 2.0]])
def test_something_that_is_not_an_order_is_refused(order: list) -> None:
    with pytest.raises(ValueError, match="expected a permutation"):
        metrics.mean_delta(order, [1.0, 2.0, 3.0], 2)


def test_nan_infinite_and_empty_columns_are_refused_with_their_count() -> None:
    with pytest.raises(ValueError, match="priority: 1 of 2 values are NaN"):
        metrics.spearman([np.nan, 1], [1, 2])
    with pytest.raises(ValueError, match="gain: 2 of 3 values are NaN"):
        metrics.hit_rate([0, 1, 2], [np.nan, 1, np.nan], 1)
    with pytest.raises(ValueError, match="gain: 1 of 2 values are infinite"):
        metrics.mean_delta([0, 1], [np.inf, 1], 1)
    for empty in (
        lambda: metrics.spearman([], []),
        lambda: metrics.hit_rate([], [], 1),
        lambda: metrics.mean_delta([], [], 1),
        lambda: metrics.risk_buckets([]),
    ):
        with pytest.raises(ValueError, match="non-empty"):
            empty()
