"""Files to raw values: JSON lines, CSV, TSV, Parquet. What their values are is checked in `rows`.

Lines end with LF only: U+2028, U+0085, vertical tabs and lone carriage returns occur inside real
sentences and are text (only CSV wants a lone carriage return quoted). CSV is Python's strict
dialect: quoted fields may span lines. TSV has no quoting at all, because corpora have none and
sentences begin with quotation marks; a text with a tab or a line break needs another format, or
`quoting: csv`. A TSV that looks as if it had been written so is an error until it is said which.
"""

from __future__ import annotations

import codecs
import csv
import io
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

from routelmt.data.complaints import Complaints, place, say, show
from routelmt.errors import UserError
from routelmt.strict_json import JsonError, parse

FORMATS = {
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "jsonl",
    ".csv": "csv",
    ".tsv": "tsv",
    ".parquet": "parquet",
}
_QUOTED = re.compile(r'"(?:[^"]|"")*"')
ABSENT = object()
_ONE_OBJECT = "Each line must be one JSON object, with null for a value that is not there"
# Of values, and how errors call a column of them.
KINDS = {
    "text": "text (string)",
    "id": "text or integers",
    "number": "numbers",
    "flag": "true or false (bool)",
}


class Field(NamedTuple):
    """A column to read; a dot in the name reaches into an object ("translation.en").

    kind: "text"; "id" (text or an integer, read as text); "number" (finite); "flag" (true, false).
    blank: whether a text may be blank (a model may say nothing); optional blanks are None.
    empty: whether a number may be absent (null, NaN, an empty cell, NA), which is None.
    """

    name: str
    kind: str = "text"
    required: bool = True
    blank: bool = False
    empty: bool = False


class Raw(NamedTuple):
    """Names of all columns, unchecked values of the wanted ones, lines (rows of a Parquet file).

    textual: no types yet.
    """

    names: list[str]
    columns: dict[str, list[Any]]
    lines: list[int]
    textual: bool = False
    parquet: bool = False


def _format_of(path: Path) -> str:
    try:
        return FORMATS[path.suffix.lower()]
    except KeyError:
        raise UserError(
            f"{path}: the suffix '{path.suffix}' names no format. Rename or convert it to one of "
            f"{', '.join(FORMATS)}."
        ) from None


def _unreadable(path: Path, error: OSError) -> NoReturn:
    """Turn what the system says about opening a file into what the user can do."""
    if isinstance(error, FileNotFoundError):
        raise UserError(f"{path}: no such file. Check the path in the config.") from None
    if isinstance(error, IsADirectoryError):
        raise UserError(f"{path}: is a folder, a file is expected. Name the file in it.") from None
    if isinstance(error, PermissionError):
        raise UserError(f"{path}: no permission to read it. Try chmod u+r '{path}'.") from None
    raise error


def text_of(path: Path) -> str:
    """The decoded text of a file with LF line ends."""
    try:
        data = path.read_bytes()
    except OSError as error:
        _unreadable(path, error)
    text = _decode(path, data)
    if not text.strip():
        raise UserError(f"{path}: is empty. Check what wrote it, or drop it from the config.")
    windows = text.count("\r\n")
    if windows:
        say(f"{path}: {windows:,} line ends CRLF read as LF")
        text = text.replace("\r\n", "\n")
    if "\r" in text and "\n" not in text:
        raise UserError(
            f"{path}: its lines end with CR only. Convert it: tr '\\r' '\\n' < OLD > NEW."
        )
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        raise UserError(
            f"{path}:{line}: a NUL character ({text.count(chr(0)):,} in the file). Remove them, "
            "or convert the file to UTF-8 if it is UTF-16."
        )
    return text


def _decode(path: Path, data: bytes) -> str:
    start = 0
    if data.startswith(codecs.BOM_UTF8):
        say(f"{path}: 1 byte order mark at the start removed")
        start = len(codecs.BOM_UTF8)
    try:
        return data[start:].decode("utf-8")
    except UnicodeDecodeError as error:
        at = start + error.start
        line = data.count(b"\n", 0, at) + 1
        wide = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
        raise UserError(
            f"{path}:{line}: not UTF-8 (byte 0x{data[at]:02x} at offset {at}). Convert the file: "
            f"iconv -f {'UTF-16' if wide else 'ENCODING'} -t UTF-8 OLD > NEW."
        ) from None


def lines_of(text: str) -> list[str]:
    lines = text.split("\n")
    return lines if lines[-1] else lines[:-1]


def _parse_json_lines(path: Path, fields: Sequence[Field]) -> Raw:
    text = text_of(path)
    if text.lstrip().startswith("["):
        raise UserError(
            f"{path}: holds one JSON array, JSON lines are expected: one object a line. "
            f"Convert it: jq -c '.[]' OLD > NEW."
        )
    records, lines, complaints = [], [], Complaints()
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            # Halves of surrogate pairs are told of the field, if it is one that is read.
            record = parse(line, halves=True)
        except JsonError as error:
            complaints.add(place(path, number), str(error), _ONE_OBJECT)
            continue
        if isinstance(record, dict):
            records.append(record)
            lines.append(number)
        else:
            what = f"{show(record)} is no JSON object"
            complaints.add(place(path, number), what, _ONE_OBJECT)
    complaints.tell()
    names = list(dict.fromkeys(name for record in records for name in record))
    columns = {}
    for field in fields:
        values = [_member(record, field.name) for record in records]
        if any(value is not ABSENT for value in values):
            columns[field.name] = values
    return Raw(names, columns, lines)


def _member(record: Mapping[str, Any], name: str) -> Any:
    """Value of a key or of a dotted path of keys, ABSENT if it is not there."""
    if name in record:
        return record[name]
    head, _, tail = name.partition(".")
    inner = record.get(head) if tail else None
    return _member(inner, tail) if isinstance(inner, dict) else ABSENT


def _parse_csv(path: Path, fields: Sequence[Field], delimiter: str = ",") -> Raw:
    text = text_of(path)
    limit = csv.field_size_limit(sys.maxsize)
    remedy = f"Quote texts that hold {'commas' if delimiter == ',' else 'tabs'}"
    try:
        return _from_cells(path, _csv_rows(path, text, delimiter), fields, remedy)
    finally:
        csv.field_size_limit(limit)


def _csv_rows(path: Path, text: str, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """(line it begins on, cells) of every row that is not empty."""
    reader = csv.reader(io.StringIO(text, newline="\n"), strict=True, delimiter=delimiter)
    while True:
        line = reader.line_num + 1
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            raise UserError(
                f"{place(path, line)}: not CSV in the row that begins here ({error}). Quote texts "
                'with delimiters, quotes or line breaks, and double the quotes: "say ""so""".'
            ) from None
        if cells:
            yield line, cells


def _parse_tsv(path: Path, fields: Sequence[Field], quoting: str | None) -> Raw:
    if quoting == "csv":
        return _parse_csv(path, fields, "\t")
    lines = enumerate(lines_of(text_of(path)), 1)
    rows = [(number, line.split("\t")) for number, line in lines if line]
    if quoting is None:
        _check_unquoted(path, rows)
    remedy = (
        "TSV has no quoting; use JSON lines for texts with tabs, or set 'quoting: csv' beside the "
        "file's path if its texts are quoted as in CSV"
    )
    return _from_cells(path, iter(rows), fields, remedy)


def _check_unquoted(path: Path, rows: Sequence[tuple[int, list[str]]]) -> None:
    """Stop at a TSV that a program for CSV may have written: every quotation mark quotes a cell.

    Some quoted cell has doubled marks inside, or the header is quoted: sentences of a corpus that
    all stand in quotation marks have neither.
    """
    marked = [(number, cell) for number, cells in rows for cell in cells if '"' in cell]
    if not all(_QUOTED.fullmatch(cell) for _, cell in marked):
        return
    header = rows[0][0]
    telling = [place for place in marked if '""' in place[1][1:-1] or place[0] == header]
    if telling:
        number, cell = telling[0]
        raise UserError(
            f"{place(path, number)}: {show(cell)} looks quoted as in CSV, as all {len(marked):,} "
            "cells with a quotation mark do. Set 'quoting' beside the file's path in the config: "
            "csv takes the quotes off, none takes every cell as it is."
        )


def _from_cells(
    path: Path, rows: Iterator[tuple[int, list[str]]], fields: Sequence[Field], remedy: str
) -> Raw:
    line, header = next(rows)
    if len(set(header)) < len(header):
        twice = next(name for name in header if header.count(name) > 1)
        raise UserError(f"{place(path, line)}: two columns are called {show(twice)}. Rename one.")
    complaints = Complaints()
    kept: list[list[str]] = []
    lines = []
    for number, cells in rows:
        if len(cells) != len(header):
            what = f"{len(cells)} fields, the header has {len(header)}"
            complaints.add(place(path, number), what, remedy)
            continue
        kept.append(cells)
        lines.append(number)
    complaints.tell()
    at = {name: i for i, name in enumerate(header)}
    columns: dict[str, list[Any]] = {
        f.name: [cells[at[f.name]] for cells in kept] for f in fields if f.name in at
    }
    return Raw(header, columns, lines, textual=True)


def _parse_parquet(path: Path, fields: Sequence[Field]) -> Raw:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with path.open("rb") as handle:
            file = pq.ParquetFile(handle)
            names = file.schema_arrow.names
            wanted = {f.name.partition(".")[0] for f in fields} | {f.name for f in fields}
            data = file.read([name for name in names if name in wanted])
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        if isinstance(error, OSError) and error.errno:
            _unreadable(path, error)
        raise UserError(
            f"{path}: not a readable Parquet file ({str(error)[:200]}). It was cut short or is "
            "something else; write or download it again."
        ) from None
    while any(pa.types.is_struct(field.type) for field in data.schema):
        data = data.flatten()
    columns = {
        field.name: _parquet_values(path, data.column(field.name), field)
        for field in fields
        if field.name in data.column_names
    }
    return Raw(names, columns, list(range(1, data.num_rows + 1)), parquet=True)


def _parquet_values(path: Path, column: Any, field: Field) -> list[Any]:
    """Python values of an Arrow column whose type suits the field."""
    import pyarrow as pa

    is_, type_ = pa.types, column.type
    if is_.is_dictionary(type_):
        type_ = type_.value_type
    text = is_.is_string(type_) or is_.is_large_string(type_) or is_.is_string_view(type_)
    whole = is_.is_integer(type_)
    number = whole or is_.is_floating(type_) or is_.is_decimal(type_)
    suits = {"text": text, "id": text or whole, "number": number, "flag": is_.is_boolean(type_)}
    if not suits[field.kind] and not is_.is_null(type_):
        raise UserError(
            f"{path}: column '{field.name}' is {type_}, expected {KINDS[field.kind]}. "
            "Cast it before writing the file."
        )
    try:
        values: list[Any] = column.to_pylist()
    except UnicodeDecodeError:
        row = next(i for i, value in enumerate(column, 1) if not _decodes(value))
        raise UserError(
            f"{path} row {row}: column '{field.name}' is not UTF-8. Write the file again from "
            "decoded texts."
        ) from None
    return [float(v) if v is not None else v for v in values] if is_.is_decimal(type_) else values


def _decodes(scalar: Any) -> bool:
    try:
        scalar.as_py()
    except UnicodeDecodeError:
        return False
    return True


def parse_file(path: Path, fields: Sequence[Field], format: str | None, quoting: str | None) -> Raw:
    """Names and values of a file; arguments as of rows.read_rows. Raises UserError."""
    format = format or _format_of(path)
    if format == "tsv":
        return _parse_tsv(path, fields, quoting)
    parse_one = {"jsonl": _parse_json_lines, "csv": _parse_csv, "parquet": _parse_parquet}[format]
    return parse_one(path, fields)
