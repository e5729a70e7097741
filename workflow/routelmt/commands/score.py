"""Score hypotheses against references."""

import argparse
import importlib
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

    settings, metric = arguments.settings, METRICS[arguments.settings["type"]]
    segments = tables.read(arguments.segments, "segments")
    hypotheses = tables.read(arguments.hypotheses, "hypotheses")
    parents = [arguments.segments, arguments.hypotheses]
    if metric.precomputed:
        module = importlib.import_module(metric.module)
        scores = module.scores(hypotheses, arguments.metric, settings)
        parents.append(Path(settings["path"]))
    else:
        scores = score_hypotheses(metric.module, segments, hypotheses, arguments.metric, settings)
    record = provenance.describe("scores", settings, parents, metric.module)
    tables.write(scores, arguments.out, "scores", record)
