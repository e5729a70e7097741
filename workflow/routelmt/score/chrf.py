"""Sentence-level chrF and chrF++ (sacreBLEU), 0-100."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from routelmt.progress import progress


def score(
    triples: Sequence[tuple[str, str, str]], settings: Mapping[str, Any]
) -> tuple[list[float], list[bool]]:
    """(scores, truncated) of (source, hypothesis, reference) triples; the source is not read."""
    from sacrebleu.metrics import CHRF

    metric = CHRF(word_order=settings["word_order"])
    scores = [
        metric.sentence_score(hypothesis, [reference]).score
        for _, hypothesis, reference in progress(triples, "chrF", "segment")
    ]
    return scores, [False] * len(scores)
