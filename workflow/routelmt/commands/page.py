"""Make the page of an experiment: one HTML file that needs no network, from tables."""

import argparse
from pathlib import Path

from routelmt.commands import add_out, add_settings


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument(
        "--tables",
        type=Path,
        nargs="+",
        required=True,
        help="tables of the experiment; routers and pareto are needed, others get a section each",
    )
    add_settings(parser, "experiment, metric, small, large, languages, palette, curves")
    add_out(parser)


def run(arguments: argparse.Namespace) -> None:
    """Put the page together and write it."""
    from routelmt import tables
    from routelmt.page.build import page
    from routelmt.page.sources import read_sources

    text = page(read_sources(arguments.tables), arguments.settings)
    with tables.atomic_path(arguments.out) as temporary:
        temporary.write_text(text, encoding="utf-8")
