"""Scores that the user brings: human ratings, or a metric that was run elsewhere."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa

from routelmt import tables
from routelmt.data.precomputed import in_segment_order
from routelmt.data.rows import Field
from routelmt.errors import UserError

_SHOWN = 3


def scores(
    hypotheses: pa.Table, metric: str, settings: Mapping[str, Any], spare: bool = False
) -> pa.Table:
    """Table `scores` of the hypotheses' model, in their order, from the file settings["path"].

    settings: `range` (optional, [lowest, highest]) and `higher_is_better`; scores that count
    errors are negated. spare: whether scores of segments that are not there are ignored and
    counted. Raises UserError if a hypothesis has no score or several, a score, unless spare, no
    hypothesis, or a score lies outside the range.
    """
    wanted = {k: hypotheses.column(k)[0].as_py() for k in ("dataset", "direction", "model")}
    path = Path(settings["path"])
    fields = [Field("score", "number")]
    values = in_segment_order(path, fields, hypotheses, wanted, spare)["score"]
    ids = hypotheses.column("segment_id").to_pylist()
    if settings.get("range"):
        _check_range(path, values, ids, wanted["model"], settings["range"])
    sign = 1.0 if settings["higher_is_better"] else -1.0
    return tables.from_columns(
        "scores",
        {
            **{k: hypotheses.column(k) for k in tables.JOIN_KEY},
            "metric": metric,
            "model": wanted["model"],
            "score": [sign * v for v in values],
            "truncated": False,
            "error_spans": [None] * len(values),
        },
    )


def _check_range(
    path: Path, values: list[float], ids: list[str], model: str, limits: list[float]
) -> None:
    low, high = limits
    outside = [(i, v) for i, v in zip(ids, values, strict=True) if not low <= v <= high]
    if outside:
        listed = ", ".join(f"segment {i}: {v:g}" for i, v in outside[:_SHOWN])
        raise UserError(
            f"{path}: {len(outside):,} scores of model '{model}' are outside the range "
            f"[{low:g}, {high:g}] of the config, first: {listed}. Correct the file or the range."
        )
