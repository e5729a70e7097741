"""Put the shards of a table together: every segment exactly once."""

import argparse
from pathlib import Path

from routelmt.commands import add_out


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("--table", choices=("hypotheses", "scores"), required=True)
    parser.add_argument("--segments", type=Path, required=True, help="segments table")
    parser.add_argument("--shards", type=Path, nargs="+", required=True, help="tables of shards")
    add_out(parser)


def run(arguments: argparse.Namespace) -> None:
    """Gather and write."""
    from routelmt import provenance, tables
    from routelmt.shards import gather

    name = arguments.table
    shards = [tables.read(path, name) for path in arguments.shards]
    table = gather(tables.read(arguments.segments, "segments"), shards)
    first = tables.record_of(arguments.shards[0])
    parents = [arguments.segments, *arguments.shards]
    record = provenance.describe("gathered", first["settings"], parents)
    tables.write(table, arguments.out, name, record)
