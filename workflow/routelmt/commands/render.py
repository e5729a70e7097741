"""Write tables for readers beside them: CSV (every value), LaTeX and Markdown (rounded)."""

import argparse
from pathlib import Path


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("tables", type=Path, nargs="+", help="X.parquet, of an evaluation or sweep")


def run(arguments: argparse.Namespace) -> None:
    """Read and write."""
    from routelmt import tables
    from routelmt.views.render import write_renderings

    for path in arguments.tables:
        record = tables.record_of(path)
        table = tables.read(path, record["table"])
        about = record["settings"].get("about")
        write_renderings(table, record["table"], path, record.get("notes", ()), about)
