"""Make one evaluation table (Parquet, with CSV, LaTeX and Markdown beside it)."""

import argparse
from pathlib import Path

from routelmt.commands import add_flagged, add_out, add_settings, cluster_notes, kept_reader


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    from routelmt.config import DOMAINS, JUDGED, TABLES, TRANSFER_TABLES

    names = [*TABLES, JUDGED, DOMAINS, *TRANSFER_TABLES]
    parser.add_argument("--table", choices=names, required=True)
    parser.add_argument(
        "--predictions", type=Path, nargs="+", required=True, help="of every router"
    )
    parser.add_argument("--gains", type=Path, nargs="+", required=True, help="of every test set")
    parser.add_argument(
        "--segments",
        type=Path,
        nargs="*",
        default=[],
        help="of every test set, for breakdown, domains, transfer",
    )
    parser.add_argument(
        "--other-gains", type=Path, nargs="*", default=[], help="of judge_metrics, then of raters"
    )
    add_settings(parser, "budgets, bootstrap and what else shapes the table")
    add_flagged(parser)
    add_out(parser)


def run(arguments: argparse.Namespace) -> None:
    """Evaluate and write."""
    from routelmt import provenance, tables
    from routelmt.evaluate.build import build_table, gains_by_metric
    from routelmt.evaluate.render import write_renderings

    name, settings = arguments.table, arguments.settings
    read, notes = kept_reader(arguments)
    predictions = read(arguments.predictions, "predictions")
    gains = read(arguments.gains, "gains")
    segments = read(arguments.segments, "segments") if arguments.segments else None
    others = [tables.read(path, "gains") for path in arguments.other_gains]
    metrics = dict.fromkeys([*settings.get("judge_metrics", []), *settings.get("raters", [])])
    by_metric = gains_by_metric(list(metrics), others)
    table = build_table(name, settings, predictions, gains, segments, by_metric)
    notes += cluster_notes(table)
    files = (arguments.predictions, arguments.gains, arguments.segments, arguments.other_gains,
             arguments.flagged)  # fmt: skip
    record = provenance.describe("tables", settings, [path for paths in files for path in paths])
    record |= {"notes": notes}
    write_renderings(table, name, arguments.out, notes, settings.get("about"))
    tables.write(table, arguments.out, name, record)
