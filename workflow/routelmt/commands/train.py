"""Train a router on gain labels; leaves a folder that `predict` and `route` load."""

import argparse
import importlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from routelmt.commands import (
    add_out,
    add_settings,
    add_speed,
    json_object,
    local_files,
    router_inputs,
    speed,
    split_languages,
)

ROLES = {"train": "training", "valid": "validation"}
NEEDS = ("states", "hypotheses", "sample-scores")
# What --train-hypotheses takes beside them, told apart by their records.
TABLES = {"hypotheses": "hypotheses", "signals": "signals", "scores": "estimates"}


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("--router", required=True, help="name in the config")
    add_settings(parser, "the router of the config")
    parser.add_argument("--model", type=json_object, required=True, help="the small model, as JSON")
    parser.add_argument("--seed", type=int, required=True)
    for role in ROLES:
        for table in ("segments", "gains"):
            parser.add_argument(f"--{role}-{table}", type=Path, nargs="+", required=True)
        for need in NEEDS:
            parser.add_argument(
                f"--{role}-{need}", type=Path, nargs="*", default=[], help="if it needs them"
            )
    parser.add_argument(
        "--removed", type=Path, nargs="*", default=[], help="overlaps table: rows to leave out"
    )
    parser.add_argument(
        "--flagged", type=Path, nargs="*", default=[], help="with what leave_out takes out of it"
    )
    add_speed(parser)
    parser.add_argument("--gradient-checkpointing", type=int, default=0, help="1: less memory")
    parser.add_argument("--processes", type=int, default=1, help="processes that train together")
    parser.add_argument("--save-minutes", type=int, default=2, help="between saved states")
    add_out(parser)


def run(arguments: argparse.Namespace) -> None:
    """Train."""
    from routelmt import provenance
    from routelmt.routers.inputs import RouterContext
    from routelmt.routers.registry import router_module
    from routelmt.routers.training.rows import training_rows, validation_rows
    from routelmt.trail.labelled import labelled

    spec = arguments.settings
    model, languages = split_languages(arguments.model)
    rows = {role: _inputs(arguments, role) for role in ROLES}
    for table, why in _left_out(arguments):
        rows = {role: inputs.without(table, ROLES[role], why) for role, inputs in rows.items()}
    how = speed(arguments) | {
        "gradient_checkpointing": bool(arguments.gradient_checkpointing),
        "processes": arguments.processes,
        "save_minutes": arguments.save_minutes,
    }
    module = router_module(spec["type"])
    parents = [*_files(arguments), *local_files(model)]
    record = provenance.describe("routers", spec, parents, module)
    record["labels"] = labelled(arguments.train_gains, arguments.out)
    importlib.import_module(module).train(
        spec,
        training_rows(spec, rows["train"]),
        validation_rows(spec, rows["valid"]),
        RouterContext(model, languages, how, arguments.seed, provenance=record),
        arguments.out,
    )


def _files(arguments: argparse.Namespace) -> list[Path]:
    """Every table that the training reads."""
    names = [f"{role}_{table.replace('-', '_')}" for role in ROLES
             for table in ("segments", "gains", *NEEDS)]  # fmt: skip
    return [path for name in (*names, "removed", "flagged") for path in getattr(arguments, name)]


def _left_out(arguments: argparse.Namespace) -> Iterator[tuple[Any, str]]:
    """(table, why) of the rows that no router may learn from."""
    from routelmt import tables
    from routelmt.evaluate import flags

    if arguments.removed:
        yield (
            tables.read_all(arguments.removed, "overlaps"),
            "their text is in held-out data (table contamination; config key 'contamination')",
        )
    for path in arguments.flagged:
        marks = tables.record_of(path)["settings"]["leave_out"]
        flagged = flags.left_out(tables.read(path, "flagged"), marks)
        yield flagged, f"flagged as {' or '.join(marks)} (table flags; config key 'leave_out')"


def _inputs(arguments: argparse.Namespace, role: str) -> Any:
    """The rows of one role with all that the router was given for them."""
    from routelmt import tables

    names = ("gains", *(need.replace("-", "_") for need in NEEDS))
    files = {name: getattr(arguments, f"{role}_{name}") for name in names}
    for path in files.pop("hypotheses"):
        files.setdefault(TABLES[tables.record_of(path)["table"]], []).append(path)
    return router_inputs(getattr(arguments, f"{role}_segments"), files)
