"""A damaged record is damage: the file is named, and the rest is read on."""

from __future__ import annotations

import json
import os
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from routelmt import provenance, tables
from routelmt.__main__ import main
from routelmt.errors import UserError

MakeRun = Callable[..., Path]
GAINS = Path("results/gains/chrf/small--large/first/en-zh.parquet")
SEGMENTS = Path("data/segments/first/en-zh.parquet")
OTHER = Path("results/gains/chrf/small--large/second/zh-en.parquet")
ROUTERS = Path("results/runs/demo/tables/routers.parquet")


@pytest.fixture
def run(make_run: MakeRun) -> Iterator[Path]:
    provenance.identity_once.cache_clear()
    yield make_run()
    provenance.identity_once.cache_clear()


def audited(run: Path, capsys: pytest.CaptureFixture[str], *options: str) -> tuple[int, str]:
    """(exit status, what was said on standard error)."""
    provenance.identity_once.cache_clear()
    capsys.readouterr()
    return main(["audit", *options, str(run)]), capsys.readouterr().err


def with_record(path: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    """Put another record into a table: what `change` returns, text as it is."""
    table = pq.read_table(path, partitioning=None)
    record = json.loads(table.schema.metadata[tables.METADATA_KEY])
    new = change(record)
    text = new if isinstance(new, str | bytes) else json.dumps(new)
    pq.write_table(table.replace_schema_metadata({tables.METADATA_KEY: text}), path)


def spoil(path: Path) -> None:
    """Damage another file in a way that was always told."""
    path.write_bytes(path.read_bytes()[:-100])


def flipped(whole: bytes, at: int, bit: int) -> bytes:
    return whole[:at] + bytes([whole[at] ^ 1 << bit]) + whole[at + 1 :]


@pytest.mark.parametrize("victim", [GAINS, SEGMENTS, ROUTERS], ids=["gains", "segments", "routers"])
@pytest.mark.parametrize("part", ["footer", "values"])
def test_a_flipped_bit_is_named_or_changes_nothing(
    run: Path, capsys: pytest.CaptureFixture[str], victim: Path, part: str
) -> None:
    whole, record = victim.read_bytes(), tables.record_of(victim)
    values = tables.content_hash(tables.read(victim, record["table"]))
    assert audited(run, capsys, "--quiet") == (0, "")
    footer = len(whole) - 8 - int.from_bytes(whole[-8:-4], "little")
    low, high = (footer, len(whole)) if part == "footer" else (4, footer)
    draw, told = random.Random(20), 0
    for _ in range(15):
        victim.write_bytes(flipped(whole, draw.randrange(low, high), draw.randrange(8)))
        code, said = audited(run, capsys, "--quiet")
        told += code
        if code:
            assert str(victim) in said
        else:
            assert tables.record_of(victim) == record
            assert tables.content_hash(tables.read(victim, record["table"])) == values
    assert told > 2


def parent(path: str) -> dict[str, str]:
    return {"path": path, "content": "0" * 64}


HOSTILE: dict[str, Callable[[dict[str, Any]], Any]] = {
    "no JSON": lambda r: "{",
    "no UTF-8": lambda r: b"\xff\xfe" + json.dumps(r).encode(),
    "a list": lambda r: [r],
    "null": lambda r: "null",
    "a number": lambda r: "9" * 5000,
    "brackets": lambda r: "[" * 20_000,
    "empty": lambda r: "",
    "NaN rows": lambda r: r | {"rows": float("nan")},
    "text rows": lambda r: r | {"rows": "10"},
    "null rows": lambda r: r | {"rows": None},
    "no table": lambda r: {k: v for k, v in r.items() if k != "table"},
    "no content": lambda r: {k: v for k, v in r.items() if k != "content"},
    "no version": lambda r: {k: v for k, v in r.items() if k != "schema_version"},
    "another version": lambda r: r | {"schema_version": [["1" * 9999]]},
    "a table of another world": lambda r: r | {"table": "x" * 99_999},
    "a list for a table": lambda r: r | {"table": ["gains"]},
    "a number for content": lambda r: r | {"content": 5},
    "a list for a stage": lambda r: r | {"stage": ["gains"]},
    "a number for code": lambda r: r | {"code": 7},
    "a list for settings": lambda r: r | {"settings": []},
    "a text for packages": lambda r: r | {"packages": "numpy"},
    "a list for a version": lambda r: r | {"packages": {"numpy": [2]}},
    "an object for parents": lambda r: r | {"parents": {}},
    "texts for parents": lambda r: r | {"parents": ["data/source.txt"]},
    "a parent without content": lambda r: r | {"parents": [{"path": "data/source.txt"}]},
    "a parent of no text": lambda r: r | {"parents": [{"path": 5, "content": ""}]},
    "a parent of 5,000 characters": lambda r: r | {"parents": [parent("x" * 5000)]},
    "a parent of many folders": lambda r: r | {"parents": [parent("x/" * 2500)]},
    "a parent with NUL": lambda r: r | {"parents": [parent("a\0b")]},
    "a parent without name": lambda r: r | {"parents": [parent("")]},
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_record_is_named_and_the_rest_is_audited(
    run: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    with_record(GAINS, HOSTILE[name])
    spoil(OTHER)
    for options in ((), ("--quick",)):
        code, said = audited(run, capsys, *options)
        assert code == 1
        lines = said.splitlines()
        named = [line for line in lines if f"{GAINS}: " in line]
        assert any(w in x for x in named for w in ("record is damaged", "version", "names"))
        assert any(str(OTHER) in line and "not a readable" in line for line in lines)
        assert max(map(len, lines)) < 1000
    with pytest.raises(UserError, match=str(GAINS)):
        tables.record_of(GAINS)


@pytest.mark.parametrize("name", HOSTILE)
def test_diff_and_explain_name_a_hostile_record(
    run: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    with_record(ROUTERS, HOSTILE[name])
    assert main(["diff", str(run), str(run)]) == 0
    out = capsys.readouterr().out
    assert str(ROUTERS) in "".join(out.split())  # it is wrapped
    assert "tables/risk_buckets.parquet" in out
    assert main(["explain", "seg-003", "--direction", "zh-en", "--run", str(run)]) == 1
    assert "routers.parquet" in capsys.readouterr().err


def test_an_explanation_goes_on_without_a_damaged_text_and_says_so(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = ["explain", "seg-003", "--direction", "zh-en", "--dataset", "first", "--run", str(run)]
    assert main(asked) == 0
    assert "damaged" not in capsys.readouterr().out
    text = SEGMENTS.with_name("zh-en.parquet")
    with_record(text, HOSTILE["no JSON"])
    assert main(asked) == 0
    assert f"{text}:itsrecordisdamaged" in "".join(capsys.readouterr().out.split())
    scores = Path("results/scores/chrf/large/first/zh-en.parquet")
    with_record(scores, HOSTILE["no JSON"])
    assert main(asked) == 1
    assert f"missing or damaged: {text}, {scores}" in capsys.readouterr().err


@pytest.mark.parametrize(
    "place",
    ["/dev/zero", "/dev/null", "pipe", "pipe.parquet", "pipe.arrow", "/", "results", "none"],
)
@pytest.mark.parametrize("quick", [False, True])
def test_a_parent_that_is_no_file_is_a_broken_link_and_is_not_read(
    run: Path, capsys: pytest.CaptureFixture[str], place: str, quick: bool
) -> None:
    if place.startswith("pipe"):
        os.mkfifo(place)
    with_record(GAINS, lambda r: r | {"parents": [parent(place)]})
    spoil(OTHER)
    code, said = audited(run, capsys, *(["--quick"] if quick else []))
    assert code == 1 and f"{GAINS}: its parent {place}" in said
    assert str(OTHER) in said


def test_a_record_under_a_damaged_key_is_still_ours(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = pq.read_table(ROUTERS, partitioning=None)
    text = table.schema.metadata[tables.METADATA_KEY]
    pq.write_table(table.replace_schema_metadata({b"routeLmt": text}), ROUTERS)
    code, said = audited(run, capsys, "--quiet")
    assert code == 1 and str(ROUTERS) in said
    pq.write_table(table.replace_schema_metadata({b"another": b"{}"}), ROUTERS)
    assert tables.is_foreign(ROUTERS)
