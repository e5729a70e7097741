"""The folder of a trained router: its record, put in place whole or not at all."""

from __future__ import annotations

import hashlib
import json
import math
import os
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

from routelmt.errors import UserError
from routelmt.strict_json import cut
from routelmt.tables import as_umask

RECORD, CARD = "router.json", "README.md"
FILES = "files"  # field of the record: SHA-256 by file
FORMAT = 1
CURE = "copy the router's folder again, or train the router again"


def work_folder(out: Path) -> Path:
    """Hidden folder beside `out` for the state of a training that has not ended."""
    return out.with_name(f".{out.name}.work")


@contextmanager
def atomic_folder(out: Path) -> Iterator[Path]:
    """An empty folder beside `out` that takes its place on success, sealed if it is a router's.

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
    if (new / RECORD).is_file():
        seal(new)
    for path in (*new.rglob("*"), new):
        if path.is_file():
            as_umask(path)  # safetensors makes private files
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


def write_record(folder: Path, record: Mapping[str, Any]) -> None:
    """Write router.json."""
    text = json.dumps({"format": FORMAT, **record}, ensure_ascii=False, indent=1)
    (folder / RECORD).write_text(text + "\n", encoding="utf-8")


class Record(dict[str, Any]):
    """router.json as it was read; a field that is not there is a UserError with file and cure."""

    def __init__(self, path: Path, fields: Mapping[str, Any]) -> None:
        super().__init__(fields)
        self._path = path

    def __missing__(self, name: str) -> NoReturn:
        raise UserError(f"{self._path}: '{name}' is missing; {CURE}.")


def read_record(folder: Path) -> dict[str, Any]:
    """Read router.json. Raises UserError if the folder is not a router this version can load."""
    path = folder / RECORD
    try:
        record = json.loads(path.read_bytes())  # not strictly: a score may be NaN
    except (FileNotFoundError, NotADirectoryError):
        raise UserError(
            f"{folder}: not a trained router, it has no {RECORD}. Give the folder that `python -m "
            "routelmt train` left, e.g. results/runs/EXPERIMENT/routers/ROUTER/seed0."
        ) from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}).") from None
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}: damaged ({error}); {CURE}.") from None
    if not isinstance(record, dict):
        raise UserError(f"{path}: expected an object, found {type(record).__name__}; {CURE}.")
    if record.get("format") != FORMAT:
        raise UserError(
            f"{path}: format {record.get('format')}, this version reads {FORMAT}; train again."
        )
    found = Record(path, record)
    for name, (expected, fits) in _FIELDS.items():
        if name in found and not fits(found[name]):
            raise UserError(cut(f"{path}: '{name}' is {found[name]!r}, not {expected}; {CURE}."))
    return found


def open_record(folder: Path) -> dict[str, Any]:
    """`read_record`, to use the router: the files of the folder are those that training left.

    Raises UserError for a file that is missing or has other bytes. A router of before files were
    hashed is used as it is, which standard error says.
    """
    record = read_record(folder)
    if FILES not in record:
        print(
            f"{folder}: trained before a router's files were hashed, so they are not checked.",
            file=sys.stderr,
        )
        return record
    _check_files(folder, record)
    return record


def seal(folder: Path) -> None:
    """Put SHA-256 of every file into router.json, and of router.json's other fields.

    The card is left out: people write a licence and more into it.
    """
    record = read_record(folder)
    names = (path for path in folder.rglob("*") if path.is_file())
    own = {str(path.relative_to(folder)): _file_hash(path) for path in sorted(names)
           if path not in (folder / RECORD, folder / CARD)}  # fmt: skip
    write_record(folder, {**record, FILES: {RECORD: _fields_hash(record), **own}})


def _check_files(folder: Path, record: Mapping[str, Any]) -> None:
    hashes, path = record[FILES], folder / RECORD
    if not isinstance(hashes, dict) or hashes.get(RECORD) != _fields_hash(record):
        raise UserError(
            f"{path}: was changed after training (its own SHA-256 does not fit); {CURE}. For a "
            "base model that has moved there is --base."
        )
    for name, expected in hashes.items():
        if name == RECORD:
            continue
        try:
            found = _file_hash(folder / name)
        except OSError as error:
            raise UserError(f"{folder / name}: missing ({error.strerror}); {CURE}.") from None
        if found != expected:
            raise UserError(
                f"{folder / name}: damaged or of another router (SHA-256 {found[:12]}, {RECORD} "
                f"says {expected[:12]}); {CURE}."
            )


def _file_hash(path: Path) -> str:
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def _fields_hash(record: Mapping[str, Any]) -> str:
    fields = {name: value for name, value in record.items() if name != FILES}
    return hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).hexdigest()


def base_of(folder: Path, record: Mapping[str, Any]) -> dict[str, Any]:
    """Path and revision of the base model of a router's folder, from whatever directory.

    A relative path is one below the folder where training ran, so below one that the router is in.
    """
    base = record["base"]
    path = Path(base["path"])
    beside = (parent / path for parent in folder.absolute().parents)
    there = next((place for place in beside if place.is_dir()), path)
    return {"path": base["path"] if path.is_dir() and path.samefile(there) else str(there),
            "revision": base.get("revision")}  # fmt: skip


def read_tensors(path: Path, framework: str = "pt") -> dict[str, Any]:
    """Tensors of a file of a router, by name; numpy arrays for framework "np".

    Raises UserError if it is missing or damaged, or has NaN or infinite numbers.
    """
    from safetensors import safe_open

    try:
        with safe_open(path, framework=framework) as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except Exception as error:  # safetensors raises a class of its own for a short file
        why = cut(str(error).splitlines()[0])
        raise UserError(f"{path}: missing or damaged ({why}); {CURE}.") from None
    for name, values in tensors.items():
        if bool((values - values != 0).any()):  # x - x is 0, but for NaN and infinity
            raise UserError(f"{path}: '{name}' has numbers that are not finite; {CURE}.")
    return tensors


def _texts(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(v, str) for v in value)


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


def _base(value: Any) -> bool:
    return isinstance(value, dict) and all(
        isinstance(value.get(name), str) for name in ("path", "weights_sha256")
    )


# What a field must be where it is there, in words and as a test.
_FIELDS: Mapping[str, tuple[str, Callable[[Any], bool]]] = {
    "type": ("the name of a router type", lambda value: isinstance(value, str)),
    "target": ("the name of a target", lambda value: isinstance(value, str)),
    "directions": ("a list of directions", _texts),
    "languages": ("names of languages by code", lambda value: isinstance(value, dict)),
    "base": ("a base model with path and weights_sha256", _base),
    "dtype": ("a number format", lambda value: value in ("float32", "bfloat16", "float16")),
    "max_length": ("a number of tokens", lambda value: isinstance(value, int) and value > 0),
    "hyperparameters": ("the router's settings", lambda value: isinstance(value, dict)),
    "shift": ("a number", _number),
    "scale": ("a number", _number),
}
