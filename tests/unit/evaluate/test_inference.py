"""Intervals, tests of differences, shares, Holm's correction and power."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from routelmt.stats import inference
from routelmt.stats.inference import Clusters, Reference, SeedPart, reference

MANY = 10**9


def equal(*counts: int) -> Clusters:
    """Clusters of one size, by place."""
    return Clusters(np.array(counts), np.array(counts, dtype=np.float64))


def known(error: float, df: float = 1e9) -> Reference:
    return Reference(np.array([error]), np.array([df]), np.zeros(1))


def test_one_error_and_one_t_make_interval_and_p_value() -> None:
    samples = np.random.default_rng(1).normal(2, 1, size=(2, 999))
    found = reference(samples, equal(30, 80))
    error = samples.std(axis=1, ddof=1) * np.sqrt([30 / 29, 80 / 79])
    assert found.error == pytest.approx(error)
    assert found.df == pytest.approx([29, 79])
    value = np.array([2.0, -2.0])
    low, high = found.limits(value, 0.9)
    for cell, own in enumerate([stats.t(df=29), stats.t(df=79)]):
        wanted = own.interval(0.9)
        assert (low[cell], high[cell]) == pytest.approx(
            [value[cell] + end * error[cell] for end in wanted]
        )
        assert found.p_values(value)[cell] == pytest.approx(2 * own.sf(2 / error[cell]))


@given(
    difference=st.floats(-20, 20),
    error=st.floats(0.01, 10),
    df=st.floats(1, 1e4),
    alpha=st.floats(0.001, 0.5),
)
@settings(deadline=None)
def test_0_is_outside_the_interval_exactly_where_p_is_below_its_level(
    difference: float, error: float, df: float, alpha: float
) -> None:
    found, value = known(error, df), np.array([difference])
    p = found.p_values(value)[0]
    low, high = found.limits(value, 1 - alpha)
    if abs(p - alpha) > 1e-9:
        assert (p < alpha) == bool(low[0] > 0 or high[0] < 0)


def test_degrees_of_freedom_are_those_of_the_part_that_dominates() -> None:
    samples = np.random.default_rng(0).normal(size=(1, 400))
    for variance, wanted in ((0.0, 49), (1e9, 3)):
        part = SeedPart(np.array([variance]), np.zeros(1), np.array([4]))
        assert reference(samples, equal(50), [part]).df[0] == pytest.approx(wanted, rel=1e-3)


def test_one_cluster_says_nothing_of_others() -> None:
    found = reference(np.zeros((2, 50)), equal(1, 2))
    assert np.isnan(found.error[0])
    assert found.error[1] == 0
    low, high = found.limits(np.ones(2), 0.95)
    assert np.isnan([low[0], high[0], found.p_values(np.ones(2))[0]]).all()


def test_undefined_replicates_are_left_out_and_counted() -> None:
    samples = np.random.default_rng(4).normal(size=(2, 3, 200))
    samples[0, 1, ::4] = np.nan
    samples[1, 2] = np.nan
    found = reference(samples, equal(MANY, MANY))
    assert found.undefined[0, 1] == pytest.approx(0.25)
    assert found.undefined[1, 2] == 1
    kept = samples[0, 1][~np.isnan(samples[0, 1])]
    assert found.error[0, 1] == pytest.approx(kept.std(ddof=1))
    assert np.isnan(found.error[1, 2])
    assert found.undefined[0, 0] == 0
    said = inference.reasons(["known", None, None], np.array([1, 0.25, 0.05]), "no gain")
    assert said == ["known", "undefined in 25% of the replicates: no gain", None]


def test_equal_routers_differ_by_nothing_even_where_their_sums_round_differently() -> None:
    a, b = 0.1 + 0.2, 0.3
    assert a != b
    found = reference(np.full((1, 99), a - b), equal(MANY))
    assert found.p_values(np.array([a - b]))[0] == 1
    assert np.isnan(found.p_values(np.array([1.0]))[0])  # replicates that do not vary


@pytest.mark.parametrize("shape", [(), (1,), (4,), (2, 3)])
def test_percentiles_of_any_shape_leave_undefined_replicates_out(shape: tuple[int, ...]) -> None:
    generator = np.random.default_rng(3)
    samples = generator.normal(size=(*shape, 101))
    samples[generator.random(samples.shape) < 0.2] = np.nan
    low, high = inference.percentile_limits(samples, 0.9)
    assert low.shape == shape
    assert low == pytest.approx(np.nanquantile(samples, 0.05, axis=-1))
    assert high == pytest.approx(np.nanquantile(samples, 0.95, axis=-1))


def test_percentiles_of_one_column_with_an_undefined_replicate() -> None:
    low, high = inference.percentile_limits([1, np.nan, 2])
    assert (low, high) == pytest.approx((1.025, 1.975))
    assert np.isnan(inference.percentile_limits([np.nan, np.nan])).all()
    with pytest.raises(ValueError, match="expected shape"):
        inference.percentile_limits([])
    for level in (0.0, 1.0, 95.0):
        with pytest.raises(ValueError, match="level: found"):
            inference.percentile_limits([1.0], level)
        with pytest.raises(ValueError, match="level: found"):
            known(1.0).limits(np.zeros(1), level)


@pytest.mark.parametrize(("events", "n"), [(0, 24), (24, 24), (3, 24), (1, 500), (499, 500)])
def test_independent_requests_have_wilsons_interval(events: int, n: int) -> None:
    share = events / n
    found = known(np.sqrt(share * (1 - share) / n))
    low, high = found.share_limits(np.array([share]), np.array([n]), 0.95)
    wanted = stats.binomtest(events, n).proportion_ci(0.95, method="wilson")
    assert (low[0], high[0]) == pytest.approx((wanted.low, wanted.high), abs=1e-9)
    exact = stats.binomtest(events, n).proportion_ci(0.95, method="exact")
    assert high[0] == pytest.approx(exact.high, abs=0.05)
    if events == 0:
        assert 0.1 < high[0] < 0.16  # 24 routed, none severe: not [0, 0]


@pytest.mark.parametrize(("events", "others"), [((0, 40), (0, 40)), ((3, 50), (9, 60))])
def test_differences_of_independent_shares_have_newcombes_interval(
    events: tuple[int, int], others: tuple[int, int]
) -> None:
    shares = [one / n for one, n in (events, others)]
    ends = [stats.binomtest(*one).proportion_ci(0.95, method="wilson") for one in (events, others)]
    low, high = inference.share_difference_limits(
        np.array(shares), np.array([e.low for e in ends]), np.array([e.high for e in ends]), [1, 1]
    )
    squares = [(s - e.low, e.high - s) for s, e in zip(shares, ends, strict=True)]
    difference = shares[0] - shares[1]
    assert low[0] == pytest.approx(difference - (squares[0][0] ** 2 + squares[1][1] ** 2) ** 0.5)
    assert high[0] == pytest.approx(difference + (squares[0][1] ** 2 + squares[1][0] ** 2) ** 0.5)
    if events[0] == 0:  # none on either side: not [0, 0]
        assert (-low[0], high[0]) == pytest.approx((ends[1].high, ends[0].high))


@given(share=st.floats(0, 1), error=st.floats(0, 0.3), n=st.integers(1, 1000))
@settings(deadline=None)
def test_limits_of_a_share_hold_it_and_stay_within_0_and_1(
    share: float, error: float, n: int
) -> None:
    low, high = known(error, 20).share_limits(np.array([share]), n, 0.95)
    assert 0 <= low[0] <= share <= high[0] <= 1
    assert high[0] - low[0] > 0


@pytest.mark.parametrize("size", [1, 4])
@pytest.mark.parametrize("share", [0.02, 0.1, 0.5])
def test_shares_of_clustered_requests_are_covered(size: int, share: float) -> None:
    """Clusters of alike requests: the truth is in 93 of 100 intervals or more."""
    generator, clusters, covered, experiments = np.random.default_rng(size), 60, 0, 1000
    for _ in range(experiments):
        kind = generator.random(clusters) < share
        alike = generator.random((clusters, size)) < 0.7
        events = np.where(alike, kind[:, None], generator.random((clusters, size)) < share)
        counts = events.sum(axis=1)
        weights = generator.multinomial(clusters, np.full(clusters, 1 / clusters), size=200)
        samples = (weights @ counts) / (clusters * size)
        found = reference(samples[None], equal(clusters))
        low, high = found.share_limits(np.array([events.mean()]), clusters, 0.95)
        covered += bool(low[0] <= share <= high[0])
    assert covered / experiments >= 0.93


def test_a_clear_difference_survives_holm_over_the_pairs_of_twelve_routers() -> None:
    samples = np.random.default_rng(1).normal(5, 1, size=(1, 1000))
    assert reference(samples, equal(400)).p_values(np.array([5.0]))[0] * 66 < 0.05


@pytest.mark.parametrize(("df", "pairs"), [(3.0, 1), (8.5, 6), (60.0, 66), (1e9, 66)])
def test_the_detectable_difference_is_found_in_80_of_100_cases_by_the_test_itself(
    df: float, pairs: int
) -> None:
    generator, experiments, error = np.random.default_rng(4), 20_000, 2.0
    difference = known(error, df).detectable(0.05 / pairs, 0.8)[0]
    estimated = error * np.sqrt(generator.chisquare(min(df, 1e6), experiments) / min(df, 1e6))
    drawn = generator.normal(difference, error, experiments)
    many = Reference(estimated, np.full(experiments, df), np.zeros(experiments))
    found = many.p_values(drawn) < 0.05 / pairs  # Holm's first step
    assert found.mean() == pytest.approx(0.8, abs=0.012)
    if df > 1e6 and pairs == 1:
        assert difference == pytest.approx(error * (stats.norm.ppf(0.975) + stats.norm.ppf(0.8)))


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


def test_clusters_of_unequal_size_count_as_fewer_equal_ones() -> None:
    ids = np.array(["a"] * 6 + ["b"] * 2 + ["c"] * 2)
    found = Clusters.of([ids, ids[:6]])
    assert found.counts.tolist() == [3, 1]
    assert found.effective == pytest.approx([100 / 44, 1])
    samples = np.random.default_rng(0).normal(size=(2, 99))
    error = samples[0].std(ddof=1) * np.sqrt(3 / 2)
    assert reference(samples[:1], found[[0]]).error == pytest.approx(error)
    assert reference(samples[:1], found[[0]]).df == pytest.approx(100 / 44 - 1)
    assert np.isnan(reference(samples, found).error[1])


@pytest.mark.parametrize(("clusters", "spread"), [(15, 0.5), (19, 1.0), (34, 1.4)])
def test_intervals_from_few_clusters_of_unequal_size_cover(clusters: int, spread: float) -> None:
    """A mean over requests whose packages differ in level, and in size as the demo's do."""
    generator, experiments, covered = np.random.default_rng(clusters), 1500, 0
    for _ in range(experiments):
        sizes = np.ceil(np.exp(generator.normal(3, spread, clusters)))
        levels = generator.normal(size=clusters) + generator.normal(size=clusters) / sizes**0.5
        weights = generator.multinomial(clusters, np.full(clusters, 1 / clusters), size=200)
        samples = (weights @ (sizes * levels)) / (weights @ sizes)
        effective = sizes.sum() ** 2 / (sizes**2).sum()
        own = Clusters(np.array([clusters]), np.array([effective]))
        value = np.array([(sizes * levels).sum() / sizes.sum()])
        low, high = reference(samples[None], own).limits(value, 0.95)
        covered += bool(low[0] <= 0 <= high[0])
    assert 0.93 <= covered / experiments <= 0.97
