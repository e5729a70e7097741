"""Make the table of a sweep (Parquet, with CSV, LaTeX and Markdown beside it)."""

import argparse
from pathlib import Path

from routelmt.commands import add_out, add_settings


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument(
        "--predictions", type=Path, nargs="+", required=True, help="of every point and reference"
    )
    parser.add_argument("--gains", type=Path, nargs="+", required=True, help="of every test set")
    add_settings(parser, "sweep, setting, points, budgets, bootstrap, oracles, random")
    add_out(parser)


def run(arguments: argparse.Namespace) -> None:
    """Evaluate and write."""
    from routelmt import provenance, tables
    from routelmt.evaluate.render import write_renderings
    from routelmt.evaluate.sweeps import sweep_table

    predictions = tables.read_all(arguments.predictions, "predictions")
    gains = tables.read_all(arguments.gains, "gains")
    table = sweep_table(arguments.settings, predictions, gains)
    parents = [*arguments.predictions, *arguments.gains]
    record = provenance.describe("sweeps", arguments.settings, parents)
    write_renderings(table, "sweep", arguments.out)
    tables.write(table, arguments.out, "sweep", record)
