"""Ask all routers that are adapters of the small model, in one pass over the test sets."""

import argparse
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


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("--segments", type=Path, nargs="+", required=True, help="segments tables")
    add_settings(parser, "ask: a list of router (its name), seed, artifact (folder) and settings")
    parser.add_argument("--model", type=json_object, required=True, help="the small model, as JSON")
    add_speed(parser)
    add_out(parser)


def run(arguments: argparse.Namespace) -> None:
    """Predict with each adapter once, and write every router's rows into one table."""
    import pyarrow as pa

    from routelmt import provenance, tables
    from routelmt.routers import answer, lora
    from routelmt.routers.inputs import RouterContext
    from routelmt.routers.predictions import predictions

    asked = arguments.settings["ask"]
    folders = list(dict.fromkeys(entry["artifact"] for entry in asked))
    model, languages = split_languages(arguments.model)
    context = RouterContext(model, languages, speed(arguments), seed=0)  # nothing is drawn
    inputs = router_inputs(arguments.segments, {})
    said = dict(
        zip(folders, lora.predict_together(list(map(Path, folders)), inputs, context), strict=True)
    )
    parts = [
        predictions(
            inputs.segments,
            entry["router"],
            entry["seed"],
            *_answer(entry["settings"], Path(entry["artifact"]), said[entry["artifact"]]),
        )
        for entry in asked
    ]
    parents = [*arguments.segments, *folders, *local_files(model)]
    record = provenance.describe("predictions", arguments.settings, parents, answer.__name__)
    tables.write(pa.concat_tables(parts), arguments.out, "predictions", record)


def _answer(spec: dict[str, Any], artifact: Path, answers: Any) -> Any:
    """(prediction, priority) of a trained router, or of one that is another answer of it."""
    from routelmt.routers import answer

    if spec["type"] == "answer":
        return answer.choose(spec, artifact, answers)
    return answers["prediction"], answers["priority"]
