"""Put the shards of a table together: every segment exactly once."""

import argparse
from pathlib import Path

from routelmt.commands import add_out

TABLES = ("hypotheses", "scores", "samples", "sample_scores")


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("--table", choices=TABLES, required=True)
    parser.add_argument("--segments", type=Path, required=True, help="segments table")
    parser.add_argument("--shards", type=Path, nargs="+", required=True, help="tables of shards")
    add_out(parser)


def run(arguments: argparse.Namespace) -> None:
    """Gather and write."""
    from routelmt import provenance, tables
    from routelmt.shards import gather
    from routelmt.translate.usage import total

    name = arguments.table
    shards = [tables.read(path, name) for path in arguments.shards]
    table = gather(tables.read(arguments.segments, "segments"), shards)
    records = [tables.record_of(path) for path in arguments.shards]
    parents = [arguments.segments, *arguments.shards]
    record = provenance.describe("gathered", records[0]["settings"], parents)
    if usages := [r["usage"] for r in records if "usage" in r]:
        record["usage"] = total(usages)
    tables.write(table, arguments.out, name, record)
