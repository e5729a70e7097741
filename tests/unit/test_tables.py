"""Tables: whole and valid, or not there; provenance rides along."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from routelmt import tables
from routelmt.errors import UserError


def gains(rows: int = 3, **changes: object) -> pa.Table:
    columns = {
        "dataset": "d",
        "direction": "en-zh",
        "segment_id": [f"s{i}" for i in range(rows)],
        "group_id": [f"g{i}" for i in range(rows)],
        "quality_small": [float(i) for i in range(rows)],
        "quality_large": [10.0] * rows,
        "gain": [10.0 - i for i in range(rows)],
    }
    return tables.from_columns("gains", columns | changes)


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "gains.parquet"
    tables.write(gains(), path, "gains", {"stage": "gains"})
    assert tables.read(path, "gains").equals(gains())
    record = tables.record_of(path)
    assert record["rows"] == 3 and record["stage"] == "gains" and record["table"] == "gains"
    assert record["content"] == tables.content_hash(gains())


def test_a_file_from_before_a_column_was_added_has_null_there(tmp_path: Path) -> None:
    now, before = tmp_path / "now.parquet", tmp_path / "before.parquet"
    tables.write(gains(doc_id=["d0", None, "d1"]), now, "gains", {"stage": "gains"})
    old = pq.read_table(now).drop_columns(["doc_id", "domain"])
    pq.write_table(old, before)
    assert tables.read(before, "gains").equals(gains())
    some = tables.read(before, "gains", ["segment_id", "doc_id"])
    assert some.column("doc_id").null_count == 3 and some.column("segment_id").null_count == 0
    assert tables.read(now, "gains").column("doc_id").to_pylist() == ["d0", None, "d1"]
    pq.write_table(old.drop_columns(["gain"]), before)
    with pytest.raises(UserError, match=r"missing columns \['gain'\]"):
        tables.read(before, "gains")


def test_a_failed_write_leaves_nothing_and_keeps_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "gains.parquet"
    with pytest.raises(UserError, match="NaN"):
        tables.write(gains(gain=[1.0, float("nan"), 2.0]), path, "gains", {})
    assert list(tmp_path.iterdir()) == []
    tables.write(gains(), path, "gains", {})
    before = path.read_bytes()
    with pytest.raises(RuntimeError), tables.atomic_path(path) as temporary:
        temporary.write_text("half")
        raise RuntimeError("killed")
    assert path.read_bytes() == before and list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"segment_id": ["s0", "s0", "s1"]}, "more than once"),
        ({"group_id": ["a", None, "b"]}, "1 empty values, the first in row 1"),
        ({"gain": [1.0, 2.0, float("nan")]}, "1 NaN values, the first in row 2"),
    ],
)
def test_broken_rows_are_named(changes: dict[str, object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        tables.check(gains(**changes), "gains", "x.parquet")


def test_ranges_are_checked() -> None:
    table = tables.from_columns(
        "signals",
        {
            "dataset": "d",
            "direction": "en-zh",
            "segment_id": ["s"],
            "model": "m",
            "prompt_tokens": 3,
            "entropy": 1.0,
            "margin": 1.5,
            "max_logit": 2.0,
            "state": pa.array([[1.0]], pa.list_(pa.float16())),
        },
    )
    with pytest.raises(UserError, match=r"'margin' has 1.5 in row 0, above 1"):
        tables.check(table, "signals", "x.parquet")


def test_an_empty_table_is_an_error() -> None:
    with pytest.raises(UserError, match="empty"):
        tables.check(gains(0), "gains", "x.parquet")


def test_columns_of_another_table_are_an_error() -> None:
    with pytest.raises(UserError, match=r"missing columns .*'gain'"):
        tables.check(gains().drop_columns(["gain"]), "gains", "x.parquet")


def test_another_schema_version_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "gains.parquet"
    monkeypatch.setattr(tables, "SCHEMA_VERSION", 99)
    tables.write(gains(), path, "gains", {})
    monkeypatch.undo()
    with pytest.raises(UserError, match=r"schema version 99, this version reads 1"):
        tables.read(path, "gains")


def test_truncated_and_foreign_files_are_told_apart(tmp_path: Path) -> None:
    path = tmp_path / "gains.parquet"
    tables.write(gains(), path, "gains", {})
    with pytest.raises(UserError, match="expected 'scores'"):
        tables.read(path, "scores")
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(UserError, match="not a readable Parquet"):
        tables.read(path, "gains")
    pq.write_table(gains(), path)
    with pytest.raises(UserError, match="without provenance"):
        tables.read(path, "gains")


def test_a_flipped_bit_of_a_data_page_is_found(tmp_path: Path) -> None:
    path = tmp_path / "gains.parquet"
    data = gains(500, quality_small=[i * 0.37 for i in range(500)])
    tables.write(data, path, "gains", {})
    whole, group = path.read_bytes(), pq.read_metadata(path).row_group(0)
    columns = [group.column(i) for i in range(group.num_columns)]
    ends = [min(c.dictionary_page_offset or c.data_page_offset, c.data_page_offset)
            + c.total_compressed_size for c in columns]  # fmt: skip
    for end in ends:  # the last bytes of a chunk are those of its last page, never of a header
        path.write_bytes(whole[: end - 1] + bytes([whole[end - 1] ^ 1]) + whole[end:])
        with pytest.raises(UserError, match=r"gains\.parquet: not a readable Parquet"):
            tables.read(path, "gains")
    path.write_bytes(whole)
    assert tables.read(path, "gains").equals(data)


@given(st.lists(st.text(max_size=5), min_size=1, max_size=6), st.data())
def test_content_hash_sees_values_and_nothing_else(texts: list[str], data: st.DataObject) -> None:
    table = pa.table({"text": texts, "number": [float(i) for i in range(len(texts))]})
    cut = data.draw(st.integers(0, len(texts)))
    pieces = pa.concat_tables([table.slice(0, cut), table.slice(cut)])
    assert tables.content_hash(pieces) == tables.content_hash(table)
    row = data.draw(st.integers(0, len(texts) - 1))
    changed = [*texts[:row], texts[row] + "x", *texts[row + 1 :]]
    assert tables.content_hash(table.set_column(0, "text", [changed])) != tables.content_hash(table)


def test_content_hash_tells_null_from_empty_and_moved_borders_apart() -> None:
    hashes = {
        tables.content_hash(pa.table({"t": pa.array(values, pa.string())}))
        for values in (["a", ""], ["a", None], ["", "a"], ["a"])
    }
    assert len(hashes) == 4
    lists = {
        tables.content_hash(pa.table({"t": pa.array(values, pa.list_(pa.float16()))}))
        for values in ([[1, 2], [3]], [[1], [2, 3]])
    }
    assert len(lists) == 2
