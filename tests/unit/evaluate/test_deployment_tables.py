"""The tables of a deployment against pandas, scikit-learn and plain loops."""

import copy
import dataclasses
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import linprog
from sklearn.isotonic import IsotonicRegression

from routelmt import tables
from routelmt.errors import UserError
from routelmt.evaluate.budgets import ALL, isotonic
from routelmt.evaluate.build import DEPLOYMENTS, build_deployment_table
from routelmt.evaluate.deployment import Deployment, read_deployment
from routelmt.evaluate.drift import largest_domains, order_of, parts_of
from routelmt.stats import streaming, weighted
from routelmt.views.render import write_renderings

ROUTERS = ("learned", "coarse", "gain-oracle")
DIRECTIONS = ("en-ru", "ru-en")
# The same sums in another order.
ROUNDING = 1e-9
SETTINGS: dict[str, Any] = {
    "bootstrap": {"replicates": 150, "seed": 3, "level": 0.9},
    "budgets": [0.3],
    "oracles": ["gain-oracle"],
    "random": [],
    "gain_routers": ["learned"],
    "stream": {"seed": 0, "window": 50, "correction": 0.02, "false_alarms": 0.05},
    "drift": {"from": None, "to": None},
    "within": [1.0, 30.0],
    "confidence": 0.95,
    "chosen_on_validation": ["learned"],
    "bins": 5,
}


def made(name: str, size: int, seed: int) -> tuple[pa.Table, pa.Table, pa.Table]:
    """(predictions, gains, segments) of a dataset with the same texts in both directions."""
    rng = np.random.default_rng(seed)
    gains, predictions, segments = [], [], []
    for shift, direction in enumerate(DIRECTIONS):
        ids = [f"{name}{i:03d}" for i in range(size)]
        gain = np.round(rng.normal(3 + 2 * shift, 8, size))
        small = rng.uniform(30, 70, size)
        key = {"dataset": name, "direction": direction, "segment_id": ids}
        gains.append(tables.from_columns("gains", {
            **key, "group_id": ids, "quality_small": small, "quality_large": small + gain,
            "gain": gain,
        }))  # fmt: skip
        segments.append(tables.from_columns("segments", {
            **key, "group_id": ids, "doc_id": None, "split": "test", "source": "x",
            "reference": "y", "domain": [f"d{i * 7 % 4}" for i in range(size)],
        }))  # fmt: skip
        for router, seeds in (("learned", (0, 1)), ("coarse", (0,)), ("gain-oracle", (0,))):
            for seed_of in seeds:
                told = gain + rng.normal(0, 6, size)
                value = {"learned": told, "coarse": np.round(told / 8), "gain-oracle": gain}[router]
                predictions.append(tables.from_columns("predictions", {
                    **key, "router": router, "seed": seed_of, "prediction": value,
                    "priority": value,
                }))  # fmt: skip
    return pa.concat_tables(predictions), pa.concat_tables(gains), pa.concat_tables(segments)


@pytest.fixture(scope="module")
def deployment() -> Deployment:
    predictions, gains, segments = made("t", 160, 1)
    return read_deployment(predictions, gains, *made("v", 90, 2)[:2], segments)


@pytest.fixture(scope="module")
def built(deployment: Deployment) -> dict[str, pd.DataFrame]:
    found = {}
    for name in DEPLOYMENTS:
        table = build_deployment_table(name, SETTINGS, deployment)
        tables.check(table, name, name)
        found[name] = table.to_pandas()
    return found


def row(frame: pd.DataFrame, **equal: Any) -> Any:
    for name, value in equal.items():
        frame = frame[frame[name] == value]
    assert len(frame) == 1, equal
    return frame.iloc[0]


def column(router: str, seed: int = 0) -> str:
    return f"{router}/seed{seed}"


def test_a_fixed_stream_is_the_threshold_applied_to_every_request(
    built: dict[str, pd.DataFrame], deployment: Deployment
) -> None:
    for router, seeds in (("learned", 2), ("coarse", 1)):
        rates, deltas, qualities = [], [], []
        for held_out, test in deployment.calibrated():
            for seed in range(seeds):
                name = column(router, seed)
                ascending = sorted(held_out.priorities[name].tolist())
                tau, at_tau = streaming.threshold_of(ascending, 0.3)
                routed = [
                    value > tau or (value == tau and streaming.uniform(str(key), 0) < at_tau)
                    for value, key in zip(
                        test.priorities[name], test.tie_keys.tolist(), strict=True
                    )
                ]
                rates.append(np.mean(routed))
                deltas.append(test.gain[routed].mean())
                qualities.append(test.quality_small.mean() + (test.gain * routed).mean())
        found = row(built["streaming"], router=router, policy="fixed", direction="average")
        assert found["rate"] == pytest.approx(np.mean(rates), abs=ROUNDING)
        assert found["mean_delta"] == pytest.approx(np.mean(deltas), abs=ROUNDING)
        assert found["quality"] == pytest.approx(np.mean(qualities), abs=ROUNDING)
        assert found["rate_low"] < found["rate"] < found["rate_high"]
        assert (found["requests"], found["calibration"]) == (320, 180)


def test_all_policies_serve_the_same_order_and_only_corrections_differ(
    built: dict[str, pd.DataFrame],
) -> None:
    frame = built["streaming"]
    assert set(frame.policy) == set(streaming.POLICIES)
    whole = frame[frame.direction == "average"].set_index(["router", "policy"])
    for router in ROUTERS:
        assert whole.rate[router, "controller"] == pytest.approx(0.3, abs=0.06)
        same = whole.loc[router]
        assert same.traffic_alarm.nunique(dropna=False) == 1


def test_streams_are_compared_with_as_many_of_the_best_and_of_any_requests(
    built: dict[str, pd.DataFrame], deployment: Deployment
) -> None:
    for d, test in enumerate(deployment.test.directions):
        for policy in streaming.POLICIES:
            offline = []
            stream = row(built["streaming"], router="gain-oracle", policy=policy,
                         direction=DIRECTIONS[d])  # fmt: skip
            sent = round(stream["rate"] * len(test.gain))
            best = np.sort(test.gain)[::-1][:sent].sum() / len(test.gain)
            offline.append(test.quality_small.mean() + best)
            assert stream["offline_quality"] == pytest.approx(np.mean(offline), abs=ROUNDING)
            chance = test.quality_small.mean() + stream["rate"] * test.gain.mean()
            assert stream["random_quality"] == pytest.approx(chance, abs=ROUNDING)
            assert stream["random_quality"] < stream["quality"] <= stream["offline_quality"] + 1e-9


def test_calibration_is_the_stream_of_the_fixed_threshold_at_every_target(
    built: dict[str, pd.DataFrame],
) -> None:
    for router in ROUTERS:
        for place in (*DIRECTIONS, "average"):
            curve = built["calibration"]
            curve = curve[(curve.router == router) & (curve.direction == place)]
            assert curve.rate.is_monotonic_increasing
            at = row(curve, target=0.3)
            stream = row(built["streaming"], router=router, policy="fixed", direction=place)
            assert at["rate"] == pytest.approx(stream["rate"], abs=ROUNDING)
            assert (at["low"], at["high"]) == pytest.approx((stream.rate_low, stream.rate_high))


def test_reliability_bins_hold_as_many_requests_and_their_means(
    built: dict[str, pd.DataFrame], deployment: Deployment
) -> None:
    frame = built["reliability"]
    assert set(frame.router) == {"learned"}
    for place, directions in (("en-ru", deployment.predicted.directions[:1]),
                              ("all", deployment.predicted.directions)):  # fmt: skip
        data = pd.DataFrame({
            "predicted": np.concatenate([d.priorities[column("learned")] for d in directions]),
            "gain": np.concatenate([d.gain for d in directions]),
        })  # fmt: skip
        expected = data.groupby(pd.qcut(data.predicted, 5, labels=False)).agg(["mean", "size"])
        found = frame[frame.direction == place]
        assert found.predicted.to_numpy() == pytest.approx(expected["predicted"]["mean"])
        assert found.observed.to_numpy() == pytest.approx(expected["gain"]["mean"])
        assert found.requests.tolist() == expected["gain"]["size"].tolist()
        assert (found.low <= found.observed).all() and (found.observed <= found.high).all()


def test_a_constant_prediction_is_one_bin(deployment: Deployment) -> None:
    flat = copy.deepcopy(deployment)
    for direction in flat.predicted.directions:
        direction.priorities[column("learned")][:] = 4.0
    frame = build_deployment_table("reliability", SETTINGS, flat).to_pandas()
    assert frame.groupby("direction").size().tolist() == [1, 1, 1]
    assert frame.requests.tolist() == [160, 160, 320]


@given(st.lists(st.tuples(st.integers(0, 6), st.integers(-9, 9)), min_size=1, max_size=40),
       st.lists(st.floats(-2, 8), min_size=1, max_size=10))  # fmt: skip
def test_isotonic_regression_is_scikit_learns(
    points: list[tuple[int, int]], at: list[float]
) -> None:
    priority, gain = (np.array(values, dtype=float) for values in zip(*points, strict=True))
    expected = IsotonicRegression(out_of_bounds="clip").fit(priority, gain).predict(at)
    assert isotonic(priority, gain, np.array(at)) == pytest.approx(expected, abs=1e-9)


def test_allocations_agree_with_sorting_all_requests(
    built: dict[str, pd.DataFrame], deployment: Deployment
) -> None:
    directions = deployment.test.directions
    total = sum(int(0.3 * len(d.gain)) for d in directions)
    gain = np.concatenate([d.gain for d in directions])
    small = np.concatenate([d.quality_small for d in directions])
    qualities = []
    for seed in (0, 1):  # continuous priorities: no ties
        priority = np.concatenate([d.priorities[column("learned", seed)] for d in directions])
        chosen = np.argsort(-priority)[:total]
        qualities.append(small.mean() + gain[chosen].sum() / gain.size)
    found = row(built["budgets"], router="learned", allocation="pooled", direction=ALL)
    assert found["quality"] == pytest.approx(np.mean(qualities), abs=ROUNDING)
    best = small.mean() + np.sort(gain)[-total:].sum() / gain.size
    assert found["behind_oracle"] == pytest.approx(best - np.mean(qualities), abs=ROUNDING)
    assert found["behind_oracle_low"] > 0
    # The prediction is a gain, so the priority is the predicted gain.
    same = row(built["budgets"], router="learned", allocation="predicted_gain", direction=ALL)
    assert same["quality"] == pytest.approx(found["quality"])


def test_one_budget_has_the_same_total_and_the_paper_its_share_of_each_direction(
    built: dict[str, pd.DataFrame], deployment: Deployment
) -> None:
    frame = built["budgets"]
    whole = frame[frame.direction == ALL]
    assert whole.rate.to_numpy() == pytest.approx(0.3)
    paper = frame[(frame.allocation == "per_direction") & (frame.direction == "en-ru")]
    assert paper.rate.to_numpy() == pytest.approx(0.3)
    test = deployment.test.directions[0]
    chosen = np.argsort(-test.priorities[column("learned")])[:48]
    deltas = [test.gain[np.argsort(-test.priorities[column("learned", s)])[:48]].mean()
              for s in (0, 1)]  # fmt: skip
    assert len(chosen) == 48
    found = row(paper, router="learned")
    assert found["mean_delta"] == pytest.approx(np.mean(deltas), abs=ROUNDING)
    oracle = row(whole, router="oracle")
    assert (whole.quality <= oracle.quality + ROUNDING).all()
    assert oracle["behind_oracle"] == 0
    # The second direction gains more: a total that goes where the gain is goes there.
    assert row(frame, router="oracle", direction="ru-en")["rate"] > 0.3


def test_ties_at_the_end_of_a_pooled_budget_count_by_expectation(deployment: Deployment) -> None:
    flat = copy.deepcopy(deployment)
    for direction in flat.test.directions:
        direction.priorities[column("coarse")][:] = 1.0
    frame = build_deployment_table("budgets", SETTINGS, flat).to_pandas()
    gain = np.concatenate([d.gain for d in flat.test.directions])
    for way in ("pooled", "per_direction"):
        found = row(frame, router="coarse", allocation=way, direction=ALL)
        assert found["mean_delta"] == pytest.approx(gain.mean(), abs=ROUNDING)


def best_for_a_cost(predicted: np.ndarray, cost: np.ndarray, limit: float) -> np.ndarray:
    """Shares of the requests that have the largest predicted gain for exactly a cost (SciPy)."""
    found = linprog(-predicted, A_eq=cost[np.newaxis], b_eq=[limit], bounds=(0, 1))
    shares: np.ndarray = found.x
    return shares


def test_a_budget_of_cost_is_spent_where_most_gain_is_predicted_for_it(
    deployment: Deployment,
) -> None:
    directions = deployment.test.directions
    size = sum(len(d.gain) for d in directions)
    cost = np.random.default_rng(5).uniform(0.2, 4, size)
    added = {"second": {"learned": cost, "coarse": cost, "gain-oracle": cost}, "money": {}}
    given = dataclasses.replace(deployment, added_costs=added)
    few = SETTINGS | {"bootstrap": SETTINGS["bootstrap"] | {"replicates": 4}}
    table = build_deployment_table("budgets", few, given)
    tables.check(table, "budgets", "budgets")
    frame = table.to_pandas()
    own = frame[frame.allocation == "gain_per_second"]
    assert set(own.router) == {"learned"}  # of those that predict a gain
    gain = np.concatenate([d.gain for d in directions])
    small = np.concatenate([d.quality_small for d in directions])
    total = sum(int(0.3 * len(d.gain)) for d in directions)
    first = np.repeat([True, False], [len(d.gain) for d in directions])
    quality, rate, predicted_gain = [], [], []
    for seed in (0, 1):
        predicted = np.concatenate([d.priorities[column("learned", seed)] for d in directions])
        by_count = np.argsort(-predicted)[:total]
        share = best_for_a_cost(predicted, cost, cost[by_count].sum())
        assert share @ predicted >= predicted[by_count].sum()
        quality.append(small.mean() + share @ gain / size)
        rate.append([share.mean(), share[first].mean()])
        predicted_gain.append(share @ gain / share.sum())
    found = row(own, direction=ALL)
    assert found["quality"] == pytest.approx(np.mean(quality), abs=1e-6)
    assert found["rate"] == pytest.approx(np.mean(rate, axis=0)[0], abs=1e-6)
    assert found["rate"] > 0.3  # cheap ones first: more of them for the same cost
    assert found["mean_delta"] == pytest.approx(np.mean(predicted_gain), abs=1e-6)
    assert row(own, direction="en-ru")["rate"] == pytest.approx(np.mean(rate, axis=0)[1], abs=1e-6)
    # The other ways to share the budget are what they are without costs.
    plain = build_deployment_table("budgets", few, deployment).to_pandas()
    rest = frame[frame.allocation != "gain_per_second"].reset_index(drop=True)
    pd.testing.assert_frame_equal(rest, plain)


@given(data=st.data())
def test_the_first_within_a_cost_are_those_of_copied_rows(data: st.DataObject) -> None:
    n = data.draw(st.integers(1, 7))

    def whole(low: int, high: int) -> np.ndarray:
        return np.array(data.draw(st.lists(st.integers(low, high), min_size=n, max_size=n)))

    weights, cost, values = whole(0, 3), whole(-1, 4).astype(float), whole(-3, 3).astype(float)
    order = np.array(data.draw(st.permutations(range(n))))
    limit = float(data.draw(st.integers(0, 20)))
    label = np.arange(n) % 2
    key = np.empty(n)
    key[order] = -np.arange(n)
    column_of = weighted.sorted_column(key, order)
    found = weighted.first_within(
        weights[np.newaxis], column_of, label, values, cost, np.array([limit]), 2
    )[0]
    expected, left = np.zeros((2, 2)), limit
    for i in order:
        asked = weights[i] * cost[i]
        share = 1.0 if asked <= 0 or asked <= left else max(left, 0.0) / asked
        expected[:, label[i]] += share * weights[i] * np.array([1.0, values[i]])
        left -= asked
        if share < 1:
            break
    assert found == pytest.approx(expected, abs=ROUNDING)


def test_the_smallest_budget_passes_on_calibration_data_and_so_do_all_above_it(
    built: dict[str, pd.DataFrame], deployment: Deployment
) -> None:
    frame = built["smallest_budget"]
    held_out, test = deployment.calibrated()[0]
    for within in SETTINGS["within"]:
        found = row(frame, router="gain-oracle", direction="en-ru", within=within)
        assert found["calibration_bound"] >= -within
        k = int(found["budget"] * len(test.gain) + 1e-9)
        expected = np.sort(test.gain)[::-1][:k].sum() / len(test.gain) - test.gain.mean()
        assert found["test_difference"] == pytest.approx(expected, abs=1e-9)
        assert found["held"] == (expected >= -within)
    loose = frame[frame.within == 30.0]
    assert (loose.budget == 0).all()  # nothing loses 30 points here
    strict = row(frame, router="coarse", direction="en-ru", within=1.0)
    assert 0 < strict["budget"] < 1
    assert strict["calibration_bound"] <= strict["calibration_difference"]
    assert len(held_out.gain) == 90


def test_the_simultaneous_budget_is_that_of_a_divided_error(
    built: dict[str, pd.DataFrame], deployment: Deployment
) -> None:
    frame = built["smallest_budget"]
    divided = build_deployment_table(
        "smallest_budget", SETTINGS | {"confidence": 0.975}, deployment
    ).to_pandas()
    assert frame.simultaneous.tolist() == divided.budget.tolist()  # two routers and an oracle
    assert (frame.simultaneous >= frame.budget).all()
    assert (frame.chosen_on_validation == (frame.router == "learned")).all()


def test_parts_of_a_drift_share_no_text_and_calibration_no_traffic(deployment: Deployment) -> None:
    for index, test in enumerate(deployment.test.directions):
        parts = parts_of(SETTINGS, test, deployment.datasets[index], deployment.domains[index])
        assert parts is not None
        groups = [set(test.group_ids[rows]) for rows in parts]
        assert not groups[0] & groups[1] and not groups[0] & groups[2]
        domains = [set(deployment.domains[index][rows]) for rows in parts]
        assert domains[0] == domains[1] and not domains[0] & domains[2]
        order = order_of("gradual", parts, test, 0)
        other = np.isin(order, parts.other)
        half = len(order) // 2
        assert other.sum() == len(order) - other.sum() == min(map(len, parts[1:]))
        assert other[:half].mean() < 0.4 < 0.6 < other[half:].mean()
        assert sorted(order_of("shift", parts, test, 0)) == sorted(parts.other)


def test_domains_are_cut_at_half_of_the_requests() -> None:
    assert largest_domains(np.array(list("aaabbc"))) == ["a"]
    assert largest_domains(np.array(list("aaaab"))) == ["a"]  # more than half: alone
    assert largest_domains(np.array(list("aabbccdd"))) == ["a", "b"]


def test_a_shift_of_the_gains_is_seen_and_corrected(deployment: Deployment) -> None:
    drifted = copy.deepcopy(deployment)
    for direction, domains in zip(drifted.test.directions, drifted.domains, strict=True):
        other = ~np.isin(domains, largest_domains(domains))
        direction.priorities[column("coarse")][other] += 3.0
    frame = build_deployment_table("drift", SETTINGS, drifted).to_pandas()
    whole = frame[(frame.router == "coarse") & (frame.direction == "average")]
    shift = whole[whole.scenario == "shift"].set_index("policy")
    assert shift.rate["fixed"] > 0.6 > shift.rate["rolling"] > shift.rate["controller"] - 0.2
    assert shift.rate_alarm["fixed"] < 60
    assert (shift.traffic_alarm == shift.rate_alarm["fixed"]).all()
    calm = whole[whole.scenario == "same"].set_index("policy")
    assert calm.rate["fixed"] == pytest.approx(0.3, abs=0.15)
    assert "gain-oracle" not in set(frame.router)
    paths = build_deployment_table("drift_paths", SETTINGS, drifted).to_pandas()
    one = paths[(paths.router == "coarse") & (paths.scenario == "shift")
                & (paths.direction == "en-ru") & (paths.policy == "fixed")]  # fmt: skip
    assert one.request.is_monotonic_increasing
    assert one.rate.iloc[-1] > one.high.iloc[-1]


def test_without_two_parts_there_is_no_drift_and_its_tables_are_empty(
    deployment: Deployment,
) -> None:
    one = copy.deepcopy(deployment)
    for domains in one.domains:
        domains[:] = "only"
    for name in ("drift", "drift_paths"):
        table = build_deployment_table(name, SETTINGS, one)
        tables.check(table, name, name)
        assert table.num_rows == 0


def test_datasets_of_a_drift_can_be_named_and_must_be_there() -> None:
    parts = [made("t", 90, 5), made("u", 90, 6)]
    predictions, gains, segments = (pa.concat_tables(p) for p in zip(*parts, strict=True))
    own = read_deployment(predictions, gains, *made("v", 60, 7)[:2], segments, ["coarse"])
    named = build_deployment_table("drift", SETTINGS | {"drift": {"from": ["u"], "to": ["t"]}}, own)
    sizes = {r["scenario"]: r["requests"] for r in named.to_pylist() if r["direction"] == "en-ru"}
    assert sizes["shift"] == 90  # all of t
    default = build_deployment_table("drift", SETTINGS, own)
    assert named.to_pylist() != default.to_pylist()
    with pytest.raises(UserError, match=r"'drift.to': w is not among the test datasets: t, u"):
        build_deployment_table("drift", SETTINGS | {"drift": {"from": ["t"], "to": ["w"]}}, own)


def test_calibration_data_must_have_every_direction_and_seed() -> None:
    predictions, gains, segments = made("t", 30, 1)
    other, other_gains, _ = made("v", 30, 2)
    one = (other.filter(pa.compute.equal(other["direction"], "en-ru")),
           other_gains.filter(pa.compute.equal(other_gains["direction"], "en-ru")))  # fmt: skip
    with pytest.raises(UserError, match="none for direction ru-en"):
        read_deployment(predictions, gains, *one, segments)
    fewer = other.filter(pa.compute.equal(other["seed"], 0))
    with pytest.raises(UserError, match="'learned' has seed0 there and seed0, seed1"):
        read_deployment(predictions, gains, fewer, other_gains, segments)


def test_nothing_routed_is_undefined_and_says_why(deployment: Deployment) -> None:
    high = copy.deepcopy(deployment)
    for direction in high.test.directions:
        direction.priorities[column("coarse")][:] = -99.0
    frame = build_deployment_table("streaming", SETTINGS, high).to_pandas()
    found = row(frame, router="coarse", policy="fixed", direction="en-ru")
    assert found["rate"] == 0 and np.isnan(found["mean_delta"])
    assert found["reason"] == "no request was routed"
    assert found["rate_alarm"] > 0


@pytest.mark.parametrize("name", DEPLOYMENTS)
def test_every_table_has_its_renderings(name: str, deployment: Deployment, tmp_path: Any) -> None:
    table = build_deployment_table(name, SETTINGS, deployment)
    write_renderings(table, name, tmp_path / f"{name}.parquet")
    assert "|" in (tmp_path / f"{name}.md").read_text()
    assert "toprule" in (tmp_path / f"{name}.tex").read_text()
