"""Make one table about the data (Parquet, with CSV, LaTeX and Markdown beside it)."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from routelmt.commands import add_out, add_roles, add_settings, read_roles, role_files


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    from routelmt.config import DATA_TABLES

    parser.add_argument("--table", choices=DATA_TABLES, required=True)
    add_roles(parser)
    parser.add_argument("--overlaps", type=Path, help="overlaps table; needed by contamination")
    add_settings(parser, "action (remove or count) for contamination, nothing for the datasheet")
    add_out(parser)


def run(arguments: argparse.Namespace) -> None:
    """Describe and write."""
    from routelmt import provenance, tables
    from routelmt.evaluate.render import write_renderings

    name, settings = arguments.table, arguments.settings
    parents = role_files(arguments)
    if name == "contamination":
        table = contamination_of(arguments)
        parents.append(arguments.overlaps)
    else:
        from routelmt.data.describe import datasheet

        table = datasheet(**read_roles(arguments))
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
    segments = read_roles(arguments, list(tables.JOIN_KEY))
    return contamination(**segments, overlaps=overlaps, action=action)
