"""Score the hypotheses of one model, a shard of them or all."""

import argparse
import importlib
from pathlib import Path
from typing import Any

from routelmt.commands import add_out, add_settings, add_shard, add_speed, speed
from routelmt.errors import UserError
from routelmt.score.registry import METRICS, command_files


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("--segments", type=Path, required=True, help="segments table")
    parser.add_argument("--hypotheses", type=Path, required=True, help="hypotheses table")
    parser.add_argument("--metric", required=True, help="name in the config")
    for what in ("hypotheses", "scores"):
        parser.add_argument(
            f"--known-{what}",
            type=Path,
            nargs="*",
            default=[],
            help=f"{what} of other models on these segments; equal outputs get their scores",
        )
    add_settings(parser, "the metric of the config")
    add_shard(parser)
    add_speed(parser)
    add_out(parser)


def environment(arguments: argparse.Namespace) -> str:
    """The environment of the metric."""
    return METRICS[arguments.settings["type"]].environment


def run(arguments: argparse.Namespace) -> None:
    """Score and write; finished blocks are kept until the table is whole."""
    from routelmt import provenance, tables
    from routelmt.blocks import Blocks
    from routelmt.data import published
    from routelmt.data.complaints import say
    from routelmt.data.segments import leaves_out
    from routelmt.evaluate.remarks import KEY, negated_twice
    from routelmt.score.hypotheses import BLOCK_ROWS, score_hypotheses
    from routelmt.score.scorers import open_scorer, target_language
    from routelmt.shards import rows_of, shard_of

    settings, metric = arguments.settings, METRICS[arguments.settings["type"]]
    segments = tables.read(arguments.segments, "segments")
    hypotheses = tables.read(arguments.hypotheses, "hypotheses")
    segments, whole = shard_of(segments, arguments.shard), hypotheses
    hypotheses = rows_of(whole, segments)
    parents = [arguments.segments, arguments.hypotheses, *arguments.known_scores]
    parents += command_files(settings)
    if metric.precomputed:
        direction = whole.column("direction")[0].as_py()
        if reader := published.reader_of(settings):
            settings = settings | {"system": system_of(arguments.hypotheses)}
        parents.append(published.file_of("score", settings, direction))
        record = provenance.describe("scores", settings, parents, reader or metric.module)
        # The file has all scores, and none of them may be without its hypothesis.
        spare = leaves_out(tables.record_of(arguments.segments)["settings"])
        read = importlib.import_module(metric.module).scores(
            whole, arguments.metric, settings, spare
        )
        record[KEY] = negated_twice(read, settings) + published.remarks(settings, direction)
        for remark in record[KEY]:
            say(remark)
        tables.write(rows_of(read, hypotheses), arguments.out, "scores", record)
        return
    language = target_language(segments)
    scorer = open_scorer(metric.module, settings | {"language": language}, speed(arguments))
    record = provenance.describe("scores", settings, parents, metric.module)
    record["signature"] = scorer.signature()
    have = known(arguments.known_hypotheses, arguments.known_scores, segments, record["signature"])
    blocks = Blocks(arguments.out, record)
    rows = arguments.block_rows or BLOCK_ROWS
    scores = score_hypotheses(scorer, segments, hypotheses, arguments.metric, have, rows, blocks)
    tables.write(scores, arguments.out, "scores", record)
    blocks.done()


def system_of(hypotheses: Path) -> str:
    """Which of a source's systems a table of translations is of.

    Raises UserError if they are of another model: a source has no scores of it.
    """
    from routelmt import tables

    settings = tables.record_of(hypotheses)["settings"]
    if "system" not in settings:
        raise UserError(
            f"{hypotheses}: its model is none of a source's systems (engine published), so a "
            "metric of type published has no scores of it. Choose another metric."
        )
    return str(settings["system"])


def known(outputs: list[Path], scores: list[Path], segments: Any, signature: Any) -> Any:
    """Scores of other tables' triples on these segments, where they mean the same.

    outputs: hypotheses or samples tables; scores: those of each.
    """
    from routelmt import tables
    from routelmt.score.samples import known_of
    from routelmt.shards import rows_of

    found: dict[Any, Any] = {}
    for said, scored in zip(outputs, scores, strict=True):
        record = tables.record_of(scored)
        if record.get("signature") == signature:
            kind = tables.record_of(said)["table"]
            found |= known_of(
                segments,
                rows_of(tables.read(said, kind), segments),
                rows_of(tables.read(scored, record["table"]), segments),
            )
    return found
