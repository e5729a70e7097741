"""The segments table: what is translated, with human references."""

from __future__ import annotations

import hashlib
import importlib
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from routelmt import tables
from routelmt.data.complaints import SHOWN_PLACES, Complaints, flaw, is_blank, say, show
from routelmt.data.unscored import scored_everywhere
from routelmt.errors import UserError
from routelmt.scripts import letters_of, written_in

Columns = dict[str, list[Any]]
TEXTS = ("source", "reference")


def read_segments(
    reader: str, origin: Path, settings: Mapping[str, Any], dataset: str, direction: str
) -> pa.Table:
    """The `segments` table of one dataset and direction, read by the module `reader`.

    Segments of the domains in `exclude` are left out, and blank texts dropped if `drop_blank`; of
    what remains, `part` keeps the groups whose hash lies in it, and `scored` the segments that have
    all scores; then there must be `rows` (a number, or one for each direction). A reference that
    is None was never published: it stays, as an empty text. Raises UserError.
    """
    columns: Columns = importlib.import_module(reader).read(origin, settings, direction)
    if "where" not in columns:
        columns["where"] = [f"{origin}, segment {i}" for i in columns["segment_id"]]
    if "split" not in columns:
        columns["split"] = [settings.get("split", "test")] * len(columns["where"])
    columns = _included(columns, settings, dataset, direction)
    _check_characters(columns)
    columns = _without_blanks(columns, settings, dataset, direction)
    columns["reference"] = [text or "" for text in columns["reference"]]
    _check_ids(columns, dataset, direction)
    _check_languages(columns, dataset, direction)
    columns = _cut(columns, settings, dataset)
    columns = _scored(columns, settings, dataset, direction)
    columns = _limited(columns, settings)
    _check_count(len(columns["segment_id"]), settings, origin, dataset, direction)
    del columns["where"]
    return tables.from_columns("segments", columns | {"dataset": dataset, "direction": direction})


def leaves_out(settings: Mapping[str, Any]) -> bool:
    """Whether a dataset with these settings may have fewer segments than its file.

    Then the user's file of translations or scores may have rows of the others.
    """
    return bool(
        settings.get("part")
        or settings.get("limit")
        or settings.get("drop_blank")
        or settings.get("exclude")
        or settings.get("scored")
        or settings.get("keep_bad_source") is False
    )


def _selected(columns: Columns, kept: Sequence[int]) -> Columns:
    return {name: [values[i] for i in kept] for name, values in columns.items()}


def _included(
    columns: Columns, settings: Mapping[str, Any], dataset: str, direction: str
) -> Columns:
    """The rows that are of none of the domains in `exclude`; said how many they are."""
    domains = settings.get("exclude", {}).get("domains", [])
    if not domains:
        return columns
    kept = [i for i, domain in enumerate(columns["domain"]) if domain not in domains]
    there = sorted({domain for domain in columns["domain"] if domain is not None})
    say(
        f"dataset '{dataset}', direction {direction}: {len(columns['domain']) - len(kept):,} of "
        f"{len(columns['domain']):,} rows excluded, of domain {', '.join(domains)}; there are: "
        f"{', '.join(there) or 'none'}"
    )
    return _selected(columns, kept)


def _check_characters(columns: Columns) -> None:
    """For readers that do not read rows: texts that Parquet or a tokenizer cannot take."""
    complaints = Complaints()
    for name in TEXTS:
        for text, where in zip(columns[name], columns["where"], strict=True):
            if found := flaw(text or ""):
                complaints.add(where, f"'{name}' has {found}", "Repair or drop the row")
    complaints.tell()


def _without_blanks(
    columns: Columns, settings: Mapping[str, Any], dataset: str, direction: str
) -> Columns:
    pairs = zip(*(columns[name] for name in TEXTS), strict=True)
    blank = [[text is not None and is_blank(text) for text in pair] for pair in pairs]
    kept = [i for i, pair in enumerate(blank) if not any(pair)]
    if len(kept) == len(blank):
        return columns
    if settings.get("drop_blank"):
        say(
            f"dataset '{dataset}', direction {direction}: {len(blank) - len(kept):,} of "
            f"{len(blank):,} rows dropped, their source or reference is blank"
        )
        return _selected(columns, kept)
    complaints = Complaints()
    for where, pair in zip(columns["where"], blank, strict=True):
        if any(pair):
            name = TEXTS[not pair[0]]
            remedy = f"Fill or drop the row, or set 'datasets.{dataset}.drop_blank' to true"
            complaints.add(where, f"'{name}' is blank", remedy)
    complaints.tell()
    return columns


def _check_ids(columns: Columns, dataset: str, direction: str) -> None:
    counts = Counter(columns["segment_id"])
    if len(counts) == len(columns["segment_id"]):
        return
    complaints = Complaints()
    seen: dict[str, str] = {}
    for identifier, where in zip(columns["segment_id"], columns["where"], strict=True):
        if identifier in seen:
            what = f"the segment_id {show(identifier)} stands in {seen[identifier]} already"
            remedy = (
                f"Within dataset '{dataset}' and direction {direction} an id may occur once: "
                "rename or drop one. Of several references of a text keep one, or make a dataset "
                "of each"
            )
            complaints.add(where, what, remedy)
        seen.setdefault(identifier, where)
    complaints.tell()


def _check_languages(columns: Columns, dataset: str, direction: str) -> None:
    """Complain if sources are in the target's script and references in the source's."""
    source, target = (letters_of(language) for language in direction.split("-"))
    if not source or not target or source & target:
        return
    swapped = [
        i
        for i, (a, b) in enumerate(zip(columns["source"], columns["reference"], strict=True))
        if written_in(a) in target and written_in(b) in source
    ]
    if not swapped:
        return
    total = len(columns["segment_id"])
    found = (
        f"{len(swapped):,} of {total:,} rows have a source in the script of "
        f"'{direction.split('-')[1]}' and a reference in that of '{direction.split('-')[0]}'"
    )
    if len(swapped) * 2 >= total:
        raise UserError(
            f"{columns['where'][swapped[0]]}: dataset '{dataset}', direction {direction}: {found}. "
            "They are swapped: exchange source and reference, or name the other direction."
        )
    ids = ", ".join(columns["segment_id"][i] for i in swapped[:SHOWN_PLACES])
    say(f"dataset '{dataset}', direction {direction}: {found}; look at {ids}")


def _cut(columns: Columns, settings: Mapping[str, Any], dataset: str) -> Columns:
    """The rows whose group belongs to `part` of the dataset's file."""
    part = settings.get("part")
    if part is None:
        return columns
    low, high = part
    if not 0 <= low < high <= 1:
        raise UserError(
            f"config key 'datasets.{dataset}.part': found {list(part)}, allowed: two numbers "
            "from 0 to 1, the smaller one first."
        )
    salt = settings.get("salt") or ""
    groups = enumerate(columns["group_id"])
    return _selected(columns, [i for i, group in groups if in_part(group, low, high, salt)])


def _scored(columns: Columns, settings: Mapping[str, Any], dataset: str, direction: str) -> Columns:
    """The rows that the files of `scored` have rated (see unscored); all without it."""
    scored = settings.get("scored")
    if not scored or not columns["segment_id"]:
        return columns
    rated = scored_everywhere(columns["segment_id"], scored, dataset, direction)
    return _selected(columns, [i for i, kept in enumerate(rated) if kept])


def _limited(columns: Columns, settings: Mapping[str, Any]) -> Columns:
    """The rows of as many groups as `limit` says, those of the smallest hashes; all without it.

    Directions with the same groups keep the same ones.
    """
    limit = settings.get("limit")
    if limit is None:
        return columns
    salt = settings.get("salt") or ""
    groups = dict.fromkeys(columns["group_id"])
    kept = set(sorted(groups, key=lambda group: _place(group, salt))[:limit])
    return _selected(columns, [i for i, group in enumerate(columns["group_id"]) if group in kept])


def in_part(group: str, low: float, high: float, salt: str = "") -> bool:
    """Whether a group's hash lies in [low, high) of the unit interval.

    Disjoint intervals share no group, and intervals that cover [0, 1) lose none, in any direction.
    """
    # Compared as integers: a quotient near 1 would round to it and belong nowhere.
    return low * 2**64 <= _place(group, salt) < high * 2**64


def _place(group: str, salt: str) -> int:
    """Where a group lies among all, from 0 to 2^64."""
    digest = hashlib.blake2b(f"{salt}:{group}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big")


def _check_count(
    rows: int, settings: Mapping[str, Any], origin: Path, dataset: str, direction: str
) -> None:
    expected = settings.get("rows")
    if isinstance(expected, Mapping):
        expected = expected.get(direction)
    if not rows:
        raise UserError(
            f"dataset '{dataset}', direction {direction}: no segments in {origin}; check "
            f"'datasets.{dataset}', its 'directions' and its 'part' in the config."
        )
    if expected is not None and rows != expected:
        raise UserError(
            f"dataset '{dataset}', direction {direction}: {rows} segments in {origin}, the config "
            f"expects {expected} ('datasets.{dataset}.rows'). {_other_count(settings)}."
        )


def _other_count(settings: Mapping[str, Any]) -> str:
    """What may have made another number of rows than the config expects."""
    if settings.get("part"):
        return (
            f"It has 'part: {list(settings['part'])}' too: 'rows' counts what the part leaves, not "
            "the rows of the file"
        )
    return "Upstream changed, or a filter did"
