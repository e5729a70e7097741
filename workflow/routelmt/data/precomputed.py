"""Rows that a user computed elsewhere, in the order of the segments; never a silent join."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from routelmt.data.rows import Field, Rows, read_rows
from routelmt.errors import UserError
from routelmt.join import align
from routelmt.tables import JOIN_KEY

_SHOWN = 5  # other names listed in an error


def in_segment_order(
    path: Path, fields: Sequence[Field], segments: pa.Table, wanted: Mapping[str, str]
) -> dict[str, list[Any]]:
    """Columns `fields` of the file's rows for these segments, one row each, in their order.

    wanted: the values (dataset, direction, and perhaps model) of the rows that are meant; rows of
    others are for other tables. Raises UserError with counts and the first ids where rows are
    missing, twice, or of segments that are not there.
    """
    keys = [Field(name, "id") for name in (*wanted, "segment_id")]
    rows = read_rows(path, [*keys, *fields])
    mine = _rows_of(rows, wanted)
    columns = {f.name: rows.columns.get(f.name) or [None] * len(rows.lines) for f in fields}
    found = pa.table(
        {
            **{
                name: pa.array([rows.columns[name][i] for i in mine], pa.string())
                for name in JOIN_KEY
            },
            "row": pa.array(mine, pa.int64()),
        }
    )
    order = align(segments, found, "segments", f"rows of {path}").column("row").to_pylist()
    return {name: [values[i] for i in order] for name, values in columns.items()}


def _rows_of(rows: Rows, wanted: Mapping[str, str]) -> list[int]:
    """Positions of the rows with the wanted values; UserError naming those there if none has."""
    names = list(wanted)
    found = list(zip(*(rows.columns[name] for name in names), strict=True))
    target = tuple(wanted.values())
    mine = [i for i, values in enumerate(found) if values == target]
    if mine:
        return mine
    there = Counter(", ".join(values) for values in found).most_common()
    listed = "; ".join(f"{values} ({n:,} rows)" for values, n in there[:_SHOWN])
    more = f"; and {len(there) - _SHOWN} others" if len(there) > _SHOWN else ""
    raise UserError(
        f"{rows.path}: no row with {', '.join(f'{k} {v!r}' for k, v in wanted.items())}; the file "
        f"has {' / '.join(names)}: {listed}{more}. The names must be those of the config."
    )
