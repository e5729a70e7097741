"""Cutting a table of segments into shards, one job each, and putting their results together."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from routelmt.errors import UserError
from routelmt.join import align, align_samples, row_keys

_SHARD = re.compile(r"([1-9]\d*)/([1-9]\d*)")


def shard_of(table: pa.Table, shard: str) -> pa.Table:
    """Rows of one shard, "I/N": every N-th row from the I-th, so that shards are of equal weight.

    Raises UserError if there are more shards than rows.
    """
    found = _SHARD.fullmatch(shard)
    index, count = (int(n) for n in found.groups()) if found else (0, 0)
    if not 1 <= index <= count:
        raise UserError(f"shard '{shard}': expected I/N with I from 1 to N.")
    if count == 1:
        return table
    if count > table.num_rows:
        raise UserError(
            f"{count} shards of {table.num_rows} segments: lower 'shards' of the dataset."
        )
    return table.take(pa.array(np.arange(index - 1, table.num_rows, count)))


def rows_of(table: pa.Table, segments: pa.Table) -> pa.Table:
    """Rows of the table that belong to the segments."""
    keys = row_keys(segments).combine_chunks()
    return table.filter(pc.is_in(row_keys(table), value_set=keys))


def gather(segments: pa.Table, shards: Sequence[pa.Table]) -> pa.Table:
    """The shards' rows in the order of the segments; UserError unless each is there once."""
    rows = pa.concat_tables(shards)
    if "sample" in rows.schema.names:
        return align_samples(segments, rows, "rows of the shards")
    return align(segments, rows, "segments", "rows of the shards")
