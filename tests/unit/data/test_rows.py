"""Reading rows that others wrote: four formats, one answer; repairs are counted, the rest is refused."""

from __future__ import annotations

import csv
import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from routelmt.data.complaints import is_blank
from routelmt.data.parsers import Field
from routelmt.data.rows import read_lines, read_rows
from routelmt.errors import UserError

FORMATS = ("jsonl", "csv", "tsv", "parquet")
TEXT = [Field("id", "id"), Field("text", blank=True)]
CONTROL_CHARACTERS_OF_TEXT = "one\u2028two\u0085three\x0bfour\x0cfive\x1csix\ufeffseven\rend"


def write(path: Path, rows: Sequence[dict[str, Any]], format: str | None = None) -> Path:
    """The rows in the format of the suffix, as ordinary programs write them."""
    names = list(rows[0])
    match format or path.suffix[1:]:
        case "jsonl":
            lines = [json.dumps(row, ensure_ascii=False) for row in rows]
            path.write_text("\n".join(lines) + "\n", encoding="utf-8", newline="\n")
        case "csv":
            with path.open("w", encoding="utf-8", newline="") as handle:
                writer = csv.writer(handle, quoting=csv.QUOTE_ALL, lineterminator="\n")
                writer.writerows([names, *(row.values() for row in rows)])
        case "tsv":
            lines = ["\t".join(map(str, row.values())) for row in rows]
            text = "\n".join(["\t".join(names), *lines]) + "\n"
            path.write_text(text, encoding="utf-8", newline="\n")
        case "parquet":
            pq.write_table(pa.Table.from_pylist(list(rows)), path)
    return path


@pytest.mark.parametrize("format", FORMATS)
def test_every_format_gives_the_same_rows(tmp_path: Path, format: str) -> None:
    rows = [{"id": i, "text": f'"No", she said; {i}, 不 да'} for i in range(3)]
    found = read_rows(write(tmp_path / f"a.{format}", rows), TEXT)
    assert found.columns == {"id": ["0", "1", "2"], "text": [row["text"] for row in rows]}
    assert len(found) == 3


@pytest.mark.parametrize(
    ("format", "place"), [("jsonl", ":2"), ("csv", ":3"), ("tsv", ":3"), ("parquet", " row 2")]
)
def test_a_row_knows_where_it_stands(tmp_path: Path, format: str, place: str) -> None:
    path = write(tmp_path / f"a.{format}", [{"id": i, "text": "x"} for i in range(3)])
    assert read_rows(path, TEXT).where(1) == f"{path}{place}"


def test_the_line_of_a_csv_row_is_the_one_it_begins_on(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text('id,text\n1,"one\ntwo"\n\n2,three\n')
    rows = read_rows(path, TEXT)
    assert rows.lines == [2, 5]
    assert rows.columns["text"] == ["one\ntwo", "three"]


_characters = st.characters(exclude_characters="\0", exclude_categories=("Cs",))


@settings(max_examples=60)
@given(st.lists(st.text(_characters, max_size=30), min_size=1, max_size=5))
def test_any_text_survives_every_format(texts: list[str]) -> None:
    for format in FORMATS:
        wanted = texts
        if format == "tsv":  # what TSV can hold
            wanted = [t.translate(dict.fromkeys(map(ord, "\t\n\r"), " ")) for t in texts]
        rows = [{"id": i, "text": text} for i, text in enumerate(wanted)]
        with tempfile.TemporaryDirectory() as folder:
            found = read_rows(write(Path(folder) / f"a.{format}", rows), TEXT)
        if format == "csv":  # CRLF is repaired everywhere in a text file
            wanted = [text.replace("\r\n", "\n") for text in wanted]
        assert found.columns["text"] == wanted, format


@pytest.mark.parametrize("format", FORMATS)
def test_only_lf_ends_a_line(tmp_path: Path, format: str) -> None:
    rows = [{"id": 1, "text": CONTROL_CHARACTERS_OF_TEXT + "."}, {"id": 2, "text": "x"}]
    found = read_rows(write(tmp_path / f"a.{format}", rows), TEXT)
    assert found.columns["text"] == [CONTROL_CHARACTERS_OF_TEXT + ".", "x"]


def test_only_lf_ends_a_line_of_plain_text(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text(f"{CONTROL_CHARACTERS_OF_TEXT}.\n\nlast", encoding="utf-8", newline="\n")
    assert read_lines(path) == [CONTROL_CHARACTERS_OF_TEXT + ".", "", "last"]


@pytest.mark.parametrize("format", ["jsonl", "csv", "tsv"])
def test_bom_and_crlf_are_repaired_and_said_once(
    tmp_path: Path, format: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write(tmp_path / f"a.{format}", [{"id": i, "text": "x"} for i in range(4)])
    lines = path.read_bytes().count(b"\n")
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b"\n", b"\r\n"))
    assert read_rows(path, TEXT).columns["text"] == ["x"] * 4
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 2
    assert f"{path}: 1 byte order mark" in said[0]
    assert f"{path}: {lines} line ends CRLF" in said[1]


@pytest.mark.parametrize("format", FORMATS)
def test_a_line_of_100_000_characters_is_a_line(tmp_path: Path, format: str) -> None:
    rows = [{"id": i, "text": "длинно " * 20_000} for i in range(2)]
    assert len(read_rows(write(tmp_path / f"a.{format}", rows), TEXT).columns["text"][1]) == 140_000


def test_the_field_limit_of_csv_is_left_as_it_was(tmp_path: Path) -> None:
    before = csv.field_size_limit()
    read_rows(write(tmp_path / "a.csv", [{"id": 1, "text": "x" * 200_000}]), TEXT)
    assert csv.field_size_limit() == before


def test_tsv_has_no_quoting(tmp_path: Path) -> None:
    path = tmp_path / "a.tsv"
    path.write_text('id\ttext\n1\t"Stop!" he cried\n2\t"never closed\n3\t""\n')
    found = read_rows(path, TEXT).columns["text"]
    assert found == ['"Stop!" he cried', '"never closed', '""']


QUOTED = {
    "doubled marks": 'id\ttext\n1\t"He said ""x"""\n2\tplain\n3\t"a, b"\n',
    "all quoted": '"id"\t"text"\n"1"\t"one"\n"2"\t"two"\n',
}


@pytest.mark.parametrize("name", QUOTED)
def test_a_tsv_that_looks_quoted_stops_until_it_is_said_which(tmp_path: Path, name: str) -> None:
    path = tmp_path / "a.tsv"
    path.write_text(QUOTED[name])
    with pytest.raises(UserError, match=r"a\.tsv:[12]: .* looks quoted as in CSV.*'quoting'"):
        read_rows(path, TEXT)
    expected = {"doubled marks": ['He said "x"', "plain", "a, b"], "all quoted": ["one", "two"]}
    assert read_rows(path, TEXT, quoting="csv").columns["text"] == expected[name]


def test_a_quoted_tsv_can_be_meant_literally(tmp_path: Path) -> None:
    path = tmp_path / "a.tsv"
    path.write_text(QUOTED["doubled marks"])
    found = read_rows(path, TEXT, quoting="none").columns["text"]
    assert found == ['"He said ""x"""', "plain", '"a, b"']


@pytest.mark.parametrize(
    "text", ['"All of it is said."', '"He said ""x"""\n2\tan inch is 1"', 'say ""so""']
)
def test_marks_of_sentences_are_no_quoting(tmp_path: Path, text: str) -> None:
    path = tmp_path / "a.tsv"
    path.write_text(f"id\ttext\n1\t{text}\n")
    assert read_rows(path, TEXT).columns["text"][0] == text.split("\n")[0]


def test_a_quoted_tsv_may_hold_tabs_and_line_breaks(tmp_path: Path) -> None:
    path = tmp_path / "a.tsv"
    path.write_text('id\ttext\n1\t"a\tb\nc"\n2\td\n')
    assert read_rows(path, TEXT, quoting="csv").columns["text"] == ["a\tb\nc", "d"]
    with pytest.raises(UserError, match="quoting: csv"):
        read_rows(path, TEXT)


def test_a_list_of_references_is_told_what_to_do(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"id": 1, "text": ["one", "two"]}\n')
    with pytest.raises(UserError, match=r"'text' is .*of several references keep one"):
        read_rows(path, TEXT)


@pytest.mark.parametrize("cell", ["", " ", "NaN", "nan", "NA", "None", "null"])
def test_a_number_that_may_be_absent(tmp_path: Path, cell: str) -> None:
    path = tmp_path / "a.csv"
    path.write_text(f"score,x\n{cell},1\n2.5,1\n")
    assert read_rows(path, [Field("score", "number", empty=True)]).columns["score"] == [None, 2.5]
    with pytest.raises(UserError, match=r"a\.csv:2"):
        read_rows(path, [Field("score", "number")])


@pytest.mark.parametrize("format", ["jsonl", "parquet"])
def test_null_is_an_absent_number(tmp_path: Path, format: str) -> None:
    path = write(tmp_path / f"a.{format}", [{"id": 1, "score": None}, {"id": 2, "score": 1.5}])
    assert read_rows(path, [Field("score", "number", empty=True)]).columns["score"] == [None, 1.5]


def test_blank_lines_between_rows_are_ignored(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('\n{"id": 1, "text": "a"}\n\n  \n{"id": 2, "text": "b"}\n\n')
    assert read_rows(path, TEXT).lines == [2, 5]


@pytest.mark.parametrize("format", FORMATS)
def test_optional_columns(tmp_path: Path, format: str) -> None:
    fields = [*TEXT, Field("doc", required=False), Field("gone", required=False)]
    rows = [{"id": 1, "text": "x", "doc": "d"}, {"id": 2, "text": "x", "doc": " "}]
    columns = read_rows(write(tmp_path / f"a.{format}", rows), fields).columns
    assert columns["doc"] == ["d", None]
    assert columns.get("gone") is None


def test_an_optional_key_may_be_missing_or_null_in_some_rows(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"id": 1, "d": "x"}\n{"id": 2}\n{"id": 3, "d": null}\n')
    fields = [Field("id", "id"), Field("d", required=False)]
    assert read_rows(path, fields).columns["d"] == ["x", None, None]


@pytest.mark.parametrize("format", ["jsonl", "parquet"])
def test_a_dotted_field_reaches_into_objects(tmp_path: Path, format: str) -> None:
    path = write(tmp_path / f"a.{format}", [{"t": {"en": "yes", "ru": "да"}}])
    found = read_rows(path, [Field("t.ru"), Field("t.en")])
    assert found.columns == {"t.ru": ["да"], "t.en": ["yes"]}


def test_columns_nobody_asked_for_are_named_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [{"id": i, "text": "x", "notes": "y", "domian": "z", "known": 0} for i in range(9)]
    path = write(tmp_path / "a.jsonl", rows)
    read_rows(path, [*TEXT, Field("domain", required=False)], ignore=("known",))
    said = capsys.readouterr().err
    assert said == (
        f"routelmt: {path}: columns not used: 'notes', 'domian'; "
        "is one of them meant to be 'domain'?\n"
    )


@pytest.mark.parametrize("type_", [pa.large_string(), pa.dictionary(pa.int32(), pa.string())])
def test_parquet_strings_of_every_kind_are_text(tmp_path: Path, type_: pa.DataType) -> None:
    path = tmp_path / "a.parquet"
    table = pa.table({"id": pa.array([7, 8], pa.uint16()), "text": pa.array(["a", "b"], type_)})
    pq.write_table(table, path)
    assert read_rows(path, TEXT).columns == {"id": ["7", "8"], "text": ["a", "b"]}


# --- numbers and flags --------------------------------------------------------------------------

SCORE = [Field("score", "number")]


@pytest.mark.parametrize("format", FORMATS)
def test_numbers_may_be_negative_or_large(tmp_path: Path, format: str) -> None:
    path = write(tmp_path / f"a.{format}", [{"score": x} for x in (-12.5, 0.0, 1e300)])
    assert read_rows(path, SCORE).columns["score"] == [-12.5, 0.0, 1e300]


def test_whole_and_decimal_numbers_are_floats(tmp_path: Path) -> None:
    import decimal

    path = write(tmp_path / "a.parquet", [{"score": decimal.Decimal("1.5")}])
    assert read_rows(path, SCORE).columns["score"] == [1.5]
    found = read_rows(write(tmp_path / "a.jsonl", [{"score": 3}]), SCORE).columns["score"]
    assert found == [3.0] and isinstance(found[0], float)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.jsonl", '{"score": NaN}'),
        ("a.jsonl", '{"score": Infinity}'),
        ("a.jsonl", '{"score": 1e999}'),
        ("a.jsonl", '{"score": "3.5"}'),
        ("a.jsonl", '{"score": true}'),
        ("a.jsonl", '{"score": null}'),
        ("a.jsonl", '{"score": [1]}'),
        ("a.jsonl", '{"score": 1' + "0" * 400 + "}"),
        ("a.csv", "score,x\nnan,1"),
        ("a.csv", "score,x\n-inf,1"),
        ("a.csv", "score,x\n,1"),
        ("a.csv", 'score,x\n"3,5",1'),
        ("a.csv", "score,x\n1_000,1"),
        ("a.csv", "score,x\n1e999,1"),
        ("a.tsv", "score\tx\nhigh\t1"),
    ],
)
def test_what_is_no_finite_number_is_refused_with_its_place(
    tmp_path: Path, name: str, content: str
) -> None:
    path = tmp_path / name
    path.write_text(content)
    with pytest.raises(UserError) as error:
        read_rows(path, SCORE)
    assert str(error.value).startswith(f"{path}:{content.count(chr(10)) + 1}: ")


def test_nan_in_parquet_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "a.parquet", [{"score": 1.0}, {"score": float("nan")}])
    with pytest.raises(UserError, match=r"a\.parquet row 2: 'score' is nan, not finite"):
        read_rows(path, SCORE)


def test_flags(tmp_path: Path) -> None:
    fields = [Field("bad", "flag")]
    for name in ("a.jsonl", "a.csv", "a.parquet"):
        path = write(tmp_path / name, [{"bad": True, "x": 1}, {"bad": False, "x": 2}])
        assert read_rows(path, fields).columns["bad"] == [True, False]
    with pytest.raises(UserError, match="'bad' is 1, expected true or false"):
        read_rows(write(tmp_path / "b.jsonl", [{"bad": 1}]), fields)


# --- messages -----------------------------------------------------------------------------------


def test_many_problems_are_one_message_with_three_places_and_the_count(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", [{"text": "x" if i % 2 else ""} for i in range(3000)])
    with pytest.raises(UserError) as error:
        read_rows(path, [Field("text")])
    assert str(error.value) == (
        f"{path}:1: 'text' is blank. Fill or drop the row. "
        f"1,500 such problems, the next: {path}:3, {path}:5."
    )


def test_a_message_never_holds_a_whole_text(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", [{"text": ["long " * 1000]}, {"text": "\0" + "x" * 1000}])
    with pytest.raises(UserError) as error:
        read_rows(path, [Field("text")])
    assert len(str(error.value)) < 250 + len(str(path))


def test_the_suffix_names_the_format(tmp_path: Path) -> None:
    for suffix in (".json", ".ndjson", ".JSONL"):
        path = write(tmp_path / f"a{suffix}", [{"id": 1, "text": "x"}], "jsonl")
        assert len(read_rows(path, TEXT)) == 1
    path = write(tmp_path / "a.txt", [{"id": 1, "text": "x"}], "jsonl")
    assert len(read_rows(path, TEXT, "jsonl")) == 1
    with pytest.raises(UserError, match=r"the suffix '\.txt' names no format.*\.jsonl"):
        read_rows(path, TEXT)


def test_blank_is_what_shows_nothing() -> None:
    assert all(map(is_blank, ("", " ", "\t\n", "\u3000", "\xa0", "\u200b\ufeff", "\xad")))
    assert not any(map(is_blank, (".", "a ", "。", "\u200bа")))


def test_parquet_text_that_is_not_utf_8_is_refused_with_its_row(tmp_path: Path) -> None:
    raw = pa.array([b"fine", b"bro\xffken"], pa.binary())
    table = pa.table({"id": [1, 2], "text": raw.view(pa.string())})
    path = tmp_path / "a.parquet"
    pq.write_table(table, path)
    with pytest.raises(UserError, match="row 2: column 'text' is not UTF-8"):
        read_rows(path, TEXT)
