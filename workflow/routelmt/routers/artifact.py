"""The folder of a trained router: its record, put in place whole or not at all."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from routelmt.errors import UserError

RECORD = "router.json"
FORMAT = 1


def work_folder(out: Path) -> Path:
    """Hidden folder beside `out` for the state of a training that has not ended."""
    return out.with_name(f".{out.name}.work")


@contextmanager
def atomic_folder(out: Path) -> Iterator[Path]:
    """An empty folder beside `out` that takes its place on success.

    What a killed run left there is thrown away; an older `out` stays until the new one is whole.
    """
    new, old = (out.with_name(f".{out.name}.{word}") for word in ("new", "old"))
    for leftover in (new, old):
        shutil.rmtree(leftover, ignore_errors=True)
    new.mkdir(parents=True)
    try:
        yield new
    except BaseException:
        shutil.rmtree(new, ignore_errors=True)
        raise
    for path in (*new.rglob("*"), new):
        _sync(path)
    if out.exists():
        out.rename(old)
    new.rename(out)
    _sync(out.parent)
    shutil.rmtree(old, ignore_errors=True)


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_record(folder: Path, record: dict[str, Any]) -> None:
    """Write router.json."""
    text = json.dumps({"format": FORMAT, **record}, ensure_ascii=False, indent=1)
    (folder / RECORD).write_text(text + "\n", encoding="utf-8")


def read_record(folder: Path) -> dict[str, Any]:
    """Read router.json. Raises UserError if the folder is not a router this version can load."""
    path = folder / RECORD
    try:
        record: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(
            f"{folder}: not a trained router, it has no {RECORD}. Give the folder that `python -m "
            "routelmt train` left, e.g. results/runs/EXPERIMENT/routers/ROUTER/seed0."
        ) from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: damaged ({error}); train the router again.") from None
    if record.get("format") != FORMAT:
        raise UserError(
            f"{path}: format {record.get('format')}, this version reads {FORMAT}; train again."
        )
    return record
