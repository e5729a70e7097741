"""The audit follows parents back and names each link that broke."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest

from routelmt import provenance, stages, tables
from routelmt.trail.audit import audit


def make(path: Path, values: list[float], parents: list[Path]) -> Path:
    data = tables.from_columns(
        "gains",
        {
            "dataset": "d",
            "direction": "en-zh",
            "segment_id": [str(i) for i in range(len(values))],
            "group_id": [str(i) for i in range(len(values))],
            "quality_small": [0.0] * len(values),
            "quality_large": values,
            "gain": values,
        },
    )
    tables.write(data, path, "gains", provenance.describe("gains", {"p": 1}, parents))
    return path


@pytest.fixture
def chain(tmp_path: Path) -> dict[str, Path]:
    source = tmp_path / "source.txt"
    source.write_text("upstream")
    first = make(tmp_path / "first.parquet", [1.0, 2.0], [source])
    return {
        "source": source,
        "first": first,
        "last": make(tmp_path / "last.parquet", [3.0], [first]),
    }


def broken(path: Path) -> list[str]:
    provenance.identity_once.cache_clear()
    return audit([path]).broken


def test_a_sound_chain_is_followed_to_its_source(chain: dict[str, Path]) -> None:
    report = audit([chain["last"]])
    assert report.broken == []
    assert [line.strip().split(":")[0] for line in report.lines] == [
        str(chain[k]) for k in ("last", "first", "source")
    ]


def test_a_rebuilt_parent_makes_its_child_stale(chain: dict[str, Path]) -> None:
    make(chain["first"], [1.0, 2.5], [chain["source"]])
    (message,) = broken(chain["last"])
    assert f"{chain['last']}: stale, made from {chain['first']}" in message


def test_a_parent_rebuilt_with_the_same_values_is_no_difference(chain: dict[str, Path]) -> None:
    make(chain["first"], [1.0, 2.0], [chain["source"]])
    assert broken(chain["last"]) == []


def test_a_changed_source_is_named(chain: dict[str, Path]) -> None:
    chain["source"].write_text("other")
    (message,) = broken(chain["last"])
    assert f"{chain['first']}: stale, made from {chain['source']}" in message


def test_a_missing_parent_is_named(chain: dict[str, Path]) -> None:
    chain["source"].unlink()
    (message,) = broken(chain["last"])
    assert "its parent" in message and "missing" in message


def test_changed_values_are_found(chain: dict[str, Path]) -> None:
    record = tables.record_of(chain["first"])
    data = tables.read(chain["first"], "gains")
    forged = data.set_column(6, data.schema.field("gain"), pa.array([9.0, 9.0]))
    stamped = forged.replace_schema_metadata(
        {tables.METADATA_KEY: __import__("json").dumps(record)}
    )
    pa.parquet.write_table(stamped, chain["first"])
    (message,) = broken(chain["last"])
    assert f"{chain['first']}: its values were changed after it was written" in message


def test_a_truncated_file_is_found(chain: dict[str, Path]) -> None:
    content = chain["first"].read_bytes()
    chain["first"].write_bytes(content[: len(content) // 2])
    messages = broken(chain["last"])
    assert any("not a readable Parquet" in m for m in messages)
    assert any(f"its parent {chain['first']} is missing or unreadable" in m for m in messages)


def test_changed_code_makes_a_table_stale(
    chain: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stages, "fingerprint", lambda stage, kind: "0" * 64)
    assert broken(chain["last"]) == []  # other code of the same declared behaviour
    monkeypatch.setattr(stages, "behaviour", lambda stage, kind: f"{stage} 2.1")
    messages = broken(chain["last"])
    assert len(messages) == 2 and all("code of stage 'gains' has changed" in m for m in messages)


def test_details_show_schema_ranges_and_settings(chain: dict[str, Path]) -> None:
    text = provenance.details(chain["first"])
    assert "gain " in text and "1 .. 2" in text and '{"p": 1}' in text


def test_a_folder_is_known_by_its_visible_files(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("1")
    before = provenance.folder_hash(tmp_path)
    (tmp_path / ".snakemake_timestamp").write_text("x")
    assert provenance.folder_hash(tmp_path) == before
    (tmp_path / "a").rename(tmp_path / "b")
    assert provenance.folder_hash(tmp_path) != before
