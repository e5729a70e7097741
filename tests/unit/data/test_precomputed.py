"""Rows that a user computed elsewhere: brought into the order of the segments, or refused."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from routelmt import tables
from routelmt.data.parsers import Field
from routelmt.data.precomputed import in_segment_order
from routelmt.data.segments import leaves_out
from routelmt.errors import UserError

KEY = {"dataset": "mine", "direction": "en-de"}
FIELDS = [Field("hypothesis", blank=True)]


def segments(*ids: str) -> pa.Table:
    fixed = {**KEY, "doc_id": None, "domain": None, "split": "test"}
    texts = {"group_id": ids, "source": ids, "reference": ids}
    columns = {name: list(values) for name, values in texts.items()}
    return tables.from_columns("segments", {**fixed, "segment_id": list(ids), **columns})


def save(path: Path, ids: Sequence[str], **more: Any) -> Path:
    rows = [{**KEY, "segment_id": i, "hypothesis": f"Satz {i}", **more} for i in ids]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def test_rows_of_segments_that_a_setting_leaves_out_are_ignored_and_counted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = save(tmp_path / "a.jsonl", ["d", "c", "b", "a"])
    found = in_segment_order(path, FIELDS, segments("b", "d"), KEY, spare=True)
    assert found == {"hypothesis": ["Satz b", "Satz d"]}
    assert "2 of 4 rows with dataset 'mine', direction 'en-de' ignored" in capsys.readouterr().err


def test_spare_rows_hide_no_row_that_is_missing_or_twice(tmp_path: Path) -> None:
    path = save(tmp_path / "a.jsonl", ["a", "a", "c"])
    with pytest.raises(UserError, match=r"1 rows occur twice.*lack rows \(1, first: mine/en-de/b"):
        in_segment_order(path, FIELDS, segments("a", "b"), KEY, spare=True)


def test_a_file_without_datasets_serves_them_all(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "a.tsv"
    path.write_text("direction\tsegment_id\thypothesis\nen-de\ta\tA\nen-de\tb\tB\nde-en\tb\tx\n")
    assert in_segment_order(path, FIELDS, segments("b"), KEY) == {"hypothesis": ["B"]}
    assert in_segment_order(path, FIELDS, segments("b", "a"), KEY) == {"hypothesis": ["B", "A"]}
    assert capsys.readouterr().err.count("1 of 2 rows") == 1
    with pytest.raises(UserError, match="lack rows"):
        in_segment_order(path, FIELDS, segments("c"), KEY)


def test_a_row_without_its_dataset_is_of_none(tmp_path: Path) -> None:
    path = save(tmp_path / "a.jsonl", ["a"], dataset=None)
    with pytest.raises(UserError, match=r"no row with dataset 'mine'.*None, en-de"):
        in_segment_order(path, FIELDS, segments("a"), KEY)


def test_without_such_a_setting_they_are_an_error(tmp_path: Path) -> None:
    path = save(tmp_path / "a.jsonl", ["a", "b"])
    with pytest.raises(UserError, match=r"extra rows \(1, first: mine/en-de/b"):
        in_segment_order(path, FIELDS, segments("a"), KEY)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"source": "tsv"}, False),
        ({"part": [0, 0.5]}, True),
        ({"drop_blank": False}, False),
        ({"drop_blank": True}, True),
        ({"keep_bad_source": True}, False),
        ({"keep_bad_source": False}, True),
    ],
)
def test_which_settings_leave_segments_out(settings: dict[str, Any], expected: bool) -> None:
    assert leaves_out(settings) is expected
