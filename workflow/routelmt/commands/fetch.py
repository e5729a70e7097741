"""Download the pinned files of a source into a folder, checked against their SHA-256."""

import argparse

from routelmt.commands import add_out, json_object
from routelmt.config import load_sources
from routelmt.errors import UserError


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("--source", required=True, help="entry of data/sources.yaml")
    parser.add_argument(
        "--settings", type=json_object, help="the entry as JSON; by default it is looked up"
    )
    add_out(parser)


def run(arguments: argparse.Namespace) -> None:
    """Fetch."""
    from routelmt.data.fetch import fetch

    sources = load_sources()
    if arguments.source not in sources:
        raise UserError(f"no source '{arguments.source}'; there are: {', '.join(sources)}.")
    settings = arguments.settings or sources[arguments.source]
    fetch(arguments.source, settings, arguments.out)
