"""FLORES-200 from Meta's tarball, or FLORES+ from the Hub: any pair of languages."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from routelmt.data.languages import upstream_code
from routelmt.data.parsers import Field
from routelmt.data.rows import read_lines, read_rows, upstream_file
from routelmt.errors import UserError

PLUS_FIELDS = (
    Field("id", "id"),
    Field("text", blank=True),
    Field("url", required=False),
    Field("domain", required=False),
)
PLUS_IGNORED = (
    "iso_639_3",
    "iso_15924",
    "glottocode",
    "variant",
    "topic",
    "has_image",
    "has_hyperlink",
    "last_updated",
    "split",
)
METADATA_FIELDS = (Field("URL"), Field("domain"))
METADATA_IGNORED = ("topic", "has_image", "has_hyperlink")


class _Side(NamedTuple):
    """Texts of one language: their ids, documents, domains and places."""

    ids: list[str]
    texts: list[str]
    doc_ids: list[Any]
    domains: list[Any]
    where: list[str]


def read(origin: Path, settings: Mapping[str, Any], direction: str) -> dict[str, list[Any]]:
    """Columns of the segments; the URL is the document, the line (or upstream id) the group."""
    split = settings.get("split", "devtest")
    source_path, target_path = _paths(origin, settings, direction.split("-"), split)
    if source_path.suffix == ".jsonl":
        source, target = _plus(source_path), _plus(target_path)
        target = _aligned(source, target, source_path, target_path)
    else:
        source, target = _tarball(source_path), _tarball(target_path)
        if len(source.texts) != len(target.texts):
            raise UserError(
                f"{source_path} has {len(source.texts)} lines, {target_path} has "
                f"{len(target.texts)}; they are translations of each other line by line. "
                "Fetch both again."
            )
        source = _described(source, source_path, split)
    return {
        "segment_id": source.ids,
        "group_id": [f"flores-{split}:{i}" for i in source.ids],
        "doc_id": source.doc_ids,
        "domain": source.domains,
        "split": [split] * len(source.ids),
        "source": source.texts,
        "reference": target.texts,
        "where": source.where,
    }


def _paths(
    origin: Path, settings: Mapping[str, Any], languages: list[str], split: str
) -> tuple[Path, Path]:
    """Files of both languages in the first layout of which there is one."""
    codes = settings.get("codes") or {}
    layouts = (
        ("flores", origin / "flores200_dataset" / split, f".{split}"),
        ("flores", origin / split, f".{split}"),
        ("flores", origin, f".{split}"),
        ("flores_plus", origin / split, ".jsonl"),
    )
    found = []
    for dataset, folder, suffix in layouts:
        names = (upstream_code(language, dataset, codes) + suffix for language in languages)
        source, target = (folder / name for name in names)
        if source.exists() and target.exists():
            return source, target
        found.append((source.exists() or target.exists(), source, target))
    _, source, target = next((f for f in found if f[0]), found[0])
    for path in (source, target):
        upstream_file(path, settings)
    raise AssertionError("one of the two files is missing")


def _tarball(path: Path) -> _Side:
    """One line a text, known by its number."""
    texts = read_lines(path)
    ids = [str(line) for line in range(1, len(texts) + 1)]
    nothing = [None] * len(texts)
    return _Side(ids, texts, nothing, nothing, [f"{path}:{line}" for line in ids])


def _described(side: _Side, path: Path, split: str) -> _Side:
    """With URL and domain from the table beside the file's folder or in it, if there is one."""
    for folder in (path.parent, path.parent.parent):
        metadata = folder / f"metadata_{split}.tsv"
        if metadata.exists():
            break
    else:
        return side
    rows = read_rows(metadata, METADATA_FIELDS, ignore=METADATA_IGNORED)
    if len(rows) != len(side.texts):
        raise UserError(
            f"{metadata} has {len(rows)} rows, {path} has {len(side.texts)} lines; they belong "
            "together line by line. Fetch both again."
        )
    return side._replace(doc_ids=rows.columns["URL"], domains=rows.columns["domain"])


def _plus(path: Path) -> _Side:
    rows = read_rows(path, PLUS_FIELDS, ignore=PLUS_IGNORED)
    nothing = [None] * len(rows)
    return _Side(
        rows.columns["id"],
        rows.columns["text"],
        rows.columns.get("url", nothing),
        rows.columns.get("domain", nothing),
        [rows.where(i) for i in range(len(rows))],
    )


def _aligned(source: _Side, target: _Side, source_path: Path, target_path: Path) -> _Side:
    """`target` in the order of `source`; both must have the same ids, each once."""
    for path, ids in ((source_path, source.ids), (target_path, target.ids)):
        if len(set(ids)) < len(ids):
            twice = next(i for i in ids if ids.count(i) > 1)
            raise UserError(f"{path}: the id '{twice}' occurs more than once. Fetch it again.")
    differing = sorted(set(source.ids) ^ set(target.ids))
    if differing:
        raise UserError(
            f"{source_path} ({len(source.ids)} ids) and {target_path} ({len(target.ids)} ids): "
            f"{len(differing)} ids are in one only, first: {', '.join(differing[:3])}. "
            "Fetch both again, from one revision."
        )
    at = {identifier: i for i, identifier in enumerate(target.ids)}
    order = [at[identifier] for identifier in source.ids]
    return _Side(*([column[i] for i in order] for column in target))
