"""Score the sampled translations of one model, a shard of them or all."""

import argparse
from pathlib import Path

from routelmt.commands import add_out, add_settings, add_shard, add_speed, score, speed


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("--segments", type=Path, required=True, help="segments table")
    parser.add_argument("--samples", type=Path, required=True, help="samples table")
    parser.add_argument("--metric", required=True, help="name in the config")
    for what in ("outputs", "scores"):
        parser.add_argument(
            f"--known-{what}",
            type=Path,
            nargs="*",
            default=[],
            help="hypotheses or samples of any model on these segments, and their scores in the "
            "same order; equal outputs get their scores",
        )
    add_settings(parser, "the metric of the config")
    add_shard(parser)
    add_speed(parser)
    add_out(parser)


def environment(arguments: argparse.Namespace) -> str:
    """The environment of the metric."""
    return score.environment(arguments)


def run(arguments: argparse.Namespace) -> None:
    """Score and write; finished blocks are kept until the table is whole."""
    from routelmt import provenance, tables
    from routelmt.blocks import Blocks
    from routelmt.errors import UserError
    from routelmt.score.hypotheses import BLOCK_ROWS
    from routelmt.score.registry import METRICS, command_files
    from routelmt.score.samples import score_samples
    from routelmt.score.scorers import open_scorer, target_language
    from routelmt.shards import rows_of, shard_of

    settings, metric = arguments.settings, METRICS[arguments.settings["type"]]
    if metric.precomputed or metric.composite:
        raise UserError(
            f"metric '{arguments.metric}': type {settings['type']} has scores of translations, "
            "none of samples. Leave out the routers that compare sampled translations, or choose a "
            "metric that is computed."
        )
    segments = shard_of(tables.read(arguments.segments, "segments"), arguments.shard)
    samples = rows_of(tables.read(arguments.samples, "samples"), segments)
    language = target_language(segments)
    scorer = open_scorer(metric.module, settings | {"language": language}, speed(arguments))
    parents = [arguments.segments, arguments.samples, *arguments.known_scores]
    parents += command_files(settings)
    record = provenance.describe("sample_scores", settings, parents, metric.module)
    record["signature"] = scorer.signature()
    known = score.known(
        arguments.known_outputs, arguments.known_scores, segments, record["signature"]
    )
    blocks, rows = Blocks(arguments.out, record), arguments.block_rows or BLOCK_ROWS
    scores = score_samples(scorer, segments, samples, arguments.metric, known, rows, blocks)
    tables.write(scores, arguments.out, "sample_scores", record)
    blocks.done()
