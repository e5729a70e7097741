"""Make one table of a deployment: thresholds calibrated on held-out data, tried on test data."""

import argparse
from dataclasses import replace
from pathlib import Path

from routelmt.commands import add_flagged, add_out, add_settings, cluster_notes, kept_reader


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    files = {
        "predictions": "of every router on the test sets",
        "gains": "of every test set",
        "segments": "of every test set, for their domains",
        "calibration-predictions": "of every router on the validation sets",
        "calibration-gains": "of every validation set",
    }
    parser.add_argument("--table", required=True, help="see routelmt.evaluate.deployment_tables")
    for name, about in files.items():
        parser.add_argument(f"--{name}", type=Path, nargs="+", required=True, help=about)
    costs = {
        "small": "hypotheses of the small model on the test sets, for costs in table budgets",
        "large": "hypotheses of the large model",
        "rates": "tables of rates",
    }
    for name, about in costs.items():
        parser.add_argument(f"--{name}", type=Path, nargs="*", default=[], help=about)
    add_settings(parser, "budgets, bootstrap, stream and what else shapes the table")
    add_flagged(parser)
    add_out(parser)


def run(arguments: argparse.Namespace) -> None:
    """Evaluate and write."""
    from routelmt import provenance, tables
    from routelmt.errors import UserError
    from routelmt.evaluate.costs import TOKEN_COLUMNS, added_costs
    from routelmt.evaluate.deployment import read_deployment
    from routelmt.evaluate.deployment_tables import BUILDERS, build_deployment_table
    from routelmt.evaluate.render import write_renderings

    name, settings = arguments.table, arguments.settings
    if name not in BUILDERS:
        raise UserError(f"--table: '{name}' is not one of {', '.join(BUILDERS)}.")
    columns = [*tables.JOIN_KEY, "domain"]
    read, notes = kept_reader(arguments)
    deployment = read_deployment(
        read(arguments.predictions, "predictions"),
        read(arguments.gains, "gains"),
        read(arguments.calibration_predictions, "predictions"),
        read(arguments.calibration_gains, "gains"),
        read(arguments.segments, "segments", columns),
        settings.get("routers"),
        settings["bootstrap"],
    )
    if arguments.rates:
        hypotheses = {
            size: read(getattr(arguments, size), "hypotheses", TOKEN_COLUMNS)
            for size in ("small", "large")
        }
        rates = tables.read_all(arguments.rates, "rates")
        gains = read(arguments.gains, "gains")
        added = added_costs(settings, deployment.test, gains, hypotheses, rates)
        deployment = replace(deployment, added_costs=added)
    table = build_deployment_table(name, settings, deployment)
    notes += cluster_notes(table)
    parents = [
        *arguments.predictions,
        *arguments.gains,
        *arguments.segments,
        *arguments.calibration_predictions,
        *arguments.calibration_gains,
        *arguments.small,
        *arguments.large,
        *arguments.rates,
        *arguments.flagged,
    ]
    record = provenance.describe("deployment_tables", settings, parents) | {"notes": notes}
    write_renderings(table, name, arguments.out, notes, settings.get("about"))
    tables.write(table, arguments.out, name, record)
