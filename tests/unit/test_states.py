"""States files: whole and valid, or not there; streamed, in the order that is asked for."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from routelmt import provenance, states, tables
from routelmt.errors import UserError
from routelmt.states import StatesWriter, content_hash, open_states
from routelmt.trail.audit import audit

LAYERS, HIDDEN = 3, 4
ENGINE = "routelmt.translate.transformers_engine"
MODEL = {"path": "models/small", "revision": None, "dtype": "float32", "prompt": "{text}"}


def segments(rows: int, first: int = 0, direction: str = "en-zh") -> pa.Table:
    ids = [f"s{i}" for i in range(first, first + rows)]
    return tables.from_columns(
        "segments",
        {
            "dataset": "d", "direction": direction, "segment_id": ids, "group_id": ids,
            "doc_id": None, "domain": None, "split": "train", "source": ids, "reference": "x",
        },
    )  # fmt: skip


def values(prompts: int, seed: int = 0, hidden: int = HIDDEN) -> tuple[Any, Any]:
    rng = np.random.default_rng(seed)
    shape = prompts, LAYERS, hidden
    return tuple(rng.normal(size=shape).astype(np.float16) for _ in range(2))


def record(**changes: Any) -> dict[str, Any]:
    return provenance.describe("signals", {**MODEL, **changes}, [], ENGINE)


def write(
    path: Path, rows: pa.Table, of: Any = None, seed: int = 0, hidden: int = HIDDEN, **changes: Any
) -> tuple[Any, Any]:
    """A states file; returns the rows' last and mean."""
    of = np.arange(rows.num_rows) if of is None else np.asarray(of)
    last, mean = values(int(of.max()) + 1, seed, hidden)
    with StatesWriter(path, rows, of, len(last)) as writer:
        for part in np.array_split(np.random.default_rng(1).permutation(len(last)), 3):
            writer.put(part, last[part], mean[part])
        writer.finish(record(**changes))
    return last[of], mean[of]


@pytest.fixture(params=[1, 100, 2**26], ids=["row", "few", "one"])
def block_bytes(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    """Sizes of a record batch: one row, two rows, all."""
    monkeypatch.setattr(states, "BLOCK_BYTES", request.param)
    return int(request.param)


def test_rows_come_in_the_segments_order_whatever_order_they_were_put_in(
    tmp_path: Path, block_bytes: int
) -> None:
    first, second = segments(5), segments(4, direction="en-ru")
    one, two = tmp_path / "a" / "one.arrow", tmp_path / "two.arrow"
    of = [2, 0, 1, 2, 3]  # segments 0 and 3 have the same prompt
    last1, mean1 = write(one, first, of)
    last2, mean2 = write(two, second, seed=5)
    last, mean = np.concatenate([last1, last2]), np.concatenate([mean1, mean2])
    order = np.array([8, 0, 3, 4, 1, 7, 6, 2, 5])
    found = open_states([one, two], pa.concat_tables([first, second]).take(order))
    assert (found.rows, found.layers, found.hidden) == (9, LAYERS, HIDDEN)
    every = np.arange(9)
    assert np.array_equal(found.take("last", every), last[order])
    assert np.array_equal(found.take("mean", every), mean[order])
    assert found.take("mean", [3, 3, 0]).dtype == np.float16
    assert np.array_equal(found.take("mean", [3, 3, 0]), mean[order][[3, 3, 0]])
    assert np.array_equal(found.take("last", every, -1), last[order][:, -1:])
    assert np.array_equal(found.take("last", every, 0), last[order][:, :1])
    assert np.array_equal(found.take("last", every, slice(1, 3)), last[order][:, 1:3])
    keep = np.array([True, False] * 4 + [True])
    kept = found.filter(keep)
    assert kept.rows == 5 and np.array_equal(kept.take("mean", [4, 0]), mean[order][keep][[4, 0]])
    buffer = np.zeros((12, LAYERS, HIDDEN), np.float16)
    read = found.take("mean", [3, 8], out=buffer)
    assert np.shares_memory(read, buffer) and np.array_equal(read, mean[order][[3, 8]])
    with pytest.raises(IndexError, match="layer 3 of 3"):
        found.take("last", every, 3)
    with pytest.raises(ValueError, match="not a run"):
        found.take("last", every, slice(None, None, 2))


def test_the_file_is_a_plain_arrow_file_with_the_record_of_a_table(
    tmp_path: Path, block_bytes: int
) -> None:
    path = tmp_path / "s.arrow"
    last, mean = write(path, segments(5))
    table = pa.ipc.open_file(path).read_all()
    assert table.column_names == [*tables.JOIN_KEY, "last", "mean"]
    assert np.array_equal(np.array(table["last"].to_pylist(), np.float16), last)
    assert np.array_equal(np.array(table["mean"].to_pylist(), np.float16), mean)
    found = tables.record_of(path)
    assert found == json.loads(table.schema.metadata[b"routelmt"])
    assert (found["table"], found["rows"], found["layers"], found["hidden"]) == (
        "states", 5, LAYERS, HIDDEN,
    )  # fmt: skip
    # The hash does not depend on the blocks, and is the one that tables have.
    assert found["content"] == content_hash(path) == tables.content_hash(table)


def test_a_writer_that_does_not_finish_leaves_nothing(tmp_path: Path) -> None:
    path = tmp_path / "s.arrow"
    last, mean = values(4)
    with StatesWriter(path, segments(4), np.arange(4), 4) as writer:
        writer.put(np.arange(3), last[:3], mean[:3])
        with pytest.raises(ValueError, match="1 of 4 prompts"):
            writer.finish({})
    with pytest.raises(RuntimeError), StatesWriter(path, segments(4), np.arange(4), 4) as writer:
        writer.put(np.arange(4), last, mean)
        raise RuntimeError("killed")
    assert list(tmp_path.iterdir()) == []
    with StatesWriter(path, segments(4), np.arange(4), 4) as writer, pytest.raises(ValueError):
        writer.put(np.arange(3), last, mean)


def test_missing_extra_and_foreign_rows_are_named(tmp_path: Path) -> None:
    path, again = tmp_path / "s.arrow", tmp_path / "t.arrow"
    write(path, segments(3))
    write(again, segments(3))
    with pytest.raises(UserError, match=r"states lack rows \(2, first: d/en-zh/s3"):
        open_states([path], segments(5))
    with pytest.raises(UserError, match=r"states have extra rows \(1, first: d/en-zh/s2"):
        open_states([path], segments(2))
    with pytest.raises(UserError, match="occur twice in the states"):
        open_states([path, again], segments(3))
    with pytest.raises(UserError, match="no states files"):
        open_states([], segments(3))


def test_files_of_different_models_do_not_mix(tmp_path: Path) -> None:
    one, other = tmp_path / "one.arrow", tmp_path / "other.arrow"
    write(one, segments(3))
    whole = segments(6)
    write(other, segments(3, 3), hidden=8)
    with pytest.raises(UserError, match=r"one\.arrow has .* 3 layers of 4, .* 3 layers of 8"):
        open_states([one, other], whole)
    write(other, segments(3, 3), dtype="bfloat16")
    with pytest.raises(UserError, match="not of one model: 'dtype' is 'float32' and 'bfloat16'"):
        open_states([one, other], whole)
    write(other, segments(3, 3), max_new_tokens=5)  # no matter for a state
    assert open_states([one, other], whole).rows == 6


@pytest.mark.parametrize("keep", [0, 1, 100, 0.5, 0.999])
def test_a_file_that_was_cut_short_is_refused(tmp_path: Path, keep: float) -> None:
    path = tmp_path / "s.arrow"
    write(path, segments(40))
    data = path.read_bytes()
    path.write_bytes(data[: int(keep * len(data)) if keep < 1 else int(keep)])
    with pytest.raises(UserError, match=r"s\.arrow: not a readable Arrow file"):
        open_states([path], segments(40))


def test_other_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "s.arrow"
    with pytest.raises(UserError, match="no such file"):
        open_states([path], segments(3))
    with pa.ipc.new_file(path, pa.schema([("a", pa.int64())])):
        pass
    with pytest.raises(UserError, match="without provenance"):
        open_states([path], segments(3))
    parquet = tmp_path / "s.parquet"
    tables.write(segments(3), parquet, "segments", {})
    with pytest.raises(UserError, match="holds a 'segments' table, expected 'states'"):
        open_states([parquet], segments(3))
    record = {"table": "states", "schema_version": tables.SCHEMA_VERSION, "rows": 0, "content": ""}
    text = json.dumps(record)
    with pa.ipc.new_file(path, pa.schema([("a", pa.int64())], {tables.METADATA_KEY: text})):
        pass
    with pytest.raises(UserError, match="not a states file: expected columns"):
        open_states([path], segments(3))


def test_the_audit_reads_states_and_finds_what_was_changed(tmp_path: Path) -> None:
    parent, path = tmp_path / "segments.parquet", tmp_path / "s.arrow"
    tables.write(segments(8), parent, "segments", provenance.describe("gains", {}, []))
    last, mean = values(8)

    def put(shift: float) -> None:
        with StatesWriter(path, segments(8), np.arange(8), 8) as writer:
            writer.put(np.arange(8), last + np.float16(shift), mean)
            writer.finish(provenance.describe("signals", MODEL, [parent], ENGINE))

    put(0)
    report = audit([path])
    assert report.broken == [] and "states, 8 rows" in report.lines[0]
    assert "layers    3" in provenance.details(path)
    child = tmp_path / "child.parquet"
    tables.write(segments(2), child, "segments", provenance.describe("gains", {}, [path]))
    assert audit([child]).broken == []
    put(1)
    provenance.identity_once.cache_clear()
    assert any("stale, made from" in line for line in audit([child]).broken)
    data = bytearray(path.read_bytes())
    place = data.index(mean[5, 1].tobytes())
    data[place] ^= 1
    path.write_bytes(data)
    (message,) = audit([path]).broken
    assert "its values were changed after it was written" in message
    with pytest.raises(UserError, match=r"s\.arrow: its values are not those that were written"):
        open_states([path], segments(8))


def test_reading_and_hashing_hold_little_of_a_large_file(tmp_path: Path) -> None:
    """A process that reads 150 MB of states through small limits stays far below that."""
    path, rows = tmp_path / "s.arrow", 600
    shape = rows, 30, 2048
    with StatesWriter(path, segments(rows), np.arange(rows), rows) as writer:
        for part in np.array_split(np.arange(rows), 12):
            block = np.random.default_rng(part[0]).normal(size=(len(part), *shape[1:]))
            writer.put(part, block.astype(np.float16), block.astype(np.float16))
        writer.finish(record())
    segments_file = tmp_path / "segments.parquet"
    tables.write(segments(rows), segments_file, "segments", {})
    code = f"""
from pathlib import Path
from routelmt import states, tables
found = states.open_states([{str(path)!r}], tables.read({str(segments_file)!r}, "segments"))
kib = lambda name: int(Path("/proc/self/status").read_text().partition(name)[2].split()[0])
before = kib("VmRSS:")
for batch in found.batches(32):
    found.take("mean", batch)
    found.take("last", batch, -1)
states.content_hash({str(path)!r})
print((kib("VmHWM:") - before) // 1024)
"""
    grown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert path.stat().st_size > 140 * 2**20
    assert int(grown.stdout) < 90  # MiB; the largest block is 64
