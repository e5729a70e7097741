"""What the workflow leaves and goes by: tables, trained routers, and files without a record.

Paths in records are relative to the folder that the workflow ran in. They are looked up from the
child's own folder upwards, so that results can be read from anywhere.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from routelmt import stages, tables
from routelmt.errors import UserError
from routelmt.provenance import TABLE_SUFFIXES, identity_once
from routelmt.routers import artifact
from routelmt.strict_json import JsonError, parse_object

ROUTER, FOLDER, FILE = "router", "folder", "file"  # beside the names of tables
DEVICE, NOTHING = "device", ""  # see kind_at
# States of the code that made it: ALIKE is other code of the same declared behaviour.
CURRENT, ALIKE, OLDER, UNKNOWN = "current", "alike", "older", ""
RECORDS = "records.json"  # at the top of a bundle, see routelmt.bundle
# Files that are made from tables and carry no record of their own.
RENDERINGS = (".csv", ".tex", ".md", ".pdf", ".png", ".html")


@dataclass(frozen=True)
class Parent:
    """What something was made from: where it is now, and the content it had then."""

    path: Path
    content: str


@dataclass(frozen=True)
class Artifact:
    """A table, router, folder or file with what its record says; nothing for what has none.

    what: name of a table, or ROUTER, FOLDER, FILE. content: None where it is missing or was not
    hashed. code: whether the code of its stage is still that of code_hash, or behaves alike.
    """

    path: str
    what: str
    content: str | None = None
    rows: int | None = None
    stage: str = ""
    kind: str = ""
    code: str = UNKNOWN
    code_hash: str = ""
    packages: Mapping[str, str | None] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)
    parents: tuple[Parent, ...] = ()
    recorded: bool = False  # not here itself: known by the records of a bundle


def shown(path: str | Path) -> str:
    """The path as it is printed and known by: relative to the working folder if it is below."""
    return str(_absolute(path)).removeprefix(f"{Path.cwd()}{os.sep}")


def _absolute(path: str | Path) -> Path:
    """Of a link, not of what it points at: results/ may be a link to another disk."""
    return Path(os.path.normpath(Path(path).absolute()))


def locate(recorded: str, child: str | Path) -> Path:
    """Where a parent named in a child's record is: below one of the folders the child is in."""
    path = Path(recorded)
    if path.is_absolute():
        return path
    for folder in _absolute(child).parents:
        if kind_at(folder / path) != NOTHING:
            return Path(shown(folder / path))
    return path


def kind_at(path: Path) -> str:
    """FILE, FOLDER, DEVICE (a pipe too) or NOTHING, which is what nobody may or can look at."""
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError):
        return NOTHING
    if stat.S_ISREG(mode):
        return FILE
    return FOLDER if stat.S_ISDIR(mode) else DEVICE


def open_recorded(path: Path, child: str | Path) -> Artifact | None:
    """What the records of a bundle say of a parent that is not in it; None if they do not know it.

    path: as a child's record names it. Raises UserError if the records are damaged.
    """
    for folder in _absolute(child).parents:
        if (folder / RECORDS).is_file():
            known = _records(folder / RECORDS).get(path.as_posix())
            if known is None:
                return None
            place = folder / path
            parents = tuple(
                Parent(locate(p["path"], place), p["content"]) for p in known["parents"]
            )
            rest = {key: known[key] for key in ("what", "content", "rows", "stage", "kind")}
            return Artifact(shown(place), parents=parents, recorded=True, **rest)
    return None


@cache
def _records(file: Path) -> dict[str, Any]:
    try:
        return parse_object(file.read_text(encoding="utf-8"))
    except (JsonError, UnicodeDecodeError) as error:
        raise UserError(f"{file}: damaged records of a bundle: {error}. Unpack it again.") from None


def as_record(artifact: Artifact, path: Callable[[str | Path], str]) -> dict[str, Any]:
    """The same as the records of a bundle hold it, paths as `path` writes them."""
    parents = [{"path": path(p.path), "content": p.content} for p in artifact.parents]
    keys = ("what", "content", "rows", "stage", "kind", "code_hash", "packages", "settings")
    return {key: getattr(artifact, key) for key in keys} | {"parents": parents}


def is_table(path: Path) -> bool:
    """Whether it is a table of the workflow, readable or not; others' tables are mere files."""
    return path.suffix in TABLE_SUFFIXES and not tables.is_foreign(path)


def is_router(path: Path) -> bool:
    """Whether it is the folder of a trained router."""
    return kind_at(path / artifact.RECORD) == FILE


def open_table(path: Path) -> Artifact:
    """A table by its record; content is what the record says. UserError if it is none of ours."""
    record = tables.record_of(path)
    return Artifact(
        shown(path), record["table"], record["content"], record["rows"], **_made(record, path)
    )


def open_router(path: Path) -> Artifact:
    """A router by router.json; content is that of the whole folder. UserError if damaged.

    Its record has what made it if `train` put it there, else only packages and settings.
    """
    record = artifact.read_record(path)
    made = _made(record.get("provenance", {}), path)
    made["packages"] = made["packages"] or record.get("packages", {})
    made["settings"] = made["settings"] or record.get("hyperparameters", {})
    made["stage"] = made["stage"] or "routers"
    rows = record.get("rows", {}).get("training", {}).get("count")
    return Artifact(shown(path), ROUTER, identity_once(str(path)), rows, **made)


def open_made(path: Path) -> Artifact:
    """A table or router. Raises UserError for what carries no record, or a damaged one."""
    if is_router(path):
        return open_router(path)
    if kind_at(path) != NOTHING and path.suffix not in TABLE_SUFFIXES:
        raise UserError(
            f"{path}: carries no record. Give a table (.parquet), a router's folder, or a folder "
            "with such below it."
        )
    return open_table(path)


def _made(record: Mapping[str, Any], child: Path) -> dict[str, Any]:
    """Fields of an Artifact that say how it was made."""
    stage, kind = record.get("stage", ""), record.get("kind", "")
    found = [Parent(locate(p["path"], child), p["content"]) for p in record.get("parents", [])]
    return {
        "stage": stage,
        "kind": kind,
        "code": code_state(record) if "code" in record else UNKNOWN,
        "code_hash": record.get("code", ""),
        "packages": record.get("packages", {}),
        "settings": record.get("settings", {}),
        "parents": tuple(found),
    }


def code_state(record: Mapping[str, Any]) -> str:
    """Whether the code of its stage is what a record has; OLDER too where it is no longer here."""
    stage, kind = record.get("stage", ""), record.get("kind", "")
    try:
        if stages.fingerprint(stage, kind) == record["code"]:
            return CURRENT
        behaviour = stages.behaviour(stage, kind)
    except (KeyError, OSError):
        return OLDER
    return ALIKE if behaviour and behaviour == record.get("behaviour") else OLDER


def below(folder: Path) -> Iterator[Path]:
    """Tables and routers' folders below a folder, sorted, hidden ones left out.

    Raises UserError if the folder cannot be read.
    """
    for path in _walk(folder):
        if path.is_dir() or is_table(path):
            yield path


def renderings(folder: Path) -> dict[str, int]:
    """How many files without a record there are below a folder, by suffix (see RENDERINGS)."""
    found: dict[str, int] = {}
    for path in _walk(folder):
        if path.suffix in RENDERINGS and path.is_file():
            found[path.suffix] = found.get(path.suffix, 0) + 1
    return found


def _walk(folder: Path) -> Iterator[Path]:
    """Files below a folder, and routers as a whole."""

    def fail(error: OSError) -> None:
        raise UserError(f"{error.filename}: {error.strerror}; give a folder that can be read.")

    if is_router(folder):
        yield folder
        return
    for name, folders, files in os.walk(folder, onerror=fail):
        here = Path(name)
        routers = [f for f in folders if is_router(here / f) and not f.startswith(".")]
        folders[:] = sorted(f for f in folders if not f.startswith(".") and f not in routers)
        yield from (here / router for router in sorted(routers))
        yield from (here / file for file in sorted(files) if not file.startswith("."))
