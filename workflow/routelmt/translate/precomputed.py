"""Translations that the user brings, or a source: the hypotheses table without a model."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa

from routelmt import tables
from routelmt.data import published
from routelmt.data.parsers import Field
from routelmt.data.precomputed import in_segment_order
from routelmt.translate.degenerate import is_degenerate


def hypotheses(
    segments: pa.Table, model_name: str, model: Mapping[str, Any], spare: bool = False
) -> pa.Table:
    """Table `hypotheses` in the segments' order, from the file model["path"], or published ones.

    spare: whether translations of segments that are not there are ignored and counted. Token
    counts, finish reason and log-probability are unknown, of a system that is published by its
    scores alone the texts too (null). Raises UserError if a segment has no
    translation or several, or, unless spare, a translation no segment.
    """
    key = {name: segments.column(name)[0].as_py() for name in ("dataset", "direction")}
    fields = [Field("hypothesis", blank=True)]
    cures = {"twice": "A file of translations is of one model: give every model its own."}
    path, quoting = Path(model["path"]), model.get("quoting")
    found = published.rows_of("texts", model, key) if published.reader_of(model) else path
    texts = in_segment_order(found, fields, segments, key, spare, quoting, cures)["hypothesis"]
    sources = segments.column("source").to_pylist()
    unknown = [None] * len(texts)
    return tables.from_columns(
        "hypotheses",
        {
            **{name: segments.column(name) for name in tables.JOIN_KEY},
            "model": model_name,
            "hypothesis": texts,
            "prompt_tokens": unknown,
            "output_tokens": unknown,
            "finish_reason": unknown,
            "mean_logprob": [math.nan] * len(texts),
            "degenerate": [
                t is not None and is_degenerate(s, t, key["direction"])
                for s, t in zip(sources, texts, strict=True)
            ],
        },
    )
