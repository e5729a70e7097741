"""Sources with rare words first (RouteLMT App. A)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from routelmt.errors import UserError
from routelmt.routers.inputs import Priorities, RouterInputs
from routelmt.routers.jieba_import import quiet_jieba

SHARE = 0.3  # of the tokens, the least frequent ones
FLOOR = 1e-9  # frequency of a word that wordfreq has never seen


def predict(spec: Mapping[str, Any], inputs: RouterInputs, seed: int) -> Priorities:
    """Mean -log frequency (nats) over the rarest tokens of each source.

    Raises UserError for a source language that wordfreq does not know.
    """
    share, floor = spec.get("share", SHARE), spec.get("floor", FLOOR)
    pairs = zip(inputs.source_languages, inputs.sources, strict=True)
    values = np.array([rarity(text, code, share, floor) for code, text in pairs], dtype=np.float64)
    return values, values


def rarity(text: str, language: str, share: float = SHARE, floor: float = FLOOR) -> float:
    """Mean of -log f(w) over the max(1, ceil(share n)) least frequent of the n tokens of `text`.

    Tokens and frequencies are wordfreq's (its tokeniser drops punctuation); 0 without tokens.
    """
    quiet_jieba()  # wordfreq cuts Chinese with it
    import wordfreq

    try:
        tokens = wordfreq.tokenize(text, language)
        surprise = [-math.log(wordfreq.word_frequency(t, language, minimum=floor)) for t in tokens]
    except LookupError:
        raise UserError(
            f"router 'rarity': wordfreq has no word frequencies for language '{language}'. Leave "
            "the router or the directions from that language out."
        ) from None
    if not surprise:
        return 0.0
    # Rounding first: 0.07 * 100 is 7.000000000000001, whose ceiling is not the 7 that is meant.
    rarest = max(1, math.ceil(round(share * len(surprise), 9)))
    return float(np.mean(sorted(surprise, reverse=True)[:rarest]))
