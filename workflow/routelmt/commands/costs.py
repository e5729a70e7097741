"""Make a table of costs: of every router and budget, or of the guards."""

import argparse
import sys
from pathlib import Path

from routelmt.commands import add_flagged, add_out, add_settings, cluster_notes, kept_reader

TABLES = ("costs", "guard_costs")


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("--table", choices=TABLES, default=TABLES[0], help="by default costs")
    files = {
        "predictions": "of every router on the test sets",
        "gains": "of every test set",
        "small": "hypotheses of the small model on the test sets",
        "large": "hypotheses of the large model",
        "rates": "tables of rates; where two have the same, the later counts",
    }
    for name, about in files.items():
        parser.add_argument(f"--{name}", type=Path, nargs="+", required=True, help=about)
    add_settings(
        parser, "budgets, bootstrap, cost {small, large, routers, prices}; risk_edges and guards"
    )
    add_flagged(parser)
    add_out(parser)


def run(arguments: argparse.Namespace) -> None:
    """Evaluate and write."""
    import pyarrow as pa

    from routelmt import provenance, tables
    from routelmt.evaluate.costs import TOKEN_COLUMNS, costs
    from routelmt.evaluate.guard_costs import guard_costs
    from routelmt.evaluate.render import write_renderings
    from routelmt.evaluate.requests import evaluated_requests

    name, settings = arguments.table, arguments.settings
    read, notes = kept_reader(arguments)
    gains = read(arguments.gains, "gains")
    predictions = read(arguments.predictions, "predictions")
    hypotheses = {
        size: read(getattr(arguments, size), "hypotheses", TOKEN_COLUMNS)
        for size in ("small", "large")
    }
    rates = pa.concat_tables([tables.read(path, "rates") for path in arguments.rates])
    evaluation = evaluated_requests(
        predictions, gains, settings.get("routers"), settings["bootstrap"]
    )
    build = {"costs": costs, "guard_costs": guard_costs}[name]
    table = build(settings, evaluation, gains, hypotheses, rates)
    for remark in filter(None, table.column("remark").unique().to_pylist()):
        print(f"Seconds {remark}", file=sys.stderr)
    notes += cluster_notes(table)
    parents = [p for n in ("predictions", "gains", "small", "large", "rates", "flagged")
               for p in getattr(arguments, n)]  # fmt: skip
    record = provenance.describe("cost_table", settings, parents) | {"notes": notes}
    write_renderings(table, name, arguments.out, notes, settings.get("about"))
    tables.write(table, arguments.out, name, record)
