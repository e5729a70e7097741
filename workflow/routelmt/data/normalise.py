"""When two strings are the same text."""

from __future__ import annotations

import re
import unicodedata

_WORDS = re.compile(r"\w+")


def normalise(text: str) -> str:
    """What makes two strings the same text: its words, case-folded, NFKC."""
    return " ".join(_WORDS.findall(unicodedata.normalize("NFKC", text).casefold()))
