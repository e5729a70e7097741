"""The user's own segments: JSON lines, CSV, TSV or Parquet with one row a segment.

Columns segment_id, direction, source, reference; optional group_id, doc_id, domain. Without a
group_id, rows of the file that share a segment_id (one text in two directions) are one group.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from routelmt.data.rows import Field, read_rows
from routelmt.errors import UserError

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
    columns["group_id"] = [
        group or segment
        for group, segment in zip(columns["group_id"], columns["segment_id"], strict=True)
    ]
    return columns | {"where": [rows.where(i) for i in kept]}
