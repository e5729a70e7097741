"""List the requests that have a translation a reader must know of."""

import argparse
from pathlib import Path

from routelmt.commands import add_out


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument(
        "--hypotheses", type=Path, nargs="+", required=True, help="of both models on every set"
    )
    parser.add_argument("--scores", type=Path, nargs="+", required=True, help="of the same")
    parser.add_argument(
        "--leave-out", nargs="*", default=[], help="flags that training and evaluation leave out"
    )
    add_out(parser)


def run(arguments: argparse.Namespace) -> None:
    """List and write."""
    from routelmt import provenance, tables
    from routelmt.evaluate import flags

    hypotheses = tables.read_all(arguments.hypotheses, "hypotheses", flags.HYPOTHESIS_COLUMNS)
    scores = tables.read_all(arguments.scores, "scores", flags.SCORE_COLUMNS)
    parents = [*arguments.hypotheses, *arguments.scores]
    record = provenance.describe("flags", {"leave_out": arguments.leave_out}, parents)
    tables.write(flags.flagged_requests(hypotheses, scores), arguments.out, "flagged", record)
