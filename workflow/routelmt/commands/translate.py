"""Translate segments with one model."""

import argparse
import importlib
from pathlib import Path

from routelmt.commands import (
    add_out,
    add_settings,
    add_speed,
    local_files,
    speed,
    split_languages,
)


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("--segments", type=Path, required=True, help="segments table")
    parser.add_argument("--model", required=True, help="name in the config")
    add_settings(parser, "the model of the config, with the languages' names")
    add_speed(parser)
    add_out(parser)


def run(arguments: argparse.Namespace) -> None:
    """Translate and write."""
    from routelmt import provenance, tables
    from routelmt.translate.hypotheses import translate_segments
    from routelmt.translate.registry import ENGINES

    model, languages = split_languages(arguments.settings)
    segments = tables.read(arguments.segments, "segments")
    engine = ENGINES[model["engine"]]
    if engine.has_model:
        hypotheses = translate_segments(
            segments, arguments.model, model, languages, speed(arguments)
        )
    else:
        hypotheses = importlib.import_module(engine.module).hypotheses(
            segments, arguments.model, model
        )
    parents = [arguments.segments, *local_files(model)]
    record = provenance.describe("hypotheses", arguments.settings, parents, engine.module)
    tables.write(hypotheses, arguments.out, "hypotheses", record)
