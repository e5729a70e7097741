"""The segments table: what is translated, with human references."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa

from routelmt import tables
from routelmt.errors import UserError


def read_segments(
    reader: str, origin: Path, settings: Mapping[str, Any], dataset: str, direction: str
) -> pa.Table:
    """The `segments` table of one dataset and direction, read by the module `reader`.

    Raises UserError if there are none, or not as many as the config expects.
    """
    columns = importlib.import_module(reader).read(origin, settings, direction)
    rows = len(columns["segment_id"])
    expected = settings.get("rows")
    if not rows:
        raise UserError(
            f"dataset '{dataset}', direction {direction}: no segments in {origin}; check "
            f"'datasets.{dataset}' and its 'directions' in the config."
        )
    if expected is not None and rows != expected:
        raise UserError(
            f"dataset '{dataset}', direction {direction}: {rows} segments in {origin}, the config "
            f"expects {expected} ('datasets.{dataset}.rows'). Upstream changed, or a filter did."
        )
    columns.setdefault("split", settings.get("split", "test"))
    return tables.from_columns("segments", columns | {"dataset": dataset, "direction": direction})
