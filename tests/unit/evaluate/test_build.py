"""The evaluation tables against the same numbers computed by pandas and plain Python."""

import copy
from hashlib import blake2b
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from scipy import stats
from scipy.stats import hypergeom

from routelmt import tables
from routelmt.errors import UserError
from routelmt.evaluate.build import EVALUATIONS, build_table

# The same sums in another order.
ROUNDING = 1e-9
DIRECTIONS = ["en-ru", "ru-en"]


@pytest.fixture(scope="module")
def built(
    settings: dict[str, Any],
    predictions: pa.Table,
    gains: pa.Table,
    segments: pa.Table,
    other_gains: dict[str, pa.Table],
) -> dict[str, pa.Table]:
    given = (settings, predictions, gains, segments, other_gains)
    return {name: build_table(name, *given) for name in EVALUATIONS}


def tie_key(dataset: str, segment_id: str) -> int:
    digest = blake2b(f"{dataset}:{segment_id}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little")


@pytest.fixture(scope="module")
def ranked(predictions: pa.Table, gains: pa.Table) -> dict[tuple[str, int, str], pd.DataFrame]:
    """Requests of every router, seed and direction, from the first routed to the last."""
    key = list(tables.JOIN_KEY)
    joined = predictions.to_pandas().merge(gains.to_pandas(), on=key)
    joined["tie"] = [tie_key(*pair) for pair in zip(joined.dataset, joined.segment_id, strict=True)]
    joined = joined.sort_values(["priority", "tie"], ascending=[False, True])
    return dict(iter(joined.groupby(["router", "seed", "direction"])))


def expected_mean(requests: pd.DataFrame, k: int) -> float:
    """Mean gain of the k requests of highest priority, over all ways to break their ties."""
    boundary = requests.priority.nlargest(k).min()
    above = requests[requests.priority > boundary].gain
    tied = requests[requests.priority == boundary].gain
    return (above.sum() + (k - len(above)) * tied.mean()) / k


def value(table: pa.Table, column: str = "value", **equal: Any) -> Any:
    for name, wanted in equal.items():
        table = table.filter(pc.equal(table.column(name), wanted))
    assert table.num_rows == 1, equal
    return table.column(column)[0].as_py()


@pytest.mark.parametrize("name", EVALUATIONS)
def test_every_table_is_valid_and_not_empty(built: dict[str, pa.Table], name: str) -> None:
    tables.check(built[name], name, name)
    assert built[name].num_rows


def test_mean_delta_is_the_mean_over_seeds_of_the_top_k_of_the_union(
    built: dict[str, pa.Table], ranked: dict[Any, pd.DataFrame]
) -> None:
    k = 18  # floor(0.3 * 60): 40 requests of one dataset and 20 of the other
    by_seed = np.array(
        [[ranked["learned", s, d].gain.head(k).mean() for s in range(3)] for d in DIRECTIONS]
    )
    row = {"router": "learned", "budget": 0.3, "metric": "mean_delta"}
    for at, direction in enumerate(DIRECTIONS):
        own = row | {"direction": direction}
        assert value(built["routers"], **own) == pytest.approx(by_seed[at].mean(), abs=ROUNDING)
        spread = value(built["routers"], "seed_spread", **own)
        assert spread == pytest.approx(by_seed[at].std(ddof=1), abs=ROUNDING)
        assert value(built["routers"], "requests", **own) == 60
    own = row | {"direction": "average"}
    assert value(built["routers"], **own) == pytest.approx(by_seed.mean(), abs=ROUNDING)
    spread = value(built["routers"], "seed_spread", **own)
    assert spread == pytest.approx(by_seed.mean(axis=0).std(ddof=1), abs=ROUNDING)
    assert value(built["routers"], "seeds", **own) == 3
    assert value(built["routers"], "low", **own) < by_seed.mean()
    assert value(built["routers"], "high", **own) > by_seed.mean()


def test_spearman_and_headroom_agree_with_pandas(
    built: dict[str, pa.Table], ranked: dict[Any, pd.DataFrame]
) -> None:
    rho, delta, random, oracle = [], [], [], []
    for direction in DIRECTIONS:
        requests = ranked["length", 0, direction]
        rho.append(requests.priority.corr(requests.gain, method="spearman"))
        delta.append(expected_mean(requests, 6))
        random.append(requests.gain.mean())
        oracle.append(requests.gain.nlargest(6).mean())
    row = {"router": "length", "budget": 0.1, "direction": "average"}
    found = value(built["routers"], metric="spearman", **row)
    assert found == pytest.approx(np.mean(rho), abs=ROUNDING)
    share = (np.mean(delta) - np.mean(random)) / (np.mean(oracle) - np.mean(random))
    found = value(built["routers"], metric="headroom", **row)
    assert found == pytest.approx(share, abs=ROUNDING)
    assert np.isnan(value(built["routers"], "seed_spread", metric="headroom", **row))


def test_a_random_router_is_its_exact_expectation(
    built: dict[str, pa.Table], gains: pa.Table
) -> None:
    row = {"router": "random", "budget": 0.3, "direction": "en-ru", "role": "random"}
    frame = gains.to_pandas().query("direction == 'en-ru'")
    best = frame.gain.nlargest(18).min()
    places, tied = 18 - (frame.gain > best).sum(), (frame.gain == best).sum()
    x = np.arange(tied + 1)
    hits = 0.3 * (18 - places) + np.minimum(x, places) @ hypergeom.pmf(x, 60, tied, 18)
    expected = {
        "mean_delta": frame.gain.mean(),
        "hit_rate": 100 * hits / 18,
        "spearman": 0,
        "headroom": 0,
    }
    assert hits > 0.3 * 18  # gains tie at the boundary
    for metric, number in expected.items():
        found = value(built["routers"], metric=metric, **row)
        assert found == pytest.approx(number, abs=ROUNDING)
        assert value(built["routers"], "seeds", metric=metric, **row) == 0
    curve = {"router": "random", "direction": "en-ru", "call_rate": 0.25}
    line = frame.quality_small.mean() + 0.25 * frame.gain.mean()
    assert value(built["pareto"], "quality", **curve) == pytest.approx(line, abs=ROUNDING)
    severe = value(built["risk_buckets"], "share", bucket="severe_loss", **row)
    assert severe == pytest.approx((frame.gain <= -5).mean(), abs=ROUNDING)


def test_the_oracle_recovers_everything_and_roles_are_told(built: dict[str, pa.Table]) -> None:
    row = {"router": "gain-oracle", "direction": "average", "budget": 0.1, "role": "oracle"}
    assert value(built["routers"], metric="headroom", **row) == pytest.approx(1)
    assert value(built["routers"], metric="hit_rate", **row) == pytest.approx(100)


def test_the_pareto_curve_is_exact_at_the_floor_of_the_call_rate(
    built: dict[str, pa.Table], ranked: dict[Any, pd.DataFrame]
) -> None:
    requests = ranked["length", 0, "ru-en"]
    for rate, k in ((0.0, 0), (0.29, 17), (0.5, 30), (1.0, 60)):
        won = k * expected_mean(requests, k) if k else 0
        expected = requests.quality_small.mean() + won / 60
        own = {"router": "length", "direction": "ru-en", "call_rate": rate}
        found = value(built["pareto"], "quality", **own)
        assert found == pytest.approx(expected, abs=ROUNDING)


def test_the_curve_is_paired_with_the_large_model_alone(built: dict[str, pa.Table]) -> None:
    own = {"router": "length", "direction": "average"}
    quality = {rate: value(built["pareto"], "quality", call_rate=rate, **own) for rate in (0.5, 1)}
    half = value(built["pareto"], "to_large", call_rate=0.5, **own)
    assert half == pytest.approx(quality[0.5] - quality[1], abs=ROUNDING)
    ends = ("to_large", "to_large_low", "to_large_high")
    assert [value(built["pareto"], end, call_rate=1.0, **own) for end in ends] == [0, 0, 0]
    # With nothing sent, it is the mean gain with its sign turned: that of a random choice.
    chance = {"router": "random", "direction": "average", "budget": 0.3, "metric": "mean_delta"}
    for end, other in zip(ends, ("value", "high", "low"), strict=True):
        found = value(built["pareto"], end, call_rate=0.0, **own)
        expected = -value(built["routers"], other, **chance)
        assert found == pytest.approx(expected, abs=ROUNDING)


def test_a_bucket_that_no_routed_request_is_in_has_an_upper_limit(
    settings: dict[str, Any], predictions: pa.Table, gains: pa.Table
) -> None:
    """18 requests of a direction routed, none with a loss: Wilson's limit, not 0."""
    columns = {name: gains.column(name) for name in gains.column_names}
    won = np.abs(gains.column("gain").to_numpy()) + 1
    frame = build_table("risk_buckets", settings, predictions,
                        tables.from_columns("gains", columns | {"gain": won})).to_pandas()  # fmt: skip
    row = frame[(frame.router == "length") & (frame.direction == "en-ru") & (frame.budget == 0.3)]
    severe = row[row.bucket == "severe_loss"].iloc[0]
    limit = stats.binomtest(0, 18).proportion_ci(0.9, method="wilson").high
    assert (severe.share, severe.low) == (0, 0)
    assert severe.high == pytest.approx(limit, abs=0.005)  # t of 59 degrees in the place of normal
    gained = row[row.bucket == "substantial_gain"].iloc[0]
    assert (gained.share, gained.high) == (1, 1) and gained.low == pytest.approx(1 - severe.high)


def test_documents_of_running_text_are_drawn_as_one(
    settings: dict[str, Any], predictions: pa.Table, gains: pa.Table
) -> None:
    columns = {name: gains.column(name) for name in gains.column_names}
    documents = [str(int(i) // 5) for i in gains.column("segment_id").to_pylist()]
    # Requests of a document gain alike.
    gain = np.array([10.0 * (int(d) % 3) for d in documents]) + gains.column("gain").to_numpy() / 4
    long = tables.from_columns("gains", columns | {"doc_id": documents, "gain": gain})
    widths = {}
    for name, asked in (("documents", {}), ("groups", {"clusters": "groups"}),
                        ("strings", {"strings": ["news", "chat"]})):  # fmt: skip
        bootstrap = settings["bootstrap"] | asked
        frame = build_table("routers", settings | {"bootstrap": bootstrap}, predictions, long)
        one = frame.to_pandas().query("router == 'random' and metric == 'mean_delta'").iloc[-1]
        widths[name] = one.high - one.low, one.clusters
    assert [widths[name][1] for name in widths] == [12, 60, 60]
    assert widths["strings"] == widths["groups"]
    assert widths["documents"][0] > 1.3 * widths["groups"][0]


def test_risk_buckets_are_means_over_seeds_and_sum_to_1(
    built: dict[str, pa.Table], ranked: dict[Any, pd.DataFrame]
) -> None:
    severe = [(ranked["learned", s, "en-ru"].gain.head(18) <= -5).mean() for s in range(3)]
    own = {"router": "learned", "direction": "en-ru", "budget": 0.3, "bucket": "severe_loss"}
    found = value(built["risk_buckets"], "share", **own)
    assert found == pytest.approx(np.mean(severe), abs=ROUNDING)
    frame = built["risk_buckets"].to_pandas()
    sums = frame.groupby(["router", "direction", "budget"]).share.sum()
    assert np.allclose(sums, 1)


def test_comparisons_are_differences_of_the_routers_table_with_holm_per_family(
    built: dict[str, pa.Table],
) -> None:
    frame = built["comparisons"].to_pandas()
    assert set(zip(frame.router, frame.other, strict=True)) == {
        ("random", "length"), ("random", "learned"), ("length", "learned"),
    }  # fmt: skip
    routers = built["routers"].to_pandas().set_index(["router", "direction", "budget", "metric"])
    for row in frame.itertuples():
        cell = (row.direction, row.budget, row.metric)
        expected = routers.value[(row.router, *cell)] - routers.value[(row.other, *cell)]
        assert row.difference == pytest.approx(expected, abs=ROUNDING)
        assert row.low <= row.high
    for _, family in frame.groupby(["metric", "direction", "budget"]):
        # An undefined p-value (replicates that do not vary) counts as 1, and stays undefined.
        p = family.p_value.fillna(1).sort_values()
        by_hand = np.minimum(np.maximum.accumulate(p * [3, 2, 1]), 1)
        by_hand[family.p_value.isna()] = np.nan
        assert family.p_holm[p.index].tolist() == pytest.approx(by_hand.tolist(), nan_ok=True)


def test_a_guard_at_quantile_1_is_none_and_at_the_budget_is_the_guard_itself(
    built: dict[str, pa.Table], ranked: dict[Any, pd.DataFrame]
) -> None:
    for budget in (0.1, 0.3):
        row = {"router": "learned", "direction": "average", "budget": budget}
        own = value(built["guards"], "mean_delta", guard="none", **row)
        unguarded = value(built["routers"], **(row | {"metric": "mean_delta"}))
        assert own == pytest.approx(unguarded, abs=ROUNDING)
        for guard in ("length", "gain-oracle"):
            at_1 = value(built["guards"], "mean_delta", guard=guard, quantile=1.0, **row)
            assert at_1 == pytest.approx(own, abs=ROUNDING)
            for end in ("", "_low", "_high"):  # the same requests in every replicate
                name = f"mean_delta_difference{end}"
                none = value(built["guards"], name, guard=guard, quantile=1.0, **row)
                assert none == pytest.approx(0, abs=ROUNDING)
            k = int(budget * 60)  # a guard decides, so its ties are broken by key
            alone = np.mean([ranked[guard, 0, d].gain.head(k).mean() for d in DIRECTIONS])
            degenerate = value(built["guards"], "mean_delta", guard=guard, quantile=budget, **row)
            assert degenerate == pytest.approx(alone, abs=ROUNDING)
            assert value(built["guards"], "oracle", guard=guard, quantile=0.6, **row) is (
                guard == "gain-oracle"
            )


def test_guards_are_compared_with_none_on_the_same_replicates(built: dict[str, pa.Table]) -> None:
    frame = built["guards"].to_pandas()
    key = ["router", "direction", "budget"]
    both = frame.merge(frame[frame.guard == "none"], on=key, suffixes=("", "_alone"))
    assert len(both) == len(frame)
    for figure in ("severe_loss", "mean_delta"):
        difference = both[figure] - both[f"{figure}_alone"]
        assert both[f"{figure}_difference"].tolist() == pytest.approx(difference.tolist())
        low, high = both[f"{figure}_difference_low"], both[f"{figure}_difference_high"]
        assert (low <= high).all()
    # Most requests are the same: the difference is known better than the figure itself.
    apart = frame.mean_delta_high - frame.mean_delta_low
    paired = frame.mean_delta_difference_high - frame.mean_delta_difference_low
    assert (paired < apart)[frame["quantile"] >= 0.6].mean() >= 0.9


def test_without_severe_losses_their_difference_is_within_what_either_may_have(
    settings: dict[str, Any], predictions: pa.Table, gains: pa.Table
) -> None:
    none_severe = settings | {"risk_edges": [-1000, -0.5, 0.5]}
    frame = build_table("guards", none_severe, predictions, gains).to_pandas()
    assert (frame.severe_loss == 0).all()
    low, high = frame.severe_loss_difference_low, frame.severe_loss_difference_high
    same = (frame.guard == "none") | (frame["quantile"] == 1)  # the very same requests
    assert (low[same] == 0).all()
    assert (high[same] == 0).all()
    assert low[~same].tolist() == pytest.approx((-frame.severe_loss_high[~same]).tolist())
    assert high[~same].tolist() == pytest.approx(frame.severe_loss_high[~same].tolist())


def test_without_guards_the_table_is_empty_and_valid(
    settings: dict[str, Any], predictions: pa.Table, gains: pa.Table
) -> None:
    none = settings | {"guards": {"rank": [], "signals": [], "quantiles": []}}
    table = build_table("guards", none, predictions, gains)
    tables.check(table, "guards", "guards")
    assert table.num_rows == 0


def test_the_order_of_rows_changes_nothing(
    settings: dict[str, Any],
    predictions: pa.Table,
    gains: pa.Table,
    other_gains: dict[str, pa.Table],
    built: dict[str, pa.Table],
) -> None:
    shuffled = [
        table.take(np.random.default_rng(0).permutation(table.num_rows))
        for table in (predictions, gains)
    ]
    found = build_table("routers", settings, *shuffled, None, other_gains).to_pandas()
    key = ["router", "direction", "budget", "metric"]
    expected = built["routers"].to_pandas().set_index(key).sort_index()
    found = found.set_index(key).sort_index()
    # low and high too: the same replicates were drawn.
    pd.testing.assert_frame_equal(found, expected, rtol=0, atol=ROUNDING)


def test_a_constant_priority_has_no_spearman_and_says_why(
    settings: dict[str, Any], predictions: pa.Table, gains: pa.Table
) -> None:
    frame = predictions.to_pandas()
    here = (frame.router == "length") & (frame.direction == "ru-en")
    frame.loc[here, "priority"] = 4.0
    constant = tables.from_columns("predictions", {c: frame[c].to_numpy() for c in frame})
    found = build_table("routers", settings, constant, gains)
    row = {"router": "length", "budget": 0.3, "metric": "spearman"}
    assert np.isnan(value(found, direction="average", **row))
    reason = value(found, "reason", direction="average", **row)
    assert reason == "ru-en: priority is 4 for all 60 requests"
    assert not np.isnan(value(found, direction="en-ru", **row))


def rows_where(table: pa.Table, **equal: Any) -> np.ndarray:
    mask = np.ones(table.num_rows, dtype=bool)
    for name, wanted in equal.items():
        mask &= table.column(name).to_numpy() == wanted
    return np.flatnonzero(mask)


def test_missing_repeated_and_unknown_predictions_are_named(
    settings: dict[str, Any], predictions: pa.Table, gains: pa.Table
) -> None:
    own = rows_where(predictions, router="learned", seed=1, direction="ru-en", dataset="news")
    kept = np.setdiff1d(np.arange(predictions.num_rows), own[[4, 7]])
    with pytest.raises(UserError) as error:
        build_table("routers", settings, predictions.take(kept), gains)
    for part in ("'learned', seed 1, direction ru-en", "2 are missing", "news:004, news:007"):
        assert part in str(error.value)

    twice = pa.concat_tables([predictions, predictions.take(own[:1])])
    with pytest.raises(UserError, match=r"1 occur more than once \(first: news:000\)"):
        build_table("pareto", settings, twice, gains)

    fewer = gains.filter(pc.not_equal(gains.column("dataset"), "chat"))
    with pytest.raises(UserError, match=r"20 are of requests that have no gain \(first: chat:000"):
        build_table("routers", settings, predictions, fewer)


def test_gains_given_twice_are_refused(
    settings: dict[str, Any], predictions: pa.Table, gains: pa.Table
) -> None:
    with pytest.raises(UserError, match="gains: 120 requests occur more than once"):
        build_table("routers", settings, predictions, pa.concat_tables([gains, gains]))


def test_a_budget_that_chooses_nothing_is_refused(
    settings: dict[str, Any], predictions: pa.Table, gains: pa.Table
) -> None:
    tiny = copy.deepcopy(settings) | {"budgets": [0.01]}
    with pytest.raises(UserError, match=r"'budgets': 0.01 of the 60 requests"):
        build_table("routers", tiny, predictions, gains)


def test_without_any_gain_spearman_and_headroom_are_undefined_for_everyone(
    settings: dict[str, Any], predictions: pa.Table, gains: pa.Table
) -> None:
    columns = {name: gains.column(name) for name in gains.column_names}
    flat = tables.from_columns("gains", columns | {"gain": np.zeros(gains.num_rows)})
    frame = build_table("routers", settings, predictions, flat).to_pandas()
    for metric in ("spearman", "headroom"):
        rows = frame[frame.metric == metric]
        assert rows.value.isna().all()
        assert rows.reason.notna().all()
