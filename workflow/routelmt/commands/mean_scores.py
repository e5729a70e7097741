"""Average the scores of several metrics into those of a metric of type `mean`."""

import argparse
from pathlib import Path

from routelmt.commands import add_out, add_settings


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("--scores", type=Path, nargs="+", required=True, help="of each part")
    parser.add_argument("--metric", required=True, help="name in the config")
    add_settings(parser, "the metric of the config")
    add_out(parser)


def run(arguments: argparse.Namespace) -> None:
    """Average and write."""
    from routelmt import provenance, tables
    from routelmt.score.mean_metric import mean_scores, signature
    from routelmt.score.registry import METRICS

    settings, kind = arguments.settings, METRICS[arguments.settings["type"]]
    parts = [tables.read(path, "scores") for path in arguments.scores]
    scores = mean_scores(parts, arguments.metric, settings)
    signatures = {
        part.column("metric")[0].as_py(): tables.record_of(path).get("signature")
        for part, path in zip(parts, arguments.scores, strict=True)
    }
    record = provenance.describe("scores", settings, arguments.scores, kind.module)
    record["signature"] = signature(settings, signatures)
    tables.write(scores, arguments.out, "scores", record)
