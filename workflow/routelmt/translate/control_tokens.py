"""Control tokens of a tokenizer that stand in a text: there they are text like any other."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from typing import Any


def holding(tokenizer: Any, texts: Sequence[str]) -> list[int]:
    """Which of the texts hold the string of a control token."""
    control = _pattern(tokenizer)
    return [i for i, text in enumerate(texts) if control.search(text)] if control else []


def cut(tokenizer: Any, text: str) -> tuple[str, str]:
    """(the text with a mark behind the first character of every control token, the mark).

    No piece between two marks holds a control token. The mark is one character, of those for
    private use, that the text does not have.
    """
    mark = next(c for c in map(chr, range(0xE000, sys.maxunicode)) if c not in text)
    control = _pattern(tokenizer)
    while control and control.search(text):  # again where two overlap
        text = control.sub(lambda found: found[0][0] + mark + found[0][1:], text)
    return text, mark


def pieces(tokenizer: Any, text: str) -> list[str]:
    """The text in pieces of which none holds a control token."""
    marked, mark = cut(tokenizer, text)
    return marked.split(mark)


def tell(tokenizer: Any, texts: Sequence[str]) -> None:
    """Say on standard error how many of the texts hold one; nothing if none does."""
    if held := holding(tokenizer, texts):
        first = texts[held[0]]
        found = next(name for name in _names(tokenizer) if name in first)
        print(
            f"{tokenizer.name_or_path}: {len(held):,} of {len(texts):,} texts hold a control token "
            f"of the tokenizer, such as '{found}': encoded as its letters.",
            file=sys.stderr,
        )


def _pattern(tokenizer: Any) -> re.Pattern[str] | None:
    names = _names(tokenizer)
    return re.compile("|".join(map(re.escape, names))) if names else None


def _names(tokenizer: Any) -> list[str]:
    """Strings of the control tokens, longest first."""
    added = tokenizer.added_tokens_decoder.values()
    names = {str(token) for token in added if token.special} | set(tokenizer.all_special_tokens)
    # One of a single character cannot be cut; it would be a letter of the vocabulary's own.
    return sorted((name for name in names if len(name) > 1), key=lambda name: (-len(name), name))
