"""Rows that a user computed elsewhere, in the order of the segments; never a silent join."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from routelmt.data.complaints import say
from routelmt.data.parsers import Field
from routelmt.data.rows import Rows, read_rows
from routelmt.data.unscored import key_fields
from routelmt.errors import UserError
from routelmt.join import align
from routelmt.tables import JOIN_KEY

_SHOWN = 5  # other names listed in an error


def in_segment_order(
    found: Path | Rows,
    fields: Sequence[Field],
    segments: pa.Table,
    wanted: Mapping[str, str],
    spare: bool = False,
    quoting: str | None = None,
    cures: Mapping[str, str] | None = None,
) -> dict[str, list[Any]]:
    """Columns `fields` of a file's rows for these segments, one row each, in their order.

    found: the file, or what has been read already.

    wanted: the values (dataset, direction, and perhaps model) of the rows that are meant; rows of
    others are for other tables. A file without a column `dataset` serves all datasets. spare:
    whether rows of segments that are not there are ignored and counted (see segments.leaves_out).
    quoting: see read_rows. cures: what to do about rows that are "missing" or "twice". Raises
    UserError with counts and the first ids where rows are missing, twice, or, unless spare, of
    segments that are not there.
    """
    keys = key_fields([*wanted, "segment_id"])
    rows = found if isinstance(found, Rows) else read_rows(found, [*keys, *fields], quoting=quoting)
    shared = "dataset" not in rows.columns
    if shared:
        rows.columns["dataset"] = [wanted["dataset"]] * len(rows)
    mine = _rows_of(rows, wanted)
    if spare or shared:
        mine = _without_spare(rows, mine, segments, wanted)
    columns = {f.name: rows.columns.get(f.name) or [None] * len(rows.lines) for f in fields}
    place = pa.table(
        {
            **{
                name: pa.array([rows.columns[name][i] for i in mine], pa.string())
                for name in JOIN_KEY
            },
            "row": pa.array(mine, pa.int64()),
        }
    )
    try:
        order = align(segments, place, "segments", f"rows of {rows.path}").column("row").to_pylist()
    except UserError as error:
        ids = [rows.columns["segment_id"][i] for i in mine]
        raise UserError(" ".join([str(error), *_cures(segments, ids, cures or {})])) from None
    return {name: [values[i] for i in order] for name, values in columns.items()}


def _cures(segments: pa.Table, ids: Sequence[str], cures: Mapping[str, str]) -> Iterator[str]:
    """Those of the cures that the ids of the file's rows call for."""
    if set(segments.column("segment_id").to_pylist()) - set(ids) and "missing" in cures:
        yield cures["missing"]
    if len(set(ids)) < len(ids) and "twice" in cures:
        yield cures["twice"]


def _without_spare(
    rows: Rows, mine: list[int], segments: pa.Table, wanted: Mapping[str, str]
) -> list[int]:
    """Those of my rows whose segment is there; the others are counted on standard error."""
    there = set(segments.column("segment_id").to_pylist())
    ids = rows.columns["segment_id"]
    kept = [i for i in mine if ids[i] in there]
    if len(kept) < len(mine):
        say(
            f"{rows.path}: {len(mine) - len(kept):,} of {len(mine):,} rows with "
            f"{', '.join(f'{k} {v!r}' for k, v in wanted.items())} ignored: they are of segments "
            f"that dataset '{wanted['dataset']}' does not have"
        )
    return kept


def _rows_of(rows: Rows, wanted: Mapping[str, str]) -> list[int]:
    """Positions of the rows with the wanted values; UserError naming those there if none has."""
    names = list(wanted)
    found = list(zip(*(rows.columns[name] for name in names), strict=True))
    target = tuple(wanted.values())
    mine = [i for i, values in enumerate(found) if values == target]
    if mine:
        return mine
    there = Counter(", ".join(map(str, values)) for values in found).most_common()
    listed = "; ".join(f"{values} ({n:,} rows)" for values, n in there[:_SHOWN])
    more = f"; and {len(there) - _SHOWN} others" if len(there) > _SHOWN else ""
    raise UserError(
        f"{rows.path}: no row with {', '.join(f'{k} {v!r}' for k, v in wanted.items())}; the file "
        f"has {' / '.join(names)}: {listed}{more}. The names must be those of the config."
    )
