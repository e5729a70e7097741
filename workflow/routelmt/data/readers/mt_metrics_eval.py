"""Test sets of WMT as the package mt-metrics-eval (version 2) keeps them: a folder a test set.

Lines of all files of a language pair belong together. People's scores and metrics' are files of the
same form, so a protocol (mqm, esa), one of several raters, or a metric is told by the file's name.
A document is a group, so a part of a dataset is of whole documents. References may stand among the
systems: they are systems where `human: true` asks for it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from routelmt.data.languages import upstream_pair
from routelmt.data.published import refuse_pointer
from routelmt.data.rows import Rows, read_lines, upstream_file
from routelmt.errors import UserError

ARCHIVED = "mt-metrics-eval-v2"  # folder that the archive puts all test sets in


def read(origin: Path, settings: Mapping[str, Any], direction: str) -> dict[str, list[Any]]:
    """Columns of the segments; their ids are the numbers of their lines."""
    root = _root(origin, settings)
    pair = _pair(root, direction)
    sources = _source_lines(root, pair)
    path = upstream_file(root / "documents" / f"{pair}.docs", settings)
    documents = [
        _document(line, f"{path}:{i}") for i, line in enumerate(_lines(path, len(sources)), 1)
    ]
    language = pair.partition("-")[0]
    numbers = [str(i) for i in range(1, len(sources) + 1)]
    return {
        "segment_id": numbers,
        "group_id": [f"{settings['test_set']}:{language}:{name}" for _, name in documents],
        "doc_id": [name for _, name in documents],
        "domain": [domain for domain, _ in documents],
        "source": sources,
        "reference": _reference(root, settings, pair, len(sources)),
        "where": [f"{root / 'sources'}/{pair}.txt:{i}" for i in numbers],
    }


def systems(files: Collection[str], settings: Mapping[str, Any]) -> list[str]:
    """Names of the systems with translations in any pair; human references if `human` is true."""
    test_set = re.escape(settings["test_set"])
    below = rf"(?:.+/)?{test_set}"
    patterns = rf"{below}/system-outputs/[^/]+/(.+)\.txt", rf"{below}/references/[^/.]+\.(.+)\.txt"
    found, people = (
        {match[1] for file in files if (match := re.fullmatch(pattern, file))}
        for pattern in patterns
    )
    return sorted(found if settings.get("human") else found - people)


def text_file(folder: Path, settings: Mapping[str, Any], direction: str) -> Path:
    """File of a system's translations."""
    root = _root(folder, settings)
    return Path(root, "system-outputs", _pair(root, direction), f"{settings['system']}.txt")


def score_file(folder: Path, settings: Mapping[str, Any], direction: str) -> Path:
    """File of all systems' scores: of a metric (NAME-refA, NAME-src), else of people (mqm, esa)."""
    root = _root(folder, settings)
    pair, name = _pair(root, direction), settings["name"]
    people = root / "human-scores" / f"{pair}.{name}.seg.score"
    metric = root / "metric-scores" / pair / f"{name}.seg.score"
    if people.is_file() and metric.is_file():
        raise UserError(f"{people} and {metric}: '{name}' is both. Take one of them away.")
    return people if people.is_file() else metric


def texts(folder: Path, settings: Mapping[str, Any], direction: str) -> Rows:
    """A system's translation of every segment; None if it has scores alone."""
    root, system = _root(folder, settings), settings["system"]
    pair = _pair(root, direction)
    if (root / "references" / f"{pair}.{system}.txt").is_file() and not settings.get("human"):
        raise UserError(
            f"{root}: '{system}' is a human reference of {pair}, not a system. Leave it out, or "
            "set 'human: true' of the model to take it for one."
        )
    size, path = len(_source_lines(root, pair)), text_file(folder, settings, direction)
    return _rows(path, "hypothesis", _lines(path, size) if path.is_file() else [None] * size)


def scores(folder: Path, settings: Mapping[str, Any], direction: str) -> Rows:
    """The scores of a system, None where the file has None."""
    root = _root(folder, settings)
    path = score_file(folder, settings, direction)
    if not path.is_file():
        pair = _pair(root, direction)
        there = [f.name.removesuffix(".seg.score") for f in path.parent.glob("*.seg.score")]
        there += [f.name.removesuffix(".seg.score").removeprefix(f"{pair}.")
                  for f in (root / "human-scores").glob(f"{pair}.*.seg.score")]  # fmt: skip
        raise UserError(
            f"{path}: no scores by '{settings['name']}' of {pair}; there: "
            f"{', '.join(sorted(there)) or 'none'}. Correct 'name' of the metric, or leave the "
            "direction out."
        )
    found: dict[str, list[float | None]] = {}
    for number, line in enumerate(_lines(path), 1):
        name, _, value = line.strip().replace("\t", " ").rpartition(" ")
        found.setdefault(name.rstrip(), []).append(_number(value, f"{path}:{number}"))
    size = len(_source_lines(root, _pair(root, direction)))
    own = found.get(settings["system"])
    if own is None or len(own) != size:
        raise UserError(
            f"{path}: {len(own or [])} scores of system '{settings['system']}' for {size} "
            f"segments; there: {', '.join(sorted(found))}. Correct 'system', leave it out, or "
            "fetch the file again."
        )
    return _rows(path, "score", own)


def remarks(*_: object) -> list[str]:
    """Nothing: the test sets say no more of their systems."""
    return []


def _root(folder: Path, settings: Mapping[str, Any]) -> Path:
    """Folder of the test set, below the source's or below the one that the archive makes."""
    places = [Path(folder, settings["test_set"]), Path(folder, ARCHIVED, settings["test_set"])]
    for place in places:
        if place.is_dir():
            return place
    raise UserError(
        f"{places[0]}: no such folder. Correct 'test_set', or put the test set there as "
        "mt-metrics-eval's archive has it."
    )


def _pair(root: Path, direction: str) -> str:
    folder = root / "sources"
    return upstream_pair(direction, {path.stem for path in folder.glob("*.txt")}, folder)


def _source_lines(root: Path, pair: str) -> list[str]:
    return _lines(root / "sources" / f"{pair}.txt")


def _lines(path: Path, size: int | None = None) -> list[str]:
    lines = read_lines(path)
    refuse_pointer(path, lines[0] if lines else "")
    if size is not None and len(lines) != size:
        raise UserError(
            f"{path}: {len(lines):,} lines for the {size:,} of the sources; they belong together "
            "line by line. Fetch all of the test set again."
        )
    return lines


def _document(line: str, place: str) -> tuple[str, str]:
    parts = line.split()
    if len(parts) != 2:
        raise UserError(f"{place}: not a domain and the name of a document. Fetch it again.")
    return parts[0], parts[1]


def _reference(root: Path, settings: Mapping[str, Any], pair: str, size: int) -> list[Any]:
    """Lines of the reference that `reference` names, by default refA or else the first by name."""
    files = sorted((root / "references").glob(f"{pair}.*.txt"))
    names = [path.name.removeprefix(f"{pair}.").removesuffix(".txt") for path in files]
    wanted = settings.get("reference")
    if wanted is None:
        wanted = next((n for n in names if n.lower() == "refa"), names[0] if names else None)
    if wanted is None:
        return [None] * size
    if wanted not in names:
        raise UserError(
            f"{root / 'references'}: no reference '{wanted}' of {pair}; there: "
            f"{', '.join(names) or 'none'}. Correct 'reference' of the dataset."
        )
    return list(_lines(files[names.index(wanted)], size))


def _number(text: str, place: str) -> float | None:
    if text == "None":
        return None
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise UserError(f"{place}: {text!r} is no score. Fetch the file again.")
    return value


def _rows(path: Path, name: str, values: list[Any]) -> Rows:
    numbers = list(range(1, len(values) + 1))
    return Rows(path, {"segment_id": [str(i) for i in numbers], name: values}, numbers)
