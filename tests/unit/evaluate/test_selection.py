"""Who is routed: exact counts, ties that do not depend on row order, guards that keep the rate."""

from fractions import Fraction
from hashlib import blake2b

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from routelmt.join import tie_keys
from routelmt.stats import selection

# Few distinct values, so that almost every example has ties.
tied_columns = st.lists(st.integers(-2, 2), min_size=1, max_size=12)


def guarded_route(
    priority: np.ndarray, signal: np.ndarray, keys: np.ndarray, k: int, quantile: float
) -> np.ndarray:
    """Which k requests a guarded router sends on."""
    order = selection.guarded_ranking(priority, signal, keys, quantile)
    return np.isin(np.arange(len(order)), order[:k])


def keys_for(size: int) -> np.ndarray:
    return tie_keys(f"segment-{row}" for row in range(size))


@given(hundredths=st.integers(0, 100), n=st.integers(0, 20_000))
@settings(deadline=None)
def test_budget_count_is_the_exact_floor(hundredths: int, n: int) -> None:
    exact = Fraction(hundredths, 100) * n
    assert selection.budget_count(hundredths / 100, n) == exact.numerator // exact.denominator


@given(part=st.integers(0, 400), n=st.integers(1, 400))
@settings(deadline=None)
def test_a_budget_written_as_k_over_n_chooses_k(part: int, n: int) -> None:
    k = min(part, n)
    assert selection.budget_count(k / n, n) == k


@pytest.mark.parametrize(
    ("p", "n", "k"), [(0.3, 10, 3), (0.29, 100, 29), (0.3, 3368, 1010), (0, 5, 0), (1, 5, 5)]
)
def test_budget_count_examples(p: float, n: int, k: int) -> None:
    assert selection.budget_count(p, n) == k


@pytest.mark.parametrize("p", [-0.01, 1.01, float("nan")])
def test_a_budget_outside_0_to_1_is_refused(p: float) -> None:
    with pytest.raises(ValueError, match="budget: found"):
        selection.budget_count(p, 10)


@given(hundredths=st.integers(1, 100), n=st.integers(0, 20_000))
@settings(deadline=None)
def test_eligible_count_is_the_exact_floor(hundredths: int, n: int) -> None:
    exact = Fraction(hundredths, 100) * n
    expected = exact.numerator // exact.denominator
    assert selection.eligible_counts(hundredths / 100, [n]).tolist() == [expected]


@given(quantile=st.floats(1e-6, 1), n=st.integers(0, 20_000))
@settings(deadline=None)
def test_a_quantile_equal_to_the_budget_leaves_exactly_k_eligible(quantile: float, n: int) -> None:
    assert selection.eligible_counts(quantile, [n])[0] == selection.budget_count(quantile, n)


def test_eligible_count_is_not_moved_by_rounding_error() -> None:
    assert 0.29 * 100 < 29  # in floating point
    assert selection.eligible_counts(0.29, [100]).tolist() == [29]
    assert selection.eligible_counts(0.07, [100]).tolist() == [7]
    assert selection.eligible_counts(0.3, [3368]).tolist() == [1010]


def test_a_guard_that_lets_nothing_pass_is_refused() -> None:
    with pytest.raises(ValueError, match="no request eligible"):
        selection.eligible_counts(0.0, [10])


def test_tie_keys_are_the_first_8_bytes_of_blake2b_of_the_utf8_id() -> None:
    ids = ["flores:0001", "文:2", ""]
    expected = [int.from_bytes(blake2b(i.encode(), digest_size=8).digest(), "little") for i in ids]
    keys = tie_keys(ids)
    assert keys.dtype == np.uint64
    assert keys.tolist() == expected
    assert tie_keys([]).size == 0


def test_ranking_puts_higher_priority_first_and_breaks_ties_by_key() -> None:
    order = selection.ranking([1.0, 3.0, 3.0, 2.0], np.array([0, 9, 4, 0], dtype=np.uint64))
    assert order.tolist() == [2, 1, 3, 0]


def test_tie_keys_above_the_signed_range_still_sort_as_unsigned() -> None:
    keys = np.array([2**64 - 1, 2**63, 1], dtype=np.uint64)
    assert selection.ranking([0.0, 0.0, 0.0], keys).tolist() == [2, 1, 0]


@given(priority=tied_columns, data=st.data())
@settings(deadline=None)
def test_the_routed_segments_do_not_depend_on_row_order(
    priority: list[int], data: st.DataObject
) -> None:
    n = len(priority)
    keys, values = keys_for(n), np.array(priority, dtype=float)
    signal = np.array(data.draw(st.lists(st.integers(0, 2), min_size=n, max_size=n)), dtype=float)
    k = data.draw(st.integers(0, n))
    quantile = data.draw(st.sampled_from([0.2, 0.5, 1.0]))
    shuffle = np.array(data.draw(st.permutations(range(n))))
    routed = selection.route(values, keys, k)
    guarded = guarded_route(values, signal, keys, k, quantile)
    assert np.array_equal(selection.route(values[shuffle], keys[shuffle], k), routed[shuffle])
    assert np.array_equal(
        guarded_route(values[shuffle], signal[shuffle], keys[shuffle], k, quantile),
        guarded[shuffle],
    )


@given(priority=tied_columns)
@settings(deadline=None)
def test_route_takes_exactly_k_and_no_one_left_out_has_higher_priority(
    priority: list[int],
) -> None:
    values = np.array(priority, dtype=float)
    for k in range(len(priority) + 1):
        routed = selection.route(values, keys_for(len(priority)), k)
        assert routed.sum() == k
        if 0 < k < len(priority):
            assert values[routed].min() >= values[~routed].max()


@pytest.mark.parametrize("k", [-1, 4])
def test_route_refuses_a_k_outside_0_to_n(k: int) -> None:
    with pytest.raises(ValueError, match="expected 0 <= k <= 3"):
        selection.route([1.0, 2.0, 3.0], keys_for(3), k)


def guarded_by_hand(
    priority: np.ndarray, signal: np.ndarray, keys: np.ndarray, k: int, eligible: int
) -> set[int]:
    """The rule of RouteLMT §6.4 in plain Python, one request at a time."""
    rows = range(len(priority))
    worst = sorted(rows, key=lambda row: (-signal[row], keys[row]))[:eligible]
    by_priority = sorted(rows, key=lambda row: (-priority[row], keys[row]))
    chosen = [row for row in by_priority if row in worst][:k]
    for row in by_priority:
        if len(chosen) < k and row not in chosen:
            chosen.append(row)
    return set(chosen)


@given(priority=tied_columns, data=st.data())
@settings(deadline=None)
def test_guarded_route_follows_the_rule(priority: list[int], data: st.DataObject) -> None:
    n = len(priority)
    values, keys = np.array(priority, dtype=float), keys_for(n)
    signal = np.array(data.draw(st.lists(st.integers(0, 2), min_size=n, max_size=n)), dtype=float)
    eligible = data.draw(st.integers(1, n))
    for k in range(n + 1):
        routed = guarded_route(values, signal, keys, k, eligible / n)
        assert set(np.flatnonzero(routed)) == guarded_by_hand(values, signal, keys, k, eligible)


def test_a_guard_of_quantile_1_is_no_guard_and_of_quantile_k_over_n_is_the_signal_alone() -> None:
    generator = np.random.default_rng(3)
    priority, signal, keys = generator.normal(size=40), generator.normal(size=40), keys_for(40)
    unguarded = guarded_route(priority, signal, keys, 12, 1.0)
    degenerate = guarded_route(priority, signal, keys, 12, 0.3)
    assert np.array_equal(unguarded, selection.route(priority, keys, 12))
    assert np.array_equal(degenerate, selection.route(signal, keys, 12))
    assert not np.array_equal(unguarded, degenerate)


def test_bad_columns_are_named() -> None:
    keys = keys_for(3)
    with pytest.raises(ValueError, match="priority: 2 of 3 values are NaN"):
        selection.ranking([np.nan, 1.0, np.nan], keys)
    with pytest.raises(ValueError, match="guard_signal: 1 of 3 values are NaN"):
        selection.guarded_ranking([1.0, 2.0, 3.0], [1.0, np.nan, 2.0], keys, 0.5)
    with pytest.raises(ValueError, match="priority: expected a non-empty column"):
        selection.ranking([], [])
    with pytest.raises(ValueError, match="priority 2, tie_keys 3"):
        selection.ranking([1.0, 2.0], keys)
