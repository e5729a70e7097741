"""Draw one figure (PDF, with a PNG beside it) from tables."""

import argparse
import importlib
from pathlib import Path

from routelmt.commands import add_out, add_settings


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    from routelmt.figures.registry import FIGURES, SWEEP_FIGURES

    parser.add_argument("--figure", choices=[*FIGURES, *SWEEP_FIGURES], required=True)
    parser.add_argument("--tables", type=Path, nargs="+", required=True, help="evaluation tables")
    add_settings(parser, "the figures' style")
    add_out(parser)


def run(arguments: argparse.Namespace) -> None:
    """Draw and write."""
    from routelmt import tables
    from routelmt.errors import UserError
    from routelmt.figures.registry import FIGURES, SWEEP_FIGURES
    from routelmt.figures.style import save

    kind = (FIGURES | SWEEP_FIGURES)[arguments.figure]
    # A sweep's table is in a file of the sweep's name: go by what the files hold.
    files = {tables.record_of(path)["table"]: path for path in arguments.tables}
    if set(files) != set(kind.tables):
        raise UserError(
            f"figure '{arguments.figure}' is drawn from {', '.join(kind.tables)}; --tables gives "
            f"{', '.join(files)}."
        )
    read = {name: tables.read(path, name) for name, path in files.items()}
    style = arguments.settings
    figure = importlib.import_module(kind.module).draw(read, style)
    save(figure, arguments.out, arguments.out.with_suffix(".png"), style["dpi"])
