"""Draw one figure (PDF, with a PNG beside it) from tables."""

import argparse
import importlib
from pathlib import Path

from routelmt.commands import add_out, add_settings


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    from routelmt.figures.registry import FIGURES

    parser.add_argument("--figure", choices=list(FIGURES), required=True)
    parser.add_argument("--tables", type=Path, nargs="+", required=True, help="evaluation tables")
    add_settings(parser, "the figures' style")
    add_out(parser)


def run(arguments: argparse.Namespace) -> None:
    """Draw and write."""
    from routelmt import tables
    from routelmt.figures.registry import FIGURES
    from routelmt.figures.style import save

    read = {path.stem: tables.read(path, path.stem) for path in arguments.tables}
    style = arguments.settings
    figure = importlib.import_module(FIGURES[arguments.figure].module).draw(read, style)
    save(figure, arguments.out, arguments.out.with_suffix(".png"), style["dpi"])
