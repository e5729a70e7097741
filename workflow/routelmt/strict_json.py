"""JSON from outside: the one place where text that we did not write becomes values.

Python's own reader takes more than JSON (NaN, the last of two equal keys) and answers some input
with other errors than its own: RecursionError for brackets, a plain ValueError for digits.
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Iterator
from typing import Any, NoReturn

LONGEST = 1 << 24  # bytes, or characters of a text
DEEPEST = 100  # lists and objects inside one another
DIGITS = 1000  # of one number; Python refuses to turn more than 4,300 into one
SHOWN = 500  # characters of an error

_HALF = re.compile(r"\\u[dD][89a-fA-F]")  # without such an escape there is no half of a pair
_SURROGATE = re.compile("[\ud800-\udfff]")


class JsonError(ValueError):
    """Text that is no JSON, or JSON that is refused: what is wrong, in at most SHOWN characters."""

    def __init__(self, what: str) -> None:
        super().__init__(cut(what))


def cut(message: str, longest: int = SHOWN) -> str:
    """A message about outside text, which may quote it: at most so many characters."""
    return message if len(message) <= longest else f"{message[: longest - 3]}..."


def parse(text: str | bytes, longest: int = LONGEST, halves: bool = False) -> Any:
    """The value of a JSON text; bytes are UTF-8.

    longest: its length that is not refused. halves: let halves of surrogate pairs pass, for
    a caller that looks at each text it takes. Raises JsonError, and nothing else: for what is no
    JSON, NaN and infinite numbers, equal keys in an object, numbers of more than DIGITS digits,
    lists or objects more than DEEPEST deep, and halves of surrogate pairs (which no file can hold).
    """
    if len(text) > longest:
        unit = "bytes" if isinstance(text, bytes) else "characters"
        raise JsonError(f"longer than {longest:,} {unit}")
    try:
        read = text if isinstance(text, str) else text.decode("utf-8")
        value = _DECODER.decode(read)
    except UnicodeDecodeError as error:
        raise JsonError(f"not UTF-8 (byte {error.start + 1})") from None
    except json.JSONDecodeError as error:
        place = f"column {error.colno}" if error.lineno == 1 else f"line {error.lineno}"
        raise JsonError(f"not JSON at {place} ({error.msg})") from None
    except RecursionError:
        raise _too_deep() from None
    # Both looks at every value are rare: most texts have few brackets and no such escape.
    if read.count("[") + read.count("{") > DEEPEST and _depth(value) > DEEPEST:
        raise _too_deep()
    if not halves and _HALF.search(read):
        _refuse_halves(value)
    return value


def parse_object(text: str | bytes, longest: int = LONGEST, halves: bool = False) -> dict[str, Any]:
    """As `parse`, for what must be an object."""
    value = parse(text, longest, halves)
    if not isinstance(value, dict):
        raise JsonError(f"expected a JSON object, found {type(value).__name__}")
    return value


def _too_deep() -> JsonError:
    return JsonError(f"not JSON that can be read (values more than {DEEPEST} deep)")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        twice = Counter(name for name, _ in pairs).most_common(1)[0][0]
        raise JsonError(f"the key {twice[:60]!r} stands twice in one object")
    return found


def _constant(name: str) -> NoReturn:
    raise JsonError(f"{name} is no JSON value")


def _integer(digits: str) -> int:
    if len(digits) > DIGITS:
        raise JsonError(f"not JSON that can be read (a number of {len(digits):,} digits)")
    return int(digits)


def _float(digits: str) -> float:
    value = float(digits)
    if math.isinf(value) or len(digits) > DIGITS:
        raise JsonError(f"the number {digits[:20]}{'...' * (len(digits) > 20)} is out of range")
    return value


def _inside(value: Any) -> Iterator[Any]:
    """What stands directly in a value, names of an object too."""
    if isinstance(value, dict):
        yield from value
        yield from value.values()
    elif isinstance(value, list):
        yield from value


def _depth(value: Any) -> int:
    """How many lists and objects stand inside one another."""
    depth, level = 0, [value] if isinstance(value, dict | list) else []
    while level:
        depth += 1
        parts = (part.values() if isinstance(part, dict) else part for part in level)
        level = [inner for part in parts for inner in part if isinstance(inner, (dict, list))]
    return depth


def _refuse_halves(value: Any) -> None:
    waiting = [value]
    while waiting:
        part = waiting.pop()
        if isinstance(part, str) and (half := _SURROGATE.search(part)):
            raise JsonError(f"half of a surrogate pair (U+{ord(half[0]):04X}: a broken \\u escape)")
        waiting.extend(_inside(part))


_DECODER = json.JSONDecoder(
    object_pairs_hook=_object, parse_constant=_constant, parse_int=_integer, parse_float=_float
)
