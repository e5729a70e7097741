"""Table `human` against the comparisons of both judges, and its verdicts where the truth is known."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from routelmt import tables
from routelmt.errors import UserError
from routelmt.evaluate.build import build_table
from routelmt.views.layouts import blocks

KEY = ["router", "other", "direction", "budget"]


def made(size: int, agreement: float, seed: int = 0) -> tuple[pa.Table, pa.Table, pa.Table]:
    """Predictions of a good and a poor router, gains by a metric, and by people, half as large."""
    rng = np.random.default_rng(seed)
    true = rng.normal(0, 10, size)
    key = {"dataset": "news", "direction": "en-ru", "segment_id": [f"{i:05d}" for i in range(size)]}
    gain = {"metric": true, "people": 0.5 * (agreement * true + rng.normal(0, 10, size))}
    gains = [
        tables.from_columns("gains", key | {"group_id": key["segment_id"], "quality_small": 50.0,
                                            "quality_large": 50 + g, "gain": g})
        for g in gain.values()
    ]  # fmt: skip
    priority = {"good": true + rng.normal(0, 15, size), "poor": true + rng.normal(0, 40, size)}
    predictions = [
        tables.from_columns("predictions", key | {"router": r, "seed": 0, "prediction": p, "priority": p})
        for r, p in priority.items()
    ]  # fmt: skip
    return pa.concat_tables(predictions), *gains


def built(size: int, agreement: float) -> pa.Table:
    predictions, gains, people = made(size, agreement)
    settings = {"bootstrap": {"replicates": 300, "seed": 0, "level": 0.95},
                "budgets": [0.3], "oracles": [], "random": [], "metric": "metric",
                "judge_metrics": ["people"], "human": ["people"]}  # fmt: skip
    table = build_table("human", settings, predictions, gains, None, {"people": people})
    tables.check(table, "human", "here")
    return table


def test_both_judges_differences_are_those_of_comparisons(
    settings: dict[str, Any],
    predictions: pa.Table,
    gains: pa.Table,
    other_gains: dict[str, pa.Table],
) -> None:
    given = settings | {"judge_metrics": ["comet", "bleu"], "human": ["bleu"]}
    frame = build_table("human", given, predictions, gains, None, other_gains).to_pandas()
    frame = frame.set_index(KEY)
    both = [build_table("comparisons", given, predictions, by).to_pandas()
            for by in (gains, other_gains["bleu"])]  # fmt: skip
    own, people = (f[f.metric == "mean_delta"].set_index(KEY).loc[frame.index] for f in both)
    assert frame.metric_difference.tolist() == own.difference.tolist()
    for column in ("difference", "low", "high", "p_holm", "detectable"):
        assert np.array_equal(frame[column], people[column], equal_nan=True)
    by_place = [t.to_pandas().groupby("direction").gain.std(ddof=0)
                for t in (gains, other_gains["bleu"])]  # fmt: skip
    deviation = {place: [by[place] for by in by_place] for place in ("en-ru", "ru-en")}
    deviation["average"] = np.mean(list(deviation.values()), axis=0).tolist()
    for (_, _, place, _), row in frame.iterrows():
        metric, judge = deviation[place]
        assert row.expected == pytest.approx(row.metric_difference * judge / metric)
    assert frame.loc[("random", "length", "average", 0.3)].requests == 120


def test_the_verdict_needs_enough_requests() -> None:
    """In 36 segments nothing can be told; in many, people agree, disagree, or see no difference."""
    cases = ((36, 0.4, "too few requests to tell"), (3000, 1.0, "holds"),
             (3000, -1.0, "reversed"), (3000, 0.0, "not confirmed"))  # fmt: skip
    for size, agreement, verdict in cases:
        table = built(size, agreement)
        assert table.column("verdict").to_pylist() == [verdict] * 2, (size, agreement)
    assert table.column("detectable")[0].as_py() < table.column("expected")[0].as_py()
    assert table.column("metric_p_holm")[0].as_py() < 0.001


def test_the_printed_table_says_it() -> None:
    block = blocks(built(36, 0.4), "human")[0]
    assert block.rows[0][1][-1].value == "too few requests to tell"
    assert "Requests that people scored: 36." in block.note


def test_people_without_gains_are_named() -> None:
    predictions, gains, _ = made(40, 1.0)
    settings = {"bootstrap": {"replicates": 100, "seed": 0, "level": 0.95}, "budgets": [0.3],
                "oracles": [], "random": [], "metric": "metric", "human": ["people"]}  # fmt: skip
    with pytest.raises(UserError, match="no gains by people"):
        build_table("human", settings, predictions, gains)
