"""A metric of type `mean` is the weighted mean of its parts, row by row."""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from routelmt import tables
from routelmt.__main__ import main
from routelmt.errors import UserError
from routelmt.gains import label_gains
from routelmt.score.mean_metric import mean_scores
from routelmt.score.registry import METRICS
from routelmt.score.scorers import open_scorer

ROWS = 1001  # odd, so that vectorised arithmetic has a tail
OF = ["chrf", "bleu", "ter"]


def scores(metric: str, model: str = "s", seed: int = 0, rows: int = ROWS) -> pa.Table:
    generator = np.random.default_rng([seed, *metric.encode()])
    return tables.from_columns(
        "scores",
        {
            "dataset": "d", "direction": "en-zh", "segment_id": [f"{i}" for i in range(rows)],
            "metric": metric, "model": model, "score": generator.uniform(-100, 100, rows),
            "truncated": generator.random(rows) < 0.1, "error_spans": ["[]"] * rows,
        },
    )  # fmt: skip


@pytest.mark.parametrize("weights", [None, [1, 1, 1], [0.5, 3, 0.1]])
def test_a_score_is_the_weighted_mean_in_exact_arithmetic(weights: list[float] | None) -> None:
    parts = [scores(metric) for metric in OF]
    found = mean_scores(parts, "all", {"type": "mean", "of": OF, "weights": weights})
    tables.check(found, "scores", "mean")
    exact = [Fraction(weight) for weight in weights or [1, 1, 1]]
    for i in range(0, ROWS, 97):
        terms = [Fraction(part.column("score")[i].as_py()) for part in parts]
        expected = sum(w * s for w, s in zip(exact, terms, strict=True)) / sum(exact)
        # Three products and sums of numbers up to 300, each rounded to 2^-53.
        assert found.column("score")[i].as_py() == pytest.approx(float(expected), abs=1e-12)
        assert found.column("truncated")[i].as_py() == any(
            part.column("truncated")[i].as_py() for part in parts
        )
    assert found.column("error_spans").null_count == ROWS
    assert set(found.column("metric").to_pylist()) == {"all"}
    assert set(found.column("model").to_pylist()) == {"s"}


def test_the_order_of_files_and_of_rows_changes_nothing() -> None:
    settings = {"of": OF, "weights": [3, 2, 1]}
    parts = [scores(metric) for metric in OF]
    expected = mean_scores(parts, "all", settings)
    shuffled = parts[1].take(np.random.default_rng(0).permutation(ROWS))
    assert mean_scores([parts[2], shuffled, parts[0]], "all", settings).equals(expected)


def test_identical_outputs_gain_exactly_nothing_wherever_they_stand() -> None:
    """The large model's table has other rows before and after the rows that are equal."""
    settings = {"of": OF, "weights": [0.3, 0.3, 0.1]}
    small = [scores(metric) for metric in OF]
    other = [scores(metric, "l", seed=1) for metric in OF]
    same = np.arange(ROWS) % 3 == 1
    large = [
        b.set_column(5, b.schema.field("score"), pa.array(np.where(same, a["score"], b["score"])))
        for a, b in zip(small, other, strict=True)
    ]
    segments = tables.from_columns(
        "segments",
        {
            **{k: small[0].column(k) for k in tables.JOIN_KEY}, "group_id": "g",
            "doc_id": pa.nulls(ROWS, pa.string()), "domain": pa.nulls(ROWS, pa.string()),
            "split": "test", "source": "x", "reference": "y",
        },
    )  # fmt: skip
    order = np.random.default_rng(2).permutation(ROWS)
    large = [table.take(order) for table in large]
    means = [mean_scores(parts, "all", settings) for parts in (small, large)]
    gain = label_gains(segments, *means).column("gain").to_numpy()
    assert np.all(gain[same] == 0) and np.all(gain[~same] != 0)


def test_of_one_metric_it_is_that_metric() -> None:
    part = scores("chrf")
    found = mean_scores([part], "one", {"of": ["chrf"]})
    assert found.column("score").equals(part.column("score"))


def refusal(parts: list[pa.Table], **settings: Any) -> str:
    with pytest.raises(UserError) as error:
        mean_scores(parts, "all", {"of": OF, **settings})
    return str(error.value)


def test_what_does_not_fit_is_named() -> None:
    parts = [scores(metric) for metric in OF]
    assert "missing of ter" in refusal(parts[:2])
    assert "not asked for of xcomet" in refusal([*parts, scores("xcomet")])
    assert "'bleu' are given twice" in refusal([*parts, parts[1]])
    assert "2 weights for the 3 metrics chrf, bleu, ter" in refusal(parts, weights=[1, 2])
    assert "not all positive" in refusal(parts, weights=[1, 0, 2])
    assert "not all positive" in refusal(parts, weights=[1, float("nan"), 2])
    assert "each once" in refusal(parts, of=["chrf", "chrf"])
    assert "each once" in refusal([], of=[])
    fewer = [parts[0], parts[1].slice(0, ROWS - 2), parts[2]]
    message = refusal(fewer)
    assert "scores of 'bleu' lack rows (2, first: d/en-zh/999" in message
    assert "metric 'all'" in message
    message = refusal([*parts[:2], scores("ter", "l")])
    assert "not of one model: 'chrf' of s; 'bleu' of s; 'ter' of l" in message


def test_the_command_writes_an_ordinary_scores_table(tmp_path: Path) -> None:
    files = []
    for metric in OF:
        files.append(str(tmp_path / f"{metric}.parquet"))
        record = {"parents": [], "signature": {"signature": metric, "reference": metric != "ter"}}
        tables.write(scores(metric), files[-1], "scores", record)
    out = tmp_path / "all.parquet"
    settings = {"type": "mean", "of": OF, "weights": [2, 1, 1]}
    command = ["mean-scores", "--metric", "all", "--out", str(out), "--settings"]
    assert main([*command, json.dumps(settings), "--scores", *files]) == 0
    assert tables.read(out, "scores").num_rows == ROWS
    record = tables.record_of(out)
    assert record["signature"]["signature"] == "mean|of:chrf,bleu,ter|weights:2,1,1"
    assert record["signature"]["reference"] is True
    assert record["signature"]["of"]["bleu"] == {"signature": "bleu", "reference": True}
    assert [parent["path"] for parent in record["parents"]] == files


def test_it_cannot_be_asked_for_texts() -> None:
    with pytest.raises(UserError, match=r"chrf, bleu, ter and average .* mean-scores"):
        open_scorer(METRICS["mean"].module, {"type": "mean", "of": OF}, {})


def test_the_command_says_what_is_missing(tmp_path: Path, capsys: Any) -> None:
    file = tmp_path / "chrf.parquet"
    tables.write(scores("chrf"), file, "scores", {"parents": []})
    out = tmp_path / "all.parquet"
    settings = json.dumps({"type": "mean", "of": OF})
    command = ["mean-scores", "--metric", "all", "--out", str(out), "--settings", settings]
    assert main([*command, "--scores", str(file)]) == 1
    assert "missing of bleu, ter" in capsys.readouterr().err
    assert not out.exists()
