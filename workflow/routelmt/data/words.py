"""How many words a text has, in any language."""

from __future__ import annotations

import re
import unicodedata
from functools import cache

# Han, Hiragana and Katakana as NFKC leaves them.
HAN = "\u3005-\u3007\u3041-\u3096\u309d-\u309f\u30a1-\u30fa\u30fc-\u30ff\u31f0-\u31ff" \
      "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U000323af"  # fmt: skip
_HAN = re.compile(f"[{HAN}]")
# Accents and vowel signs are no word characters to `re`, but part of their word. Beyond the basic
# plane they belong to few scripts in use, and make the pattern four times slower.
_MARKS = range(0x300, 0x10000)


def words(text: str) -> int:
    """Words of a text after NFKC: runs of letters, digits, marks and underscores.

    A Chinese or Japanese character counts as a word, so that lengths mean something without
    spaces; other scripts that are written without spaces, such as Thai, count by the run.
    """
    composed = unicodedata.normalize("NFKC", text)
    han = 0
    if not composed.isascii():
        composed, han = _HAN.subn(" ", composed)
    return han + len(_words().findall(composed))


@cache
def _words() -> re.Pattern[str]:
    marks = (c for c in map(chr, _MARKS) if unicodedata.category(c)[0] == "M")
    return re.compile(f"[\\w{''.join(marks)}]+")
