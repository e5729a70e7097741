"""List the cases to look at: severe losses, largest gains and worst regressions, with the texts."""

import argparse
from pathlib import Path

from routelmt.commands import add_flagged, add_out, add_settings, kept_reader

# Option: table that its files hold, and what of.
FILES = {
    "predictions": ("predictions", "of every router on the test sets"),
    "gains": ("gains", "of every test set"),
    "segments": ("segments", "of every test set"),
    "hypotheses-small": ("hypotheses", "of the small model on every test set"),
    "hypotheses-large": ("hypotheses", "of the large model"),
    "scores-small": ("scores", "of the small model's hypotheses, which the gains were made from"),
    "scores-large": ("scores", "of the large model's"),
}


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    for name, (_, about) in FILES.items():
        parser.add_argument(f"--{name}", type=Path, nargs="+", required=True, help=about)
    add_settings(parser, "budgets, risk_edges, cases {limit, per_direction}, oracles, random")
    add_flagged(parser)
    add_out(parser)


def run(arguments: argparse.Namespace) -> None:
    """Pick and write."""
    from routelmt import provenance, tables
    from routelmt.evaluate.cases import cases
    from routelmt.evaluate.render import write_renderings
    from routelmt.evaluate.requests import evaluated_requests

    settings = arguments.settings
    files = {name.replace("-", "_"): table for name, (table, _) in FILES.items()}
    read, left_out = kept_reader(arguments)
    given = {name: read(getattr(arguments, name), t) for name, t in files.items()}
    evaluation = evaluated_requests(
        given.pop("predictions"), given["gains"], settings.get("routers")
    )
    found = cases(settings, evaluation, given)
    parents = [path for name in files for path in getattr(arguments, name)]
    notes = [*found.notes, *left_out]
    record = provenance.describe("cases", settings, [*parents, *arguments.flagged])
    record |= {"notes": notes}
    write_renderings(found.table, "cases", arguments.out, notes, settings.get("about"))
    tables.write(found.table, arguments.out, "cases", record)
