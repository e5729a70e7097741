"""Score hypotheses against references."""

import argparse
from pathlib import Path

from routelmt.commands import add_out, add_settings


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("--segments", type=Path, required=True, help="segments table")
    parser.add_argument("--hypotheses", type=Path, required=True, help="hypotheses table")
    parser.add_argument("--metric", required=True, help="name in the config")
    add_settings(parser, "the metric of the config")
    add_out(parser)


def run(arguments: argparse.Namespace) -> None:
    """Score and write."""
    from routelmt import provenance, tables
    from routelmt.score.hypotheses import score_hypotheses
    from routelmt.score.registry import METRICS

    scorer = METRICS[arguments.settings["type"]]
    scores = score_hypotheses(
        scorer,
        tables.read(arguments.segments, "segments"),
        tables.read(arguments.hypotheses, "hypotheses"),
        arguments.metric,
        arguments.settings,
    )
    parents = [arguments.segments, arguments.hypotheses]
    record = provenance.describe("scores", arguments.settings, parents, scorer)
    tables.write(scores, arguments.out, "scores", record)
