"""What is wrong with rows of foreign files, told as one; and what no text may have."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

from routelmt.errors import UserError

SHOWN_PLACES = 3
SHOWN_CHARACTERS = 60
_SURROGATE = re.compile("[\ud800-\udfff]")
_BLANK = re.compile(r"[\s\u00ad\u200b-\u200f\u2060\ufeff]*")  # spaces and what nobody sees


class Complaints:
    """What is wrong with many rows, told as one: the first of a kind, how many, and where next."""

    def __init__(self) -> None:
        self._found: dict[str, list[tuple[str, str]]] = {}
        self._counts: dict[str, int] = {}

    def add(self, place: str, what: str, remedy: str) -> None:
        """Note a problem; those with the same remedy are of one kind."""
        self._counts[remedy] = self._counts.get(remedy, 0) + 1
        found = self._found.setdefault(remedy, [])
        if len(found) < SHOWN_PLACES:
            found.append((place, what))

    def tell(self) -> None:
        """Raise UserError about the first kind, if there is any."""
        for remedy, found in self._found.items():
            (place, what), count = found[0], self._counts[remedy]
            message = f"{place}: {what}. {remedy}."
            if count > 1:
                places = ", ".join(p for p, _ in found[1:])
                message += f" {count:,} such problems, the next: {places}."
            raise UserError(message)


def say(message: str) -> None:
    """A remark for the user on standard error."""
    print(f"routelmt: {message}", file=sys.stderr)


def show(value: Any) -> str:
    """A value of a row for a message: never a whole text."""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    cut = text if len(text) <= SHOWN_CHARACTERS else text[:SHOWN_CHARACTERS] + "..."
    return repr(cut) if isinstance(value, str) else cut


def is_blank(text: str) -> bool:
    """Whether a text has nothing to see: empty, white space, zero-width characters."""
    return _BLANK.fullmatch(text) is not None


def flaw(text: str) -> str | None:
    """What makes a text impossible to store or send, None if nothing does."""
    if "\0" in text:
        return "a NUL character"
    if not text.isascii() and (found := _SURROGATE.search(text)):
        return f"half of a surrogate pair (U+{ord(found.group()):04X})"
    return None


def place(path: Path, line: int, parquet: bool = False) -> str:
    return f"{path} row {line}" if parquet else f"{path}:{line}"
