"""Valid input made invalid, for hypothesis: bytes with damage, and values put where they do not belong."""

from __future__ import annotations

import copy
from typing import Any

from hypothesis import strategies as st

TEXTS = (
    "", " ", "\0", "\t", "\n", "\r", "\r\n", "\u2028", "\x85", "\u200b", "\ufeff", "\u202e", "\ud800",
    '"', '""', "'", "\\", "{", "}", "{text}", "{src.__class__}", "{text:>999999999}", "${x}", "%s",
    "=1+1", "@a", "../x", "/", "a/b", "-", "--", ".", "a" * 5000, "/" * 5000, "no", "null", "NaN", "1e999",
    "9" * 5000, "[" * 300, "<think>", "</think>", "<|im_end|>", "en-zh", "en", "zh_Hans", "保存", "🙂", "e\u0301",
)  # fmt: skip
NUMBERS = (0, 1, -1, 2, 0.5, -0.0, 1e308, float("inf"), float("nan"), 2**63, 10**400)
SCALARS = st.one_of(
    st.sampled_from(TEXTS),
    st.sampled_from(NUMBERS),
    st.sampled_from((None, True, False)),
    st.text(max_size=6),
    st.integers(-3, 3),
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.sampled_from(TEXTS), inner, max_size=3)
    ),
    max_leaves=5,
)
PIECES = st.one_of(
    st.binary(max_size=6),
    st.sampled_from([text.encode("utf-8", "surrogatepass") for text in TEXTS]),
)


@st.composite
def damaged(draw: Any, whole: bytes) -> bytes:
    """The bytes with some of them replaced, cut out, put in, or all after a place cut off."""
    data = bytearray(whole)
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(data)))
        length = draw(st.sampled_from((0, 1, 1, 4, 40, len(data))))
        data[at : at + length] = draw(PIECES)
    return bytes(data)


@st.composite
def flipped(draw: Any, whole: bytes) -> bytes:
    """The bytes with a few bits flipped: what binary formats survive longest."""
    data = bytearray(whole)
    for _ in range(draw(st.integers(1, 3))):
        data[draw(st.integers(0, len(data) - 1))] ^= 1 << draw(st.integers(0, 7))
    return bytes(data)


def _places(tree: Any) -> list[tuple[Any, Any]]:
    """(container, key) of everything in a tree of lists and objects."""
    found, left = [], [tree]
    while left:
        here = left.pop()
        keys = here.keys() if isinstance(here, dict) else range(len(here))
        for key in list(keys):
            found.append((here, key))
            if isinstance(here[key], dict | list):
                left.append(here[key])
    return found


@st.composite
def twisted(draw: Any, tree: Any) -> Any:
    """A tree of lists and objects with values replaced, moved, dropped, renamed and added."""
    tree = copy.deepcopy(tree)
    for _ in range(draw(st.integers(1, 3))):
        places = _places(tree)
        if not places:
            break
        here, key = draw(st.sampled_from(places))
        how = draw(st.sampled_from(("put", "put", "move", "drop", "rename", "add")))
        if how == "put":
            here[key] = draw(VALUES)
        elif how == "move":
            there, other = draw(st.sampled_from(places))
            here[key] = copy.deepcopy(there[other])
        elif how == "drop":
            del here[key]
        elif isinstance(here, dict):
            name = draw(st.one_of(st.sampled_from(TEXTS), st.sampled_from(NUMBERS)))
            here[name] = here.pop(key) if how == "rename" else draw(VALUES)
        else:
            here.append(draw(VALUES))
    return tree
