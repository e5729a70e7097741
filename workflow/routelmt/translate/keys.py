"""Keys of endpoints: none in an address, and no part of one in a message."""

from __future__ import annotations

import re
from base64 import b64encode
from urllib.parse import quote, urlsplit

from routelmt.errors import UserError

PART = 6  # characters of a key that are not printed; whole keys if they are shorter
MASK = "***"


def check_address(address: str, where: str, variable: str) -> None:
    """Raise UserError for an address with a user or a password, or one that cannot be read.

    The message does not quote the address. variable: the environment variable for the key.
    """
    try:
        parts = urlsplit(address)
        fine = parts.scheme in ("http", "https") and bool(parts.hostname)
        fine = fine and "@" not in parts.netloc
        parts.port  # noqa: B018 (ValueError for what is no port)
    except ValueError:
        fine = False
    if not fine:
        raise UserError(
            f"{where}: needs http(s)://HOST[:PORT]/PATH; no user or key belongs into an address. "
            f"Set the environment variable {variable} to the key."
        )


def masked(text: str, key: str) -> str:
    """The text with *** for every part of the key: plain, backwards, quoted, as hex or base64.

    A part has PART characters, in either case.
    """
    size = min(PART, len(key))
    if not size:
        return text
    parts = {form[i : i + size] for form in _forms(key) for i in range(len(form) - size + 1)}
    low, shown = _lower(text), list(text)
    for i in range(len(text) - size + 1):
        if low[i : i + size] in parts:
            shown[i : i + size] = "\0" * size
    return re.sub("\0+", MASK, "".join(shown))


def _forms(key: str) -> set[str]:
    """What an endpoint may write for a key, in lower case."""
    data = key.encode("utf-8", "surrogateescape")
    # Base64 writes three bytes as four letters: what stands before the key shifts it.
    coded = [
        b64encode(b"\0" * before + data).decode()[mixed:] for before, mixed in enumerate((0, 2, 3))
    ]
    coded += [text.translate(str.maketrans("+/", "-_")) for text in coded]
    forms = [key, quote(data), data.hex(), *coded]
    return {_lower(form) for text in forms for form in (text, text[::-1])}


def _lower(text: str) -> str:
    """In lower case, at the same length."""
    return "".join(low if len(low := c.lower()) == 1 else c for c in text)
