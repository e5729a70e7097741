"""Importing jieba, and what is built on it, without its chatter."""

from __future__ import annotations

import logging
import warnings
from typing import Any


def quiet_jieba() -> Any:
    """The jieba module, silent: it logs the building of its dictionary to standard error."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it imports the deprecated pkg_resources
        import jieba

    jieba.setLogLevel(logging.WARNING)
    return jieba
