"""Translate segments with one model."""

import argparse
from pathlib import Path

from routelmt.commands import (
    add_out,
    add_settings,
    add_speed,
    local_folder,
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
    hypotheses = translate_segments(segments, arguments.model, model, languages, speed(arguments))
    parents = [arguments.segments, *local_folder(model)]
    record = provenance.describe(
        "hypotheses", arguments.settings, parents, ENGINES[model["engine"]]
    )
    tables.write(hypotheses, arguments.out, "hypotheses", record)
