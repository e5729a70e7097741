"""The scores table: every distinct (source, hypothesis, reference) is scored once."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

import pyarrow as pa

from routelmt import tables
from routelmt.errors import UserError
from routelmt.join import align


def score_hypotheses(
    scorer: str, segments: pa.Table, hypotheses: pa.Table, metric: str, settings: Mapping[str, Any]
) -> pa.Table:
    """The `scores` table in the segments' order, computed by the module `scorer`.

    Identical triples get one score, so that equal outputs of two models have a gain of exactly 0.
    """
    hypotheses = align(segments, hypotheses, "segments", "hypotheses")
    models = set(hypotheses.column("model").to_pylist())
    if len(models) != 1:
        raise UserError(f"hypotheses of one model expected, found {sorted(models)}.")
    triples = list(
        zip(
            segments.column("source").to_pylist(),
            hypotheses.column("hypothesis").to_pylist(),
            segments.column("reference").to_pylist(),
            strict=True,
        )
    )
    distinct = list(dict.fromkeys(triples))
    values, truncated = importlib.import_module(scorer).score(distinct, settings)
    found = dict(zip(distinct, zip(values, truncated, strict=True), strict=True))
    return tables.from_columns(
        "scores",
        {
            **{k: segments.column(k) for k in tables.JOIN_KEY},
            "metric": metric,
            "model": models.pop(),
            "score": [found[t][0] for t in triples],
            "truncated": [found[t][1] for t in triples],
        },
    )
