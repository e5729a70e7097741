"""Where the segments of each kind of source come from. One new source: a file and a line here."""

from __future__ import annotations

from typing import NamedTuple


class Reader(NamedTuple):
    """Module with `read(origin, settings, direction)`; origin is a corpus table or data/raw/X."""

    module: str
    from_corpus: bool = False


READERS = {
    "gettext": Reader("routelmt.data.readers.gettext", from_corpus=True),
    "commt": Reader("routelmt.data.readers.unavailable"),
    "flores": Reader("routelmt.data.readers.unavailable"),
    "wmt24pp": Reader("routelmt.data.readers.unavailable"),
    "bouquet": Reader("routelmt.data.readers.unavailable"),
}
