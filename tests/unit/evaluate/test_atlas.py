"""Tables `atlas` and `atlas_signals` against loops over pairs with scipy, and the bootstrap's rows."""

from __future__ import annotations

from itertools import combinations, permutations, product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from scipy.stats import pearsonr, spearmanr

from routelmt import tables
from routelmt.errors import UserError
from routelmt.evaluate import atlas as arrays
from routelmt.evaluate import atlas_tables
from routelmt.evaluate.given import Given
from routelmt.join import tie_keys
from routelmt.stats.bootstrap import replicate_weights

METRICS = ["xcomet", "metricx", "judge", "rater", "raters"]
MODELS = ["alpha", "beta", "gamma", "delta"]
SIZES = {"en-ru": 60, "en-zh": 45}
SHARING = {"rater": ["rater", "raters"], "raters": ["rater", "raters"]}
BUDGETS = [0.3, 0.1]
Frame = pd.DataFrame


@pytest.fixture(scope="module")
def scores() -> Frame:
    """Rounded, so that gains tie; single scores are missing, a system a direction, a metric one."""
    rng, rows = np.random.default_rng(0), []
    for direction, size in SIZES.items():
        hard = rng.normal(0, 10, size)
        for model, level in zip(MODELS, (60, 64, 70, 61), strict=True):
            true = level + hard + rng.normal(0, 8, size)
            seen = {m: true + rng.normal(0, 6, size) for m in METRICS[:4]}
            seen["raters"] = (seen["rater"] + true) / 2
            for metric, values in seen.items():
                if (direction, model) == ("en-zh", "delta") or (direction, metric) == (
                    "en-ru",
                    "judge",
                ):
                    continue
                kept = rng.random(size) > (0.05 if model == "beta" else 0)
                rows += [(metric, model, direction, f"{i:03d}", round(values[i] / 3) * 3.0)
                         for i in np.flatnonzero(kept)]  # fmt: skip
    return pd.DataFrame(rows, columns=["metric", "model", "direction", "segment_id", "score"])


@pytest.fixture(scope="module")
def given(scores: Frame, tmp_path_factory: pytest.TempPathFactory) -> Given:
    folder, files = tmp_path_factory.mktemp("atlas"), []
    for (metric, model, direction), own in scores.groupby(["metric", "model", "direction"]):
        columns = {"dataset": "wmt", "direction": direction, "segment_id": own.segment_id.tolist(),
                   "metric": metric, "model": model, "score": own.score.to_numpy(),
                   "truncated": False, "error_spans": None}  # fmt: skip
        files.append(folder / f"{metric}-{model}-{direction}.parquet")
        tables.write(tables.from_columns("scores", columns), files[-1], "scores", {})
    ids = [(d, f"{i:03d}") for d, size in SIZES.items() for i in range(size)]
    key = {"dataset": "wmt", "direction": [d for d, _ in ids], "segment_id": [i for _, i in ids]}
    segments = key | {"group_id": [i for _, i in ids], "doc_id": [str(int(i) // 4) for _, i in ids],
                      "domain": None, "split": "test", "source": "text", "reference": "text"}  # fmt: skip
    length = np.random.default_rng(1).integers(1, 9, len(ids)).astype(float)  # ties
    predictions = [key | {"router": "length", "seed": seed, "prediction": p, "priority": p}
                   for seed, p in ((0, length), (1, -length))]  # fmt: skip
    paths = {"pool_scores": files, "segments": [folder / "segments.parquet"],
             "signal_predictions": [folder / "predictions.parquet"]}  # fmt: skip
    tables.write(tables.from_columns("segments", segments), *paths["segments"], "segments", {})
    made = pa.concat_tables([tables.from_columns("predictions", p) for p in predictions])
    tables.write(made, *paths["signal_predictions"], "predictions", {})
    return Given(paths)


@pytest.fixture(scope="module")
def settings() -> dict[str, Any]:
    bootstrap = {"replicates": 200, "seed": 3, "level": 0.9, "clusters": "documents", "strings": []}
    return {
        "atlas": {
            "models": MODELS, "metrics": METRICS, "intervals": [["alpha", "gamma"], ["alpha", "delta"]],
            "signals": ["length"], "bootstrap": bootstrap,
            "sharing": {metric: SHARING.get(metric, [metric]) for metric in METRICS},
        },
        "budgets": BUDGETS,
        "risk_edges": [-5, -0.5, 0.5],
    }  # fmt: skip


@pytest.fixture(scope="module")
def frames(given: Given, settings: dict[str, Any]) -> dict[str, Frame]:
    found = atlas_tables.subject(settings, given)
    made = {
        "atlas": atlas_tables.atlas(settings, found),
        "atlas_signals": atlas_tables.atlas_signals(settings, found),
    }
    for name, table in made.items():
        tables.check(table, name, "here")
    return {name: table.to_pandas() for name, table in made.items()}


def pair_of(scores: Frame, direction: str, small: str, large: str) -> tuple[Frame, Frame, Any]:
    """Gains and the small system's quality, a column a metric, and the order of ties."""
    here = scores[scores.direction == direction]
    wide = here.pivot_table(index="segment_id", columns=["metric", "model"], values="score")
    there = [m for m in METRICS if (m, small) in wide and (m, large) in wide]
    gain = pd.DataFrame({m: wide[m, large] - wide[m, small] for m in there}).dropna()
    quality = pd.DataFrame({m: wide[m, small] for m in there}).loc[gain.index]
    return gain, quality, pd.Series(tie_keys(f"wmt:{i}" for i in gain.index), gain.index)


def mean_of_first(priority: pd.Series, gain: pd.Series, ties: pd.Series, budget: float) -> float:
    order = pd.DataFrame({"p": -priority, "t": ties}).sort_values(["p", "t"]).index
    return float(gain[order[: int(budget * len(gain) + 1e-9)]].mean())


def one(frame: Frame, **equal: Any) -> Any:
    for column, wanted in equal.items():
        frame = frame[frame[column] == wanted]
    assert len(frame) == 1, equal
    return frame.iloc[0]


def reliability(r: Frame, metric: str) -> float:
    """By the metrics that share no rater with it, of `rater` and `raters` the first."""
    others = [m for m in r if m not in SHARING.get(metric, [metric])]
    others = [m for m in others if not (m == "raters" and "rater" in others)]
    two = list(combinations(others, 2))
    found = sum(r[metric][b] * r[metric][c] for b, c in two) / sum(r[b][c] for b, c in two)
    return float(found) if 0 < found <= 1 else np.nan


def test_every_pair_is_as_by_hand_in_every_direction(
    frames: dict[str, Frame], scores: Frame
) -> None:
    key = ["small", "large", "direction", "metric", "budget"]
    rows = frames["atlas"].set_index(key).to_dict("index")
    checked = 0
    for direction, (small, large) in product(SIZES, permutations(MODELS, 2)):
        if direction == "en-zh" and "delta" in (small, large):
            continue
        gain, _, ties = pair_of(scores, direction, small, large)
        linear, by_rank = gain.corr(), gain.corr("spearman")
        for metric, budget in product(gain, BUDGETS):
            g = gain[metric]
            apart = [m for m in gain if m not in SHARING.get(metric, [metric])]
            raw = mean_of_first(g, g, ties, budget) - g.mean()
            cross = [mean_of_first(gain[m], g, ties, budget) - g.mean() for m in apart]
            r = reliability(linear, metric)
            expected = {
                "requests": len(gain), "mean_gain": g.mean(), "losses": (g < -0.5).mean(),
                "severe_losses": (g <= -5).mean(), "headroom": raw,
                "cross_headroom": np.mean(cross), "reliability": r,
                "attainable_headroom": r**0.5 * raw,
                "attainable_spearman": reliability(by_rank, metric) ** 0.5,
                "agreement_pearson": linear[metric][apart].mean(),
                "agreement_spearman": by_rank[metric][apart].mean(),
            }  # fmt: skip
            row = rows[small, large, direction, metric, budget]
            for name, value in expected.items():
                assert row[name] == pytest.approx(value, abs=1e-9, nan_ok=True), (name, metric)
            checked += 1
    assert checked == (12 * 4 + 6 * 5) * 2
    # And the average, where delta's pairs have no `judge`.
    assert len(rows) == checked + (12 * 5 - 6) * 2


def test_the_average_is_over_the_directions_that_have_the_pair(
    frames: dict[str, Frame], scores: Frame
) -> None:
    """A metric that one direction lacks is judged on the other alone."""
    for small, metric, over in (
        ("beta", "xcomet", 2),
        ("beta", "judge", 1),
        ("delta", "xcomet", 1),
    ):
        places = list(SIZES)[:over] if metric != "judge" else ["en-zh"]
        pairs = [pair_of(scores, place, small, "gamma") for place in places]
        row = one(frames["atlas"], small=small, large="gamma", direction="average", metric=metric,
                  budget=0.3)  # fmt: skip
        assert row.directions == over
        means = [gain[metric].mean() for gain, _, _ in pairs]
        raw = [mean_of_first(gain[metric], gain[metric], ties, 0.3) for gain, _, ties in pairs]
        assert row.mean_gain == pytest.approx(np.mean(means))
        assert row.headroom == pytest.approx(np.mean(raw) - np.mean(means))
        signal = one(frames["atlas_signals"], small=small, large="gamma", direction="average",
                     metric=metric, budget=0.3, kind="quality", signal="metricx")  # fmt: skip
        own = [mean_of_first(-q["metricx"], gain[metric], ties, 0.3) for gain, q, ties in pairs]
        expected = (np.mean(own) - np.mean(means)) / (np.mean(raw) - np.mean(means))
        assert signal.recovered == pytest.approx(expected)


def test_what_signals_recover_is_as_by_hand(
    frames: dict[str, Frame], scores: Frame, given: Given
) -> None:
    """And is in each direction for the chosen pairs alone; of two seeds the first counts."""
    gain, quality, ties = pair_of(scores, "en-zh", "alpha", "gamma")
    frame = frames["atlas_signals"]
    predictions = (
        given.read("signal_predictions").to_pandas().query("direction == 'en-zh' and seed == 0")
    )
    length = predictions.set_index("segment_id").priority.loc[gain.index]
    rankings = {("gain", m): gain[m] for m in METRICS} | {
        ("quality", m): -quality[m] for m in METRICS
    }
    for (kind, signal), priority in (rankings | {("router", "length"): length}).items():
        if (kind, signal) == ("gain", "rater"):
            continue
        row = one(frame, small="alpha", large="gamma", direction="en-zh", metric="rater", budget=0.1,
                  kind=kind, signal=signal)  # fmt: skip
        g = gain["rater"]
        raw = mean_of_first(g, g, ties, 0.1) - g.mean()
        won = mean_of_first(priority, g, ties, 0.1) - g.mean()
        assert row.recovered == pytest.approx(won / raw)
        assert row.spearman == pytest.approx(spearmanr(priority, g).statistic)
        assert row.pearson == pytest.approx(pearsonr(priority, g).statistic)
        assert row.shares_rater == (signal in SHARING["rater"])
    assert not len(frame.query("kind == 'gain' and signal == metric"))
    by_direction = frame[frame.direction != "average"]
    assert set(zip(by_direction.small, by_direction.large, strict=True)) == {
        ("alpha", "gamma"),
        ("alpha", "delta"),
    }


def test_intervals_are_of_replicates_with_copied_documents(
    frames: dict[str, Frame], given: Given, settings: dict[str, Any]
) -> None:
    """Statistics of replicates against rows copied as often as drawn, ties as expectation."""
    pool = atlas_tables.read(settings["atlas"], given)
    drawn, ids = arrays.pair_replicates(pool.pools, (0, 2), BUDGETS, [-5, -0.5], (40, 3))
    weights = np.concatenate(list(replicate_weights(np.concatenate(ids), 40, 3)))
    own = weights[:, : len(ids[0])]
    assert np.isnan(drawn.mean_gain[0, 2]).all()  # en-ru has no `judge`
    quality = pool.pools[0].quality
    gain = quality[:, 2] - quality[:, 0]
    for b in range(40):
        copied = np.repeat(gain, own[b], axis=1)
        g, m = copied[0], copied[1]
        assert drawn.mean_gain[0, 0, b] == pytest.approx(g.mean())
        assert drawn.losses[0, 0, b] == pytest.approx((g < -0.5).mean())
        assert drawn.pearson[0, 1, 0, b] == pytest.approx(pearsonr(g, m).statistic)
        assert drawn.spearman[0, 1, 0, b] == pytest.approx(spearmanr(g, m).statistic)
        k = int(0.3 * len(g) + 1e-9)
        edge = np.sort(m)[-k]
        tied = g[m == edge]
        expected = (g[m > edge].sum() + (k - (m > edge).sum()) * tied.mean()) / k
        assert drawn.delta[0, 0, 1, 0, b] == pytest.approx(expected)
    row = one(
        frames["atlas"],
        small="alpha",
        large="gamma",
        direction="average",
        metric="xcomet",
        budget=0.3,
    )
    assert row.mean_gain_low < row.mean_gain < row.mean_gain_high and row.clusters == 15
    assert row.attainable_headroom_low < row.attainable_headroom < row.attainable_headroom_high
    other = one(
        frames["atlas"],
        small="gamma",
        large="alpha",
        direction="average",
        metric="xcomet",
        budget=0.3,
    )
    assert np.isnan(other.mean_gain_low) and np.isnan(other.clusters)


def test_one_metric_has_no_attainable_headroom(given: Given, settings: dict[str, Any]) -> None:
    only = [path for path in given.paths["pool_scores"] if path.name.startswith("xcomet")]
    spec = settings["atlas"] | {"metrics": ["xcomet"], "intervals": [], "signals": []}
    alone = Given({**given.paths, "pool_scores": only})
    changed = settings | {"atlas": spec}
    frame = atlas_tables.atlas(changed, atlas_tables.subject(changed, alone)).to_pandas()
    assert frame.attainable_headroom.isna().all() and set(frame.method) == {"none"}
    assert set(frame.reason) == {"one metric alone says nothing of its noise"}


def test_scores_of_other_segments_are_refused(
    given: Given, settings: dict[str, Any], tmp_path: Path
) -> None:
    table = tables.read(given.paths["pool_scores"][0], "scores")
    strange = table.set_column(0, table.schema.field(0), pa.array(["elsewhere"] * table.num_rows))
    tables.write(strange, tmp_path / "strange.parquet", "scores", {})
    paths = {**given.paths, "pool_scores": [tmp_path / "strange.parquet"]}
    with pytest.raises(UserError, match="scores of requests that no segment has"):
        atlas_tables.subject(settings, Given(paths))


def test_gains_that_are_constant_correlate_with_nothing() -> None:
    quality = np.random.default_rng(0).normal(50, 10, (2, 3, 30))
    quality[:, 2] = quality[:, 0] + 0.1  # 50.3 - 50.2 is not 0.1
    pool = arrays.Pool(quality, np.empty((0, 30)), np.arange(30), np.arange(30).astype(np.uint64))
    _, found = arrays.pair_statistics(pool, np.array([[0, 2], [0, 1]]), [0.3], [-5, -0.5])
    assert np.isnan(found.pearson[:2, :, 0]).all() and not np.isnan(found.pearson[..., 1]).any()
    assert found.mean_gain[:, 0] == pytest.approx(0.1)
