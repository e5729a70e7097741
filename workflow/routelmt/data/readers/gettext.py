"""Segments of one split of a gettext corpus, in either direction."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from routelmt import tables


def read(origin: Path, settings: Mapping[str, Any], direction: str) -> dict[str, list[Any]]:
    """Columns of the segments; the package is the domain, the catalog the document."""
    source, target = direction.split("-")
    language = target if source == "en" else source
    columns: dict[str, list[Any]] = {
        k: [] for k in ("segment_id", "group_id", "doc_id", "domain", "source", "reference")
    }
    for row in tables.read(origin, "corpus").to_pylist():
        if row["split"] != settings["split"] or row["language"] != language:
            continue
        texts = row["english"], row["translation"]
        columns["segment_id"].append(row["text_id"])
        columns["group_id"].append(row["group_id"])
        columns["doc_id"].append(f"{row['package']}/{row['catalog']}")
        columns["domain"].append(row["package"])
        columns["source"].append(texts[source != "en"])
        columns["reference"].append(texts[target != "en"])
    return columns
