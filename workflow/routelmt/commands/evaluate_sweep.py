"""Make a table of a sweep (Parquet, with CSV, LaTeX and Markdown beside it)."""

import argparse
from pathlib import Path

from routelmt.commands import add_out, add_settings

TABLES = ("sweep", "sweep_domains")


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("--table", choices=TABLES, default=TABLES[0], help="by default sweep")
    parser.add_argument(
        "--predictions", type=Path, nargs="+", required=True, help="of every point and reference"
    )
    parser.add_argument("--gains", type=Path, nargs="+", required=True, help="of every test set")
    parser.add_argument(
        "--segments", type=Path, nargs="*", default=[], help="of every test set, for sweep_domains"
    )
    add_settings(parser, "sweep, setting, points, budgets, bootstrap, oracles, random; domains")
    add_out(parser)


def run(arguments: argparse.Namespace) -> None:
    """Evaluate and write."""
    from routelmt import provenance, tables
    from routelmt.errors import UserError
    from routelmt.evaluate.render import write_renderings
    from routelmt.evaluate.sweeps import sweep_domains, sweep_table

    name, settings = arguments.table, arguments.settings
    predictions = tables.read_all(arguments.predictions, "predictions")
    gains = tables.read_all(arguments.gains, "gains")
    if name == "sweep":
        table = sweep_table(settings, predictions, gains)
    elif arguments.segments:
        segments = tables.read_all(arguments.segments, "segments")
        table = sweep_domains(settings, predictions, gains, segments)
    else:
        raise UserError("--table sweep_domains needs --segments of every test set.")
    parents = [*arguments.predictions, *arguments.gains, *arguments.segments]
    record = provenance.describe("sweeps", settings, parents)
    write_renderings(table, name, arguments.out)
    tables.write(table, arguments.out, name, record)
