"""Rows of two tables brought together by their key; never silently inner."""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import blake2b

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from routelmt.errors import UserError
from routelmt.tables import JOIN_KEY

_SHOWN = 3  # ids named in an error


def align(left: pa.Table, right: pa.Table, left_name: str, right_name: str) -> pa.Table:
    """`right` in the row order of `left`, by (dataset, direction, segment_id).

    Raises UserError with counts and the first ids if a row of either side is missing from the
    other, or if `right` has a row twice.
    """
    # The usual case: both were made from the same segments.
    if row_keys(left).equals(row_keys(right)):
        return right
    wanted, found = row_keys(left).to_pylist(), row_keys(right).to_pylist()
    position = {key: i for i, key in enumerate(found)}
    problems = [
        _problem(
            f"{len(found) - len(position)} rows occur twice in the {right_name}", _twice(found)
        ),
        _problem(f"the {right_name} lack rows", [k for k in wanted if k not in position]),
        _problem(f"the {right_name} have extra rows", sorted(position.keys() - set(wanted))),
    ]
    if any(problems):
        raise UserError(
            f"{left_name} and {right_name} do not match: {'; '.join(p for p in problems if p)}."
        )
    return right.take(pa.array([position[key] for key in wanted], pa.int64()))


def align_samples(segments: pa.Table, samples: pa.Table, name: str) -> pa.Table:
    """Rows of a table with several samples a segment: by segment in their order, then by sample.

    Raises UserError unless every segment has the same samples 0 to k - 1, each once.
    """
    ordered = samples.sort_by("sample")
    count = pc.max(ordered.column("sample")).as_py() + 1 if ordered.num_rows else 1
    if ordered.num_rows != count * segments.num_rows:
        raise UserError(
            f"{name}: {ordered.num_rows:,} rows for {segments.num_rows:,} segments with up to "
            f"{count} samples; every segment needs the same number."
        )
    parts = [
        align(segments, ordered.filter(pc.equal(ordered.column("sample"), i)), "segments", name)
        for i in range(count)
    ]
    order = np.arange(ordered.num_rows).reshape(count, -1).T.reshape(-1)
    return pa.concat_tables(parts).take(pa.array(order))


def row_keys(table: pa.Table) -> pa.ChunkedArray:
    """dataset/direction/segment_id of each row, as one string."""
    return pc.binary_join_element_wise(*(table.column(k) for k in JOIN_KEY), "/")


def tie_keys(segment_ids: Iterable[str]) -> npt.NDArray[np.uint64]:
    """A hash (8 bytes of BLAKE2b over UTF-8) per segment id: the same on every machine.

    Where requests are equal otherwise, the smaller one comes first, whatever their order.
    """
    digests = (blake2b(one.encode("utf-8"), digest_size=8).digest() for one in segment_ids)
    return np.frombuffer(b"".join(digests), dtype="<u8").astype(np.uint64)


def _twice(keys: list[str]) -> list[str]:
    seen: set[str] = set()
    return [k for k in keys if k in seen or seen.add(k)]  # type: ignore[func-returns-value]


def _problem(what: str, keys: list[str]) -> str:
    return f"{what} ({len(keys):,}, first: {', '.join(keys[:_SHOWN])})" if keys else ""
