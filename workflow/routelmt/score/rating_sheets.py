"""Translations as files for raters, and the ratings back as a file of scores.

A sheet has a row a translation, shuffled. A blind one has nothing but a number, the texts and an
empty score; its key says what each number is. Translations that are equal for one segment are one
row of a blind sheet: whoever rates them cannot give a gain to two equal outputs.
"""

from __future__ import annotations

import csv
import os
from collections.abc import Iterable, Mapping, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from routelmt import tables
from routelmt.cells import is_formula, neutral
from routelmt.data.complaints import SHOWN_PLACES, show
from routelmt.data.parsers import Field
from routelmt.data.rows import read_rows
from routelmt.data.unscored import FIELD
from routelmt.errors import UserError
from routelmt.join import align
from routelmt.score.precomputed import HASH, text_hash

PLACE = (*tables.JOIN_KEY, "model")
TEXTS = ("source", "reference", "hypothesis")
ITEM = "item"
SCORE = "score"
DELIMITERS = {".csv": ",", ".tsv": "\t"}

Row = dict[str, str]


class Sheets(NamedTuple):
    """Rows of a sheet, and of its key if it is blind (none otherwise)."""

    sheet: list[Row]
    key: list[Row]


def sheets(segments: pa.Table, hypotheses: pa.Table, seed: int, blind: bool) -> Sheets:
    """The sheet of these translations, of any models, in an order that the seed decides.

    Raises UserError if a translation has no segment, and, unless blind, for a name that a
    spreadsheet would run as a formula.
    """
    rows = sorted(_rows(segments, hypotheses), key=lambda row: _order(row, seed))
    if blind:
        return _blinded(rows)
    risky = [row[name] for row in rows for name in PLACE if is_formula(row[name])]
    if risky:
        raise UserError(
            f"{len(risky):,} ids or names begin as a formula of a spreadsheet does, first: "
            f"{', '.join(map(show, risky[:SHOWN_PLACES]))}. Export them blind (--blind KEY): the "
            "sheet then has numbers instead."
        )
    return Sheets([_shown(row, PLACE) for row in rows], [])


def scores_of(ratings: Path, key: Path, quoting: str | None = None) -> list[Row]:
    """Rows of a file of scores from a blind sheet that came back and its key.

    A translation without a rating has an empty score. quoting: of a sheet in TSV, see read_rows.
    Raises UserError for numbers that are twice, and for those of one file that the other lacks.
    """
    # The key was written here, with quotes where a cell needs them.
    keys = read_rows(
        key, [Field(name, "id") for name in (ITEM, *PLACE, HASH)], quoting="csv"
    ).columns
    wanted = set(keys[ITEM])
    found = read_rows(ratings, [Field(ITEM, "id"), FIELD], ignore=TEXTS, quoting=quoting).columns
    rated = dict(zip(found[ITEM], found[FIELD.name], strict=True))
    problems = [
        f"{len(found[ITEM]) - len(rated):,} items twice" if len(rated) < len(found[ITEM]) else "",
        _some("items missing", wanted - rated.keys()),
        _some("items that are not in the key", rated.keys() - wanted),
    ]
    if any(problems):
        raise UserError(
            f"{ratings} and {key} do not match: {'; '.join(filter(None, problems))}. Give the key "
            "that was written with this sheet; a row that nobody rated stays, its score empty."
        )
    return [
        {
            **{name: keys[name][i] for name in (*PLACE, HASH)},
            SCORE: "" if rated[item] is None else repr(rated[item]),
        }
        for i, item in enumerate(keys[ITEM])
    ]


def write_rows(rows: Sequence[Mapping[str, str]], path: Path, mark: bool = False) -> None:
    """The rows as CSV or TSV, by suffix, with quotes where a cell needs them; whole or absent.

    mark: whether a byte order mark says that it is UTF-8, which Excel takes for another encoding
    without.
    """
    delimiter = delimiter_of(path)
    with (
        tables.atomic_path(path) as temporary,
        temporary.open("w", encoding="utf-8-sig" if mark else "utf-8", newline="") as handle,
    ):
        writer = csv.DictWriter(handle, list(rows[0]), delimiter=delimiter, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def delimiter_of(path: str | os.PathLike[str]) -> str:
    """What parts the cells of a file with this suffix. Raises UserError for another suffix."""
    suffix = Path(path).suffix.lower()
    if suffix not in DELIMITERS:
        raise UserError(f"{path}: name it .csv or .tsv; '{suffix}' is neither.")
    return DELIMITERS[suffix]


def _rows(segments: pa.Table, hypotheses: pa.Table) -> Iterable[Row]:
    for model in hypotheses.column("model").unique().to_pylist():
        own = hypotheses.filter(pc.equal(hypotheses.column("model"), model))
        if own.column("hypothesis").null_count:
            raise UserError(f"model '{model}': its translations are not published; leave it out.")
        placed = align(own, segments, f"translations of '{model}'", "segments")
        texts = {name: placed.column(name).to_pylist() for name in TEXTS[:2]}
        columns = {name: own.column(name).to_pylist() for name in (*PLACE, TEXTS[2])} | texts
        for i in range(own.num_rows):
            yield {name: values[i] for name, values in columns.items()}


def _order(row: Row, seed: int) -> bytes:
    names = "\0".join(row[name] for name in PLACE)
    return blake2b(f"{seed}\0{names}".encode(), digest_size=16).digest()


def _shown(row: Row, names: Iterable[str]) -> Row:
    """A row of a sheet: these names, the texts so that no spreadsheet runs them, hash and score."""
    return {
        **{name: row[name] for name in names},
        **{name: neutral(row[name]) for name in TEXTS},
        HASH: text_hash(row["hypothesis"]),
        SCORE: "",
    }


def _blinded(rows: Sequence[Row]) -> Sheets:
    items: dict[tuple[str, ...], str] = {}
    sheet, key = [], []
    for row in rows:
        what = tuple(row[name] for name in (*tables.JOIN_KEY, "hypothesis"))
        if what not in items:
            items[what] = str(len(items) + 1)
            texts = {name: neutral(row[name]) for name in TEXTS}
            sheet.append({ITEM: items[what], **texts, SCORE: ""})
        place = {name: row[name] for name in PLACE}
        key.append({ITEM: items[what], **place, HASH: text_hash(row["hypothesis"])})
    return Sheets(sheet, key)


def _some(what: str, items: set[str]) -> str:
    shown = ", ".join(sorted(items)[:SHOWN_PLACES])
    return f"{len(items):,} {what} (first: {shown})" if items else ""
