"""The scores table: every distinct (source, hypothesis, reference) is scored once."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping

import pyarrow as pa

from routelmt import tables
from routelmt.blocks import Blocks, Columns
from routelmt.errors import UserError
from routelmt.join import align
from routelmt.score.scorers import Scorer, Triple

# Triples scored between two moments at which a killed job can go on.
BLOCK_ROWS = 4096
_COLUMNS = ("score", "truncated", "error_spans")


def score_hypotheses(
    scorer: Scorer,
    segments: pa.Table,
    hypotheses: pa.Table,
    metric: str,
    known: Mapping[Triple, tuple[float, bool, str | None]] | None = None,
    block_rows: int = BLOCK_ROWS,
    blocks: Blocks | None = None,
) -> pa.Table:
    """The `scores` table in the hypotheses' order, which may be of some of the segments.

    Identical triples get one score, so that equal outputs of two models have a gain of exactly 0.
    known: triples that another model's run has scored (see known_scores). blocks: where finished
    blocks of triples are kept and found again.
    """
    models = set(hypotheses.column("model").to_pylist())
    if len(models) != 1:
        raise UserError(f"hypotheses of one model expected, found {sorted(models)}.")
    triples = triples_of(segments, hypotheses)
    _check_known(triples, scorer, metric, str(next(iter(models))))
    found = dict(known or {})
    new = [t for t in dict.fromkeys(triples) if t not in found]

    def work(part: list[int], report: Callable[[int], object]) -> Columns:
        scored = scorer.score([new[i] for i in part])
        report(len(part))
        texts: list[str | None] = [None] * len(part)
        if scored.spans is not None:
            texts = [json.dumps(spans, ensure_ascii=False) for spans in scored.spans]
        return dict(zip(_COLUMNS, (scored.values, scored.truncated, texts), strict=True))

    lengths = [sum(map(len, t)) for t in new]
    columns = (blocks or Blocks()).compute(new, lengths, block_rows, work)
    if new:
        found |= dict(zip(new, zip(*(columns[c] for c in _COLUMNS), strict=True), strict=True))
    rows = [found[t] for t in triples]
    return tables.from_columns(
        "scores",
        {
            **{k: hypotheses.column(k) for k in tables.JOIN_KEY},
            "metric": metric,
            "model": models.pop(),
            **{name: [row[i] for row in rows] for i, name in enumerate(_COLUMNS)},
        },
    )


def _check_known(triples: list[Triple], scorer: Scorer, metric: str, model: str) -> None:
    """Raise UserError for what a source has not published and the metric reads."""
    if None in {hypothesis for _, hypothesis, _ in triples}:
        raise UserError(
            f"metric '{metric}': the texts of model '{model}' are not published, its scores alone. "
            "Take a metric of type published, or a source with the system's texts."
        )
    without = sum(reference == "" for _, _, reference in triples)
    if without and scorer.signature().get("reference", True):
        raise UserError(
            f"metric '{metric}': {without:,} of {len(triples):,} segments have no reference. Take "
            "a metric that reads none, or leave their direction out."
        )


def triples_of(segments: pa.Table, hypotheses: pa.Table) -> list[Triple]:
    """(source, hypothesis, reference) of each hypothesis; UserError if one has no segment."""
    segments = align(hypotheses, segments, "hypotheses", "segments")
    columns = (
        segments.column("source"),
        hypotheses.column("hypothesis"),
        segments.column("reference"),
    )
    return list(zip(*(c.to_pylist() for c in columns), strict=True))


def known_scores(
    segments: pa.Table, hypotheses: pa.Table, scores: pa.Table
) -> dict[Triple, tuple[float, bool, str | None]]:
    """What another model's scores say of each of its distinct triples."""
    scores = align(hypotheses, scores, "hypotheses", "scores")
    values = zip(*(scores.column(c).to_pylist() for c in _COLUMNS), strict=True)
    return dict(zip(triples_of(segments, hypotheses), values, strict=True))
