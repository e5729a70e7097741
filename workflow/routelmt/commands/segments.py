"""Read one dataset and direction into the segments table."""

import argparse
from pathlib import Path

from routelmt.commands import add_out, add_settings


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("--origin", type=Path, required=True, help="corpus table or fetched folder")
    parser.add_argument("--dataset", required=True, help="name in the config")
    parser.add_argument("--direction", required=True, help="source-target, e.g. en-zh")
    add_settings(parser, "the dataset of the config")
    add_out(parser)


def run(arguments: argparse.Namespace) -> None:
    """Read and write."""
    from routelmt import provenance, tables
    from routelmt.data.complaints import say
    from routelmt.data.registry import READERS
    from routelmt.data.segments import read_segments
    from routelmt.evaluate.remarks import KEY, shared_sources

    settings = arguments.settings
    reader = READERS[settings["source"]].module
    segments = read_segments(
        reader, arguments.origin, settings, arguments.dataset, arguments.direction
    )
    scored = dict.fromkeys(spec["path"] for spec in settings.get("scored", {}).values())
    record = provenance.describe("segments", settings, [arguments.origin, *scored], reader)
    remarks = shared_sources(segments) if READERS[settings["source"]].origin == "file" else []
    for remark in remarks:
        say(remark)
    tables.write(segments, arguments.out, "segments", record | {KEY: remarks})
