"""Read the gettext catalogs of wheels: clean, drop duplicates, split by normalised text."""

import argparse
from pathlib import Path

from routelmt.commands import add_out, add_settings


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("--wheels", type=Path, required=True, help="folder of the wheels")
    add_settings(parser, "the corpus of the config, with the files of its source")
    add_out(parser)


def run(arguments: argparse.Namespace) -> None:
    """Read, check the files first, write the corpus table."""
    from routelmt import provenance, tables
    from routelmt.data.catalogs import Splits, extract
    from routelmt.data.fetch import check_file

    settings = arguments.settings
    for file in settings["files"]:
        check_file(arguments.wheels / file["file"], file)
    splits = Splits(
        settings["shares"], settings["min_words"], settings["max_chars"], settings["salt"]
    )
    columns = extract(arguments.wheels, settings["files"], splits, settings["limits"])
    record = provenance.describe(
        "catalogs", settings, [arguments.wheels / f["file"] for f in settings["files"]]
    )
    tables.write(tables.from_columns("corpus", columns), arguments.out, "corpus", record)
