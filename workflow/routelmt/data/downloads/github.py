"""Files of a GitHub repository at one commit, which names their bytes; those in Git LFS too."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from routelmt.data.downloads.archive import fetch_file
from routelmt.data.downloads.hub import KEYS, file_entries
from routelmt.data.downloads.manifest import write_manifest
from routelmt.data.downloads.resume import Measured, check_entry, measure
from routelmt.data.published import refuse_pointer
from routelmt.errors import UserError

HOSTS = ("https://raw.githubusercontent.com", "https://media.githubusercontent.com/media")
_COMMIT = re.compile(r"[0-9a-f]{40}")


def download(source: str, settings: Mapping[str, Any], partial: Path) -> Path:
    """Every file of the source in a folder below `partial`, which is returned, with a manifest.

    A file that an interrupted run has downloaded whole, of this commit, is not downloaded again.
    """
    commit = str(settings["revision"])
    if not _COMMIT.fullmatch(commit):
        raise UserError(
            f"source '{source}': 'revision' is '{commit}'; it must be a whole commit (40 digits)."
        )
    folder = partial / commit
    files = []
    for entry in _entries(source, settings):
        found = _file(source, settings, entry, folder / entry["path"])
        files.append({**entry, "size": found.size, "sha256": found.sha256})
    content = {"kind": "github", "repository": settings["repository"], "commit": commit}
    write_manifest(folder, {**content, "files": files})
    return folder


def pin(source: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    """The entry with the size and SHA-256 of every file."""
    with tempfile.TemporaryDirectory() as scratch:
        goal = Path(scratch) / "file"
        files = [
            {**entry, "size": found.size, "sha256": found.sha256}
            for entry in _entries(source, settings)
            for found in [_file(source, settings, entry, goal / entry["path"])]
        ]
    return {**settings, "files": files}


def _entries(source: str, settings: Mapping[str, Any]) -> list[dict[str, Any]]:
    return file_entries(source, settings, {*KEYS, "lfs"})


def _file(
    source: str, settings: Mapping[str, Any], entry: Mapping[str, Any], goal: Path
) -> Measured:
    """One file in its place, checked."""
    if goal.is_file():
        found = measure(goal)
        check_entry(f"source '{source}', {goal}", found, entry)
        return found
    host = HOSTS[bool(entry.get("lfs"))]
    address = f"{host}/{settings['repository']}/{settings['revision']}/{entry['path']}"
    goal.parent.mkdir(parents=True, exist_ok=True)
    found = fetch_file(source, {**entry, "url": address}, goal)
    with goal.open("rb") as handle:
        head = handle.readline(100).decode("utf-8", "replace")
    try:
        refuse_pointer(goal, head)
    except UserError:
        goal.unlink()
        raise UserError(
            f"source '{source}', {address}: is kept in Git LFS; say 'lfs: true' of the file."
        ) from None
    return found
