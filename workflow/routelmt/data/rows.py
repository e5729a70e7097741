"""Rows of files that we did not write: JSON lines, CSV, TSV, Parquet and plain lines.

Foreign text gets in here or not at all. Two things are repaired, counted, and said on standard
error: a byte order mark at the start, and CRLF line ends. Everything else is an error that names
file and line.

Lines end with LF only: U+2028, U+0085, vertical tabs and lone carriage returns occur inside real
sentences and are text (only CSV wants a lone carriage return quoted). CSV is Python's strict
dialect: quoted fields may span lines. TSV has no quoting at all, because corpora have none and
sentences begin with quotation marks; a text with a tab or a line break needs another format, or
`quoting: csv`. A TSV that looks as if it had been written so is an error until it is said which.
"""

from __future__ import annotations

import codecs
import csv
import difflib
import io
import json
import math
import re
import sys
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

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
SHOWN_PLACES = 3
SHOWN_CHARACTERS = 60
SHOWN_NAMES = 20
_SURROGATE = re.compile("[\ud800-\udfff]")
_QUOTED = re.compile(r'"(?:[^"]|"")*"')
_UNSAID = frozenset(("", "na", "n/a", "nan", "none", "null"))  # numbers that are not there
_BLANK = re.compile(r"[\s\u00ad\u200b-\u200f\u2060\ufeff]*")  # spaces and what nobody sees
_ABSENT = object()
_ONE_OBJECT = "Each line must be one JSON object, with null for a value that is not there"


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


@dataclass(frozen=True)
class Rows:
    """Checked rows: values by field name (optional fields that the file lacks are left out).

    lines: where each row begins, from 1; rows instead of lines in a Parquet file.
    """

    path: Path
    columns: dict[str, list[Any]]
    lines: list[int]
    parquet: bool = False

    def __len__(self) -> int:
        return len(self.lines)

    def where(self, i: int) -> str:
        """Place of the i-th row (from 0) for messages: "my.jsonl:12", "my.parquet row 12"."""
        return _place(self.path, self.lines[i], self.parquet)


class Complaints:
    """What is wrong with many rows, told as one: the first of a kind, how many, and where next."""

    def __init__(self) -> None:
        self._found: dict[str, list[tuple[str, str]]] = {}
        self._counts: dict[str, int] = {}

    def add(self, place: str, what: str, remedy: str) -> None:
        """Note a problem; those with the same remedy are of one kind."""
        self._counts[remedy] = self._counts.get(remedy, 0) + 1
        found = self._found.setdefault(remedy, [])
        if len(found) < SHOWN_PLACES:
            found.append((place, what))

    def tell(self) -> None:
        """Raise UserError about the first kind, if there is any."""
        for remedy, found in self._found.items():
            (place, what), count = found[0], self._counts[remedy]
            message = f"{place}: {what}. {remedy}."
            if count > 1:
                places = ", ".join(p for p, _ in found[1:])
                message += f" {count:,} such problems, the next: {places}."
            raise UserError(message)


def say(message: str) -> None:
    """A remark for the user on standard error."""
    print(f"routelmt: {message}", file=sys.stderr)


def show(value: Any) -> str:
    """A value of a row for a message: never a whole text."""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    cut = text if len(text) <= SHOWN_CHARACTERS else text[:SHOWN_CHARACTERS] + "..."
    return repr(cut) if isinstance(value, str) else cut


def is_blank(text: str) -> bool:
    """Whether a text has nothing to see: empty, white space, zero-width characters."""
    return _BLANK.fullmatch(text) is not None


def flaw(text: str) -> str | None:
    """What makes a text impossible to store or send, None if nothing does."""
    if "\0" in text:
        return "a NUL character"
    if not text.isascii() and (found := _SURROGATE.search(text)):
        return f"half of a surrogate pair (U+{ord(found.group()):04X})"
    return None


# --- public readers -----------------------------------------------------------------------------


def read_rows(
    path: Path,
    fields: Sequence[Field],
    format: str | None = None,
    ignore: Collection[str] = (),
    quoting: str | None = None,
) -> Rows:
    """Rows of a file, checked: every field has its kind, and no text can break later stages.

    format: jsonl, csv, tsv or parquet; by suffix if None. ignore: columns known to be there and
    not needed; others that nobody asked for are named on standard error. quoting: of a TSV, csv or
    none; by default none, and one that looks quoted is an error. Raises UserError.
    """
    path = Path(path)
    format = format or _format_of(path)
    raw = _parse_tsv(path, fields, quoting) if format == "tsv" else _PARSERS[format](path, fields)
    if not raw.lines:
        raise UserError(
            f"{path}: has no rows. Put at least one below the header, or drop the file."
        )
    _check_names(path, raw, fields, ignore)
    parquet = format == "parquet"
    rows = Rows(path, {}, raw.lines, parquet)
    complaints = Complaints()
    for field in fields:
        if field.name in raw.columns:
            rows.columns[field.name] = _convert(raw, field, rows, complaints)
    complaints.tell()
    return rows


def read_lines(path: Path) -> list[str]:
    """Segments of a plain text file, one a line; blank ones are kept. Raises UserError."""
    return _lines(_text_of(Path(path)))


def upstream_file(path: Path, settings: Mapping[str, Any]) -> Path:
    """`path` if it is there; else UserError saying how the dataset's source gets another file."""
    if path.exists():
        return path
    name = source_name(settings)
    raise UserError(
        f"{path}: no such file. List it in 'sources.{name}.files' of the config and fetch again, "
        f"or put it at this place in the folder that 'sources.{name}.local' names."
    )


def source_name(settings: Mapping[str, Any]) -> str:
    """Name under 'sources' of the config that a dataset with these settings is read from."""
    return str(settings.get("origin") or settings.get("source"))


# --- files to raw values ------------------------------------------------------------------------


class _Raw(NamedTuple):
    """Names of all columns, unchecked values of the wanted ones, lines; textual: no types yet."""

    names: list[str]
    columns: dict[str, list[Any]]
    lines: list[int]
    textual: bool = False


class _Unfit(ValueError):
    """A value that is not of its kind: (what is wrong, what to do)."""

    def __init__(self, what: str, remedy: str) -> None:
        super().__init__(what)
        self.what, self.remedy = what, remedy


def _place(path: Path, line: int, parquet: bool = False) -> str:
    return f"{path} row {line}" if parquet else f"{path}:{line}"


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


def _text_of(path: Path) -> str:
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


def _lines(text: str) -> list[str]:
    lines = text.split("\n")
    return lines if lines[-1] else lines[:-1]


def _parse_json_lines(path: Path, fields: Sequence[Field]) -> _Raw:
    text = _text_of(path)
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
            complaints.add(_place(path, number), str(error), _ONE_OBJECT)
            continue
        if isinstance(record, dict):
            records.append(record)
            lines.append(number)
        else:
            what = f"{show(record)} is no JSON object"
            complaints.add(_place(path, number), what, _ONE_OBJECT)
    complaints.tell()
    names = list(dict.fromkeys(name for record in records for name in record))
    columns = {}
    for field in fields:
        values = [_member(record, field.name) for record in records]
        if any(value is not _ABSENT for value in values):
            columns[field.name] = values
    return _Raw(names, columns, lines)


def _member(record: Mapping[str, Any], name: str) -> Any:
    """Value of a key or of a dotted path of keys, _ABSENT if it is not there."""
    if name in record:
        return record[name]
    head, _, tail = name.partition(".")
    inner = record.get(head) if tail else None
    return _member(inner, tail) if isinstance(inner, dict) else _ABSENT


def _parse_csv(path: Path, fields: Sequence[Field], delimiter: str = ",") -> _Raw:
    text = _text_of(path)
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
                f"{_place(path, line)}: not CSV in the row that begins here ({error}). Quote texts "
                'with delimiters, quotes or line breaks, and double the quotes: "say ""so""".'
            ) from None
        if cells:
            yield line, cells


def _parse_tsv(path: Path, fields: Sequence[Field], quoting: str | None) -> _Raw:
    if quoting == "csv":
        return _parse_csv(path, fields, "\t")
    lines = enumerate(_lines(_text_of(path)), 1)
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
            f"{_place(path, number)}: {show(cell)} looks quoted as in CSV, as all {len(marked):,} "
            "cells with a quotation mark do. Set 'quoting' beside the file's path in the config: "
            "csv takes the quotes off, none takes every cell as it is."
        )


def _from_cells(
    path: Path, rows: Iterator[tuple[int, list[str]]], fields: Sequence[Field], remedy: str
) -> _Raw:
    line, header = next(rows)
    if len(set(header)) < len(header):
        twice = next(name for name in header if header.count(name) > 1)
        raise UserError(f"{_place(path, line)}: two columns are called {show(twice)}. Rename one.")
    complaints = Complaints()
    kept: list[list[str]] = []
    lines = []
    for number, cells in rows:
        if len(cells) != len(header):
            what = f"{len(cells)} fields, the header has {len(header)}"
            complaints.add(_place(path, number), what, remedy)
            continue
        kept.append(cells)
        lines.append(number)
    complaints.tell()
    at = {name: i for i, name in enumerate(header)}
    columns: dict[str, list[Any]] = {
        f.name: [cells[at[f.name]] for cells in kept] for f in fields if f.name in at
    }
    return _Raw(header, columns, lines, textual=True)


def _parse_parquet(path: Path, fields: Sequence[Field]) -> _Raw:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with path.open("rb") as handle:
            file = pq.ParquetFile(handle)
            names = file.schema_arrow.names
            wanted = {f.name.partition(".")[0] for f in fields} | {f.name for f in fields}
            data = file.read([name for name in names if name in wanted])
    except (pa.ArrowException, OSError) as error:
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
    return _Raw(names, columns, list(range(1, data.num_rows + 1)))


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
            f"{path}: column '{field.name}' is {type_}, expected {_KINDS[field.kind].about}. "
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


_PARSERS = {
    "jsonl": _parse_json_lines,
    "csv": _parse_csv,
    "parquet": _parse_parquet,
}


# --- raw values to checked ones -----------------------------------------------------------------


def _check_names(path: Path, raw: _Raw, fields: Sequence[Field], ignore: Collection[str]) -> None:
    missing = [f.name for f in fields if f.required and f.name not in raw.columns]
    if missing:
        near = difflib.get_close_matches(missing[0], raw.names, 1)
        raise UserError(
            f"{path}: no column {_quoted(missing)}"
            f"{f' (did you mean {show(near[0])}?)' if near else ''}; there: {_quoted(raw.names)}. "
            f"{_parted(raw.names)}."
        )
    wanted = {f.name.partition(".")[0] for f in fields} | {f.name for f in fields} | set(ignore)
    unknown = [name for name in raw.names if name not in wanted]
    if unknown:
        absent = [f.name for f in fields if f.name not in raw.columns]
        near = [n for name in unknown for n in difflib.get_close_matches(name, absent, 1)]
        hint = f"; is one of them meant to be '{near[0]}'?" if near else ""
        say(f"{path}: columns not used: {_quoted(unknown)}{hint}")


def _parted(names: Sequence[str]) -> str:
    """What to do about a missing column; a header in one piece tells another delimiter."""
    only = names[0] if len(names) == 1 else ""
    if ";" in only:
        return (
            "Its columns are parted by semicolons, as Excel writes CSV in many countries: save it "
            "with commas, or convert it: "
            'python -c "import csv,sys; csv.writer(sys.stdout).writerows('
            "csv.reader(sys.stdin, delimiter=';'))\" < OLD > NEW"
        )
    if "\t" in only:
        return "Its columns are parted by tabs: name it .tsv (source: tsv)"
    return "Add or rename it"


def _quoted(names: Sequence[str]) -> str:
    more = f" and {len(names) - SHOWN_NAMES} more" if len(names) > SHOWN_NAMES else ""
    return ", ".join(show(name) for name in names[:SHOWN_NAMES]) + more


def _convert(raw: _Raw, field: Field, rows: Rows, complaints: Complaints) -> list[Any]:
    """Values of a field; what is wrong with them goes to `complaints`."""
    convert = _KINDS[field.kind].convert
    converted: list[Any] = []
    for i, value in enumerate(raw.columns[field.name]):
        try:
            if value is None or value is _ABSENT:
                if field.required and not field.empty:
                    what = "is null" if value is None else "is missing"
                    raise _Unfit(what, "Fill or drop the row")
                converted.append(None)
            elif not field.required and value.__class__ is str and is_blank(value):
                converted.append(None)
            else:
                converted.append(convert(value, field, raw.textual))
        except _Unfit as error:
            complaints.add(rows.where(i), f"'{field.name}' {error.what}", error.remedy)
    return converted


def _as_text(value: Any, field: Field, textual: bool) -> str:
    if isinstance(value, list):
        remedy = "Write one text: of several references keep one, or make a dataset of each"
        raise _Unfit(f"is {show(value)}, expected a text", remedy)
    if not isinstance(value, str):
        raise _Unfit(f"is {show(value)}, expected a text", "Write it in quotes")
    if found := flaw(value):
        raise _Unfit(f"has {found}: {show(value)}", "Repair or drop the row")
    if not field.blank and is_blank(value):
        raise _Unfit("is blank", "Fill or drop the row")
    return value


def _as_id(value: Any, field: Field, textual: bool) -> str:
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if not isinstance(value, str):
        raise _Unfit(f"is {show(value)}, expected a text or an integer", "Write it in quotes")
    return _as_text(value, field, textual)


def _as_number(value: Any, field: Field, textual: bool) -> float | None:
    remedy = "Write a finite number with a decimal point, or drop the row"
    if field.empty and _is_unsaid(value):
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        raise _Unfit(f"is {show(value)}, expected a number", remedy)
    if isinstance(value, str) and (not textual or "_" in value):
        raise _Unfit(f"is the text {show(value)}, expected a number", remedy)
    try:
        number = float(value)
    except (ValueError, OverflowError):
        raise _Unfit(f"is {show(value)}, expected a number", remedy) from None
    if not math.isfinite(number):
        raise _Unfit(f"is {value}, not finite", remedy)
    return number


def _is_unsaid(value: Any) -> bool:
    if isinstance(value, str):
        return value.strip().lower() in _UNSAID
    return isinstance(value, float) and math.isnan(value)


def _as_flag(value: Any, field: Field, textual: bool) -> bool:
    if textual and value.lower() in ("true", "false"):
        return bool(value.lower() == "true")
    if not isinstance(value, bool):
        raise _Unfit(f"is {show(value)}, expected true or false", "Correct or drop the row")
    return value


class _Kind(NamedTuple):
    about: str
    convert: Any


_KINDS = {
    "text": _Kind("text (string)", _as_text),
    "id": _Kind("text or integers", _as_id),
    "number": _Kind("numbers", _as_number),
    "flag": _Kind("true or false (bool)", _as_flag),
}
