"""Thresholds, the policies that move them, and the alarm: against recomputation and theory."""

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from routelmt.stats import streaming
from routelmt.stats.streaming import (
    POLICIES,
    Band,
    DirectionStream,
    Settings,
    Threshold,
    ascending_values,
    make_policy,
    run,
    threshold_of,
    uniform,
    uniforms,
)

# Few distinct values: ties everywhere.
VALUES = st.lists(st.integers(-3, 3).map(float), min_size=1, max_size=40)
RATES = st.one_of(st.sampled_from([0.0, 0.29, 0.3, 0.5, 1.0]), st.floats(0, 1))


@given(VALUES, RATES)
def test_the_calibration_values_themselves_are_routed_at_exactly_the_rate(
    values: list[float], rate: float
) -> None:
    tau, at_tau = threshold_of(sorted(values), rate)
    column = np.array(values)
    share = np.mean(column > tau) + at_tau * np.mean(column == tau)
    assert share == pytest.approx(rate, abs=1e-9)
    assert 0 <= at_tau <= 1


@given(st.lists(st.floats(-100, 100), min_size=1, max_size=40, unique=True), RATES)
def test_the_threshold_is_the_quantile_that_numpy_finds(values: list[float], rate: float) -> None:
    if not 1e-6 < rate < 1 - 1e-6:
        return
    wanted = rate * len(values)
    if abs(wanted - round(wanted)) < 1e-6:  # two neighbours fit equally well
        return
    found = np.quantile(values, 1 - rate, method="inverted_cdf")
    assert threshold_of(sorted(values), rate).value == found


def test_rates_of_0_and_1_route_nothing_and_everything() -> None:
    for value in (-1e300, 0.0, 1e300):
        assert not threshold_of([0.0], 0.0).routes(value, 0.0)
        assert threshold_of([0.0], 1.0).routes(value, 0.999)


def test_infinite_calibration_values_are_values() -> None:
    inf = float("inf")
    assert threshold_of([-inf, -inf, 0.0, 1.0], 0.75) == Threshold(-inf, 0.5)
    assert threshold_of([0.0, 1.0, inf, inf], 0.25) == Threshold(inf, 0.5)


def test_equal_values_everywhere_are_routed_by_their_draw() -> None:
    constant = make_policy("fixed", [5.0] * 10, Settings(0.3))
    routed, _ = run(constant, np.full(2000, 5.0), uniforms(map(str, range(2000)), 0))
    # Four standard deviations of 2,000 coins.
    assert routed.mean() == pytest.approx(0.3, abs=4 * (0.21 / 2000) ** 0.5)


def test_draws_are_uniform_and_depend_on_request_and_seed_alone() -> None:
    draws = uniforms((f"r{i}" for i in range(5000)), 7)
    assert stats.kstest(draws, "uniform").pvalue > 0.001
    assert draws[42] == uniform("r42", 7) != uniform("r42", 8)
    assert uniform("en:1", 0) == pytest.approx(uniform("en:1", 0))


@given(VALUES, VALUES, st.integers(1, 12), RATES, st.floats(0, 1, exclude_max=True))
def test_the_rolling_threshold_is_that_of_the_last_requests(
    calibration: list[float], traffic: list[float], window: int, rate: float, draw: float
) -> None:
    own = Settings(rate, window=window)
    policy = make_policy("rolling", sorted(calibration), own)
    seen = list(policy.state()["values"])
    assert len(seen) == min(window, len(calibration))
    for value in traffic:
        threshold = threshold_of(sorted(seen[-window:]), rate)
        assert policy.decide(value, draw) == (threshold.routes(value, draw), threshold.value)
        seen.append(value)


def test_the_first_window_has_the_distribution_of_the_calibration_values() -> None:
    policy = make_policy("rolling", list(map(float, range(1000))), Settings(0.3, window=100))
    window = np.array(policy.state()["values"])
    assert np.sort(window) == pytest.approx(np.arange(100) * 10 + 5)
    assert abs(stats.spearmanr(window, np.arange(100)).statistic) < 0.4  # not in order


@given(
    VALUES, st.lists(st.integers(-5, 5).map(float), min_size=1, max_size=300),
    st.floats(0.05, 0.95), st.floats(0.005, 0.2),
)  # fmt: skip
def test_the_controller_holds_the_rate_within_its_bound_whatever_comes(
    calibration: list[float], traffic: list[float], rate: float, correction: float
) -> None:
    policy = make_policy("controller", sorted(calibration), Settings(rate, correction=correction))
    routed, _ = run(policy, traffic, uniforms(map(str, range(len(traffic))), 0))
    bound = (max(rate, 1 - rate) + correction) / (correction * len(traffic))
    assert abs(routed.mean() - rate) <= bound + 1e-9


@pytest.mark.parametrize("policy", ["rolling", "controller"])
def test_policies_that_adapt_return_to_the_rate_after_a_drift(policy: str) -> None:
    rng = np.random.default_rng(0)
    own = Settings(0.3, window=300, correction=0.02)
    traffic = rng.normal(2, 1, 3000)
    fixed, _ = run(make_policy("fixed", ascending_values(rng.normal(size=500)), own), traffic,
                   rng.random(3000))  # fmt: skip
    adapted, _ = run(make_policy(policy, ascending_values(rng.normal(size=500)), own), traffic,
                     rng.random(3000))  # fmt: skip
    assert fixed.mean() > 0.9
    assert adapted[-1000:].mean() == pytest.approx(0.3, abs=0.05)


@pytest.mark.parametrize(("rate", "calibration", "served"), [(0.3, 40, 25), (0.1, 7, 30)])
def test_the_evidence_is_a_likelihood_ratio_with_mean_1_without_drift(
    rate: float, calibration: int, served: int
) -> None:
    band = Band(rate, calibration)
    k = int(np.ceil(rate * calibration - 1e-9))
    null = stats.betabinom(served, k, calibration + 1 - k)
    counts = np.arange(served + 1)
    evidence = np.exp([band._evidence(float(count), served) for count in counts])
    assert null.pmf(counts) @ evidence == pytest.approx(1, abs=1e-9)
    # And the other one is beta-binomial too.
    a, b = band._mixture
    expected = stats.betabinom(served, a, b).pmf(counts) / null.pmf(counts)
    assert evidence == pytest.approx(expected, rel=1e-8)


def test_new_values_exceed_a_threshold_as_the_band_says() -> None:
    rng = np.random.default_rng(1)
    n, rate, served = 40, 0.3, 50
    counts = [
        int(run(make_policy("fixed", ascending_values(rng.normal(size=n)), Settings(rate)),
                rng.normal(size=served), rng.random(served))[0].sum())
        for _ in range(4000)
    ]  # fmt: skip
    expected = stats.betabinom(served, 12, n + 1 - 12)
    assert np.mean(counts) == pytest.approx(expected.mean(), abs=0.3)
    assert np.std(counts) == pytest.approx(expected.std(), rel=0.05)


@given(st.floats(0.02, 0.98), st.integers(1, 400), st.integers(1, 300), st.integers(0, 2**31))
@settings(max_examples=60, deadline=None)
def test_the_band_its_limits_and_the_first_moment_outside_agree(
    rate: float, calibration: int, served: int, seed: int
) -> None:
    band = Band(rate, calibration)
    draws = np.random.default_rng(seed).random(served) < np.random.default_rng(seed + 1).random()
    counts = np.cumsum(draws)
    outside = [i + 1 for i, count in enumerate(counts) if band.left(int(count), i + 1)]
    assert band.first_left(draws) == (outside[0] if outside else None)
    low, high = band.limits(served)
    assert 0 <= low <= high <= 1
    for count in range(served + 1):
        inside = low - 1e-9 <= count / served <= high + 1e-9
        near = min(abs(count / served - low), abs(count / served - high)) < 1e-6
        assert near or inside is not band.left(count, served)


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("tied", [False, True])
def test_without_drift_the_alarm_is_false_in_less_than_5_percent_of_streams(
    policy: str, tied: bool
) -> None:
    rng = np.random.default_rng(3)
    streams, served, n = (1500, 1000, 300) if policy == "fixed" else (150, 600, 300)

    def traffic(size: int) -> Any:
        return rng.poisson(2, size).astype(float) if tied else rng.normal(size=size)

    alarms = 0
    for _ in range(streams):
        own = make_policy(policy, ascending_values(traffic(n)), Settings(0.3, window=200))
        routed, _ = run(own, traffic(served), rng.random(served))
        alarms += Band(0.3, n).first_left(routed) is not None
    assert alarms / streams < 0.05


def test_a_drift_sets_off_the_alarm_soon() -> None:
    rng = np.random.default_rng(4)
    moments = []
    for _ in range(50):
        own = make_policy("fixed", ascending_values(rng.normal(size=1000)), Settings(0.3))
        routed, _ = run(own, rng.normal(0.7, 1, 1000), rng.random(1000))  # 57 % instead of 30
        moments.append(Band(0.3, 1000).first_left(routed))
    assert None not in moments
    assert np.median(moments) < 60  # type: ignore[arg-type]


def test_a_rate_that_cannot_be_missed_has_no_alarm() -> None:
    assert Band(1.0, 10).first_left(np.zeros(500, dtype=bool)) is None
    assert Band(0.0, 10).limits(50) == (0.0, 0.0)
    assert not Band(0.0, 10).left(0, 500)


@pytest.mark.parametrize("policy", POLICIES)
def test_a_stream_that_is_resumed_decides_as_if_it_had_not_stopped(policy: str) -> None:
    rng = np.random.default_rng(5)
    calibration, own = rng.normal(size=200), Settings(0.3, window=50, correction=0.05)
    traffic = [(f"r{i}", float(v)) for i, v in enumerate(np.round(rng.normal(1, 1, 400), 1))]
    whole = DirectionStream(policy, calibration, own)
    expected = [whole.decide(*request) for request in traffic]
    found, state = [], None
    for first in range(0, 400, 130):
        stream = DirectionStream(policy, calibration, own, state)
        found += [stream.decide(*request) for request in traffic[first : first + 130]]
        state = json.loads(json.dumps(stream.state()))
    assert found == expected
    assert state == whole.state()
    assert whole.routed == sum(decision.routed for decision in expected)


@pytest.mark.parametrize("policy", POLICIES)
def test_one_at_a_time_and_all_at_once_are_the_same_code(policy: str) -> None:
    rng = np.random.default_rng(6)
    calibration, own = rng.normal(size=100), Settings(0.4, seed=3)
    values = np.round(rng.normal(1, 1, 300), 1)
    ids = [f"r{i}" for i in range(300)]
    stream = DirectionStream(policy, calibration, own)
    decided = [stream.decide(i, v) for i, v in zip(ids, values.tolist(), strict=True)]
    ascending = ascending_values(calibration)
    routed, thresholds = run(make_policy(policy, ascending, own), values, uniforms(ids, 3))
    assert [d.routed for d in decided] == routed.tolist()
    assert [d.threshold for d in decided] == thresholds.tolist()
    band = Band(0.4, 100)
    assert stream.rate_alarm == band.first_left(routed)
    fixed, _ = run(make_policy("fixed", ascending, own), values, uniforms(ids, 3))
    assert stream.traffic_alarm == band.first_left(fixed)


def test_what_is_not_a_number_is_refused_and_not_counted() -> None:
    stream = DirectionStream("rolling", [1.0, 2.0], Settings(0.5))
    with pytest.raises(ValueError, match="not a number"):
        stream.decide("r", float("nan"))
    assert stream.served == 0
    assert stream.decide("r", float("inf")).routed
    with pytest.raises(ValueError, match="calibration values"):
        DirectionStream("fixed", [], Settings(0.5))
    with pytest.raises(ValueError, match="NaN"):
        DirectionStream("fixed", [float("nan")], Settings(0.5))
    for wrong in ({"rate": 1.1}, {"rate": 0.3, "window": 0}, {"rate": 0.3, "correction": 0.0}):
        with pytest.raises(ValueError, match=r"rate|window"):
            Settings(**wrong)
    with pytest.raises(ValueError, match="policy 'fast' is not known"):
        make_policy("fast", [1.0], Settings(0.3))


def test_infinite_thresholds_are_kept_by_a_stream_at_the_ends() -> None:
    assert threshold_of([1.0], 0.0) == Threshold(float("inf"), 0.0)
    nothing = DirectionStream("controller", [1.0, 2.0], Settings(0.0))
    assert not nothing.decide("r", 9.0).routed
    assert streaming.Band(0.0, 2).limits(0) == (0.0, 0.0)
