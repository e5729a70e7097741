"""Draw several translations of each segment from one model, for a shard of them or all."""

import argparse

from routelmt.commands import local_files, speed, split_languages, translate


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options: those of `translate`, with `samples` in the model's settings."""
    translate.configure(parser)


def environment(arguments: argparse.Namespace) -> str:
    """The environment of the model's engine."""
    return translate.environment(arguments)


def run(arguments: argparse.Namespace) -> None:
    """Sample and write; finished blocks are kept until the table is whole."""
    from routelmt import provenance, tables
    from routelmt.blocks import Blocks
    from routelmt.shards import shard_of
    from routelmt.translate.registry import ENGINES
    from routelmt.translate.samples import sample_segments
    from routelmt.translate.usage import usage

    model, languages = split_languages(arguments.settings)
    segments = shard_of(tables.read(arguments.segments, "segments"), arguments.shard)
    parents = [arguments.segments, *local_files(model)]
    module = ENGINES[model["engine"]].module
    record = provenance.describe("samples", arguments.settings, parents, module)
    blocks = Blocks(arguments.out, record)
    endpoint = translate.endpoint(arguments)
    samples = sample_segments(
        segments, arguments.model, model | endpoint, languages, speed(arguments), blocks
    )
    record["usage"] = usage(segments, samples, endpoint["price"])
    tables.write(samples, arguments.out, "samples", record)
    blocks.done()
