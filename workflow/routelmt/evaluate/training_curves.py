"""How the routers of an experiment were trained: the losses that their folders tell of."""

from __future__ import annotations

import json
import math
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from routelmt import tables
from routelmt.errors import UserError
from routelmt.evaluate.given import Given
from routelmt.routers.artifact import read_record

# An entry an epoch, and the running loss of the training rows in between.
HISTORY = "history.jsonl"
LOSSES = "losses.jsonl"
_EPOCH = ("learning_rate", "epoch", "step", "train_loss", "validation_loss", "validation_spearman")
_POINT = ("learning_rate", "step", "train_loss")
_SEED = re.compile(r"seed(\d+)")

Row = dict[str, Any]


def training(_: Mapping[str, Any], given: Given) -> pa.Table:
    """The losses of a table's inputs (see registry)."""
    return training_table(given.paths["routers"])


def training_table(folders: Sequence[Path]) -> pa.Table:
    """Table `training` of trained routers' folders, .../{router}/seed{seed} each.

    A router without a history (one that is solved, not trained) has no rows; standard error says
    so. Raises UserError for a folder that is not a trained router's, and naming file and line for
    a history that is not one.
    """
    rows = [row for folder in folders for row in _rows(folder)]
    return tables.from_rows("training", rows)


def _rows(folder: Path) -> Iterator[Row]:
    router, seed = _identity(folder)
    read_record(folder)
    if not (folder / HISTORY).is_file():
        print(f"{folder}: no {HISTORY}, so no loss to show", file=sys.stderr)
        return
    kept = _kept(folder)
    run = {"router": router, "seed": seed}
    epochs = [run | _epoch(entry, kept) for entry in _entries(folder / HISTORY, _EPOCH)]
    if not any(row["kept"] for row in epochs):
        raise UserError(
            f"{folder / HISTORY}: has no epoch {kept[1]} at learning rate {kept[0]:g}, which its "
            "router.json says was kept; train the router again."
        )
    yield from epochs
    if (folder / LOSSES).is_file():
        for entry in _entries(folder / LOSSES, _POINT):
            yield run | _point(entry, epochs)


def _identity(folder: Path) -> tuple[str, int]:
    match = _SEED.fullmatch(folder.name)
    if not match:
        raise UserError(
            f"{folder}: not the folder of one seed of a router; give folders such as "
            "results/runs/EXPERIMENT/routers/ROUTER/seed0."
        )
    return folder.parent.name, int(match[1])


def _kept(folder: Path) -> tuple[float, int]:
    """Learning rate and epoch of the weights in the folder."""
    result = read_record(folder).get("result", {})
    try:
        return float(result["learning_rate"]), int(result["epoch"])
    except (KeyError, TypeError, ValueError):
        raise UserError(
            f"{folder}/router.json: 'result' does not say which learning_rate and epoch were kept; "
            "train the router again."
        ) from None


def _epoch(entry: Row, kept: tuple[float, int]) -> Row:
    own = (entry["learning_rate"], entry["epoch"])
    return {**{name: entry[name] for name in _EPOCH}, "epoch_end": True, "kept": own == kept}


def _point(entry: Row, epochs: Sequence[Row]) -> Row:
    own = [row for row in epochs if row["learning_rate"] == entry["learning_rate"]]
    later = (row["epoch"] for row in own if row["step"] >= entry["step"])
    return {
        **{name: entry[name] for name in _POINT},
        "epoch": next(later, len(own) + 1),  # training ended within an epoch
        "validation_loss": math.nan,
        "validation_spearman": math.nan,
        "epoch_end": False,
        "kept": False,
    }


def _entries(path: Path, fields: Sequence[str]) -> Iterator[Row]:
    """Lines of a JSONL file with these fields, numbers all of them (null is NaN)."""
    with path.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, 1):
            if line.strip():
                yield _numbers(line, fields, f"{path}:{number}")


def _numbers(line: str, fields: Sequence[str], where: str) -> Row:
    try:
        entry = json.loads(line)
        missing = [field for field in fields if field not in entry]
        if not isinstance(entry, Mapping) or missing:
            raise UserError(
                f"{where}: lacks {', '.join(missing) or 'all fields'}; a version before this one "
                "wrote it, so train the router again."
            )
        found = {f: math.nan if entry[f] is None else float(entry[f]) for f in fields}
        whole = {f: int(found[f]) for f in ("epoch", "step") if f in found}
    except (TypeError, ValueError, OverflowError) as error:
        raise UserError(f"{where}: damaged ({error}); train the router again.") from None
    return found | whole
