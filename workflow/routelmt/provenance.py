"""Where a table comes from, and whether that is still true.

Every table carries a record (see tables.write): the settings, code, packages and parents that
made it. `audit` follows the parents backwards and names each link that no longer holds.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

import routelmt
from routelmt import stages, states, tables
from routelmt.errors import UserError

TABLE_SUFFIXES = (".parquet", tables.ARROW)
MANIFEST = "SHA256"  # one line a file, as sha256sum writes it; what a folder of files is known by


def describe(
    stage: str, settings: Mapping[str, Any], parents: Sequence[str | Path], kind: str = ""
) -> dict[str, Any]:
    """The record of a table made by `stage` (and the registry module `kind`) from `parents`."""
    return {
        "stage": stage,
        "kind": kind,
        "settings": settings,
        "code": stages.code_hash(stage, kind),
        "packages": {p: _version(p) for p in ("routelmt", *stages.PACKAGES[stage])},
        "parents": [{"path": str(p), "content": identity(p)} for p in parents],
    }


def _version(package: str) -> str | None:
    if package == "routelmt":
        return routelmt.__version__
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def identity(path: str | Path) -> str:
    """What a parent is known by: a table by its values, a file by its bytes, a folder by all.

    A table that a user brings is a file like any other.
    """
    path = Path(path)
    if path.is_dir():
        return folder_hash(path)
    if path.suffix in TABLE_SUFFIXES and not tables.is_foreign(path):
        return str(tables.record_of(path)["content"])
    if not path.is_file():
        raise UserError(f"{path}: no such file or folder.")
    return file_hash(path)


def file_hash(path: Path) -> str:
    """SHA-256 of a file's bytes."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def folder_hash(path: Path) -> str:
    """SHA-256 over the names and bytes of the files below a folder, hidden ones left out."""
    digest = hashlib.sha256()
    for file in sorted(p for p in path.rglob("*") if p.is_file()):
        name = file.relative_to(path).as_posix()
        if not any(part.startswith(".") for part in name.split("/")):
            digest.update(f"{name}\0{file_hash(file)}\n".encode())
    return digest.hexdigest()


@dataclass
class Audit:
    """What an audit found: a line per table, and the links that are broken."""

    lines: list[str] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)
    seen: dict[str, dict[str, Any]] = field(default_factory=dict)


def audit(paths: Sequence[str | Path]) -> Audit:
    """Check tables and, backwards, everything they were made from; never raises for a bad file."""
    report = Audit()
    for path in paths:
        _audit_table(Path(path), report, depth=0)
    return report


def _audit_table(path: Path, report: Audit, depth: int) -> dict[str, Any] | None:
    """Record of a table, or None if it is broken; every table is checked once."""
    if str(path) in report.seen:
        return report.seen[str(path)]
    try:
        record = tables.record_of(path)
        actual = _content(path, record)
    except UserError as error:
        report.broken.append(str(error))
        return None
    report.seen[str(path)] = record
    report.lines.append(f"{'  ' * depth}{path}: {summary(record)}")
    if actual != record["content"]:
        report.broken.append(
            f"{path}: its values were changed after it was written (content {actual[:12]}, "
            f"recorded {record['content'][:12]}). Delete it and run the workflow again."
        )
    report.broken.extend(_stale(path, record))
    for parent in record["parents"]:
        _audit_parent(path, parent, report, depth + 1)
    return record


def _content(path: Path, record: Mapping[str, Any]) -> str:
    """Hash of what the table holds now. Raises UserError if it is not a valid table."""
    if path.suffix == tables.ARROW:
        return states.content_hash(path)
    return tables.content_hash(tables.read(path, record["table"]))


def _stale(path: Path, record: Mapping[str, Any]) -> Iterator[str]:
    if stages.code_hash(record["stage"], record["kind"]) != record["code"]:
        yield (
            f"{path}: stale, the code of stage '{record['stage']}' has changed since. "
            "Run the workflow again."
        )


def _audit_parent(child: Path, parent: Mapping[str, str], report: Audit, depth: int) -> None:
    path = Path(parent["path"])
    if path.suffix in TABLE_SUFFIXES and path.exists() and not tables.is_foreign(path):
        record = _audit_table(path, report, depth)
        found = record["content"] if record else None
    else:
        found = _identity_once(str(path)) if path.exists() else None
        report.lines.append(f"{'  ' * depth}{path}: {_state(found)}")
    if found is None:
        report.broken.append(f"{child}: its parent {path} is missing or unreadable.")
    elif found != parent["content"]:
        report.broken.append(
            f"{child}: stale, made from {path} with content {parent['content'][:12]}, which now "
            f"holds {found[:12]}. Run the workflow again."
        )


@cache
def _identity_once(path: str) -> str:
    return identity(path)


def _state(found: str | None) -> str:
    return f"sha256 {found[:12]}" if found else "missing"


def summary(record: Mapping[str, Any]) -> str:
    """One line: kind of table, rows, uniqueness of the key, content, stage."""
    key = ", ".join(tables.TABLES[record["table"]].key)
    return (
        f"{record['table']}, {record['rows']:,} rows, unique by ({key}), "
        f"content {record['content'][:12]}, stage {record['stage']}"
    )


def details(path: str | Path) -> str:
    """The long answer for one file: schema, ranges, settings, packages."""
    record = tables.record_of(path)
    spec = tables.TABLES[record["table"]]
    lines = [f"{path}", f"  table     {record['table']}: {spec.about}"]
    if Path(path).suffix == tables.ARROW:
        lines.append(f"    layers    {record['layers']}, embeddings included")
        lines.append(f"    hidden    {record['hidden']}, fp16")
    else:
        lines.extend(_columns(tables.read(path, record["table"]), spec))
    lines.append(f"  settings  {json.dumps(record['settings'], ensure_ascii=False)}")
    lines.append(f"  packages  {json.dumps(record['packages'])}")
    lines.append(f"  code      {record['code'][:12]} ({record['stage']} {record['kind']})".rstrip())
    return "\n".join(lines)


def _columns(data: Any, spec: tables.Table) -> Iterator[str]:
    """A line a column: name, type, extent, what it is."""
    import pyarrow.compute as pc

    for name, column in spec.columns.items():
        values = data.column(name)
        extent = (
            f"{pc.count_distinct(values).as_py():,} distinct"
            if str(values.type) in ("string", "bool")
            else ""
        )
        if str(values.type) in ("double", "int64"):
            low_high = pc.min_max(values).as_py()
            extent = f"{low_high['min']:.6g} .. {low_high['max']:.6g}"
        yield f"    {name:<16} {values.type!s:<20} {extent:<28} {column.about}"
