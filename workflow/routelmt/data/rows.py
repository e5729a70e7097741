"""Rows of files that we did not write: JSON lines, CSV, TSV, Parquet and plain lines.

Foreign text gets in here or not at all. Two things are repaired, counted, and said on standard
error: a byte order mark at the start, and CRLF line ends. Everything else is an error that names
file and line.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from routelmt.data.complaints import Complaints, flaw, is_blank, place, say, show
from routelmt.data.parsers import ABSENT, Field, Raw, lines_of, parse_file, text_of
from routelmt.errors import UserError

SHOWN_NAMES = 20
_UNSAID = frozenset(("", "na", "n/a", "nan", "none", "null"))  # numbers that are not there


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
        return place(self.path, self.lines[i], self.parquet)


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
    raw = parse_file(path, fields, format, quoting)
    if not raw.lines:
        raise UserError(
            f"{path}: has no rows. Put at least one below the header, or drop the file."
        )
    _check_names(path, raw, fields, ignore)
    rows = Rows(path, {}, raw.lines, raw.parquet)
    complaints = Complaints()
    for field in fields:
        if field.name in raw.columns:
            rows.columns[field.name] = _convert(raw, field, rows, complaints)
    complaints.tell()
    return rows


def read_lines(path: Path) -> list[str]:
    """Segments of a plain text file, one a line; blank ones are kept. Raises UserError."""
    return lines_of(text_of(Path(path)))


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


class _Unfit(ValueError):
    """A value that is not of its kind: (what is wrong, what to do)."""

    def __init__(self, what: str, remedy: str) -> None:
        super().__init__(what)
        self.what, self.remedy = what, remedy


def _check_names(path: Path, raw: Raw, fields: Sequence[Field], ignore: Collection[str]) -> None:
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


def _convert(raw: Raw, field: Field, rows: Rows, complaints: Complaints) -> list[Any]:
    """Values of a field; what is wrong with them goes to `complaints`."""
    convert = _CONVERT[field.kind]
    converted: list[Any] = []
    for i, value in enumerate(raw.columns[field.name]):
        try:
            if value is None or value is ABSENT:
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


_CONVERT = {"text": _as_text, "id": _as_id, "number": _as_number, "flag": _as_flag}
