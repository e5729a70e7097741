"""Bad input through the real command: exit code 1, one paragraph with place and remedy, no file."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from routelmt import tables
from routelmt.__main__ import main
from tests.hub.layouts import (
    write_bouquet,
    write_commt,
    write_flores_plus,
    write_flores_tarball,
    write_wmt24pp,
)

ROOT = Path(__file__).parents[3]


def row(i: int = 1, **changes: Any) -> dict[str, Any]:
    base = {
        "segment_id": f"s{i}",
        "direction": "en-zh",
        "source": f"Word {i}",
        "reference": f"词{i}",
    }
    return base | changes


def without(key: str) -> dict[str, Any]:
    return {k: v for k, v in row(2).items() if k != key}


def lines(*rows: Any) -> bytes:
    """JSON lines; text is put in as it is."""
    texts = (r if isinstance(r, str) else json.dumps(r, ensure_ascii=False) for r in rows)
    return "".join(f"{text}\n" for text in texts).encode()


def segments(folder: Path, out: Path, direction: str = "en-zh", **settings: Any) -> int:
    """Exit code of the command."""
    arguments = ["segments", "--origin", str(folder), "--dataset", "mine", "--direction", direction]
    return main([*arguments, "--settings", json.dumps(settings), "--out", str(out)])


def expect_failure(
    path: Path, capsys: pytest.CaptureFixture[str], expected: list[str], **settings: Any
) -> None:
    """The command fails as it should: `expected` are parts of its message."""
    folder = path.parent / "out"
    folder.mkdir()
    assert segments(path, folder / "en-zh.parquet", **settings) == 1
    message = capsys.readouterr().err.splitlines()[-1]
    assert message.startswith("routelmt segments: error: "), message
    for part in expected:
        assert part in message, message
    assert len(message) < 700 and "Traceback" not in message
    assert list(folder.iterdir()) == []


class Case(NamedTuple):
    """Bytes of the user's file, parts of the message (@ is the file), and settings if any."""

    content: bytes
    expected: list[str]
    settings: dict[str, Any] = {}  # noqa: RUF012


LATIN_1 = lines(row(1)) + lines(row(2)).replace(b"Word", b"W\xf6rd")
JSON_LINES = {
    "invalid UTF-8": Case(
        LATIN_1,
        [f"@:2: not UTF-8 (byte 0xf6 at offset {LATIN_1.index(0xF6)})", "iconv"],
    ),
    "UTF-16": Case(
        lines(row()).decode().encode("utf-16"), ["@:1: not UTF-8", "iconv -f UTF-16 -t UTF-8"]
    ),
    "a surrogate as bytes": Case(
        lines(row()).replace(b"Word", b"\xed\xa0\xbd"), ["@:1: not UTF-8 (byte 0xed", "iconv"]
    ),
    "NUL": Case(lines(row(1), row(2, source="a\x01b")).replace(b"\\u0001", b"\0"), ["@:2: a NUL"]),
    "NUL as an escape": Case(lines(row(1), row(2, source="a\0b")), ["@:2: 'source' has a NUL"]),
    "half a surrogate pair": Case(
        lines(row(1))
        + b'{"segment_id": 2, "direction": "en-zh", "source": "a\\ud83d", "reference": "b"}',
        ["@:2: 'source' has half of a surrogate pair (U+D83D)", "Repair or drop"],
    ),
    "the other half": Case(
        b'{"segment_id": 2, "direction": "en-zh", "source": "a", "reference": "\\ude00b"}',
        ["@:1: 'reference' has half of a surrogate pair (U+DE00)"],
    ),
    "half a pair in an id": Case(
        b'{"segment_id": "\\ud83d", "direction": "en-zh", "source": "a", "reference": "b"}',
        ["@:1: 'segment_id' has half of a surrogate pair"],
    ),
    "empty source": Case(
        lines(row(1), row(2, source="")), ["@:2: 'source' is blank", "drop_blank"]
    ),
    "white reference": Case(
        lines(row(reference=" \t\n")), ["@:1: 'reference' is blank", "drop_blank"]
    ),
    "ideographic space": Case(lines(row(reference="\u3000")), ["@:1: 'reference' is blank"]),
    "zero-width characters": Case(lines(row(source="\u200b\ufeff")), ["@:1: 'source' is blank"]),
    "nothing left": Case(
        lines(row(source="")), ["no segments in @", "'datasets.mine'"], {"drop_blank": True}
    ),
    "cut line": Case(lines(row(1), row(2))[:-20], ["@:2: not JSON at column", "one JSON object"]),
    "trailing comma": Case(lines('{"a": 1,}'), ["@:1: not JSON at column 9"]),
    "single quotes": Case(lines("{'source': 'x'}"), ["@:1: not JSON at column 2"]),
    "two objects in a line": Case(lines("{} {}"), ["@:1: not JSON at column 4 (Extra data)"]),
    "raw tab in a text": Case(lines('{"source": "a\tb"}'), ["@:1: not JSON", "control character"]),
    "JSON array": Case(
        json.dumps([row(1), row(2)]).encode(), ["@: holds one JSON array", "jq -c '.[]'"]
    ),
    "indented JSON": Case(
        json.dumps(row(), indent=1).encode(), ["@:1: not JSON", "one JSON object"]
    ),
    "a line that is an array": Case(lines(row(), '["a", "b"]'), ["@:2: [", "is no JSON object"]),
    "a line that is a text": Case(lines('"word"'), ["@:1: 'word' is no JSON object"]),
    "brackets without end": Case(lines('{"a": ' + "[" * 100_000), ["@:1: not JSON"]),
    "digits without end": Case(lines('{"a": ' + "9" * 10_000 + "}"), ["@:1: not JSON that can be"]),
    "duplicate key": Case(
        lines('{"source": "a", "source": "b"}'), ["@:1: the key 'source'", "twice"]
    ),
    "NaN": Case(lines('{"source": NaN}'), ["@:1: NaN is no JSON value", "null"]),
    "-Infinity": Case(lines(row(), '{"score": -Infinity}'), ["@:2: -Infinity is no JSON value"]),
    "number as text": Case(lines(row(source=12.5)), ["@:1: 'source' is 12.5, expected a text"]),
    "boolean as text": Case(
        lines(row(reference=True)), ["@:1: 'reference' is true, expected a text"]
    ),
    "array as text": Case(lines(row(source=["a"])), ["@:1: 'source' is [\"a\"], expected a text"]),
    "null": Case(lines(row(1), row(2, source=None)), ["@:2: 'source' is null", "drop the row"]),
    "key missing in a row": Case(lines(row(1), without("source")), ["@:2: 'source' is missing"]),
    "key missing everywhere": Case(
        lines(without("reference") | {"referense": "x"}),
        ["@: no column 'reference' (did you mean 'referense'?); there: 'segment_id'", "rename it"],
    ),
    "another direction": Case(
        lines(row(1, direction="en-ru"), row(2, direction="ru-en")),
        ["@: no row has direction 'en-zh'; there: en-ru, ru-en", "'directions'"],
    ),
    "empty file": Case(b"", ["@: is empty"]),
    "white file": Case(b" \n\n\n", ["@: is empty"]),
    "only a BOM": Case(b"\xef\xbb\xbf", ["@: is empty"]),
    "duplicate ids": Case(
        lines(row(1), row(2), row(1), row(2)),
        [
            "@:3: the segment_id 's1' stands in @:1 already",
            "2 such problems, the next: @:4",
            "Of several references of a text keep one",
        ],
    ),
    "id is a fraction": Case(lines(row(segment_id=1.5)), ["@:1: 'segment_id' is 1.5"]),
    "id is a boolean": Case(lines(row(segment_id=True)), ["@:1: 'segment_id' is true"]),
    "blank id": Case(lines(row(segment_id=" ")), ["@:1: 'segment_id' is blank"]),
    "swapped languages": Case(
        lines(row(1, source="词语", reference="word"), row(2)),
        ["@:1: ", "1 of 2 rows", "swapped: exchange source and reference"],
    ),
    "row count": Case(lines(row(1), row(2)), ["2 segments in @", "expects 3"], {"rows": 3}),
    "row count of the direction": Case(
        lines(row(1)),
        ["1 segments in @", "expects 2 ('datasets.mine.rows')"],
        {"rows": {"en-zh": 2}},
    ),
    "part without rows": Case(
        lines(row(1)), ["no segments in @", "'part'"], {"part": [0.9999, 1], "salt": "x"}
    ),
    "old Mac line ends": Case(
        lines(row(1), row(2)).replace(b"\n", b"\r"), ["@: its lines end with CR"]
    ),
}


@pytest.mark.parametrize("name", JSON_LINES)
def test_bad_json_lines(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    case, path = JSON_LINES[name], tmp_path / "my.jsonl"
    path.write_bytes(case.content)
    expected = [part.replace("@", str(path)) for part in case.expected]
    expect_failure(path, capsys, expected, source="jsonl", **case.settings)


HEADER = "segment_id,direction,source,reference\n"
CELLS = {
    "quote never closed": ("csv", HEADER + 's1,en-zh,"Word,词\ns2,en-zh,Word,词\n', ["@:2: not CSV", "double"]),
    "text after a quote": ("csv", HEADER + 's1,en-zh,"Wo"rd,词\n', ["@:2: not CSV", "double the quotes"]),
    "too few fields": ("csv", HEADER + "s1,en-zh,Word\n", ["@:2: 3 fields, the header has 4"]),
    "comma without quotes": (
        "csv",
        HEADER + "s1,en-zh,Word,词\n\ns2,en-zh,Well, yes,是\n",
        ["@:4: 5 fields, the header has 4", "Quote texts"],
    ),
    "only a header": ("csv", HEADER, ["@: has no rows"]),
    "no header": ("csv", "s1,en-zh,Word,词\ns2,en-zh,Word,词\n", ["@: no column 'segment_id'"]),
    "missing column": ("csv", "segment_id,direction,source\ns1,en-zh,Word\n", ["@: no column 'reference'"]),
    "semicolons": ("csv", HEADER.replace(",", ";") + "1;en-zh;a;b\n", ["there: 'segment_id;direction", "semicolons", "delimiter=';'"]),
    "a column twice": ("csv", "source,source\na,b\n", ["@:1: two columns are called 'source'"]),
    "empty cell": ("csv", HEADER + "s1,en-zh,,词\n", ["@:2: 'source' is blank", "drop_blank"]),
    "CR in a line": ("csv", HEADER + "s1,en-zh,Wo\rrd,词\n", ["@:2: not CSV", "Quote texts"]),
    "invalid UTF-8 in CSV": ("csv", (HEADER + "s1,en-zh,caf\xe9,词\n").encode("latin1", "replace"), ["@:2: not UTF-8"]),
    "NUL in CSV": ("csv", HEADER + "s1,en-zh,Wo\0rd,词\n", ["@:2: a NUL character"]),
    "tab in a text": (
        "tsv",
        HEADER.replace(",", "\t") + "s1\ten-zh\tWo\trd\t词\n",
        ["@:2: 5 fields, the header has 4", "use JSON lines"],
    ),
    "line break in a text": (
        "tsv",
        HEADER.replace(",", "\t") + 's1\ten-zh\t"Wo\nrd"\t词\n',
        ["@:2: 3 fields, the header has 4", "2 such problems, the next: @:3"],
    ),
    "tabs in a CSV": ("csv", HEADER.replace(",", "\t") + "1\ten-zh\ta\tb\n", ["parted by tabs: name it .tsv"]),
    "commas in a TSV": ("tsv", HEADER + "s1,en-zh,Word,词\n", ["@: no column 'segment_id'"]),
    "blank cell in a TSV": (
        "tsv",
        HEADER.replace(",", "\t") + "s1\ten-zh\tWord\t \n",
        ["@:2: 'reference' is blank"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CELLS)
def test_bad_cells(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    format, content, expected = CELLS[name]
    path = tmp_path / f"my.{format}"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    expected = [part.replace("@", str(path)) for part in expected]
    expect_failure(path, capsys, expected, source=format)


def _cut(path: Path) -> None:
    pq.write_table(pa.Table.from_pylist([row(i) for i in range(100)]), path)
    path.write_bytes(path.read_bytes()[:-100])


def _parquet(*rows: dict[str, Any]) -> Callable[[Path], None]:
    return lambda path: pq.write_table(pa.Table.from_pylist(list(rows)), path)


PARQUET: dict[str, tuple[Callable[[Path], None], list[str]]] = {
    "cut short": (_cut, ["@: not a readable Parquet file", "cut short"]),
    "not Parquet": (
        lambda path: path.write_bytes(lines(row())) and None,
        ["@: not a readable Parquet"],
    ),
    "empty": (lambda path: path.write_bytes(b"") and None, ["@: not a readable Parquet file"]),
    "numbers as texts": (
        _parquet(row(source=1.5)),
        ["@: column 'source' is double, expected text", "Cast it"],
    ),
    "fractions as ids": (_parquet(row(segment_id=1.5)), ["@: column 'segment_id' is double"]),
    "lists": (_parquet(row(reference=["a"])), ["@: column 'reference' is list"]),
    "null in Parquet": (_parquet(row(1), row(2, source=None)), ["@ row 2: 'source' is null"]),
    "NUL in Parquet": (_parquet(row(1), row(2, source="a\0")), ["@ row 2: 'source' has a NUL"]),
    "no such column": (_parquet(without("source")), ["@: no column 'source'"]),
    "no rows": (
        lambda path: pq.write_table(pa.Table.from_pylist([row()]).slice(1), path),
        ["@: has no rows"],
    ),
}


@pytest.mark.parametrize("name", PARQUET)
def test_bad_parquet(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write, expected = PARQUET[name]
    path = tmp_path / "my.parquet"
    write(path)
    expected = [part.replace("@", str(path)) for part in expected]
    expect_failure(path, capsys, expected, source="parquet")


# --- upstream folders ---------------------------------------------------------------------------


class Damage(NamedTuple):
    """An upstream folder, what happens to it, and the message."""

    write: Callable[[Path, int], None]
    change: Callable[[Path], Any]
    expected: list[str]
    settings: dict[str, Any]
    direction: str = "en-zh"


def _edit(name: str, change: Callable[[list[str]], list[str]]) -> Callable[[Path], Any]:
    """Change the lines of a file."""

    def apply(folder: Path) -> None:
        path = folder / name
        path.write_text("\n".join(change(path.read_text().splitlines())) + "\n")

    return apply


def _column(name: str, change: Callable[[pa.Table], pa.Table]) -> Callable[[Path], Any]:
    """Change the table of a Parquet file."""

    def apply(folder: Path) -> None:
        pq.write_table(change(pq.read_table(folder / name)), folder / name)

    return apply


def _value(column: str, value: Any) -> Callable[[pa.Table], pa.Table]:
    return lambda t: t.set_column(t.column_names.index(column), column, pa.array([value] * len(t)))


def _keep(_: Path) -> None:
    pass


DEVTEST = "flores200_dataset/devtest"
BOUQUET = "data/sentence_level/dev/cmn_Hans.parquet"
TRAIN = "zh-en/train.zh-en.general_trans.json"
FLORES, WMT, PAIRS = {"source": "flores"}, {"source": "wmt24pp"}, {"source": "bouquet"}
COMMT = {"source": "commt", "split": "train"}
UPSTREAM = {
    "FLORES sides of different length": Damage(
        write_flores_tarball,
        _edit(f"{DEVTEST}/zho_Hans.devtest", lambda found: found[:-1]),
        [f"@/{DEVTEST}/eng_Latn.devtest has 8 lines", "zho_Hans.devtest has 7", "Fetch both"],
        FLORES,
    ),
    "FLORES with a blank line": Damage(
        write_flores_tarball,
        _edit(f"{DEVTEST}/eng_Latn.devtest", lambda found: [*found[:3], "", *found[4:]]),
        [f"@/{DEVTEST}/eng_Latn.devtest:4: 'source' is blank"],
        FLORES,
    ),
    "FLORES without a language": Damage(
        write_flores_tarball,
        lambda folder: (folder / DEVTEST / "zho_Hans.devtest").unlink(),
        [f"@/{DEVTEST}/zho_Hans.devtest: no such file", "'sources.flores.files'", "local"],
        FLORES,
    ),
    "FLORES metadata of another split": Damage(
        write_flores_tarball,
        _edit("flores200_dataset/metadata_devtest.tsv", lambda found: found[:-2]),
        ["@/flores200_dataset/metadata_devtest.tsv has 6 rows", "has 8 lines"],
        FLORES,
    ),
    "FLORES with invalid UTF-8": Damage(
        write_flores_tarball,
        lambda folder: (folder / DEVTEST / "eng_Latn.devtest").write_bytes(b"a\nb\xff\n"),
        [f"@/{DEVTEST}/eng_Latn.devtest:2: not UTF-8 (byte 0xff at offset 3)"],
        FLORES,
    ),
    "FLORES+ with other ids": Damage(
        write_flores_plus,
        _edit("devtest/cmn_Hans.jsonl", lambda found: found[1:]),
        ["@/devtest/eng_Latn.jsonl (8 ids)", "1 ids are in one only, first: 0", "one revision"],
        FLORES,
    ),
    "FLORES+ with an id twice": Damage(
        write_flores_plus,
        _edit("devtest/cmn_Hans.jsonl", lambda found: [*found, found[2]]),
        ["@/devtest/cmn_Hans.jsonl: the id '2' occurs more than once"],
        FLORES,
    ),
    "FLORES+ without text": Damage(
        write_flores_plus,
        _edit(
            "devtest/eng_Latn.jsonl", lambda found: [x.replace('"text"', '"txt"') for x in found]
        ),
        ["@/devtest/eng_Latn.jsonl: no column 'text' (did you mean 'txt'?)"],
        FLORES,
    ),
    "an unknown language": Damage(
        write_flores_tarball, _keep, ["language 'sv'", "'codes'", "{sv: deu_Latn}"], FLORES, "en-sv"
    ),
    "WMT24++ of another language": Damage(
        write_wmt24pp,
        lambda folder: (folder / "en-ru_RU.jsonl").rename(folder / "en-zh_CN.jsonl"),
        ["@/en-zh_CN.jsonl:1: 'lp' is 'en-ru_RU', the file's name says 'en-zh_CN'", "8 such"],
        WMT,
    ),
    "WMT24++ with one wrong lp": Damage(
        write_wmt24pp,
        _edit("en-zh_CN.jsonl", lambda x: [*x[:5], x[5].replace("en-zh_CN", "en-zh_TW"), *x[6:]]),
        ["@/en-zh_CN.jsonl:6: 'lp' is 'en-zh_TW'"],
        WMT,
    ),
    "WMT24++ without English": Damage(
        write_wmt24pp, _keep, ["direction zh-ru: WMT24++ has English", "'directions'"], WMT, "zh-ru"
    ),
    "WMT24++ with a text for a flag": Damage(
        write_wmt24pp,
        _edit("en-zh_CN.jsonl", lambda found: [x.replace(": true", ': "yes"') for x in found]),
        ["@/en-zh_CN.jsonl:1: 'is_bad_source' is 'yes', expected true or false"],
        WMT,
    ),
    "WMT24++ with a row less": Damage(
        write_wmt24pp,
        _edit("en-zh_CN.jsonl", lambda found: found[:-1]),
        ["7 segments in @", "expects 8"],
        WMT | {"rows": 8},
    ),
    "WMT24++ not fetched": Damage(
        write_wmt24pp,
        lambda folder: (folder / "en-zh_CN.jsonl").unlink(),
        ["@/en-zh_CN.jsonl: no such file", "'sources.wmt24pp.files'", "'sources.wmt24pp.local'"],
        WMT,
    ),
    "WMT24++ with an id twice": Damage(
        write_wmt24pp,
        _edit("en-zh_CN.jsonl", lambda found: [*found, found[0]]),
        ["@/en-zh_CN.jsonl:9: the segment_id '1' stands in @/en-zh_CN.jsonl:1 already"],
        WMT,
    ),
    "BOUQuET without paragraphs": Damage(
        write_bouquet,
        _column(BOUQUET, lambda table: table.drop_columns(["par_id"])),
        [f"@/{BOUQUET}: no column 'par_id'", "there: 'level', 'split'"],
        PAIRS,
    ),
    "BOUQuET of paragraphs": Damage(
        write_bouquet,
        _column(BOUQUET, _value("level", "paragraph_level")),
        [f"@/{BOUQUET} row 1: 'level' is 'paragraph_level', the file's path says 'sentence_level'"],
        PAIRS,
    ),
    "BOUQuET of another language": Damage(
        write_bouquet,
        _column(BOUQUET, _value("src_lang", "yue_Hant")),
        [f"@/{BOUQUET} row 1: 'src_lang' is 'yue_Hant'", "'codes'"],
        PAIRS,
    ),
    "BOUQuET of another split": Damage(
        write_bouquet,
        _column(BOUQUET, _value("split", "test")),
        [f"@/{BOUQUET} row 1: 'split' is 'test'", "8 such problems"],
        PAIRS,
    ),
    "BOUQuET with numbers for texts": Damage(
        write_bouquet,
        _column(BOUQUET, _value("src_text", 7)),
        [f"@/{BOUQUET}: column 'src_text' is int64, expected text"],
        PAIRS,
    ),
    "BOUQuET cut short": Damage(
        write_bouquet,
        lambda folder: (folder / BOUQUET).write_bytes((folder / BOUQUET).read_bytes()[:999]),
        [f"@/{BOUQUET}: not a readable Parquet file"],
        PAIRS,
    ),
    "BOUQuET not fetched": Damage(
        write_bouquet,
        lambda folder: (folder / BOUQUET).unlink(),
        [f"@/{BOUQUET}: no such file", "'sources.bq.files'"],
        PAIRS | {"origin": "bq"},
    ),
    "ComMT without the task": Damage(
        write_commt,
        _edit(TRAIN, lambda found: [x.replace("general_trans", "doc_trans") for x in found]),
        [f"@/{TRAIN}: no row has task_type 'general_trans'; there: doc_trans", "'task'"],
        COMMT,
    ),
    "ComMT with another language": Damage(
        write_commt,
        _edit(TRAIN, lambda found: [x.replace('"zh"', '"zho"') for x in found]),
        [f"@/{TRAIN}: no column 'translation.zh'"],
        COMMT,
    ),
    "ComMT with a side missing in one row": Damage(
        write_commt,
        _edit(TRAIN, lambda found: [*found[:2], found[2].replace('"zh"', '"zho"'), *found[3:]]),
        [f"@/{TRAIN}:3: 'translation.zh' is missing"],
        COMMT,
    ),
    "ComMT that is an array": Damage(
        write_commt,
        _edit(TRAIN, lambda found: ["[" + ",".join(found) + "]"]),
        [f"@/{TRAIN}: holds one JSON array"],
        COMMT,
    ),
    "ComMT with two files for one": Damage(
        write_commt,
        lambda folder: (folder / "zh-en/test.en-zh.general_trans.wmt22.json").write_text("{}"),
        ["@/zh-en: 2 files fit 'test.en-zh.general_trans.*.json'", "wmt22.json, test.en-zh"],
        {"source": "commt", "split": "test"},
    ),
    "ComMT not fetched": Damage(
        write_commt,
        lambda folder: (folder / TRAIN).unlink(),
        ["@/zh-en/train.en-zh.general_trans.json: no such file", "'sources.commt.files'"],
        COMMT,
    ),
    "ComMT without English": Damage(
        write_commt, _keep, ["direction zh-ru: ComMT has English", "'directions'"], COMMT, "zh-ru"
    ),
}


@pytest.mark.parametrize("name", UPSTREAM)
def test_damaged_upstream(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    damage, folder = UPSTREAM[name], tmp_path / "raw"
    damage.write(folder, 8)
    damage.change(folder)
    expected = [part.replace("@", str(folder)) for part in damage.expected]
    expect_failure(folder, capsys, expected, direction=damage.direction, **damage.settings)


# --- the system says no -------------------------------------------------------------------------


def test_a_folder_where_a_file_is_expected(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for format in ("jsonl", "parquet"):
        folder = tmp_path / format / f"my.{format}"
        folder.mkdir(parents=True)
        expect_failure(folder, capsys, [f"{folder}: is a folder", "Name the file"], source=format)


def test_a_file_that_is_not_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for format in ("jsonl", "parquet"):
        path = tmp_path / format / f"my.{format}"
        path.parent.mkdir()
        expect_failure(path, capsys, [f"{path}: no such file", "Check the path"], source=format)


def test_an_output_below_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "my.jsonl"
    path.write_bytes(lines(row()))
    assert segments(path, path / "out/en-zh.parquet", source="jsonl") == 1
    assert "A part of the path is a file" in capsys.readouterr().err


def test_an_output_name_that_is_too_long(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "my.jsonl"
    path.write_bytes(lines(row()))
    assert segments(path, tmp_path / "out" / f"{'x' * 300}.parquet", source="jsonl") == 1
    assert "File name too long. Shorten" in capsys.readouterr().err


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that every user may enter (pytest's own are closed)."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o777)
        yield Path(name)


AS_SOMEONE = """
import json, os, resource, sys
import pyarrow.parquet
import routelmt.commands.segments, routelmt.provenance, routelmt.tables
import routelmt.data.segments, routelmt.data.readers.own_rows
from routelmt.__main__ import main
before, *arguments = sys.argv[1:]
exec(before)
sys.exit(main(arguments))
"""


def run_apart(before: str, origin: Path, out: Path) -> subprocess.CompletedProcess[str]:
    """The command in a process of its own, in which `before` was executed."""
    arguments = {
        "--origin": str(origin),
        "--dataset": "mine",
        "--direction": "en-zh",
        "--settings": '{"source": "jsonl"}',
        "--out": str(out),
    }
    options = [word for option in arguments.items() for word in option]
    return subprocess.run(
        [sys.executable, "-c", AS_SOMEONE, before, "segments", *options],
        capture_output=True,
        text=True,
        timeout=120,
        env=os.environ | {"PYTHONPATH": str(ROOT / "workflow")},
    )


# Root may read everything, so it becomes nobody first.
DROP_ROOT = "os.getuid() or os.setuid(65534)"


def test_no_permission_to_read(open_folder: Path) -> None:
    path, out = open_folder / "my.jsonl", open_folder / "out/en-zh.parquet"
    path.write_bytes(lines(row()))
    path.chmod(0)
    done = run_apart(DROP_ROOT, path, out)
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert f"{path}: no permission to read it. Try chmod" in done.stderr
    assert not out.parent.exists()


def test_no_permission_to_write(open_folder: Path) -> None:
    path, folder = open_folder / "my.jsonl", open_folder / "out"
    path.write_bytes(lines(row()))
    folder.mkdir(mode=0o555)
    done = run_apart(DROP_ROOT, path, folder / "en-zh.parquet")
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert "Permission denied. Change its permissions, or write to another folder." in done.stderr
    assert list(folder.iterdir()) == []


def test_a_full_disk(open_folder: Path) -> None:
    path, folder = open_folder / "my.jsonl", open_folder / "out"
    path.write_bytes(lines(*(row(i) for i in range(2000))))
    full = "resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))"  # write() fails, as on ENOSPC
    done = run_apart(full, path, folder / "en-zh.parquet")
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert f"{folder / 'en-zh.parquet'}: File too large. Free some space" in done.stderr
    assert list(folder.iterdir()) == []


# --- what is odd and still good -----------------------------------------------------------------

GOOD = {
    "BOM": b"\xef\xbb\xbf" + lines(row()),
    "CRLF": lines(row(1), row(2)).replace(b"\n", b"\r\n"),
    "no line end at the end": lines(row()).rstrip(),
    "blank lines": b"\n" + lines(row(1), "", "  ", row(2)),
    "100k characters": lines(row(source="Word " * 20_000, reference="词" * 100_000)),
    "line separators": lines(row(source="one\u2028two\u0085three\x0bfour")),
    "a line break in a text": lines(row(source="one\ntwo\r\nthree")),
    "astral characters": lines(row(source="\U0001f600 and \U00020000")),
    "escaped pairs": b'{"segment_id": 1, "direction": "en-zh", "source": "\\ud83d\\ude00", "reference": "b"}',
    "more columns": lines(row(notes=None, rating=[1, 2])),
}


@pytest.mark.parametrize("name", GOOD)
def test_odd_input_that_is_read(name: str, tmp_path: Path) -> None:
    path, out = tmp_path / "my.jsonl", tmp_path / "out/en-zh.parquet"
    path.write_bytes(GOOD[name])
    assert segments(path, out, source="jsonl") == 0
    parsed = [json.loads(x) for x in GOOD[name].decode("utf-8-sig").split("\n") if x.strip()]
    found = tables.read(out, "segments").to_pylist()
    assert [(r["source"], r["reference"]) for r in found] == [
        (r["source"], r["reference"]) for r in parsed
    ]
    assert [p.name for p in out.parent.iterdir()] == ["en-zh.parquet"]


def test_a_parquet_file_of_the_user_is_read(tmp_path: Path) -> None:
    path, out = tmp_path / "my.parquet", tmp_path / "out/en-zh.parquet"
    _parquet(row(1), row(2, direction="zh-en"))(path)
    assert segments(path, out, source="parquet") == 0
    assert tables.read(out, "segments").column("source").to_pylist() == ["Word 1"]
