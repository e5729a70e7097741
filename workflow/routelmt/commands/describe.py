"""Make one table about the data (Parquet, with CSV, LaTeX and Markdown beside it)."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from routelmt.commands import add_out, add_settings


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    from routelmt.config import DATA_TABLES, ROLES

    parser.add_argument("--table", choices=DATA_TABLES, required=True)
    for role in ROLES:
        parser.add_argument(
            f"--{role}",
            type=Path,
            nargs="*",
            default=[],
            help=f"segments tables of the {role} sets",
        )
    parser.add_argument("--overlaps", type=Path, help="overlaps table; needed by contamination")
    add_settings(parser, "action (remove or count) for contamination, nothing for the datasheet")
    add_out(parser)


def run(arguments: argparse.Namespace) -> None:
    """Describe and write."""
    from routelmt import provenance, tables
    from routelmt.config import ROLES
    from routelmt.evaluate.render import write_renderings

    name, settings = arguments.table, arguments.settings
    parents = [file for role in ROLES for file in getattr(arguments, role)]
    if name == "contamination":
        table = contamination_of(arguments)
        parents.append(arguments.overlaps)
    else:
        from routelmt.data.describe import datasheet

        table = datasheet(**segments_of(arguments))
    record = provenance.describe("data_tables", settings, parents)
    write_renderings(table, name, arguments.out)
    tables.write(table, arguments.out, name, record)


def contamination_of(arguments: argparse.Namespace) -> Any:
    """The contamination table of the files named on the command line."""
    from routelmt import tables
    from routelmt.data.describe import contamination
    from routelmt.errors import UserError

    if arguments.overlaps is None:
        raise UserError(
            "--table contamination needs --overlaps FILE, which `routelmt overlaps` writes."
        )
    action = arguments.settings.get("action")
    if action not in ("remove", "count"):
        raise UserError(f"--settings: 'action' is {action!r}; allowed: remove, count.")
    overlaps = tables.read(arguments.overlaps, "overlaps")
    segments = segments_of(arguments, list(tables.JOIN_KEY))
    return contamination(**segments, overlaps=overlaps, action=action)


def segments_of(arguments: argparse.Namespace, columns: list[str] | None = None) -> dict[str, Any]:
    """The segments of each role, None for a role without files."""
    from routelmt import tables
    from routelmt.config import ROLES

    paths = {role: getattr(arguments, role) for role in ROLES}
    return {r: tables.read_all(p, "segments", columns) if p else None for r, p in paths.items()}
