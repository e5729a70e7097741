"""One prefill of the small model: entropy, margin and states of the first target token.

With --states, also the states of every layer, from the same pass. vLLM does not give those: the
transformers engine then runs the same weights, whatever the model's engine is.
"""

import argparse
from pathlib import Path

from routelmt.commands import local_files, speed, split_languages, translate
from routelmt.translate.registry import ENGINES


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options: those of `translate`, and where the states go."""
    translate.configure(parser)
    parser.add_argument("--states", type=Path, help="states of every layer, an Arrow file")


def environment(arguments: argparse.Namespace) -> str:
    """The environment of what runs the model."""
    return ENGINES[_engine(arguments)].environment


def _engine(arguments: argparse.Namespace) -> str:
    from routelmt.translate.signals import STATES_ENGINE

    return STATES_ENGINE if arguments.states else str(arguments.settings["engine"])


def run(arguments: argparse.Namespace) -> None:
    """Prefill and write."""
    from routelmt import provenance, tables
    from routelmt.shards import shard_of
    from routelmt.translate.signals import prefill_signals

    model, languages = split_languages(arguments.settings)
    segments = shard_of(tables.read(arguments.segments, "segments"), arguments.shard)
    parents = [arguments.segments, *local_files(model)]
    record = provenance.describe(
        "signals", arguments.settings, parents, ENGINES[_engine(arguments)].module
    )
    signals = prefill_signals(
        segments, arguments.model, model, languages, speed(arguments), arguments.states, record
    )
    tables.write(signals, arguments.out, "signals", record)
