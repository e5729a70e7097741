"""Longer sources first (RouteLMT App. A)."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

import numpy as np

from routelmt.language_codes import language_of
from routelmt.routers.inputs import Priorities, RouterContext, RouterInputs
from routelmt.routers.registry import RouterType
from routelmt.routers.words import plain_word, quiet_jieba

ROUTER = RouterType()

# spaCy's blank tokenisers split only on rules; 'xx' is its language-neutral one.
_SPACY_LANGUAGES = frozenset({"en", "ru"})
# Chunks remembered before starting again: some hundred megabytes.
_REMEMBERED = 1_000_000
_ASK_FOR_THE_TEXT = math.inf


def predict(spec: Mapping[str, Any], inputs: RouterInputs, context: RouterContext) -> Priorities:
    """Tokens of each source: spaCy's blank tokeniser for en and ru, jieba for zh, else 'xx'.

    Every piece that the tokeniser returns counts, runs of spaces included.
    """
    pairs = zip(inputs.source_languages, inputs.sources, strict=True)
    counts = np.array([token_counter(code)(text) for code, text in pairs], dtype=np.float64)
    return counts, counts


@cache
def token_counter(language: str) -> Callable[[str], int]:
    """Function that counts the tokens of a text in `language`; the tokeniser is loaded once."""
    language = language_of(language)
    if language == "zh":
        jieba = quiet_jieba()
        return lambda text: len(jieba.lcut(text))
    import spacy

    return SpacyCounter(spacy.blank(language if language in _SPACY_LANGUAGES else "xx").tokenizer)


class SpacyCounter:
    """Counts what a blank tokeniser returns, from what it returned for the parts of other texts.

    The tokeniser works on chunks, the runs of space and of other characters. Only its search for
    special cases looks beyond one: some have a space in them ('и т.д.'), and one found within a
    chunk gives way to a longer one that reaches over its edge. A text with a chunk where that could
    be is counted as a whole.
    """

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self._counts = _ChunkCounts(tokenizer)

    def __call__(self, text: str) -> int:
        """Tokens of a text."""
        words = text.split()
        total = sum(map(self._counts.__getitem__, words))
        if total == _ASK_FOR_THE_TEXT:
            return len(self._tokenizer(text))
        if " ".join(words) != text:
            total += sum(map(self._counts.__getitem__, _space_chunks(text)))
        return int(total)


def _space_chunks(text: str) -> list[str]:
    """Runs of space as the tokeniser takes them: one ' ' after a word belongs to the word."""
    runs = re.finditer(r"\s+", text)
    found = (run[0].removeprefix(" ") if run.start() else run[0] for run in runs)
    return [run for run in found if run]


class _ChunkCounts(dict[str, float]):
    """Tokens of a chunk; infinite where the text around it must be asked for."""

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self._bare = _without_special_cases(tokenizer)
        self._special = {chunk: len(tokens) for chunk, tokens in tokenizer.rules.items()}
        pieces = {chunk: len(self._bare(chunk)) for chunk in self._special}
        changed = {chunk for chunk, count in self._special.items() if pieces[chunk] != count}
        self._joined = {chunk for chunk in changed if self._special[chunk] == 1}
        self._split = [chunk for chunk in changed - self._joined if pieces[chunk] > 1]
        # Of the cases with a space in them, the end that few other words share: 'см. также'.
        spaced = [words for chunk in self._special if len(words := chunk.split()) > 1]
        self._first = tuple({words[0] for words in spaced if not words[0].isalpha()})
        self._last = tuple({words[-1] for words in spaced if words[0].isalpha()})

    def __missing__(self, chunk: str) -> float:
        if len(self) >= _REMEMBERED:
            self.clear()
        self[chunk] = count = self._count(chunk)
        return count

    def _count(self, chunk: str) -> float:
        if chunk.endswith(self._first) or chunk.startswith(self._last):
            return _ASK_FOR_THE_TEXT
        if chunk in self._special:
            return self._special[chunk]
        if plain := plain_word(chunk):
            before, word, after = plain
            if not (before + word in self._special or word + after in self._special):
                return self._special.get(word, 1) + bool(before) + bool(after)
        tokens = [token.text for token in self._tokenizer(chunk)]
        return _ASK_FOR_THE_TEXT if self._is_found_within(chunk, tokens) else len(tokens)

    def _is_found_within(self, chunk: str, tokens: list[str]) -> bool:
        """Whether a special case that changes the count may be a part of the chunk's tokens."""
        if any(split in chunk for split in self._split):
            return True
        joined = [token for token in tokens if token in self._joined]
        pieces = [token.text for token in self._bare(chunk)] if joined else []
        return any(joined.count(token) > pieces.count(token) for token in joined)


def _without_special_cases(tokenizer: Any) -> Any:
    from spacy.tokenizer import Tokenizer

    affixes = ("prefix_search", "suffix_search", "infix_finditer", "token_match", "url_match")
    return Tokenizer(tokenizer.vocab, **{name: getattr(tokenizer, name) for name in affixes})
