"""Progress bars for long work, quiet and line-wise when standard error is a log file."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

_quiet = False


@contextmanager
def quiet() -> Iterator[None]:
    """Context without progress bars: for work that goes on for ever, a little at a time."""
    global _quiet
    before, _quiet = _quiet, True
    try:
        yield
    finally:
        _quiet = before


def progress(items: Iterable[Any], what: str, unit: str = "it", total: int | None = None) -> Any:
    """tqdm over `items`: a live bar on a terminal, a line every ten seconds in a log."""
    from tqdm import tqdm

    live = sys.stderr.isatty()
    return tqdm(
        items,
        desc=what,
        unit=unit,
        total=total,
        mininterval=0.2 if live else 10,
        file=sys.stderr,
        disable=_quiet,
        ascii=not live,
        dynamic_ncols=live,
    )
