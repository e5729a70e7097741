"""WMT24++: English sources with post-edited references; other directions swap the sides."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from routelmt.data.complaints import Complaints, show
from routelmt.data.languages import upstream_code
from routelmt.data.parsers import Field
from routelmt.data.rows import read_rows, upstream_file
from routelmt.errors import UserError

FIELDS = (
    Field("lp"),
    Field("domain"),
    Field("document_id", "id"),
    Field("segment_id", "id"),
    Field("is_bad_source", "flag"),
    Field("source", blank=True),
    Field("target", blank=True),
)
IGNORED = ("original_target",)  # the reference before it was post-edited


def read(origin: Path, settings: Mapping[str, Any], direction: str) -> dict[str, list[Any]]:
    """Columns of the segments; `keep_bad_source` false drops what upstream marks as bad."""
    languages = direction.split("-")
    if "en" not in languages:
        raise UserError(
            f"direction {direction}: WMT24++ has English on one side. Leave it out of the "
            "dataset's 'directions'."
        )
    swapped = languages[1] == "en"
    other = upstream_code(languages[not swapped], "wmt24pp", settings.get("codes") or {})
    path = upstream_file(origin / f"en-{other}.jsonl", settings)
    rows = read_rows(path, FIELDS, ignore=IGNORED)
    found = rows.columns
    complaints = Complaints()
    for i, lp in enumerate(found["lp"]):
        if lp != f"en-{other}":
            what = f"'lp' is {show(lp)}, the file's name says 'en-{other}'"
            complaints.add(rows.where(i), what, "Fetch the file again, or correct 'codes'")
    complaints.tell()
    keep_bad = settings.get("keep_bad_source", True)
    kept = [i for i, bad in enumerate(found["is_bad_source"]) if keep_bad or not bad]
    sides = ("target", "source") if swapped else ("source", "target")
    return {
        "segment_id": [found["segment_id"][i] for i in kept],
        "group_id": [f"wmt24pp:{found['segment_id'][i]}" for i in kept],
        "doc_id": [found["document_id"][i] for i in kept],
        "domain": [found["domain"][i] for i in kept],
        "source": [found[sides[0]][i] for i in kept],
        "reference": [found[sides[1]][i] for i in kept],
        "where": [rows.where(i) for i in kept],
    }
