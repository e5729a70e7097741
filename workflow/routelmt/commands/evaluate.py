"""Make one evaluation table (Parquet, with CSV, LaTeX and Markdown beside it)."""

import argparse
from pathlib import Path

from routelmt.commands import add_out, add_settings


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    from routelmt.config import TABLES

    parser.add_argument("--table", choices=TABLES, required=True)
    parser.add_argument(
        "--predictions", type=Path, nargs="+", required=True, help="of every router"
    )
    parser.add_argument("--gains", type=Path, nargs="+", required=True, help="of every test set")
    add_settings(parser, "budgets, bootstrap and what else shapes the table")
    add_out(parser)


def run(arguments: argparse.Namespace) -> None:
    """Evaluate and write."""
    from routelmt import provenance, tables
    from routelmt.evaluate.build import build_table
    from routelmt.evaluate.render import write_renderings

    name, settings = arguments.table, arguments.settings
    predictions = tables.read_all(arguments.predictions, "predictions")
    gains = tables.read_all(arguments.gains, "gains")
    table = build_table(name, settings, predictions, gains)
    record = provenance.describe("tables", settings, [*arguments.predictions, *arguments.gains])
    write_renderings(table, name, arguments.out)
    tables.write(table, arguments.out, name, record)
