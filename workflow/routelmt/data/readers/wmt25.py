"""WMT25's general translation task: documents, systems' translations, metrics' and people's scores.

A document is cut into segments at empty lines, its reference and translations alike. Documents of
one name have one source text in all pairs of a language, so they are one group, whole: a part of a
dataset is of whole documents. Names of speech documents begin with `vid_` in some files only.
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from routelmt.data.complaints import say
from routelmt.data.languages import is_pair, upstream_pair
from routelmt.data.parsers import Field
from routelmt.data.published import refuse_pointer
from routelmt.data.rows import Rows, read_lines, read_rows, upstream_file
from routelmt.errors import UserError
from routelmt.strict_json import JsonError, parse

DOCUMENTS = "data/wmt25-genmt.jsonl"
METADATA = "data/systems_metadata_updated3.json"
SYSTEMS = "data/systems"
SCORES = "data/automatic_scores"
# Of people's scores: a list for each system, an entry a rater; and their means alone.
RATED = "data/wmt25-genmt-humeval.jsonl"
MEANS = "human-esa-sample.parquet"
HUMAN = "ESA"  # mean of the raters; ESA-1 is the first of them
BREAK = "\n\n"
_PAIR = re.compile(r'"doc_id"\s*:\s*"([^"#]+?)_#_')
_SCORED_PAIR = re.compile(r'"language_pair"\s*:\s*"([^"]+)"')
_HUMAN = re.compile(rf"{HUMAN}(?:-([1-9]))?")

Key = tuple[str, str]  # domain and name of a document


class _Document(NamedTuple):
    sources: list[str]
    references: list[str] | None
    where: str


def read(origin: Path, settings: Mapping[str, Any], direction: str) -> dict[str, list[Any]]:
    """Columns of the segments; `reference` says which one is taken, None where there is none."""
    columns: dict[str, list[Any]] = {}
    names = ("segment_id", "group_id", "doc_id", "domain", "source", "reference", "where")
    language, without = direction.partition("-")[0], 0
    for key, document in _documents(origin, settings, direction).items():
        name = "_#_".join(key)
        references: Sequence[str | None] = document.references or [None] * len(document.sources)
        without += document.references is None
        for i, (source, reference) in enumerate(zip(document.sources, references, strict=True)):
            group = f"wmt25:{language}:{name}"
            row = (f"{name}_#_{i}", group, name, key[0], source, reference, document.where)
            for column, value in zip(names, row, strict=True):
                columns.setdefault(column, []).append(value)
    if without:
        say(f"{origin}, {direction}: {without:,} documents have no {settings['reference']}")
    return columns


def systems(files: Collection[str], _: Mapping[str, Any]) -> list[str]:
    """Names of the systems that have scores."""
    return sorted(Path(f).stem for f in files if re.fullmatch(rf"{SCORES}/[^/]+\.jsonl", f))


def text_file(folder: Path, settings: Mapping[str, Any], _: str) -> Path:
    """File of a system's translations."""
    return folder / SYSTEMS / f"{settings['system']}.jsonl"


def score_file(folder: Path, settings: Mapping[str, Any], _: str) -> Path:
    """File of a system's scores, or that of people's, which has all systems."""
    if not _HUMAN.fullmatch(settings["name"]):
        return folder / SCORES / f"{settings['system']}.jsonl"
    rated, means = folder / RATED, folder / MEANS
    return means if means.is_file() and not rated.is_file() else rated


def texts(folder: Path, settings: Mapping[str, Any], direction: str) -> Rows:
    """A system's translation of every segment; None where it is not published, or cut otherwise."""
    documents = _documents(folder, settings, direction)
    path = text_file(folder, settings, direction)
    found: dict[Key, list[Any]] = {
        key: [None] * len(document.sources) for key, document in documents.items()
    }
    if not path.is_file():
        say(f"{path}: not there, so system '{settings['system']}' has scores alone, no texts")
        return _rows(path, found, "hypothesis")
    seen, uneven = set(), 0
    for place, record in _records(path, _PAIR, direction):
        key = _key(record["doc_id"])
        if key in documents and key not in seen:
            seen.add(key)
            parts = _text(record, "hypothesis", place).split(BREAK)
            uneven += len(parts) != len(found[key])
            found[key] = parts if len(parts) == len(found[key]) else found[key]
    _check_complete(path, settings, documents, seen)
    if uneven:
        say(f"{path}, {direction}: {uneven:,} documents have other segments than their sources; "
            "their texts are left out")  # fmt: skip
    return _rows(path, found, "hypothesis")


def scores(folder: Path, settings: Mapping[str, Any], direction: str) -> Rows:
    """A metric's scores of every segment, None if null, or those of people (ESA)."""
    path = upstream_file(score_file(folder, settings, direction), settings)
    if match := _HUMAN.fullmatch(settings["name"]):
        return _rated(path, settings, direction, match[1])
    documents = _documents(folder, settings, direction)
    found: dict[Key, list[Any]] = {}
    metrics: dict[str, None] = {}
    for place, record in _records(path, _SCORED_PAIR, direction):
        key = record.get("domain", ""), _name(str(record.get("document_id", "")))
        if key not in documents:
            raise UserError(
                f"{place}: document '{'_#_'.join(key)}' is not in {folder / DOCUMENTS}."
            )
        given = record.get("metric_scores", {})
        metrics |= dict.fromkeys(given)
        values = given.get(settings["name"])
        size = len(documents[key].sources)
        values = [None] * size if values is None else values
        if len(values) != size:
            raise UserError(
                f"{place}: {len(values)} scores by {settings['name']} for the {size} segments of "
                f"document '{'_#_'.join(key)}'. They are not of one commit; fetch all files again."
            )
        found[key] = [_number(value, place) for value in values]
    if settings["name"] not in metrics:
        raise UserError(
            f"{path}: no scores by '{settings['name']}' for direction '{direction}'; there: "
            f"{', '.join(metrics)}. Correct 'name' of the metric, or leave the direction out."
        )
    _check_complete(path, settings, documents, found)
    return _rows(path, found, "score")


def remarks(folder: Path, settings: Mapping[str, Any], direction: str) -> list[str]:
    """Whether upstream says that the system does not support the language pair."""
    path = folder / METADATA
    if not path.is_file():
        return []
    system = settings["system"]
    states = parse(path.read_bytes()).get(system, {}).get("supported_lps") or {}
    return [
        f"{system} does not support {pair}, as its makers say; it was run all the same."
        for pair, state in states.items()
        if state == "unsupported" and is_pair(direction, pair)
    ]


def _documents(folder: Path, settings: Mapping[str, Any], direction: str) -> dict[Key, _Document]:
    path = upstream_file(folder / DOCUMENTS, settings)
    found: dict[Key, _Document] = {}
    for place, record in _records(path, _PAIR, direction):
        sources = _text(record, "src_text", place).split(BREAK)
        reference = record.get("refs", {}).get(settings.get("reference", "refA"))
        references = reference["ref"].split(BREAK) if reference else None
        if references and len(references) != len(sources):
            say(f"{place}: its reference has {len(references)} segments, its source "
                f"{len(sources)}; it is left out")  # fmt: skip
            references = None
        key = _key(record["doc_id"])
        if key in found:
            raise UserError(f"{place}: document '{record['doc_id']}' is there twice.")
        found[key] = _Document(sources, references, place)
    return found


def _rated(path: Path, settings: Mapping[str, Any], direction: str, rater: str | None) -> Rows:
    """People's scores, of rated segments alone: the mean of a segment's raters, or one of them."""
    found = {}
    for segment, values in _ratings(path, settings["system"], direction):
        document, _, index = segment.rpartition("_#_")
        if own := values[int(rater) - 1 : int(rater)] if rater else values:
            found[f"{'_#_'.join(_key(document))}_#_{index}"] = math.fsum(own) / len(own)
    if not found:
        raise UserError(
            f"{path}: nobody rated system '{settings['system']}' in direction '{direction}'"
            f"{f' as rater {rater}' if rater else ''}. Choose other systems, or leave it out."
        )
    columns: dict[str, list[Any]] = {"segment_id": [*found], "score": [*found.values()]}
    return Rows(path, columns, list(range(1, len(found) + 1)))


def _ratings(path: Path, system: str, direction: str) -> Iterator[tuple[str, list[float]]]:
    """(upstream's segment, a score a rater) of one system."""
    if path.suffix == ".parquet":
        fields = [Field("segment_id", "id"), Field("system"), Field("esa", "number", empty=True)]
        rows = read_rows(path, fields, ignore=("language_pair", "domain", "hypothesis"))
        columns = [rows.columns[field.name] for field in fields]
        pairs = {segment.partition("_#_")[0] for segment in columns[0]}
        pair = upstream_pair(direction, pairs, path)
        for segment, own, score in zip(*columns, strict=True):
            if own == system and score is not None and segment.startswith(f"{pair}_#_"):
                yield segment, [score]
        return
    for place, record in _records(path, _PAIR, direction):
        given = record.get("scores", {}).get(system, [])
        found = [_number(one.get("score"), place) for one in given]
        yield record["doc_id"], [value for value in found if value is not None]


def _records(path: Path, pattern: re.Pattern[str], direction: str) -> Iterator[tuple[str, Any]]:
    """(place, record) of the lines of one direction; the others are not taken apart."""
    lines = read_lines(path)
    refuse_pointer(path, lines[0] if lines else "")
    pairs: dict[str, list[int]] = {}
    for number, line in enumerate(lines, 1):
        if match := pattern.search(line):
            pairs.setdefault(match[1], []).append(number)
        elif line.strip():
            raise UserError(f"{path}:{number}: has no language pair. Fetch the file again.")
    for number in pairs[upstream_pair(direction, pairs, path)]:
        try:
            yield f"{path}:{number}", parse(lines[number - 1])
        except JsonError as error:
            raise UserError(f"{path}:{number}: {error}. Fetch the file again.") from None


def _key(doc_id: str) -> Key:
    _, _, rest = doc_id.partition("_#_")
    domain, _, name = rest.partition("_#_")
    return domain, _name(name)


def _name(name: str) -> str:
    return name.removeprefix("vid_")


def _text(record: Mapping[str, Any], name: str, place: str) -> str:
    text = record.get(name)
    if not isinstance(text, str):
        raise UserError(f"{place}: '{name}' is no text. Fetch the file again.")
    return text


def _number(value: Any, place: str) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise UserError(f"{place}: {value!r} is no score. Fetch the file again.")
    return float(value)


def _check_complete(
    path: Path, settings: Mapping[str, Any], documents: Mapping[Key, Any], seen: Collection[Key]
) -> None:
    missing = ["_#_".join(key) for key in documents if key not in seen]
    if missing:
        raise UserError(
            f"{path}: system '{settings['system']}' lacks {len(missing):,} of {len(documents):,} "
            f"documents, first: {', '.join(missing[:3])}. Leave the system or the direction out, "
            "or fetch the file again."
        )


def _rows(path: Path, found: Mapping[Key, list[Any]], name: str) -> Rows:
    ids = [f"{'_#_'.join(key)}_#_{i}" for key, values in found.items() for i in range(len(values))]
    values = [value for own in found.values() for value in own]
    return Rows(path, {"segment_id": ids, name: values}, list(range(1, len(ids) + 1)))
