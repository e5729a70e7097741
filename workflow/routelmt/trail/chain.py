"""Reading along the chain of parents: from a table back to the tables that it was made from."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from routelmt import tables
from routelmt.errors import UserError
from routelmt.trail.artifacts import FILE, NOTHING, Artifact, Parent, is_table, kind_at, open_table


def of_kind(artifact: Artifact, table: str) -> list[Parent]:
    """Parents that are tables of one kind, in the record's order. UserError if one is missing."""
    return [p for p in artifact.parents if _opened(p, artifact).what == table]


def nearest(artifact: Artifact, table: str) -> list[Path]:
    """The first tables of one kind on every way back from an artifact, without repetition.

    What is missing or unreadable on the way is passed over.
    """
    found: dict[Path, None] = {}
    queue, seen = [artifact], {artifact.path}
    while queue:
        for parent in queue.pop(0).parents:
            if kind_at(parent.path) != FILE or not is_table(parent.path):
                continue
            try:
                opened = open_table(parent.path)
            except UserError:
                continue
            if opened.what == table:
                found[parent.path] = None
            elif opened.path not in seen:
                queue.append(opened)
            seen.add(opened.path)
    return list(found)


def _opened(parent: Parent, child: Artifact) -> Artifact:
    if kind_at(parent.path) == NOTHING:
        raise UserError(
            f"{parent.path}: missing, and {child.path} was made from it. Run the workflow again."
        )
    if kind_at(parent.path) == FILE and is_table(parent.path):
        return open_table(parent.path)
    return Artifact(str(parent.path), "")


def changed(artifact: Artifact) -> Iterator[str]:
    """What was made again, with other content, since the artifact was made from it."""
    for parent in artifact.parents:
        if kind_at(parent.path) == FILE and is_table(parent.path):
            try:
                now = open_table(parent.path).content
            except UserError as error:
                yield str(error)
                continue
            if now != parent.content:
                yield f"{parent.path} was made again since {artifact.path} was made from it."


def rows_where(path: Path, table: str, **values: str) -> pa.Table:
    """Rows of a table with these values in these columns; with the columns that the file has."""
    found = tables.read(path, table, columns=pq.read_schema(path).names)
    for column, value in values.items():
        found = found.filter(pc.equal(found.column(column), value))
    return found


def all_rows(paths: Sequence[Path], table: str, **values: str) -> pa.Table:
    """Rows of several tables, one below the other; see rows_where."""
    parts = [rows_where(path, table, **values) for path in paths]
    return pa.concat_tables([part for part in parts if part.num_rows] or parts[:1])
