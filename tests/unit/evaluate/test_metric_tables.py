"""router_metrics, breakdown, noise and cross_metric against pandas, scipy and plain Python."""

from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from scipy.stats import kendalltau, spearmanr

from routelmt import tables
from routelmt.data.words import words
from routelmt.errors import UserError
from routelmt.evaluate import cross_metric, label_noise
from routelmt.evaluate.breakdown import quarters
from routelmt.evaluate.build import build_table
from routelmt.evaluate.requests import gains_by_metric

ROUNDING = 1e-9
DIRECTIONS = ["en-ru", "ru-en"]


@pytest.fixture(scope="module")
def frames(
    settings: dict[str, Any],
    predictions: pa.Table,
    gains: pa.Table,
    segments: pa.Table,
    other_gains: dict[str, pa.Table],
) -> dict[str, pd.DataFrame]:
    names = ("routers", "pareto", "router_metrics", "breakdown", "noise", "cross_metric")
    given = (settings, predictions, gains, segments, other_gains)
    return {name: build_table(name, *given).to_pandas() for name in names}


@pytest.fixture(scope="module")
def joined(predictions: pa.Table, gains: pa.Table, segments: pa.Table) -> pd.DataFrame:
    key = list(tables.JOIN_KEY)
    known = gains.to_pandas().drop(columns=["doc_id", "domain"])
    found = predictions.to_pandas().merge(known, on=key)
    return found.merge(segments.to_pandas()[[*key, "domain", "source"]], on=key)


def has_doubt(frame: pd.DataFrame) -> pd.Series:
    """Undefined on the requests as they are, or in more than 5 % of the replicates."""
    return frame.value.isna() | (frame.undefined > 0.05)


def one(frame: pd.DataFrame, column: str = "value", **equal: Any) -> Any:
    for name, wanted in equal.items():
        own = frame[name].isna() if wanted is None else frame[name] == wanted
        frame = frame[own]
    assert len(frame) == 1, equal
    return frame[column].iloc[0]


def expected_mean(requests: pd.DataFrame, k: int) -> float:
    boundary = requests.priority.nlargest(k).min()
    above = requests[requests.priority > boundary].gain
    tied = requests[requests.priority == boundary].gain
    return (above.sum() + (k - len(above)) * tied.mean()) / k


def test_metrics_with_a_budget_are_those_of_table_routers(frames: dict[str, pd.DataFrame]) -> None:
    key = ["router", "direction", "budget", "metric"]
    found = frames["router_metrics"].set_index(key)
    columns = ["value", "low", "high", "seeds", "seed_spread", "requests"]
    for row in frames["routers"].itertuples():
        if row.metric in ("spearman", "headroom_attainable"):
            continue
        own = found.loc[(row.router, row.direction, row.budget, row.metric)]
        expected = [getattr(row, column) for column in columns]
        assert own[columns].tolist() == pytest.approx(expected, abs=ROUNDING, nan_ok=True)
    rho = frames["routers"].query("metric == 'spearman' and budget == 0.3")
    for row in rho.itertuples():
        own = one(
            frames["router_metrics"], router=row.router, direction=row.direction, metric="spearman"
        )
        assert own == pytest.approx(row.value, abs=ROUNDING)


def test_pgr_is_read_off_the_pareto_curve(frames: dict[str, pd.DataFrame]) -> None:
    curve = frames["pareto"].query("router == 'learned' and direction == 'en-ru'")
    quality = curve.set_index("call_rate").quality
    row = {"router": "learned", "direction": "en-ru", "metric": "pgr"}
    for budget in (0.1, 0.3):
        expected = (quality[budget] - quality[0.0]) / (quality[1.0] - quality[0.0])
        found = one(frames["router_metrics"], budget=budget, **row)
        assert found == pytest.approx(expected, abs=ROUNDING)


def test_pooled_is_one_ranking_of_all_directions_under_one_budget(
    frames: dict[str, pd.DataFrame], joined: pd.DataFrame
) -> None:
    row = {"router": "length", "direction": "pooled"}
    requests = joined[joined.router == "length"]
    delta = one(frames["router_metrics"], metric="mean_delta", budget=0.3, **row)
    assert delta == pytest.approx(expected_mean(requests, 36), abs=ROUNDING)
    rho = one(frames["router_metrics"], metric="spearman", **row)
    expected = spearmanr(requests.priority, requests.gain).statistic
    assert rho == pytest.approx(expected, abs=ROUNDING)
    assert one(frames["router_metrics"], "requests", metric="spearman", **row) == 120


def test_the_average_is_over_the_directions_without_pooled(frames: dict[str, pd.DataFrame]) -> None:
    frame = frames["router_metrics"].query("router == 'learned' and metric == 'apgr'")
    by_place = frame.set_index("direction").value
    assert by_place["average"] == pytest.approx(by_place[DIRECTIONS].mean(), abs=ROUNDING)


def test_chance_is_the_straight_line(frames: dict[str, pd.DataFrame]) -> None:
    frame = frames["router_metrics"].query("router == 'random' and direction == 'en-ru'")
    found = frame[frame.budget.isna()].set_index("metric").value
    for metric, number in {"spearman": 0, "apgr": 0.5, "cpt_80": 0.8, "auroc": 0.5}.items():
        assert found[metric] == pytest.approx(number, abs=ROUNDING)


def test_what_is_undefined_has_a_reason_and_no_number(
    settings: dict[str, Any], predictions: pa.Table, gains: pa.Table
) -> None:
    """In ru-en the large model is worse by a constant: Q_L < Q_S, no request gains."""
    gain = gains.column("gain").to_numpy().copy()
    gain[np.array(gains.column("direction").to_pylist()) == "ru-en"] = -3.0
    columns = {name: gains.column(name) for name in gains.column_names}
    worse = tables.from_columns("gains", columns | {"gain": gain})
    table = build_table("router_metrics", settings, predictions, worse)
    tables.check(table, "router_metrics", "here")
    frame = table.to_pandas()
    assert (has_doubt(frame) == frame.reason.notna()).all()
    assert frame[frame.value.isna()][["low", "high"]].isna().all().all()
    row = {"router": "learned", "direction": "ru-en"}
    for metric in ("apgr", "cpt_50", "cpt_80", "mpm", "hcr"):
        assert "is not above Q_S" in one(frame, "reason", metric=metric, **row)
    assert one(frame, "reason", metric="auroc", **row) == "no request has a gain above 0"
    assert one(frame, "reason", metric="spearman", **row) == "gain is -3 for all 60 requests"
    average = one(frame, "reason", metric="apgr", router="learned", direction="average")
    assert average.startswith("ru-en: Q_L = ")
    small = gains.filter(pa.compute.equal(gains.column("direction"), "ru-en"))
    quality = np.mean(small.column("quality_small").to_numpy())
    # The best mix sends nothing to the large model.
    assert one(frame, metric="aiq", **row) == pytest.approx(quality, abs=ROUNDING)


def test_a_domain_is_evaluated_as_a_direction_is(
    frames: dict[str, pd.DataFrame], joined: pd.DataFrame
) -> None:
    own = joined.query("router == 'length' and direction == 'en-ru' and domain == 'news'")
    row = {"router": "length", "direction": "en-ru", "by": "domain", "group": "news"}
    delta = one(frames["breakdown"], metric="mean_delta", budget=0.3, **row)
    assert delta == pytest.approx(expected_mean(own, 12), abs=ROUNDING)
    rho = one(frames["breakdown"], metric="spearman", **row)
    assert rho == pytest.approx(spearmanr(own.priority, own.gain).statistic, abs=ROUNDING)
    assert one(frames["breakdown"], "requests", metric="spearman", **row) == 40
    both = [
        one(frames["breakdown"], metric="spearman", **row | {"direction": d}) for d in DIRECTIONS
    ]
    average = one(frames["breakdown"], metric="spearman", **row | {"direction": "average"})
    assert average == pytest.approx(np.mean(both), abs=ROUNDING)


def test_too_small_a_group_has_a_reason_and_no_number(frames: dict[str, pd.DataFrame]) -> None:
    frame = frames["breakdown"]
    rare = frame[frame.group == "rare"]
    assert rare.value.isna().all()
    assert rare.low.isna().all()
    assert set(rare.reason) == {
        "3 requests, 12 are needed", "en-ru: 3 requests, 12 are needed",
    }  # fmt: skip
    assert (has_doubt(frame) == frame.reason.notna()).all()


def test_lengths_fall_into_quarters_and_equal_ones_together(
    frames: dict[str, pd.DataFrame], joined: pd.DataFrame
) -> None:
    own = joined.query("router == 'learned' and direction == 'ru-en' and seed == 0")
    lengths = own.source.map(words)
    edges = np.quantile(lengths, [0.25, 0.5, 0.75])
    first = own[lengths <= edges[0]]
    row = {"router": "learned", "direction": "ru-en", "by": "length", "group": "shortest"}
    found = frames["breakdown"].query("metric == 'spearman'")
    assert one(found, "requests", **row) == len(first)
    assert one(found, "detail", **row) == f"1 to {int(edges[0])} words"
    assert quarters(np.array([5, 5, 5, 5])).tolist() == [0, 0, 0, 0]
    assert quarters(np.arange(8)).tolist() == [0, 0, 1, 1, 2, 2, 3, 3]


def test_breakdown_needs_the_segments_of_every_request(
    settings: dict[str, Any], predictions: pa.Table, gains: pa.Table, segments: pa.Table
) -> None:
    with pytest.raises(UserError, match="give --segments"):
        build_table("breakdown", settings, predictions, gains)
    with pytest.raises(UserError, match=r"segments, direction .* 5 have no row"):
        own = np.flatnonzero(np.array(segments.column("direction").to_pylist()) == "en-ru")
        kept = np.setdiff1d(np.arange(segments.num_rows), own[:5])
        build_table("breakdown", settings, predictions, gains, segments.take(pa.array(kept)))
    with pytest.raises(UserError, match="1 rows are repeated"):
        twice = pa.concat_tables([segments, segments.slice(0, 1)])
        build_table("breakdown", settings, predictions, gains, twice)


def test_the_reliability_is_spearmans_and_attainable_its_root(
    settings: dict[str, Any],
    predictions: pa.Table,
    gains: pa.Table,
    other_gains: dict[str, pa.Table],
) -> None:
    """The label is the noisiest of three metrics."""
    others = {"chrf": gains, "comet": other_gains["comet"]}
    given = settings | {"metric": "bleu"}
    table = build_table("noise", given, predictions, other_gains["bleu"], None, others)
    frame = table.to_pandas()
    here = np.array(gains.column("direction").to_pylist()) == "en-ru"
    a, b, c = (
        t.column("gain").to_numpy()[here] for t in (other_gains["bleu"], gains, others["comet"])
    )
    r_ab, r_ac, r_bc = (spearmanr(*pair).statistic for pair in ((a, b), (a, c), (b, c)))
    expected = r_ab * r_ac / r_bc
    assert 0 < expected < 1
    row = {"router": None, "direction": "en-ru"}
    assert one(frame, "method", measure="reliability", **row) == "one factor"
    assert one(frame, "metrics", measure="reliability", **row) == "bleu, chrf, comet"
    assert one(frame, measure="reliability", **row) == pytest.approx(expected, abs=ROUNDING)
    found = one(frame, measure="attainable_spearman", **row)
    assert found == pytest.approx(np.sqrt(expected), abs=ROUNDING)
    assert one(frame, "low", measure="reliability", **row) < expected
    assert one(frame, "high", measure="reliability", **row) > expected
    rho = one(frame, measure="spearman", router="learned", direction="en-ru")
    own = build_table("routers", given, predictions, other_gains["bleu"]).to_pandas()
    same = {"router": "learned", "direction": "en-ru", "metric": "spearman", "budget": 0.3}
    assert rho == pytest.approx(one(own, **same), abs=ROUNDING)
    share = one(frame, measure="noise_share", router="learned", direction="en-ru")
    assert share == pytest.approx((1 - np.sqrt(expected)) / (1 - rho), abs=ROUNDING)


def test_the_known_reliability_of_made_up_labels_is_found() -> None:
    """True gains of variance 1; errors of variances 0.5, 1 and 2: reliabilities 2/3, 1/2, 1/3."""
    generator = np.random.default_rng(3)
    true = generator.normal(size=40_000)
    observed = [true + generator.normal(0, np.sqrt(v), true.size) for v in (0.5, 1.0, 2.0)]
    r = np.corrcoef(observed)[..., np.newaxis]
    # Sampling error of a correlation at n = 40,000 is 0.005 at most.
    assert label_noise.reliability(r, label_noise.ONE_FACTOR)[0] == pytest.approx(2 / 3, abs=0.02)
    equal = [true + generator.normal(0, 1, true.size) for _ in range(4)]
    r = np.corrcoef(equal)[..., np.newaxis]
    # The mean of four such raters has an error variance of 1/4.
    assert label_noise.reliability(r, label_noise.RATERS)[0] == pytest.approx(0.8, abs=0.02)
    assert label_noise.reliability(r[:2, :2], label_noise.PARALLEL)[0] == pytest.approx(
        0.5, abs=0.02
    )
    attainable = np.corrcoef(true, np.mean(equal, axis=0))[0, 1]
    assert attainable == pytest.approx(np.sqrt(0.8), abs=0.01)


@pytest.mark.parametrize(
    ("method", "correlations"),
    [
        (label_noise.PARALLEL, [[1, -0.2], [-0.2, 1]]),
        (label_noise.ONE_FACTOR, [[1, 0.9, 0.9], [0.9, 1, 0.5], [0.9, 0.5, 1]]),  # above 1
        (label_noise.ONE_FACTOR, [[1, -0.5, -0.5], [-0.5, 1, 0.5], [-0.5, 0.5, 1]]),
        (label_noise.RATERS, [[1, -0.1], [-0.1, 1]]),
    ],
)
def test_correlations_that_fit_no_reliability_give_none(method: str, correlations: Any) -> None:
    assert np.isnan(label_noise.reliability(np.array(correlations)[..., np.newaxis], method))[0]


def test_one_metric_says_nothing_of_its_noise(
    settings: dict[str, Any], predictions: pa.Table, gains: pa.Table
) -> None:
    table = build_table("noise", settings, predictions, gains)
    tables.check(table, "noise", "here")
    frame = table.to_pandas()
    labels = frame[frame.measure != "spearman"]
    assert labels.value.isna().all()
    assert set(labels.reason) == {
        "one metric alone says nothing of its noise; add judge_metrics or raters"
    }
    with pytest.raises(UserError, match="no gains of anna"):
        build_table("noise", settings | {"raters": ["anna", "ben"]}, predictions, gains)


def test_raters_are_averaged(
    settings: dict[str, Any],
    predictions: pa.Table,
    gains: pa.Table,
    other_gains: dict[str, pa.Table],
) -> None:
    given = settings | {"raters": ["comet", "bleu"]}
    frame = build_table("noise", given, predictions, gains, None, other_gains).to_pandas()
    here = np.array(gains.column("direction").to_pylist()) == "ru-en"
    r = spearmanr(*(t.column("gain").to_numpy()[here] for t in other_gains.values())).statistic
    found = one(frame, router=None, direction="ru-en", measure="reliability")
    assert found == pytest.approx(2 * r / (1 + r), abs=ROUNDING)


def test_routers_are_judged_by_the_other_metrics_gains(
    settings: dict[str, Any],
    frames: dict[str, pd.DataFrame],
    predictions: pa.Table,
    other_gains: dict[str, pa.Table],
) -> None:
    frame = frames["cross_metric"]
    own = build_table("routers", settings, predictions, other_gains["comet"]).to_pandas()
    for metric in ("mean_delta", "hit_rate"):
        for row in own[own.metric == metric].itertuples():
            cell = {"router": row.router, "direction": row.direction, "budget": row.budget}
            found = one(frame, judge="comet", metric=metric, **cell)
            assert found == pytest.approx(row.value, abs=ROUNDING)
            if row.role != "random":  # chance's HitRate is exact there, floor(p n) / n here
                low = one(frame, "low", judge="comet", metric=metric, **cell)
                assert low == pytest.approx(row.low, abs=ROUNDING)
    ranks = frame.query("metric == 'rank' and judge == 'chrf' and budget == 0.3")
    learned = ranks.query("router == 'learned' and direction == 'average'")
    assert learned.value.tolist() == [1.0]
    assert ranks[ranks.role != "router"].value.isna().all()
    assert (has_doubt(frame) == frame.reason.notna()).all()


def test_kendalls_tau_is_scipys() -> None:
    generator = np.random.default_rng(1)
    first = generator.integers(0, 4, size=(1, 7, 30)).astype(float)
    second = generator.integers(0, 4, size=(1, 7, 30)).astype(float)
    found = cross_metric.kendall_tau(first, second)[0]
    expected = [kendalltau(first[0, :, b], second[0, :, b]).statistic for b in range(30)]
    assert found == pytest.approx(expected, abs=ROUNDING, nan_ok=True)
    assert np.isnan(cross_metric.kendall_tau(first[:, :1], second[:, :1])).all()
    assert np.isnan(cross_metric.kendall_tau(first[:, :0], second[:, :0])).all()


def test_the_other_gains_are_shared_out_by_metric(gains: pa.Table) -> None:
    parts = [gains.slice(0, 40), gains.slice(40, 20), gains.slice(60, 30), gains.slice(90, 30)]
    shared = gains_by_metric(["comet", "bleu"], parts)
    assert [table.num_rows for table in shared.values()] == [60, 60]
    assert gains_by_metric([], []) == {}
    for names, files in ((["a", "b"], parts[:3]), ([], parts[:1]), (["a"], [])):
        with pytest.raises(UserError, match="--other-gains"):
            gains_by_metric(names, files)


def test_cross_metric_needs_other_gains_of_the_same_requests(
    settings: dict[str, Any], predictions: pa.Table, gains: pa.Table
) -> None:
    with pytest.raises(UserError, match="judge_metrics"):
        build_table("cross_metric", settings, predictions, gains)
    with pytest.raises(UserError, match=r"gains by comet, direction ru-en: .* 60 have no row"):
        only = gains.filter(pa.compute.equal(gains.column("direction"), "en-ru"))
        build_table("cross_metric", settings, predictions, gains, None, {"comet": only})
