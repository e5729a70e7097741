"""One prefill of the small model: entropy, margin and states of the first target token."""

import argparse

from routelmt.commands import local_files, speed, split_languages
from routelmt.commands.translate import configure as configure  # the same options
from routelmt.commands.translate import environment as environment


def run(arguments: argparse.Namespace) -> None:
    """Prefill and write."""
    from routelmt import provenance, tables
    from routelmt.translate.registry import ENGINES
    from routelmt.translate.signals import prefill_signals

    model, languages = split_languages(arguments.settings)
    segments = tables.read(arguments.segments, "segments")
    signals = prefill_signals(segments, arguments.model, model, languages, speed(arguments))
    parents = [arguments.segments, *local_files(model)]
    engine = ENGINES[model["engine"]].module
    record = provenance.describe("signals", arguments.settings, parents, engine)
    tables.write(signals, arguments.out, "signals", record)
