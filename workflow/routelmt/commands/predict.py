"""Ask a router for its priorities on one test set and direction."""

import argparse
import importlib
from pathlib import Path

from routelmt.commands import (
    add_out,
    add_settings,
    add_speed,
    json_object,
    local_files,
    speed,
    split_languages,
)


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("--segments", type=Path, required=True, help="segments table")
    parser.add_argument("--router", required=True, help="name in the config")
    add_settings(parser, "the router of the config")
    parser.add_argument(
        "--model",
        type=json_object,
        required=True,
        help="the small model, as JSON; {} if not needed",
    )
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--artifact", type=Path, nargs="*", help="folder of the trained router")
    parser.add_argument("--signals", type=Path, nargs="*", help="signals table, if it needs one")
    parser.add_argument("--gains", type=Path, nargs="*", help="gains table, for an oracle")
    add_speed(parser)
    add_out(parser)


def run(arguments: argparse.Namespace) -> None:
    """Predict and write."""
    from routelmt import provenance, tables
    from routelmt.routers.inputs import RouterInputs, TrainingContext
    from routelmt.routers.registry import ROUTERS

    segments = tables.read(arguments.segments, "segments")
    inputs = RouterInputs.aligned(
        segments,
        signals=tables.read_all(arguments.signals, "signals") if arguments.signals else None,
        gains=tables.read_all(arguments.gains, "gains") if arguments.gains else None,
    )
    module = ROUTERS[arguments.settings["type"]].module
    router = importlib.import_module(module)
    parents = [arguments.segments, *(arguments.signals or []), *(arguments.gains or [])]
    if arguments.artifact:
        model, languages = split_languages(arguments.model)
        context = TrainingContext(model, languages, speed(arguments), arguments.seed)
        prediction, priority = router.predict_trained(arguments.artifact[0], inputs, context)
        parents += [*arguments.artifact, *local_files(model)]
    else:
        prediction, priority = router.predict(arguments.settings, inputs, arguments.seed)
    predictions = tables.from_columns(
        "predictions",
        {
            **{k: segments.column(k) for k in tables.JOIN_KEY},
            "router": arguments.router,
            "seed": arguments.seed,
            "prediction": prediction,
            "priority": priority,
        },
    )
    record = provenance.describe("predictions", arguments.settings, parents, module)
    tables.write(predictions, arguments.out, "predictions", record)
