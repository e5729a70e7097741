"""Translations that went wrong visibly: blank, cut off, copied, repetitive, in a wrong script."""

from __future__ import annotations

import re

from routelmt.scripts import letters_of, scripts_in
from routelmt.translate import chatter

# A piece of 1 to 32 characters (a loop over up to about eight tokens) at least four times in a row.
REPEATED = re.compile(r"(.{1,32}?)\1{3,}", re.DOTALL)
MIN_REPEATED = 12  # characters; "hahahaha" and "......" are legitimate
MIN_LETTERS = 20  # of an output: names, addresses and formulas are rightly left as they are


def is_degenerate(
    source: str, hypothesis: str, direction: str, finish_reason: str = "stop"
) -> bool:
    """Whether source or hypothesis is blank, or the output was cut off, copied or repetitive, says
    more than the translation (see `chatter`), or has no letter of the target language's script.

    A repetition that the source has too is no fault of the model.
    """
    if not source.strip() or not hypothesis.strip() or finish_reason == "length":
        return True
    if chatter.holds_reasoning(source, hypothesis) or chatter.is_introduced(source, hypothesis):
        return True
    if is_repetitive(hypothesis) and not is_repetitive(source):
        return True
    return is_copied(source, hypothesis) or is_in_wrong_script(hypothesis, direction)


def is_copied(source: str, hypothesis: str) -> bool:
    """Whether an output of some length is the source itself, case and spaces aside."""
    same = source.casefold().split() == hypothesis.casefold().split()
    return same and sum(scripts_in(hypothesis).values()) >= MIN_LETTERS


def is_in_wrong_script(hypothesis: str, direction: str) -> bool:
    """Whether an output of some length has no letter of the target's script, where it is known."""
    expected, found = letters_of(direction.partition("-")[2]), scripts_in(hypothesis)
    long = sum(found.values()) >= MIN_LETTERS
    return bool(expected) and long and not expected & found.keys()


def is_repetitive(text: str) -> bool:
    """Whether one piece, repeated without a break, makes up more than half of the text.

    The piece has 1 to 32 characters and stands at least four times in a row; the whole run has at
    least 12 characters. White space around the text does not count.
    """
    text = text.strip()
    longest = max((len(run.group()) for run in REPEATED.finditer(text)), default=0)
    return longest >= MIN_REPEATED and 2 * longest > len(text)
