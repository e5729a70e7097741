"""Where a table comes from: the record that every table carries (see tables.write).

A record names the settings, code, packages and parents that made a table. The package `trail`
follows it: `audit` names each link that no longer holds, `explain` and `diff` read along it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

import routelmt
from routelmt import stages, tables
from routelmt.errors import UserError

TABLE_SUFFIXES = (".parquet", tables.ARROW)


def describe(
    stage: str, settings: Mapping[str, Any], parents: Sequence[str | Path], kind: str = ""
) -> dict[str, Any]:
    """The record of a table made by `stage` (and the registry module `kind`) from `parents`."""
    return {
        "stage": stage,
        "kind": kind,
        "settings": settings,
        "code": stages.fingerprint(stage, kind),
        "behaviour": stages.behaviour(stage, kind),
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


@cache
def identity_once(path: str) -> str:
    """As identity; what was hashed already in this process is not hashed again."""
    return identity(path)


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
    lines.append(f"  settings  {json.dumps(record.get('settings'), ensure_ascii=False)}")
    lines.append(f"  packages  {json.dumps(record.get('packages'))}")
    code, stage, kind = (record.get(name, "") for name in ("code", "stage", "kind"))
    lines.append(f"  code      {code[:12]} ({stage} {kind})".rstrip())
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
