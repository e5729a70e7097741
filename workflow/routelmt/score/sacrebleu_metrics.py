"""Sentence-level chrF, BLEU and TER (sacreBLEU)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from routelmt.score.scorers import Scored, Triple


def open_scorer(settings: Mapping[str, Any], speed: Mapping[str, Any]) -> SacrebleuScorer:
    """The scorer of type chrf, bleu or ter."""
    return SacrebleuScorer(settings)


class SacrebleuScorer:
    """chrF and BLEU are 0-100; TER counts edits, so it is negated: higher is better."""

    def __init__(self, settings: Mapping[str, Any]) -> None:
        from sacrebleu.metrics import BLEU, CHRF, TER

        kind = settings["type"]
        self.sign = -1.0 if kind == "ter" else 1.0
        if kind == "chrf":
            self.metric: Any = CHRF(word_order=settings["word_order"])
        elif kind == "bleu":
            # Sentences have few 4-grams: without effective order most scores would be 0.
            self.metric = BLEU(tokenize=settings["tokenize"], effective_order=True)
        else:
            self.metric = TER(normalized=True, asian_support=True)
        self.metric.num_refs = 1  # what the signature says; it is asked for before the scores

    def signature(self) -> dict[str, Any]:
        """sacreBLEU's own signature."""
        return {"signature": str(self.metric.get_signature()), "reference": True}

    def score(self, triples: Sequence[Triple]) -> Scored:
        """Scores of (source, hypothesis, reference); the source is not read."""
        values = [self.sign * self.metric.sentence_score(h, [r]).score for _, h, r in triples]
        return Scored(values, [False] * len(values))
