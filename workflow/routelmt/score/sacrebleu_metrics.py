"""Sentence-level chrF, BLEU and TER (sacreBLEU)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from routelmt.score.scorers import Scored, Triple
from routelmt.score.tokenisers import counts_characters, tokeniser


def open_scorer(settings: Mapping[str, Any], speed: Mapping[str, Any]) -> SacrebleuScorer:
    """The scorer of type chrf, bleu or ter."""
    return SacrebleuScorer(settings)


class SacrebleuScorer:
    """chrF and BLEU are 0-100; TER counts edits, so it is negated: higher is better.

    settings: `language`, the target's code, says what BLEU and TER count (see `tokenisers`).
    """

    def __init__(self, settings: Mapping[str, Any]) -> None:
        from sacrebleu.metrics import BLEU, CHRF, TER

        kind = settings["type"]
        self.sign = -1.0 if kind == "ter" else 1.0
        if kind == "chrf":
            self.metric: Any = CHRF(word_order=settings["word_order"])
        elif kind == "bleu":
            # Sentences have few 4-grams: without effective order most scores would be 0.
            tokenize = tokeniser(settings, settings["language"])
            self.metric = BLEU(tokenize=tokenize, effective_order=True)
        else:
            self.metric = TER(normalized=True, asian_support=True)
            if counts_characters(settings["language"]):
                self.metric.tokenizer = Characters(self.metric.tokenizer)
                self.metric.tokenizer_signature = self.metric.tokenizer.signature()
        self.metric.num_refs = 1  # what the signature says; it is asked for before the scores

    def signature(self) -> dict[str, Any]:
        """sacreBLEU's own signature."""
        return {"signature": str(self.metric.get_signature()), "reference": True}

    def score(self, triples: Sequence[Triple]) -> Scored:
        """Scores of (source, hypothesis, reference); the source is not read."""
        values = [self.sign * self.metric.sentence_score(h, [r]).score for _, h, r in triples]
        return Scored(values, [False] * len(values))


class Characters:
    """A tokeniser of sacreBLEU's, and then each character a word."""

    def __init__(self, first: Any) -> None:
        self._first = first

    def __call__(self, text: str) -> str:
        """The characters of a tokenised text, with spaces between them."""
        return " ".join("".join(self._first(text).split()))

    def signature(self) -> str:
        """What stands as `tok` in the metric's signature."""
        return f"{self._first.signature()}-char"
