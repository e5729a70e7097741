"""What the text routers share in telling words apart.

Plain words are what every tokeniser of en and ru sees alike: letters with punctuation around them.
Most of what stands between two spaces is such a word. The text routers read it from its letters
and ask the tokenisers only for the rest, which is most of their work.
"""

from __future__ import annotations

import logging
import re
import warnings
from typing import Any

# One script, no apostrophe, hyphen, digit, mark or dot within. Either group of punctuation splits
# off in spaCy's blank tokenisers, and none of it belongs to a word in wordfreq's.
_PLAIN = re.compile(r"""([("«“„]?)([A-Za-z]+|[А-Яа-яЁё]+)([,:;!?)"»”]?|\.(?<=[a-zа-яё]{2}\.))""")


def plain_word(chunk: str) -> tuple[str, str, str] | None:
    """(punctuation before, letters, punctuation after), at most one of each; None if not plain.

    A final full stop counts only after two small letters: what it is elsewhere (J. Smith, U.S.)
    is for the tokenisers to say.
    """
    match = _PLAIN.fullmatch(chunk)
    return match.groups() if match else None  # type: ignore[return-value]


def quiet_jieba() -> Any:
    """The jieba module, silent: it logs the building of its dictionary to standard error."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it imports the deprecated pkg_resources
        import jieba

    jieba.setLogLevel(logging.WARNING)
    return jieba
