"""Ask a router for its priorities on the test sets, or on the validation sets."""

import argparse
import importlib
from pathlib import Path

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

NEEDS = ("signals", "states", "hypotheses", "estimates", "samples", "gains")


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("--segments", type=Path, nargs="+", required=True, help="segments tables")
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
    for need in NEEDS:
        parser.add_argument(f"--{need}", type=Path, nargs="*", default=[], help="if it needs them")
    add_speed(parser)
    add_out(parser)


def environment(arguments: argparse.Namespace) -> str:
    """That of the small model's engine for a router that decodes with it, else the core one."""
    from routelmt.routers.registry import router_type
    from routelmt.translate.registry import ENGINES

    decodes = router_type(arguments.settings["type"]).decodes
    return ENGINES[arguments.model["engine"]].environment if decodes else ""


def run(arguments: argparse.Namespace) -> None:
    """Predict and write."""
    from routelmt import provenance, tables
    from routelmt.routers.inputs import RouterContext
    from routelmt.routers.predictions import predictions
    from routelmt.routers.registry import router_module

    files = {need: getattr(arguments, need) for need in NEEDS}
    inputs = router_inputs(arguments.segments, files)
    module = router_module(arguments.settings["type"])
    router = importlib.import_module(module)
    model, languages = split_languages(arguments.model)
    context = RouterContext(model, languages, speed(arguments), arguments.seed)
    parents = [*arguments.segments, *(path for paths in files.values() for path in paths)]
    if not arguments.artifact:
        found = router.predict(arguments.settings, inputs, context)
    elif router.ROUTER.trained:
        found = router.predict_trained(arguments.artifact[0], inputs, context)
    else:  # another answer of a trained router
        found = router.predict_from(arguments.settings, arguments.artifact[0], inputs, context)
    parents += [*(arguments.artifact or []), *local_files(model)]
    table = predictions(inputs.segments, arguments.router, arguments.seed, *found)
    record = provenance.describe("predictions", arguments.settings, parents, module)
    if context.notes:
        record["notes"] = context.notes
    tables.write(table, arguments.out, "predictions", record)
