"""Translations that went wrong visibly: blank, cut off, or one piece over and over."""

from __future__ import annotations

import re

# A piece of 1 to 32 characters (a loop over up to about eight tokens) at least four times in a row.
REPEATED = re.compile(r"(.{1,32}?)\1{3,}", re.DOTALL)
MIN_REPEATED = 12  # characters; "hahahaha" and "......" are legitimate


def is_degenerate(source: str, hypothesis: str, finish_reason: str = "stop") -> bool:
    """Whether source or hypothesis is blank, the output was cut off, or one piece is repeated.

    A repetition that the source has too is no fault of the model.
    """
    if not source.strip() or not hypothesis.strip() or finish_reason == "length":
        return True
    return is_repetitive(hypothesis) and not is_repetitive(source)


def is_repetitive(text: str) -> bool:
    """Whether one piece, repeated without a break, makes up more than half of the text.

    The piece has 1 to 32 characters and stands at least four times in a row; the whole run has at
    least 12 characters. White space around the text does not count.
    """
    text = text.strip()
    longest = max((len(run.group()) for run in REPEATED.finditer(text)), default=0)
    return longest >= MIN_REPEATED and 2 * longest > len(text)
