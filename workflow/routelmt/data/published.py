"""Translations and scores that a source publishes: systems that need not be run here.

The module of such a reader has, beside `read`, for `settings` of a model or metric (`system`, and
of metrics `name`) with `folder`, where the source is:

    text_file(folder, settings, direction), score_file(folder, settings, direction)
        the file that has them, whether it is there or not
    texts(folder, settings, direction), scores(folder, settings, direction)
        Rows with segment_id and hypothesis (None: not published), or score (None: none given)
    remarks(folder, settings, direction)
        what a reader of the system's scores must know
    systems(files, settings)
        names of the systems that the source's files, relative to it, are of
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

from routelmt.data.registry import READERS
from routelmt.data.rows import Rows
from routelmt.errors import UserError

TYPE = "published"
_POINTER = "version https://git-lfs.github.com/spec/"


def reader_of(settings: Mapping[str, Any]) -> str:
    """Module that reads what a model or metric has from a source; empty if it has no source."""
    if TYPE not in (settings.get("engine"), settings.get("type")):
        return ""
    return READERS[settings["source"]].module


def file_of(what: str, settings: Mapping[str, Any], direction: str) -> Path:
    """File of a model's texts or a metric's scores (what: text, score), the user's or a source's.

    Of a source without the system's texts there is no such file.
    """
    path = Path(settings["path"])
    if not (reader := reader_of(settings)):
        return path
    found: Path = getattr(import_module(reader), f"{what}_file")(path, settings, direction)
    return found


def rows_of(what: str, settings: Mapping[str, Any], wanted: Mapping[str, str]) -> Rows:
    """Rows of a published model's texts or a metric's scores (what: texts, scores).

    wanted: columns (dataset, direction, and perhaps model) that they are given. UserError for what
    the source lacks, and for files that are not whole.
    """
    read: Callable[..., Rows] = getattr(import_module(reader_of(settings)), what)
    rows = read(Path(settings["path"]), settings, wanted["direction"])
    rows.columns.update({name: [value] * len(rows) for name, value in wanted.items()})
    return rows


def remarks(settings: Mapping[str, Any], direction: str) -> list[str]:
    """What a reader of scores must know of their system, as far as the source tells."""
    if not (reader := reader_of(settings)):
        return []
    found: list[str] = import_module(reader).remarks(Path(settings["path"]), settings, direction)
    return found


def refuse_pointer(path: Path, first_line: str) -> None:
    """Raise UserError for what Git LFS leaves in the place of a file that it was not asked for."""
    if first_line.startswith(_POINTER):
        raise UserError(
            f"{path}: is a pointer of Git LFS, not the file itself. Run `git lfs pull` in that "
            "folder, or download the file."
        )


def expand(
    models: Mapping[str, Any], folder: Callable[[str], Path], listed: Mapping[str, Any]
) -> Any:
    """The models of a config with 'SOURCE/*' replaced by one for every system of the source.

    folder: where a source is; listed: the sources' entries, whose `files` count where it has not
    been fetched. A model that the config has under a system's name is kept as it is.
    """
    found: dict[str, Any] = {}
    for pattern, entry in models.items():
        source, star, rest = pattern.partition("/*")
        if not star or rest:
            found[pattern] = entry
            continue
        entry = {"engine": TYPE, "source": source, **entry}
        left_out = entry.pop("except", [])
        systems = _systems(pattern, entry, folder, listed)
        if unknown := sorted(set(left_out) - set(systems)):
            raise UserError(
                f"config key 'models.{pattern}.except': no system {', '.join(unknown)}; there: "
                f"{', '.join(systems)}."
            )
        found |= {
            name: entry | {"system": name}
            for name in systems
            if name not in models and name not in left_out
        }
    return found


def _systems(
    pattern: str, entry: Mapping[str, Any], folder: Callable[[str], Path], listed: Mapping[str, Any]
) -> list[str]:
    source, origin = entry["source"], entry.get("origin", entry["source"])
    if source not in READERS or not READERS[source].published:
        known = ", ".join(name for name, reader in READERS.items() if reader.published)
        raise UserError(
            f"config key 'models.{pattern}': '{source}' publishes no systems; allowed: {known}."
        )
    where = folder(origin)
    if where.is_dir():
        files = [path.relative_to(where).as_posix() for path in where.rglob("*.*")]
    else:
        entries = listed.get(origin, {}).get("files", [])
        files = [file if isinstance(file, str) else file["path"] for file in entries]
    found: list[str] = import_module(READERS[source].module).systems(files, entry)
    if not found:
        raise UserError(
            f"config key 'models.{pattern}': found no system in {where}. Fetch the source "
            f"(`python -m routelmt fetch --source {origin} --out {where}`), or set "
            f"'sources.{origin}.local'."
        )
    return found
