"""Longer sources first (RouteLMT App. A)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

import numpy as np

from routelmt.routers.inputs import Priorities, RouterInputs
from routelmt.routers.jieba_import import quiet_jieba

# spaCy's blank tokenisers split only on rules; 'xx' is its language-neutral one.
_SPACY_LANGUAGES = frozenset({"en", "ru"})


def predict(spec: Mapping[str, Any], inputs: RouterInputs, seed: int) -> Priorities:
    """Tokens of each source: spaCy's blank tokeniser for en and ru, jieba for zh, else 'xx'.

    Every piece that the tokeniser returns counts, runs of spaces included.
    """
    pairs = zip(inputs.source_languages, inputs.sources, strict=True)
    counts = np.array([token_counter(code)(text) for code, text in pairs], dtype=np.float64)
    return counts, counts


@cache
def token_counter(language: str) -> Callable[[str], int]:
    """Function that counts the tokens of a text in `language`; the tokeniser is loaded once."""
    if language == "zh":
        jieba = quiet_jieba()
        return lambda text: sum(1 for _ in jieba.cut(text))
    import spacy

    tokenizer = spacy.blank(language if language in _SPACY_LANGUAGES else "xx").tokenizer
    return lambda text: len(tokenizer(text))
