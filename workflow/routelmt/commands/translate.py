"""Translate segments with one model, a shard of them or all."""

import argparse
import importlib
from pathlib import Path
from typing import Any

from routelmt.commands import (
    add_out,
    add_settings,
    add_shard,
    add_speed,
    local_files,
    speed,
    split_languages,
)
from routelmt.translate.registry import ENGINES


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("--segments", type=Path, required=True, help="segments table")
    parser.add_argument("--model", required=True, help="name in the config")
    add_settings(parser, "the model of the config, with the languages' names")
    add_shard(parser)
    add_speed(parser)
    # Of an endpoint: neither changes what it answers.
    parser.add_argument("--api-key-variable", default="OPENAI_API_KEY", help="holds the key")
    parser.add_argument(
        "--price", type=_price, default=[0.0, 0.0], metavar="IN,OUT", help="of a million tokens"
    )
    add_out(parser)


def _price(text: str) -> list[float]:
    """argparse type: [input, output]."""
    price_in, price_out = map(float, text.split(","))
    return [price_in, price_out]


def endpoint(arguments: argparse.Namespace) -> dict[str, Any]:
    """What the openai engine has to know beside the model: the key's variable, and the price."""
    return {"api_key_variable": arguments.api_key_variable, "price": arguments.price}


def environment(arguments: argparse.Namespace) -> str:
    """The environment of the model's engine."""
    return ENGINES[arguments.settings["engine"]].environment


def run(arguments: argparse.Namespace) -> None:
    """Translate and write; finished blocks are kept until the table is whole."""
    from routelmt import provenance, tables
    from routelmt.blocks import Blocks
    from routelmt.data.published import file_of, reader_of
    from routelmt.data.segments import leaves_out
    from routelmt.shards import rows_of, shard_of
    from routelmt.translate.hypotheses import translate_segments
    from routelmt.translate.usage import usage

    model, languages = split_languages(arguments.settings)
    name, engine = arguments.model, ENGINES[model["engine"]]
    whole = tables.read(arguments.segments, "segments")
    segments = shard_of(whole, arguments.shard)
    if reader := reader_of(model):
        file = file_of("text", model, whole.column("direction")[0].as_py())
        parents = [arguments.segments, *([file] if file.is_file() else [])]
    else:
        parents = [arguments.segments, *local_files(model)]
    module = reader or engine.module
    record = provenance.describe("hypotheses", arguments.settings, parents, module)
    blocks = Blocks(arguments.out, record)
    if engine.precomputed:
        # The file has all segments' translations, and none of them may be without its segment.
        spare = leaves_out(tables.record_of(arguments.segments)["settings"])
        read = importlib.import_module(engine.module).hypotheses(whole, name, model, spare)
        hypotheses = rows_of(read, segments)
    else:
        model |= endpoint(arguments)
        hypotheses = translate_segments(segments, name, model, languages, speed(arguments), blocks)
        record["usage"] = usage(segments, hypotheses, model["price"])
    tables.write(hypotheses, arguments.out, "hypotheses", record)
    blocks.done()
