"""chrF, BLEU and TER against sacreBLEU's own functions."""

from __future__ import annotations

from typing import Any

import pytest
import sacrebleu

from routelmt.score.registry import METRICS
from routelmt.score.scorers import open_scorer

SPEED = {"batch_tokens": 100, "device": "cpu", "threads": 1}
PAIRS = [  # hypothesis, reference
    ("The kettle is on the stove.", "The kettle stands on the stove."),
    ("", "The kettle stands on the stove."),
    ("锅在炉子上。", "锅子放在炉子上面。"),
    ("stove the on stands kettle The", "The kettle stands on the stove."),
    ("Чайник стоит на плите.", "Чайник стоит на плите."),
    ("x", "A sentence of quite a few more words than one."),
]
TRIPLES = [("source is not read", hypothesis, reference) for hypothesis, reference in PAIRS]


def scorer(**settings: Any) -> Any:
    return open_scorer(METRICS[settings["type"]].module, settings, SPEED)


@pytest.mark.parametrize("word_order", [0, 2])
def test_chrf(word_order: int) -> None:
    found = scorer(type="chrf", word_order=word_order).score(TRIPLES)
    assert found.values == [
        sacrebleu.sentence_chrf(h, [r], word_order=word_order).score for h, r in PAIRS
    ]
    assert found.truncated == [False] * len(PAIRS) and found.spans is None


@pytest.mark.parametrize("tokenize", ["13a", "intl", "zh", "char"])
def test_bleu_counts_only_orders_that_a_sentence_has(tokenize: str) -> None:
    found = scorer(type="bleu", tokenize=tokenize).score(TRIPLES).values
    assert found == [
        sacrebleu.sentence_bleu(h, [r], tokenize=tokenize, use_effective_order=True).score
        for h, r in PAIRS
    ]
    assert found[4] == pytest.approx(100)


def test_ter_is_negated_so_that_higher_is_better() -> None:
    found = scorer(type="ter").score(TRIPLES).values
    assert found == [
        -sacrebleu.sentence_ter(h, [r], normalized=True, asian_support=True).score for h, r in PAIRS
    ]
    assert found[4] == 0 and found[1] == -100


def test_signatures_tell_settings_apart() -> None:
    signatures = [
        scorer(type="chrf", word_order=0).signature(),
        scorer(type="chrf", word_order=2).signature(),
        scorer(type="bleu", tokenize="13a").signature(),
        scorer(type="bleu", tokenize="zh").signature(),
        scorer(type="ter").signature(),
    ]
    texts = [s["signature"] for s in signatures]
    assert len(set(texts)) == len(texts)
    assert all(f"version:{sacrebleu.__version__}" in text for text in texts)
    assert "nw:2" in texts[1] and "eff:yes" in texts[2] and "tok:zh" in texts[3]


def test_what_is_scored_before_the_text_changes_nothing() -> None:
    alone = [scorer(type="bleu", tokenize="13a").score([t]).values[0] for t in TRIPLES]
    backwards = scorer(type="bleu", tokenize="13a").score(TRIPLES[::-1]).values
    assert backwards[::-1] == alone
