"""Count translations that a reader must know of, and list the requests that have one."""

import argparse
import sys
from pathlib import Path

from routelmt.commands import add_out, add_settings


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument(
        "--hypotheses", type=Path, nargs="+", required=True, help="of both models on every set"
    )
    parser.add_argument("--scores", type=Path, nargs="+", required=True, help="of the same")
    parser.add_argument("--flagged", type=Path, required=True, help="output: the flagged requests")
    add_settings(parser, "leave_out: flags whose requests are not evaluated")
    add_out(parser)


def run(arguments: argparse.Namespace) -> None:
    """Count, list and write."""
    from routelmt import provenance, tables
    from routelmt.evaluate import flags
    from routelmt.evaluate.render import write_renderings

    hypotheses = tables.read_all(arguments.hypotheses, "hypotheses", flags.HYPOTHESIS_COLUMNS)
    scores = tables.read_all(arguments.scores, "scores", flags.SCORE_COLUMNS)
    flagged = flags.flagged_requests(hypotheses, scores)
    counts = flags.flag_counts(hypotheses, scores, arguments.settings["leave_out"])
    parents = [*arguments.hypotheses, *arguments.scores]
    record = provenance.describe("flags", arguments.settings, parents)
    tables.write(flagged, arguments.flagged, "flagged", record)
    write_renderings(counts, "flags", arguments.out)
    tables.write(counts, arguments.out, "flags", record)
    for row in counts.to_pylist():
        print(
            "{model}, {dataset}, {direction}: of {requests:,} translations {truncated:,} "
            "truncated, {degenerate:,} degenerate ({length:,} by length); requests left out: "
            "{left_out:,}".format(**row),
            file=sys.stderr,
        )
