"""Make the table of a sweep (Parquet, with CSV, LaTeX and Markdown beside it)."""

import argparse
from pathlib import Path

from routelmt.commands import add_flagged, add_out, add_settings, cluster_notes, kept_reader


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument(
        "--predictions", type=Path, nargs="+", required=True, help="of every point and reference"
    )
    parser.add_argument("--gains", type=Path, nargs="+", required=True, help="of every test set")
    add_settings(parser, "sweep, setting, points, budgets, bootstrap, oracles, random")
    add_flagged(parser)
    add_out(parser)


def run(arguments: argparse.Namespace) -> None:
    """Evaluate and write."""
    from routelmt import provenance, tables
    from routelmt.evaluate.render import write_renderings
    from routelmt.evaluate.sweeps import sweep_table

    read, notes = kept_reader(arguments)
    predictions = read(arguments.predictions, "predictions")
    settings = arguments.settings
    table = sweep_table(settings, predictions, read(arguments.gains, "gains"))
    notes += cluster_notes(table)
    parents = [*arguments.predictions, *arguments.gains, *arguments.flagged]
    record = provenance.describe("sweeps", settings, parents) | {"notes": notes}
    write_renderings(table, "sweep", arguments.out, notes, settings.get("about"))
    tables.write(table, arguments.out, "sweep", record)
