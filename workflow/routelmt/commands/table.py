"""Make one table of an experiment, or of a sweep, from the files that it is about."""

import argparse
import sys
from pathlib import Path

from routelmt.commands import add_out, add_settings


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    from routelmt.evaluate.registry import INPUTS, SWEEP_TABLES, TABLES

    parser.add_argument("table", choices=[*TABLES, *SWEEP_TABLES], metavar="TABLE")
    for name, (_, about) in INPUTS.items():
        made_of = [table for table, kind in TABLES.items() if name in kind.reads]
        said = f"{about} (for {', '.join(made_of)})" if len(made_of) < 5 else about
        option = f"--{name.replace('_', '-')}"
        parser.add_argument(option, type=Path, nargs="*", default=[], metavar="FILE", help=said)
    add_settings(parser, "what shapes the table: budgets, bootstrap and so on")
    add_out(parser)


def run(arguments: argparse.Namespace) -> None:
    """Read, build and write."""
    from routelmt import provenance, tables
    from routelmt.errors import UserError
    from routelmt.evaluate import registry
    from routelmt.evaluate.given import Given, Made, cluster_notes
    from routelmt.evaluate.remarks import KEY, carried, gain_remarks

    name, settings = arguments.table, arguments.settings
    kind = (registry.TABLES | registry.SWEEP_TABLES)[name]
    for other in set(registry.INPUTS) - set(kind.reads):
        if getattr(arguments, other):
            raise UserError(f"--{other.replace('_', '-')}: table {name} is not made of these.")
    paths = {name: getattr(arguments, name) for name in kind.reads}
    given = Given(paths, settings.get("leave_out") or ())
    together = registry.subject(name)
    made = registry.builder(name)(settings, together(settings, given) if together else given)
    made = made if isinstance(made, Made) else Made(made)
    parents = [path for files in paths.values() for path in files]
    remarks = carried(path for name, files in paths.items() if name != "routers" for path in files)
    if paths.get("gains"):
        remarks += gain_remarks(given.read("gains"), settings.get("risk_edges"))
    notes = [*made.notes, *given.notes, *cluster_notes(made.table), *remarks]
    for note in notes:
        print(note, file=sys.stderr)
    record = provenance.describe("tables", settings, parents, kind.module)
    tables.write(made.table, arguments.out, name, record | {"notes": notes, KEY: remarks})
