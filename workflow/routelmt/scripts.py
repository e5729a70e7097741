"""Which script a text is written in, and which ones its language uses."""

from __future__ import annotations

import unicodedata
from collections import Counter
from functools import cache

# First words of the Unicode names of the letters of each language's script.
_LATIN = frozenset({"LATIN"})
_CYRILLIC = frozenset({"CYRILLIC"})
LETTERS = {
    **dict.fromkeys(("cs", "de", "en", "es", "fr", "it", "pl", "pt", "tr", "vi"), _LATIN),
    **dict.fromkeys(("ru", "uk"), _CYRILLIC),
    "ar": frozenset({"ARABIC"}),
    "hi": frozenset({"DEVANAGARI"}),
    "ja": frozenset({"CJK", "HIRAGANA", "KATAKANA"}),
    "ko": frozenset({"HANGUL"}),
    "th": frozenset({"THAI"}),
    "zh": frozenset({"CJK"}),
}
_LETTERS_READ = 500  # of a text: enough to know its script


def letters_of(language: str) -> frozenset[str]:
    """What `written_in` may answer for a text in this language; empty if that is not known."""
    return LETTERS.get(language, frozenset())


def scripts_in(text: str) -> Counter[str]:
    """Letters of a text by script: first word of their Unicode names (LATIN, CJK, ...)."""
    text = text[:_LETTERS_READ]
    if text.isascii():
        return Counter({"LATIN": n} if (n := sum(map(str.isalpha, text))) else {})
    counts: Counter[str] = Counter()
    for character, count in Counter(text).items():
        if name := _script(character):
            counts[name] += count
    return counts


def written_in(text: str) -> str | None:
    """The script of most of its letters; None without any."""
    counts = scripts_in(text).most_common(1)
    return counts[0][0] if counts else None


@cache
def _script(character: str) -> str | None:
    if not character.isalpha():
        return None
    return unicodedata.name(character, "").partition(" ")[0] or None
