"""Intervals, paired differences, Holm's correction and power."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm

from routelmt.evaluate import inference


def test_the_interval_holds_the_central_share_of_the_samples() -> None:
    samples = np.random.default_rng(0).permutation(np.arange(1001.0))
    assert inference.percentile_interval(samples) == pytest.approx((25, 975, 0))
    assert inference.percentile_interval(samples, level=0.5) == pytest.approx((250, 750, 0))


def test_undefined_replicates_are_left_out_and_counted() -> None:
    low, high, left_out = inference.percentile_interval([np.nan, 3, 3, np.nan, 3])
    assert (low, high, left_out) == (3, 3, 2)
    low, high, left_out = inference.percentile_interval([np.nan, np.nan])
    assert np.isnan(low)
    assert np.isnan(high)
    assert left_out == 2


@pytest.mark.parametrize("level", [0.0, 1.0, 95.0])
def test_a_level_that_is_no_fraction_is_refused(level: float) -> None:
    with pytest.raises(ValueError, match="level: found"):
        inference.percentile_interval([1.0], level)


def test_no_samples_are_refused() -> None:
    with pytest.raises(ValueError, match="expected shape"):
        inference.percentile_interval([])


def test_the_limits_of_many_cells_are_those_of_each_cell() -> None:
    samples = np.random.default_rng(4).normal(size=(2, 3, 200))
    samples[0, 1, ::3] = np.nan
    samples[1, 2] = np.nan
    low, high = inference.percentile_limits(samples, level=0.9)
    for cell in np.ndindex(2, 3):
        expected = inference.percentile_interval(samples[cell], level=0.9)
        assert (low[cell], high[cell]) == pytest.approx(expected[:2], nan_ok=True)


def test_the_p_value_is_that_of_a_normal_test_with_the_bootstrap_error() -> None:
    samples = np.random.default_rng(1).normal(2, 1, size=999)
    found = inference.paired_difference(2.0, samples)
    error = np.std(samples, ddof=1)
    assert found.p_value == pytest.approx(2 * norm.sf(2 / error))
    assert inference.paired_difference(-2.0, -samples).p_value == pytest.approx(found.p_value)
    assert (found.low, found.high) == pytest.approx(np.quantile(samples, [0.025, 0.975]))


def test_a_clear_difference_survives_holm_over_the_pairs_of_twelve_routers() -> None:
    samples = np.random.default_rng(1).normal(5, 1, size=1000)
    assert inference.paired_difference(5.0, samples).p_value * 66 < 0.05


def test_equal_routers_differ_by_nothing_even_where_their_sums_round_differently() -> None:
    a, b = 0.1 + 0.2, 0.3
    assert a != b
    assert inference.paired_difference(a - b, np.full(999, a - b)).p_value == 1


def test_replicates_that_do_not_vary_give_no_p_value() -> None:
    assert np.isnan(inference.paired_difference(1.0, np.ones(999)).p_value)


def test_undefined_replicates_of_a_difference_are_left_out() -> None:
    found = inference.paired_difference(1.5, [1, np.nan, np.nan, 2])
    assert found.left_out == 2
    assert found.p_value == pytest.approx(2 * norm.sf(1.5 / np.std([1, 2], ddof=1)))
    assert np.isnan(inference.paired_difference(1.0, [np.nan]).p_value)


def test_holm_worked_by_hand() -> None:
    # Ascending .005 .01 .03 .04 times 4 3 2 1 = .02 .03 .06 .04; the last may not fall below .06.
    found = inference.holm([0.01, 0.04, 0.03, 0.005])
    assert found == pytest.approx([0.03, 0.06, 0.06, 0.02])


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
@settings(deadline=None)
def test_holm_rejects_what_the_step_down_procedure_rejects(p_values: list[float]) -> None:
    alpha, rejected = 0.05, set()
    for step, row in enumerate(sorted(range(len(p_values)), key=lambda row: p_values[row])):
        if p_values[row] * (len(p_values) - step) > alpha:
            break
        rejected.add(row)
    adjusted = inference.holm(p_values)
    assert set(np.flatnonzero(adjusted <= alpha)) == rejected
    assert np.all(adjusted >= p_values)
    assert np.all(adjusted <= 1)


@pytest.mark.parametrize("p_values", [[np.nan, 0.5], [1.5], [-0.1]])
def test_holm_refuses_what_is_no_p_value(p_values: list[float]) -> None:
    with pytest.raises(ValueError, match="p_values"):
        inference.holm(p_values)


def test_the_minimum_detectable_difference_is_found_with_the_stated_power() -> None:
    samples = np.random.default_rng(2).normal(7, 3, size=500)
    error = np.std(samples, ddof=1)
    difference = inference.minimum_detectable_difference(samples, alpha=0.05, power=0.8)
    power = norm.sf(norm.ppf(0.975) - difference / error)
    assert power == pytest.approx(0.8)
    assert inference.minimum_detectable_difference([*samples, np.nan]) == pytest.approx(difference)
    with pytest.raises(ValueError, match="1 defined replicates"):
        inference.minimum_detectable_difference([1.0, np.nan])
