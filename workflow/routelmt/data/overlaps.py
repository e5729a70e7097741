"""Training and validation text that is also in held-out data: exactly, nearly, or by its group.

Texts are compared within a language, whichever side of whichever direction they stand on, after
`normalise`: words only, case-folded, NFKC. Two texts are near-duplicates if the Jaccard similarity
of their sets of character n-grams reaches the threshold. A Chinese character says about as much as
two letters do, so texts that are mainly Chinese or Japanese have shorter n-grams; two texts with
n-grams of different lengths are compared as exact only, and so is a text shorter than its n-gram.

MinHash and LSH (datasketch) propose candidates, which the n-gram sets themselves confirm: there
are no false positives. A pair of similarity s is missed with probability (1 - s^rows)^bands; with
128 permutations and a threshold of 0.8, that is 25 bands of 5 rows, it is 4.9e-5 at the threshold
and less above it. tests/unit/data/test_overlaps.py and benchmarks/find_overlaps.py measure it
against brute force.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pyarrow as pa

from routelmt import tables
from routelmt.data.normalise import normalise
from routelmt.data.words import HAN
from routelmt.errors import UserError
from routelmt.progress import progress

if TYPE_CHECKING:
    from datasketch import MinHash, MinHashLSH

ROLES = ("train", "valid", "test")
KINDS = ("exact", "near", "group")  # from strong to weak
SIDES = ("source", "reference")
EXACT, NEAR, GROUP = range(3)
_HAN = re.compile(f"[{HAN}]")
# Chance of missing a pair right at the threshold that we accept for fewer candidates.
MISS = 1e-4
# Texts whose n-grams are hashed at once: some 10 MB of code points and hashes.
CHUNK = 4096
_MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)


class Match(NamedTuple):
    """Where a text stands in a held-out set; the smaller of two is the better one."""

    kind: int  # index into KINDS
    negated: float  # minus the similarity
    held_out_id: str
    side: int  # index into SIDES


class Row(NamedTuple):
    """A row of the segments table, its texts normalised."""

    role: str
    dataset: str
    direction: str
    segment_id: str
    group_id: str
    texts: tuple[str, str]

    @property
    def languages(self) -> tuple[str, str]:
        """Languages of source and reference."""
        source, _, target = self.direction.partition("-")
        return source, target


Texts = dict[str, dict[str, dict[str, str]]]  # language, text, dataset: smallest segment_id
Found = dict[tuple[str, str], dict[str, Match]]  # (language, text), dataset: best match


def find_overlaps(
    train: pa.Table | None,
    valid: pa.Table | None,
    test: pa.Table | None,
    settings: Mapping[str, Any],
) -> pa.Table:
    """The `overlaps` table: train against valid and test, valid against test.

    train, valid, test: `segments` tables of every dataset and direction of the role, or None.
    settings: threshold (Jaccard similarity of near-duplicates), ngram and ngram_han (characters),
    permutations (of the MinHash); others are ignored. One row per (dataset, direction, segment_id,
    held_out) with the strongest kind and its best match, the smallest id among equals; the order
    of the input changes nothing. Raises UserError if a dataset has two roles.
    """
    rows = [
        row
        for role, table in zip(ROLES, (train, valid, test), strict=True)
        if table is not None
        for row in _rows(table, role)
    ]
    roles = _roles(rows)
    held_out = _texts(row for row in rows if row.role != "train")
    asked = _texts(row for row in rows if row.role != "test")
    found: Found = {}
    for language in sorted(asked.keys() & held_out.keys()):
        _match(language, asked[language], held_out[language], settings, found)
    direct = {row: hits for row in rows if (hits := _hits(row, found, roles))}
    return _table([*_all_hits(rows, direct)])


def _rows(table: pa.Table, role: str) -> Iterator[Row]:
    names = ("dataset", "direction", "segment_id", "group_id", *SIDES)
    columns = [table.column(name).to_pylist() for name in names]
    known: dict[str, str] = {}  # a text stands in up to four directions
    for text in {text for side in columns[-2:] for text in side}:
        known[text] = normalise(text)
    for dataset, direction, segment_id, group_id, source, reference in zip(*columns, strict=True):
        texts = known[source], known[reference]
        yield Row(role, dataset, direction, segment_id, group_id, texts)


def _roles(rows: Iterable[Row]) -> dict[str, str]:
    """Role of each dataset."""
    roles: dict[str, str] = {}
    for row in rows:
        if roles.setdefault(row.dataset, row.role) != row.role:
            raise UserError(
                f"dataset '{row.dataset}' is both {roles[row.dataset]} and {row.role} data; a "
                "dataset has one role in an experiment. Take it out of one of the two lists."
            )
    return roles


def _texts(rows: Iterable[Row]) -> Texts:
    """Distinct texts by language, and where they stand; a blank text is nobody's."""
    texts: Texts = {}
    for row in rows:
        for language, text in zip(row.languages, row.texts, strict=True):
            if text:
                places = texts.setdefault(language, {}).setdefault(text, {})
                first = places.get(row.dataset, row.segment_id)
                places[row.dataset] = min(first, row.segment_id)
    return texts


def _match(
    language: str,
    asked: Mapping[str, Any],
    held_out: Mapping[str, Mapping[str, str]],
    settings: Mapping[str, Any],
    found: Found,
) -> None:
    """Add to `found` the best match of every text of a language in every held-out set."""
    for text in asked.keys() & held_out.keys():
        _keep(found, (language, text), held_out[text], EXACT, 1.0)
    queries, index = _by_length(asked, settings), _by_length(held_out, settings)
    for length in sorted(queries.keys() & index.keys()):
        what = f"comparing {language} by {length}-grams"
        for text, other, similarity in _near(
            queries[length], index[length], length, settings, what
        ):
            _keep(found, (language, text), held_out[other], NEAR, similarity)


def _keep(
    found: Found, text: tuple[str, str], places: Mapping[str, str], kind: int, similarity: float
) -> None:
    best = found.setdefault(text, {})
    for dataset, segment_id in places.items():
        match = Match(kind, -similarity, segment_id, 0)
        best[dataset] = min(best.get(dataset, match), match)


def _by_length(texts: Iterable[str], settings: Mapping[str, Any]) -> dict[int, list[str]]:
    """Texts by the length of their n-grams; those shorter than that are left out."""
    found: dict[int, list[str]] = {}
    for text in texts:
        length = settings["ngram_han" if is_han(text) else "ngram"]
        if len(text) >= length:
            found.setdefault(length, []).append(text)
    return found


def is_han(text: str) -> bool:
    """Whether more than half of a normalised text, spaces aside, is Chinese or Japanese."""
    return not text.isascii() and 2 * len(_HAN.findall(text)) > len(text) - text.count(" ")


def ngrams(text: str, length: int) -> set[str]:
    """The distinct character n-grams of a normalised text; none if it is shorter."""
    return {text[i : i + length] for i in range(len(text) - length + 1)}


def jaccard(one: set[str], other: set[str]) -> float:
    """Size of the intersection by size of the union, of which one at least is not empty."""
    shared = len(one & other)
    return shared / (len(one) + len(other) - shared)


def lsh_shape(threshold: float, permutations: int) -> tuple[int, int]:
    """(bands, rows): the most rows that miss a pair at the threshold with MISS at most.

    More rows mean fewer candidates to confirm, fewer rows fewer pairs missed; one row a band is
    taken where even that misses more.
    """
    rows = 1
    while (
        permutations // (rows + 1) >= 2
        and (1 - threshold ** (rows + 1)) ** (permutations // (rows + 1)) <= MISS
    ):
        rows += 1
    return permutations // rows, rows


def _near(
    queries: list[str], index: list[str], length: int, settings: Mapping[str, Any], what: str
) -> Iterator[tuple[str, str, float]]:
    """(query, other text of the index, similarity) of every near-duplicate that LSH finds."""
    threshold, permutations = settings["threshold"], settings["permutations"]
    lsh = _index(index, length, threshold, permutations)
    sets: dict[int, set[str]] = {}
    sketches = _sketches(queries, length, permutations)
    pairs = zip(queries, sketches, strict=True)
    for text, sketch in progress(pairs, what, "text", total=len(queries)):
        candidates = [i for i in lsh.query(sketch) if index[i] != text]
        own = ngrams(text, length) if candidates else set()
        for i in candidates:
            if i not in sets:
                sets[i] = ngrams(index[i], length)
            similarity = jaccard(own, sets[i])
            if similarity >= threshold:
                yield text, index[i], similarity


def _index(texts: list[str], length: int, threshold: float, permutations: int) -> MinHashLSH:
    from datasketch import MinHashLSH

    lsh = MinHashLSH(num_perm=permutations, params=lsh_shape(threshold, permutations))
    for i, sketch in enumerate(_sketches(texts, length, permutations)):
        lsh.insert(i, sketch, check_duplication=False)
    return lsh


def _sketches(texts: list[str], length: int, permutations: int) -> Iterator[MinHash]:
    """MinHash of the n-grams of each text."""
    from datasketch import MinHash

    # The n-grams are hashed here, all texts at once; datasketch takes the numbers as they are.
    hashes = (own.tolist() for own in ngram_hashes(texts, length))
    yield from MinHash.generator(hashes, num_perm=permutations, hashfunc=int)


def ngram_hashes(texts: list[str], length: int) -> Iterator[np.ndarray]:
    """32-bit hashes of the character n-grams of each text, shape (characters - length + 1,).

    Every text must be at least `length` characters long.
    """
    for first in range(0, len(texts), CHUNK):
        chunk = texts[first : first + CHUNK]
        points = np.frombuffer("".join(chunk).encode("utf-32-le"), dtype="<u4").astype(np.uint64)
        hashes = np.zeros(len(points) - length + 1, dtype=np.uint64)
        for i in range(length):
            hashes = hashes * _MULTIPLIER + points[i : i + len(hashes)]
        hashes = _mixed(hashes)
        start = 0
        for text in chunk:  # n-grams that reach into the next text are left out
            yield hashes[start : start + len(text) - length + 1]
            start += len(text)


def _mixed(values: np.ndarray) -> np.ndarray:
    """64 bits folded to 32 that all depend on all of them (the finaliser of MurmurHash3)."""
    values = (values ^ (values >> np.uint64(33))) * np.uint64(0xFF51AFD7ED558CCD)
    values = (values ^ (values >> np.uint64(33))) * np.uint64(0xC4CEB9FE1A85EC53)
    return (values >> np.uint64(32)).astype(np.uint32)


def _hits(row: Row, found: Found, roles: Mapping[str, str]) -> dict[str, Match]:
    """Best match of a row's two texts in each set that is held out from its role."""
    best: dict[str, Match] = {}
    for side, text in enumerate(zip(row.languages, row.texts, strict=True)):
        for dataset, match in found.get(text, {}).items():
            if ROLES.index(roles[dataset]) > ROLES.index(row.role):
                match = match._replace(side=side)
                best[dataset] = min(best.get(dataset, match), match)
    return best


def _all_hits(
    rows: Iterable[Row], direct: Mapping[Row, Mapping[str, Match]]
) -> Iterator[tuple[Row, str, Match]]:
    """(row, held-out set, match) of the rows that match, and of the others of their groups."""
    groups: dict[tuple[str, str], dict[str, Match]] = {}
    for row, hits in direct.items():
        best = groups.setdefault((row.dataset, row.group_id), {})
        for dataset, match in hits.items():
            best[dataset] = min(best.get(dataset, match), match)
    for row in rows:
        own = direct.get(row, {})
        for dataset, match in groups.get((row.dataset, row.group_id), {}).items():
            yield row, dataset, own.get(dataset, match._replace(kind=GROUP))


def _table(hits: list[tuple[Row, str, Match]]) -> pa.Table:
    hits.sort(key=lambda hit: (ROLES.index(hit[0].role), *hit[0][1:4], hit[1]))
    matches = [match for _, _, match in hits]
    return tables.from_columns(
        "overlaps",
        {
            "dataset": [row.dataset for row, _, _ in hits],
            "direction": [row.direction for row, _, _ in hits],
            "segment_id": [row.segment_id for row, _, _ in hits],
            "role": [row.role for row, _, _ in hits],
            "held_out": [dataset for _, dataset, _ in hits],
            "kind": [KINDS[match.kind] for match in matches],
            "side": [None if match.kind == GROUP else SIDES[match.side] for match in matches],
            "similarity": [-match.negated for match in matches],
            "held_out_id": [match.held_out_id for match in matches],
        },
    )
