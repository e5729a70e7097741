"""What is worth a second look: remarked where it is so, and nowhere else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from routelmt import tables
from routelmt.evaluate.remarks import KEY, carried, gain_remarks, negated_twice, shared_sources

EDGES = [-5, -0.5, 0.5]
PLACE = {"dataset": "mine", "direction": "en-de"}


def gains(small: list[float], large: list[float]) -> pa.Table:
    ids = [f"s{n}" for n in range(len(small))]
    return tables.from_columns(
        "gains",
        {
            **PLACE,
            "segment_id": ids,
            "group_id": ids,
            "doc_id": None,
            "domain": None,
            "quality_small": small,
            "quality_large": large,
            "gain": [b - a for a, b in zip(small, large, strict=True)],
        },
    )


def test_a_large_model_that_is_worse_is_remarked() -> None:
    (remark,) = gain_remarks(gains([50.0, 60.0], [52.0, 51.0]), EDGES)
    assert remark.startswith("The large model scores 3.5 points lower") and "swapped" in remark
    assert gain_remarks(gains([52.0, 51.0], [50.0, 60.0]), EDGES) == []


def test_edges_that_no_gain_can_reach_are_remarked() -> None:
    own = gains([0.2, 0.9], [0.95, 0.97])
    (remark,) = gain_remarks(own, EDGES)
    assert "the scores lie between 0.2 and 0.97" in remark and "[-5, -0.5, 0.5]" in remark
    assert gain_remarks(own, [-0.05, -0.01, 0.01]) == []
    assert gain_remarks(own, None) == []
    assert gain_remarks(gains([20.0, 90.0], [95.0, 97.0]), EDGES) == []


def test_segments_that_share_a_source_are_counted() -> None:
    fixed = {**PLACE, "doc_id": None, "domain": None, "split": "test"}
    texts = ["OK", "OK", "No", "Yes", "Yes", "Yes"]
    columns = {"segment_id": list("abcdef"), "group_id": list("aacdde"), "source": texts}
    segments = tables.from_columns("segments", {**fixed, **columns, "reference": texts})
    (remark,) = shared_sources(segments)
    assert remark.startswith("dataset 'mine', direction en-de: 5 of 6 segments share their source")
    assert "4 groups" in remark
    assert shared_sources(segments.take([0, 2, 3])) == []


def scores(values: list[float]) -> pa.Table:
    ids = [f"s{n}" for n in range(len(values))]
    fixed = {**PLACE, "metric": "mqm", "model": "small", "truncated": False}
    return tables.from_columns(
        "scores", {**fixed, "segment_id": ids, "score": values, "error_spans": [None] * len(ids)}
    )


@pytest.mark.parametrize(
    ("values", "higher", "found"),
    [
        ([0.0, 5.0, 1.0], False, 1),  # the file had 0, -5, -1
        ([0.0, -5.0, -1.0], False, 0),  # counts of errors
        ([0.0, 5.0, -1.0], False, 0),
        ([0.0, -0.0], False, 0),  # no errors at all
        ([0.0, 5.0, 1.0], True, 0),
    ],
)
def test_penalties_that_are_negated_twice(values: list[float], higher: bool, found: int) -> None:
    settings = {"higher_is_better": higher, "path": "mqm.tsv"}
    remarks = negated_twice(scores(values), settings)
    assert len(remarks) == found
    assert all("'mqm'" in r and "'small'" in r and "mqm.tsv" in r for r in remarks)


def test_remarks_are_carried_once_from_tables_that_have_some(tmp_path: Path) -> None:
    record: dict[str, Any] = {"stage": "scores", "settings": {}, "parents": []}
    files = [tmp_path / f"{n}.parquet" for n in range(3)]
    for file, remarks in zip(
        files, ({KEY: ["one", "two"]}, {KEY: ["two", "three"]}, {}), strict=True
    ):
        tables.write(scores([1.0]), file, "scores", record | remarks)
    assert carried([*files, tmp_path / "README.md"]) == ["one", "two", "three"]
