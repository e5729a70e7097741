"""Where the segments of each kind of source come from. One new source: a file and a line here."""

from __future__ import annotations

from typing import NamedTuple

from routelmt import plugins


class Reader(NamedTuple):
    """Module with `read(origin, settings, direction)`, and what `origin` is.

    origin: "corpus" (a corpus table), "source" (a folder as upstream publishes it, downloaded or
        local) or "file" (the user's own). running_text: whether the segments of a doc_id follow
        one another, and are alike for it; strings of a software's catalog are not.
    published: whether systems' texts and scores stand beside the segments; the module then has
        what routelmt.data.published asks for.
    """

    module: str
    origin: str
    running_text: bool = True
    published: bool = False


_OWN = Reader("routelmt.data.readers.own_rows", "file")

_BUILT_IN: dict[str, Reader] = {
    "gettext": Reader("routelmt.data.readers.gettext", "corpus", running_text=False),
    "commt": Reader("routelmt.data.readers.commt", "source"),
    "flores": Reader("routelmt.data.readers.flores", "source"),
    "wmt24pp": Reader("routelmt.data.readers.wmt24pp", "source"),
    "bouquet": Reader("routelmt.data.readers.bouquet", "source"),
    "wmt25": Reader("routelmt.data.readers.wmt25", "source", published=True),
    "mt-metrics-eval": Reader("routelmt.data.readers.mt_metrics_eval", "source", published=True),
    "jsonl": _OWN,
    "csv": _OWN,
    "tsv": _OWN,
    "parquet": _OWN,
}
READERS = plugins.Registry("sources", _BUILT_IN)
