"""The sample_scores table: every sampled translation scored, each distinct triple once."""

from __future__ import annotations

from collections.abc import Mapping

import pyarrow as pa

from routelmt import tables
from routelmt.blocks import Blocks
from routelmt.errors import UserError
from routelmt.score.hypotheses import BLOCK_ROWS, known_scores, score_hypotheses, triples_of
from routelmt.score.scorers import Scorer, Triple

Known = dict[Triple, tuple[float, bool, str | None]]


def score_samples(
    scorer: Scorer,
    segments: pa.Table,
    samples: pa.Table,
    metric: str,
    known: Mapping[Triple, tuple[float, bool, str | None]] | None = None,
    block_rows: int = BLOCK_ROWS,
    blocks: Blocks | None = None,
) -> pa.Table:
    """The `sample_scores` table in the samples' order. Parameters as in `score_hypotheses`."""
    scores = score_hypotheses(scorer, segments, samples, metric, known, block_rows, blocks)
    names = (*tables.JOIN_KEY, "metric", "model", "score")
    return tables.from_columns(
        "sample_scores",
        {**{n: scores.column(n) for n in names}, "sample": samples.column("sample")},
    )


def known_of(segments: pa.Table, outputs: pa.Table, scores: pa.Table) -> Known:
    """What the scores of hypotheses, or of samples, say of each distinct triple.

    Raises UserError if they are not about the same rows.
    """
    if "sample" not in outputs.schema.names:
        return known_scores(segments, outputs, scores)
    key = [*tables.JOIN_KEY, "sample"]
    sorting = [(name, "ascending") for name in key]
    outputs, scores = outputs.sort_by(sorting), scores.sort_by(sorting)
    if not outputs.select(key).equals(scores.select(key)):
        raise UserError(
            f"{outputs.num_rows:,} samples and {scores.num_rows:,} sample scores that are not of "
            "the same rows: score the samples again."
        )
    values = ((score, False, None) for score in scores.column("score").to_pylist())
    return dict(zip(triples_of(segments, outputs), values, strict=True))
