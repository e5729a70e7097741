"""Translations that went wrong visibly: blank, cut off, copied, repetitive, in a wrong script."""

from __future__ import annotations

from collections.abc import Sequence

from routelmt.scripts import letters_of, scripts_in
from routelmt.translate import chatter

SHORT_PIECE = 32  # characters: a loop over up to about eight tokens
BREAK = 2  # characters between long pieces, such as paragraphs, that the last one may lack
MIN_REPEATED = 12  # characters; "hahahaha" and "......" are legitimate
MIN_LETTERS = 20  # of an output: names, addresses and formulas are rightly left as they are
MIN_QUOTED = 40  # letters of a source that stands in a longer output: titles are rightly quoted


def is_degenerate(
    source: str,
    hypothesis: str,
    direction: str,
    finish_reason: str = "stop",
    around: Sequence[str] = (),
) -> bool:
    """Whether source or hypothesis is blank, or the output was cut off, copied or repetitive, says
    more than the translation (see `chatter`), or has no letter of the target language's script.

    around: the prompt's text before and after the source, which no translation repeats.
    A repetition that the source has too is no fault of the model.
    """
    if not source.strip() or not hypothesis.strip() or finish_reason == "length":
        return True
    if chatter.holds_reasoning(source, hypothesis) or chatter.is_introduced(source, hypothesis):
        return True
    if is_repetitive(hypothesis) and not is_repetitive(source):
        return True
    if is_copied(source, hypothesis) or is_prompt(source, hypothesis, around):
        return True
    return is_in_wrong_script(hypothesis, direction)


def is_copied(source: str, hypothesis: str) -> bool:
    """Whether an output of some length is the source itself, case and spaces aside, or holds it.

    One that is the source has MIN_LETTERS letters, a source that an output holds MIN_QUOTED.
    """
    asked, said, letters = _plain(source), _plain(hypothesis), _letters(source)
    if asked == said:
        return letters >= MIN_LETTERS
    return letters >= MIN_QUOTED and asked in said


def is_prompt(source: str, hypothesis: str, around: Sequence[str]) -> bool:
    """Whether an output holds a line of the prompt, of MIN_LETTERS letters, and the source not."""
    lines = (line.strip(" :") for text in around for line in text.splitlines())
    said, asked = _plain(hypothesis), _plain(source)
    return any(
        _letters(line) >= MIN_LETTERS and _plain(line) in said and _plain(line) not in asked
        for line in lines
    )


def _plain(text: str) -> str:
    return " ".join(text.casefold().split())


def _letters(text: str) -> int:
    return sum(scripts_in(text).values())


def is_in_wrong_script(hypothesis: str, direction: str) -> bool:
    """Whether an output of some length has no letter of the target's script, where it is known."""
    expected, found = letters_of(direction.partition("-")[2]), scripts_in(hypothesis)
    long = sum(found.values()) >= MIN_LETTERS
    return bool(expected) and long and not expected & found.keys()


def is_repetitive(text: str) -> bool:
    """Whether one piece, repeated without a break, makes up more than half of the text.

    A piece of up to 32 characters stands at least four times in a row, a longer one three times;
    the whole copies have at least 12 characters. White space around the text does not count.
    """
    text = text.strip()
    for size, run in (*_runs(text), *_runs(text[::-1])):
        copies = run // size if size <= SHORT_PIECE else (run + BREAK) // size
        enough, whole = copies >= (4 if size <= SHORT_PIECE else 3), min(copies * size, run)
        if enough and whole >= MIN_REPEATED and 2 * whole > len(text):
            return True
    return False


def _runs(text: str) -> list[tuple[int, int]]:
    """(size, length of the run) of the pieces of every size that begin in the middle.

    Whatever makes up more than half of a text covers its middle, and has a piece that begins
    there, or one that ends there: that is one of the text backwards. Takes linear time.
    """
    middle = len(text) // 2
    # How far the text goes on from the middle as it does from `size` behind it, and backwards.
    after = _agreements(text[middle:])
    before = _agreements(text[:middle][::-1] + "\0" + text[::-1])[middle + 1 :][::-1]
    return [(n, before[middle + n - 1] + n + after[n]) for n in range(1, len(after))]


def _agreements(text: str) -> list[int]:
    """How many characters from each place agree with those from the beginning (Z-function)."""
    found = [len(text)] * bool(text)
    left = right = 0  # of the agreement that ends last
    for i in range(1, len(text)):
        n = min(right - i, found[i - left]) if i < right else 0
        while i + n < len(text) and text[n] == text[i + n]:
            n += 1
        if i + n > right:
            left, right = i, i + n
        found.append(n)
    return found
