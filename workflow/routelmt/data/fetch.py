"""Downloads of pinned upstream files: what is on disk is what data/sources.yaml says, or nothing.

A killed download leaves what it has in a hidden folder beside the goal and goes on from there.
"""

from __future__ import annotations

import importlib
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from routelmt.data.downloads import manifest, wheels
from routelmt.data.downloads.wheels import check_file
from routelmt.errors import UserError

__all__ = ["check_file", "difference", "fetch", "pin"]

# Modules with `download(source, settings, partial)`, which returns the finished folder: `partial`
# or one below it. Those that can also look up an entry's checksums have `pin(source, settings)`.
DOWNLOADERS = {
    "archive": "routelmt.data.downloads.archive",
    "github": "routelmt.data.downloads.github",
    "hub": "routelmt.data.downloads.hub",
    "model": "routelmt.data.downloads.model",
    "wheels": "routelmt.data.downloads.wheels",
}
_REQUIRED = {
    "archive": ("url",),
    "github": ("repository", "revision", "files"),
    "hub": ("repository", "revision", "files"),
    "model": ("files", "model"),
    "wheels": ("files",),
}


def fetch(source: str, settings: Mapping[str, Any], out: Path) -> None:
    """Fetch a source into the folder `out`, which appears when all of it is there and checked.

    settings: the source's entry of data/sources.yaml, with the config's changes.
    """
    downloader = _downloader(source, settings)
    if out.is_symlink() or (out.exists() and not out.is_dir()):
        raise UserError(f"{out}: not a folder; remove it, the files of '{source}' go there.")
    partial = out.parent / f".{out.name}.partial"
    try:
        partial.mkdir(parents=True, exist_ok=True)
        ready: Path = downloader.download(source, settings, partial)
        older = out.parent / f".{out.name}.older"
        shutil.rmtree(older, ignore_errors=True)
        if out.exists():
            out.replace(older)
        ready.replace(out)
        for leftover in (older, partial):
            shutil.rmtree(leftover, ignore_errors=True)
    except OSError as error:
        raise UserError(
            f"source '{source}': {error.filename or partial}: {error.strerror or error}. What has "
            "arrived is kept; make room or give access, and run it again."
        ) from None


def difference(source: str, settings: Mapping[str, Any], folder: Path) -> str | None:
    """How a fetched folder differs from the source's entry as it is now: empty if it does not.

    None if that cannot be told: the folder has not been fetched by `fetch`. Sizes are compared;
    checksums were when it was downloaded (those of wheels are again).
    """
    _downloader(source, settings)
    if settings["kind"] == "wheels":
        return wheels.difference(folder, settings)
    return manifest.difference(folder, settings)


def pin(source: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    """The entry of a source with its commit, sizes and checksums looked up now."""
    downloader = _downloader(source, settings)
    if not hasattr(downloader, "pin"):
        raise UserError(f"source '{source}' is of kind '{settings['kind']}'; pip pins wheels.")
    entry: dict[str, Any] = downloader.pin(source, settings)
    return entry


def _downloader(source: str, settings: Mapping[str, Any]) -> Any:
    kind = settings.get("kind")
    if kind not in DOWNLOADERS:
        raise UserError(
            f"source '{source}': 'kind' is {kind!r}; allowed: {', '.join(DOWNLOADERS)}."
        )
    missing = [key for key in _REQUIRED[kind] if not settings.get(key)]
    if missing:
        raise UserError(
            f"source '{source}' (kind '{kind}') needs {', '.join(repr(k) for k in missing)}; set "
            f"it in data/sources.yaml or under 'sources.{source}' of the config."
        )
    return importlib.import_module(DOWNLOADERS[kind])
