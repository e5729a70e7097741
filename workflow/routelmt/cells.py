"""Texts that we did not write, in files that other programs open: spreadsheets, viewers, TeX."""

from __future__ import annotations

import re
import unicodedata

import pyarrow as pa
import pyarrow.compute as pc

# A spreadsheet runs a cell that begins so; tabs and carriage returns before it are skipped.
_FORMULA_START = "^[\t\r\n ]*[=+\\-@\uff1d\uff0b\uff0d\uff20]"
_FORMULA = re.compile(_FORMULA_START)
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
# Besides control characters: what reorders a line, and the two separators that break one.
_UNSEEN = frozenset("\u2028\u2029\u200e\u200f\u061c\u202a\u202b\u202c\u202d\u202e"
                    "\u2066\u2067\u2068\u2069")  # fmt: skip


def is_formula(text: str) -> bool:
    """Whether a spreadsheet would run the text instead of showing it; numbers it does not."""
    return _FORMULA.match(text) is not None and _NUMBER.fullmatch(text) is None


def neutral(text: str) -> str:
    """The text with an apostrophe before it if a spreadsheet would run it."""
    return f"'{text}" if is_formula(text) else text


def visible(text: str) -> str:
    """The text with line breaks, control characters and bidi marks spelt as \\n or \\u202e."""
    if text.isprintable():  # false for every character below, and for some harmless ones
        return text
    return "".join(_spelt(c) for c in text)


def _spelt(character: str) -> str:
    if character in _UNSEEN or unicodedata.category(character) == "Cc":
        return character.encode("unicode_escape").decode("ascii")
    return character


def neutral_column(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """A column of texts, each neutral; of anything else as it is."""
    if (
        not pa.types.is_string(column.type)
        or not pc.any(pc.match_substring_regex(column, _FORMULA_START)).as_py()
    ):
        return column
    texts = [text if text is None else neutral(text) for text in column.to_pylist()]
    return pa.chunked_array([pa.array(texts, pa.string())])
