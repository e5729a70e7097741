"""The user's own segments: JSON lines, CSV, TSV or Parquet with one row a segment.

Columns segment_id, direction, source, reference; optional group_id, doc_id, domain. Without a
group_id, rows of the file that share a segment_id (one text in two directions) or a source text are
one group.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from routelmt.data.complaints import is_blank
from routelmt.data.parsers import Field
from routelmt.data.rows import Rows, read_rows
from routelmt.errors import UserError

# 2: rows that share a source are one group.
BEHAVIOUR = 2
FIELDS = (
    Field("segment_id", "id"),
    Field("direction"),
    Field("source", blank=True),
    Field("reference", blank=True),
    Field("group_id", "id", required=False),
    Field("doc_id", "id", required=False),
    Field("domain", required=False),
)


def read(origin: Path, settings: Mapping[str, Any], direction: str) -> dict[str, list[Any]]:
    """Columns of the segments of one direction; `source` in the settings is the file's format."""
    rows = read_rows(origin, FIELDS, settings["source"], quoting=settings.get("quoting"))
    directions = rows.columns["direction"]
    kept = [i for i, found in enumerate(directions) if found == direction]
    if not kept:
        raise UserError(
            f"{origin}: no row has direction '{direction}'; there: "
            f"{', '.join(sorted(set(directions))[:20])}. Correct 'directions' of the dataset, "
            "or the file (en-zh_Hans for en-zh-Hans)."
        )
    columns = {
        name: [values[i] for i in kept]
        for name, values in rows.columns.items()
        if name != "direction"
    }
    for name in ("group_id", "doc_id", "domain"):
        columns.setdefault(name, [None] * len(kept))
    default = _groups(rows)
    columns["group_id"] = [
        group or default[i] for group, i in zip(columns["group_id"], kept, strict=True)
    ]
    return columns | {"where": [rows.where(i) for i in kept]}


def _groups(rows: Rows) -> list[str]:
    """Of each row the group it is in by default, called like the first segment of the group.

    Rows that share a segment_id, or a source text of one language, are connected, however far.
    """
    names = ("segment_id", "direction", "source")
    first: dict[tuple[str, ...], int] = {}
    root = list(range(len(rows)))
    for i, (identifier, direction, source) in enumerate(
        zip(*(rows.columns[name] for name in names), strict=True)
    ):
        keys: list[tuple[str, ...]] = [("id", identifier)]
        if not is_blank(source):
            keys.append(("text", direction.partition("-")[0], source))
        for key in keys:
            one, other = _root(root, i), _root(root, first.setdefault(key, i))
            root[max(one, other)] = min(one, other)
    return [rows.columns["segment_id"][_root(root, i)] for i in range(len(rows))]


def _root(root: list[int], i: int) -> int:
    while root[i] != i:
        root[i] = root[root[i]]
        i = root[i]
    return i
