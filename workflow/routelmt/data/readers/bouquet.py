"""BOUQuET at sentence level, from one file a language or from one file a pair.

A language's file has that language in `src_text` and English in `tgt_text`; a pair's file has the
two languages that its name says. Two languages other than English are joined by `uniq_id`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from routelmt.data.complaints import Complaints, show
from routelmt.data.languages import upstream_code
from routelmt.data.parsers import Field
from routelmt.data.rows import Rows, read_rows, upstream_file
from routelmt.errors import UserError

LEVEL = "sentence_level"
FIELDS = (
    Field("uniq_id", "id"),
    Field("par_id", "id"),
    Field("domain"),
    Field("src_text", blank=True),
    Field("tgt_text", blank=True),
    Field("src_lang", required=False),
    Field("tgt_lang", required=False),
    Field("level", required=False),
    Field("split", required=False),
)
IGNORED = (
    "register",
    "tags",
    "par_comment",
    "sent_comment",
    "orig_text",
    "newline_next",
    "has_hashtag",
    "has_emoji",
    "has_12p",
    "has_speaker_tag",
)


def read(origin: Path, settings: Mapping[str, Any], direction: str) -> dict[str, list[Any]]:
    """Columns of the segments of all `splits`; the paragraph is the document."""
    columns: dict[str, list[Any]] = {}
    for split in settings.get("splits", ("dev", "test")):
        for name, values in _read_split(origin, settings, direction, split).items():
            columns.setdefault(name, []).extend(values)
    return columns


def _read_split(
    origin: Path, settings: Mapping[str, Any], direction: str, split: str
) -> dict[str, list[Any]]:
    languages = direction.split("-")
    codes = [upstream_code(x, "bouquet", settings.get("codes") or {}) for x in languages]
    rows, source, reference = _texts(origin, settings, codes, split)
    ids = rows.columns["uniq_id"]
    return {
        "segment_id": [f"{split}-{i}" for i in ids],
        "group_id": [f"bouquet-{split}:{i}" for i in ids],
        "doc_id": rows.columns["par_id"],
        "domain": rows.columns["domain"],
        "split": [split] * len(ids),
        "source": source,
        "reference": reference,
        "where": [rows.where(i) for i in range(len(rows))],
    }


def _texts(
    origin: Path, settings: Mapping[str, Any], codes: Sequence[str], split: str
) -> tuple[Rows, list[str], list[str]]:
    """(rows, sources, references) of a split from whichever layout has the pair."""
    english = upstream_code("en", "bouquet", {})
    folder = origin / "data" / LEVEL / split
    pairs = origin / "benchmark_data" / LEVEL / split
    for first, second in (codes, codes[::-1]):
        pair = pairs / f"{first}-{second}.parquet"
        if pair.exists():
            rows = _read_file(pair, first, second, split)
            sides = rows.columns["src_text"], rows.columns["tgt_text"]
            return rows, *(sides if first == codes[0] else sides[::-1])
    files = {
        code: _read_file(upstream_file(folder / f"{code}.parquet", settings), code, english, split)
        for code in codes
        if code != english
    }
    if len(files) == 1:
        rows = next(iter(files.values()))
        sides = rows.columns["src_text"], rows.columns["tgt_text"]
        return rows, *(sides if codes[0] != english else sides[::-1])
    rows, other = files[codes[0]], files[codes[1]]
    return rows, rows.columns["src_text"], _joined(rows, other)


def _joined(rows: Rows, other: Rows) -> list[str]:
    """Texts of `other` in the order of `rows`, by uniq_id."""
    texts = dict(zip(other.columns["uniq_id"], other.columns["src_text"], strict=True))
    differing = sorted(texts.keys() ^ set(rows.columns["uniq_id"]))
    if differing:
        raise UserError(
            f"{rows.path} and {other.path}: {len(differing)} uniq_ids are in one only, first: "
            f"{', '.join(differing[:3])}. Fetch both again, from one revision."
        )
    return [texts[i] for i in rows.columns["uniq_id"]]


def _read_file(path: Path, source: str, target: str, split: str) -> Rows:
    """Rows of a file whose language, level and split columns say what its path says."""
    rows = read_rows(path, FIELDS, ignore=IGNORED)
    expected = {"src_lang": source, "tgt_lang": target, "level": LEVEL, "split": split}
    complaints = Complaints()
    for name, value in expected.items():
        for i, found in enumerate(rows.columns.get(name, ())):
            if found is not None and found != value:
                what = f"'{name}' is {show(found)}, the file's path says '{value}'"
                complaints.add(rows.where(i), what, "Fetch the file again, or correct 'codes'")
    complaints.tell()
    return rows
