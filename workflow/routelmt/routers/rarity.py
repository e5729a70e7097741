"""Sources with rare words first (RouteLMT App. A)."""

from __future__ import annotations

import importlib.util
import math
import re
from collections.abc import Callable, Iterable, Mapping
from functools import cache
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from routelmt.errors import UserError
from routelmt.language_codes import same_language
from routelmt.routers.inputs import Priorities, RouterContext, RouterInputs
from routelmt.routers.registry import RouterType
from routelmt.routers.words import plain_word, quiet_jieba

ROUTER = RouterType()

SHARE = 0.3  # of the tokens, the least frequent ones
FLOOR = 1e-9  # frequency of a word that wordfreq has never seen
# Languages in which wordfreq's tokens never reach over a ' '.
_SPACED = frozenset({"en", "ru"})
_MECAB = frozenset({"ja", "ko"})  # what wordfreq needs MeCab and its dictionaries for
# Chunks and words remembered before starting again: some hundred megabytes each.
_REMEMBERED = 1_000_000
# What a chunk must begin and end with to be cut from its text. Marks, joiners and the like, at the
# edge of a chunk, belong to the space beside it.
_EDGE = (
    r"[!-~\u00a1-\u00ac\u00ae-\u02af\u0400-\u0482\u048a-\u052f\u2010-\u2027\u2030-\u205e"
    r"\u20a0-\u20bf\u2116\u2122\u4e00-\u9fff]"
)
_SEPARABLE = re.compile(rf"{_EDGE}(?:.*{_EDGE})?", re.DOTALL)


def check_languages(languages: Iterable[str]) -> None:
    """Raise UserError for a source language that wordfreq has no words of, or cannot cut.

    Where a workflow is planned without wordfreq, the job itself finds out.
    """
    for language in languages if importlib.util.find_spec("wordfreq") else ():
        list_of(language)


def list_of(language: str) -> str:
    """Code of wordfreq's list of a language, whatever name or region the language has here.

    wordfreq itself would take the nearest language's list, such as English for Telugu.
    """
    found = same_language(language, word_lists())
    if found is None:
        raise UserError(
            f"router 'rarity': wordfreq has no word frequencies for language '{language}'. Leave "
            "the router or the directions from that language out; there: "
            f"{', '.join(word_lists())}."
        )
    if found in _MECAB and importlib.util.find_spec("MeCab") is None:
        raise UserError(
            f"router 'rarity': wordfreq cuts language '{language}' with MeCab, which is not "
            "installed. Install it beside this package with: pip install 'wordfreq[cjk]'."
        )
    return found


@cache
def word_lists() -> tuple[str, ...]:
    """Languages that wordfreq has a list of, read off its files: importing it takes a while."""
    spec = importlib.util.find_spec("wordfreq")
    assert spec is not None and spec.origin is not None
    files = (Path(spec.origin).parent / "data").glob("small_*.msgpack.gz")
    return tuple(sorted(file.name.split(".")[0].removeprefix("small_") for file in files))


def predict(spec: Mapping[str, Any], inputs: RouterInputs, context: RouterContext) -> Priorities:
    """Mean -log frequency (nats) over the rarest tokens of each source.

    Raises UserError for a source language that wordfreq does not know.
    """
    share, floor = spec.get("share", SHARE), spec.get("floor", FLOOR)
    codes = inputs.source_languages
    rarity = {code: rarity_of(code, share, floor) for code in dict.fromkeys(codes)}
    pairs = zip(codes, inputs.sources, strict=True)
    values = np.array([rarity[code](text) for code, text in pairs], dtype=np.float64)
    return values, values


def rarity_of(language: str, share: float = SHARE, floor: float = FLOOR) -> Callable[[str], float]:
    """Function of a text: mean of -log f(w) over its max(1, ceil(share n)) rarest of n tokens.

    Tokens and frequencies are wordfreq's (its tokeniser drops punctuation); 0 without tokens.
    Raises UserError for a language that wordfreq does not know.
    """
    language = list_of(language)
    quiet_jieba()  # wordfreq cuts Chinese with it
    import wordfreq

    words = _Surprise(language, floor)
    chunks = _ChunkSurprise(language, words)

    def rarity(text: str) -> float:
        parts = [chunks[chunk] for chunk in text.split(" ")] if language in _SPACED else [None]
        if None in parts:
            values = [words[token] for token in wordfreq.tokenize(text, language)]
        else:
            values = list(chain.from_iterable(parts))  # type: ignore[arg-type]
        return _mean_of_largest(values, share)

    return rarity


def _mean_of_largest(values: list[float], share: float) -> float:
    """Mean of the largest `share` of the values, at least one of them; 0 of none."""
    if not values:
        return 0.0
    # Rounding first: 0.07 * 100 is 7.000000000000001, whose ceiling is not the 7 that is meant.
    count = max(1, math.ceil(round(share * len(values), 9)))
    values.sort(reverse=True)
    return math.fsum(values[:count]) / count


class _Surprise(dict[str, float]):
    """-log frequency of a token, in nats."""

    def __init__(self, language: str, floor: float) -> None:
        import wordfreq

        self._language, self._floor = language, floor
        self._listed = wordfreq.get_frequency_dict(language)
        self._of_listed: dict[float | None, float] = {}

    def __missing__(self, token: str) -> float:
        if len(self) >= _REMEMBERED:
            self.clear()
        self[token] = found = self._look_up(token)
        return found

    def _look_up(self, token: str) -> float:
        if self._language not in _SPACED or not token.isalpha() or not plain_word(token):
            return self._ask(token)
        # One word to wordfreq, which rounds its few hundred listed frequencies.
        listed = self._listed.get(token)
        if listed not in self._of_listed:
            self._of_listed[listed] = self._ask(token)
        return self._of_listed[listed]

    def _ask(self, token: str) -> float:
        import wordfreq

        return -math.log(wordfreq.word_frequency(token, self._language, minimum=self._floor))


class _ChunkSurprise(dict[str, tuple[float, ...] | None]):
    """Surprise of the tokens of a chunk; None where the text around it must be asked for."""

    def __init__(self, language: str, words: _Surprise) -> None:
        self._language, self._words = language, words

    def __missing__(self, chunk: str) -> tuple[float, ...] | None:
        if len(self) >= _REMEMBERED:
            self.clear()
        self[chunk] = found = self._look_up(chunk)
        return found

    def _look_up(self, chunk: str) -> tuple[float, ...] | None:
        import wordfreq

        if plain := plain_word(chunk):
            return (self._words[plain[1].casefold()],)
        if not chunk:  # between two spaces
            return ()
        if not _SEPARABLE.fullmatch(chunk):
            return None
        return tuple(self._words[token] for token in wordfreq.tokenize(chunk, self._language))
