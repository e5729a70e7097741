"""The form of a provenance record, in a table or a router's folder: a file may be damaged.

One flipped bit makes another key, another type, or no JSON at all. What a record says is only
followed after it was looked at here.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import Any

from routelmt.strict_json import JsonError, cut, parse_object

# What made an artifact: see provenance.describe. Each may be missing.
MADE: Mapping[str, type] = {
    "stage": str,
    "kind": str,
    "code": str,
    "settings": dict,
    "packages": dict,
    "parents": list,
}
# What a table's record has always: see tables.write.
OF_TABLE: Mapping[str, type] = {"table": str, "content": str, "rows": int}
LONGEST_PATH, LONGEST_NAME = 4096, 255  # bytes, what Linux can open


def parse_record(text: bytes) -> dict[str, Any]:
    """A table's record. Raises JsonError if it does not have the form of one."""
    record = parse_object(text)
    lost = [name for name in (*OF_TABLE, "schema_version") if name not in record]
    if lost:
        raise JsonError(f"{', '.join(map(repr, lost))} missing")
    for problem in (*misfits(record, OF_TABLE), *made_misfits(record)):
        raise JsonError(problem)
    return record


def misfits(record: Mapping[str, Any], fields: Mapping[str, type]) -> Iterator[str]:
    """What is of another type than `fields` say, of those that are there."""
    for name, kind in fields.items():
        value = record.get(name)
        if name in record and (not isinstance(value, kind) or isinstance(value, bool)):
            yield f"'{name}' is {type(value).__name__}, expected {kind.__name__}"


def made_misfits(record: Mapping[str, Any]) -> Iterator[str]:
    """What is wrong with the fields that say what made an artifact."""
    found = list(misfits(record, MADE))
    yield from found
    if found:
        return
    for package, version in record.get("packages", {}).items():
        if not isinstance(version, str | None):
            yield cut(f"the version of package '{package}' is {version!r}")
    for parent in record.get("parents", []):
        if not isinstance(parent, dict) or not all(
            isinstance(parent.get(name), str) for name in ("path", "content")
        ):
            yield cut(f"a parent is {parent!r}, expected its path and content")
        elif not _can_be_opened(parent["path"]):
            yield cut(f"no file can have the path of the parent {parent['path']!r}")


def _can_be_opened(path: str) -> bool:
    whole = os.fsencode(path)
    short = all(len(part) <= LONGEST_NAME for part in whole.split(b"/"))
    return 0 < len(whole) < LONGEST_PATH and short and b"\0" not in whole
