"""Progress bars for long work, quiet and line-wise when standard error is a log file."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import Any


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
        ascii=not live,
        dynamic_ncols=live,
    )
