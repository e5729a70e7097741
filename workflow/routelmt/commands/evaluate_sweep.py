"""Make a table of a sweep (Parquet, with CSV, LaTeX and Markdown beside it)."""

import argparse
from pathlib import Path

from routelmt.commands import add_flagged, add_out, add_settings, kept_reader

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
    add_flagged(parser)
    add_out(parser)


def run(arguments: argparse.Namespace) -> None:
    """Evaluate and write."""
    from routelmt import provenance, tables
    from routelmt.errors import UserError
    from routelmt.evaluate.render import write_renderings
    from routelmt.evaluate.sweeps import sweep_domains, sweep_table

    name, settings = arguments.table, arguments.settings
    read, notes = kept_reader(arguments)
    predictions = read(arguments.predictions, "predictions")
    gains = read(arguments.gains, "gains")
    if name == "sweep":
        table = sweep_table(settings, predictions, gains)
    elif arguments.segments:
        segments = read(arguments.segments, "segments")
        table = sweep_domains(settings, predictions, gains, segments)
    else:
        raise UserError("--table sweep_domains needs --segments of every test set.")
    parents = [*arguments.predictions, *arguments.gains, *arguments.segments, *arguments.flagged]
    record = provenance.describe("sweeps", settings, parents) | {"notes": notes}
    write_renderings(table, name, arguments.out, notes, settings.get("about"))
    tables.write(table, arguments.out, name, record)
