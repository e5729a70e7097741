"""Label segments with what the large model adds to each."""

import argparse
from pathlib import Path

from routelmt.commands import add_out


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("--segments", type=Path, required=True, help="segments table")
    parser.add_argument("--small", type=Path, required=True, help="scores of the small model")
    parser.add_argument("--large", type=Path, required=True, help="scores of the large model")
    add_out(parser)


def run(arguments: argparse.Namespace) -> None:
    """Label and write."""
    from routelmt import provenance, tables
    from routelmt.evaluate.remarks import KEY, carried
    from routelmt.gains import label_gains

    gains = label_gains(
        tables.read(arguments.segments, "segments"),
        tables.read(arguments.small, "scores"),
        tables.read(arguments.large, "scores"),
    )
    parents = [arguments.segments, arguments.small, arguments.large]
    record = provenance.describe("gains", {}, parents) | {KEY: carried(parents)}
    tables.write(gains, arguments.out, "gains", record)
