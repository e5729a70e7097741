"""Make the table of the trained routers' losses (with CSV, LaTeX and Markdown beside it)."""

import argparse
from pathlib import Path

from routelmt.commands import add_out


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument(
        "--routers", type=Path, nargs="*", default=[], help="folders .../ROUTER/seedN"
    )
    add_out(parser)


def run(arguments: argparse.Namespace) -> None:
    """Read and write."""
    from routelmt import provenance, tables
    from routelmt.evaluate.render import write_renderings
    from routelmt.evaluate.training_curves import training_table

    table = training_table(arguments.routers)
    record = provenance.describe("training_table", {}, arguments.routers)
    write_renderings(table, "training", arguments.out)
    tables.write(table, arguments.out, "training", record)
