"""Train a router on gain labels; leaves a folder that `predict` and `route` load."""

import argparse
import importlib
from pathlib import Path

from routelmt.commands import add_out, add_settings, add_speed, json_object, speed, split_languages


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("--router", required=True, help="name in the config")
    add_settings(parser, "the router of the config")
    parser.add_argument("--model", type=json_object, required=True, help="the small model, as JSON")
    parser.add_argument("--seed", type=int, required=True)
    for role in ("train", "valid"):
        for table in ("segments", "gains"):
            parser.add_argument(f"--{role}-{table}", type=Path, nargs="+", required=True)
    parser.add_argument(
        "--removed", type=Path, nargs="*", default=[], help="overlaps table: rows to leave out"
    )
    add_speed(parser)
    add_out(parser)


def run(arguments: argparse.Namespace) -> None:
    """Train."""
    from routelmt import tables
    from routelmt.routers.inputs import RouterInputs, TrainingContext
    from routelmt.routers.registry import ROUTERS

    removed = tables.read_all(arguments.removed, "overlaps") if arguments.removed else None

    def inputs(role: str, segments: list[Path], gains: list[Path]) -> RouterInputs:
        whole = RouterInputs.aligned(
            tables.read_all(segments, "segments"), gains=tables.read_all(gains, "gains")
        )
        return whole.without(removed, role) if removed is not None else whole

    model, languages = split_languages(arguments.model)
    router = importlib.import_module(ROUTERS[arguments.settings["type"]].module)
    router.train(
        arguments.settings,
        inputs("training", arguments.train_segments, arguments.train_gains),
        inputs("validation", arguments.valid_segments, arguments.valid_gains),
        TrainingContext(model, languages, speed(arguments), arguments.seed),
        arguments.out,
    )
