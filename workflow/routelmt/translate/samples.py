"""Stage `samples`: several translations of every segment, drawn from one model's distribution."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Mapping
from dataclasses import fields
from typing import Any

import pyarrow as pa

from routelmt import tables
from routelmt.blocks import Blocks, Columns
from routelmt.errors import UserError
from routelmt.translate import chatter, requests
from routelmt.translate.engines import Decoded, open_engine
from routelmt.translate.registry import ENGINES

# Samples decoded between two moments at which a killed job can go on.
BLOCK_ROWS = 2048
TOO_LONG = Decoded("", 0, "too_long", math.nan)


def sample_segments(
    segments: pa.Table,
    model_name: str,
    model: Mapping[str, Any],
    languages: Mapping[str, str],
    speed: Mapping[str, Any],
    blocks: Blocks | None = None,
) -> pa.Table:
    """Table `samples`: `count` rows a segment, by segment in their order, then by sample.

    model["samples"]: count, temperature and seed. Tokens are drawn from softmax(logits /
    temperature), whatever the model's `beams`; mean_logprob is under the model's own distribution,
    that of temperature 1. Segments with the same direction and source share their samples. What is
    drawn for a prompt depends on the seed and the prompt alone, not on the rows beside it.

    blocks: where finished blocks are kept and found again; `block_rows` (in `speed`) are samples.
    Samples of a prompt that is too long for the model are blank, finish_reason too_long.

    Closed reasoning before a translation is taken off, see `chatter`.

    Raises UserError if the model cannot be loaded or does not decode, or all samples are blank.
    """
    count, temperature, seed = _settings(model_name, model)
    blocks = blocks or Blocks()
    engine = open_engine(model, {**speed, "kept": blocks.folder})
    asked = requests.from_segments(segments, engine, model, languages)
    long, about = requests.too_long(segments, asked, engine.context, model)
    if about:
        print(f"left blank, never cut: {about}", file=sys.stderr)
    prompts = [p for p, is_long in zip(asked.prompts, long, strict=True) if not is_long]

    def work(part: list[int], report: Callable[[int], object]) -> Columns:
        decoded: list[list[Any]] = [[None] * count for _ in part]
        left = [count] * len(part)
        for row, sample, output in engine.sample(
            [prompts[i] for i in part], count, temperature, seed
        ):
            decoded[row][sample] = output
            left[row] -= 1
            report(int(not left[row]))
        return {f.name: [[getattr(d, f.name) for d in row] for row in decoded] for f in _FIELDS}

    rows = max(1, (speed.get("block_rows") or BLOCK_ROWS) // count)
    columns = blocks.compute(prompts, [len(p) for p in prompts], rows, work)
    by_prompt = zip(*columns.values(), strict=True)
    decoded = ([Decoded(*v) for v in zip(*row, strict=True)] for row in by_prompt)
    found = [[TOO_LONG] * count if is_long else next(decoded) for is_long in long]
    raw = [output for i in asked.of_segment for output in found[int(i)]]
    sources = [s for s in segments.column("source").to_pylist() for _ in range(count)]
    outputs = [chatter.cleaned(s, o) for s, o in zip(sources, raw, strict=True)]
    chatter.tell(model_name, sources, raw, outputs)
    chatter.refuse_blank(model_name, sources, outputs, str(blocks.folder))
    lengths = asked.lengths.repeat(count)
    keys = segments.select(tables.JOIN_KEY).take(
        pa.array([i for i in range(segments.num_rows) for _ in range(count)], pa.int64())
    )
    return tables.from_columns(
        "samples",
        {
            **{name: keys.column(name) for name in tables.JOIN_KEY},
            "sample": [sample for _ in range(segments.num_rows) for sample in range(count)],
            "model": model_name,
            "hypothesis": [o.text for o in outputs],
            "prompt_tokens": [
                int(n) if o.prompt_tokens is None else o.prompt_tokens
                for n, o in zip(lengths, outputs, strict=True)
            ],
            "output_tokens": [o.output_tokens for o in outputs],
            "finish_reason": [o.finish_reason for o in outputs],
            "mean_logprob": [o.mean_logprob for o in outputs],
        },
    )


_FIELDS = fields(Decoded)


def _settings(name: str, model: Mapping[str, Any]) -> tuple[int, float, int]:
    """(count, temperature, seed) of the samples; UserError if there cannot be any."""
    if ENGINES[model["engine"]].precomputed:
        raise UserError(
            f"model '{name}': engine {model['engine']} has translations but draws no samples. "
            "Choose another 'engine', or leave out 'samples' and the routers that need them."
        )
    settings = model.get("samples")
    if not settings:
        raise UserError(
            f"model '{name}' has no 'samples': say how many to draw, for example "
            "{count: 5, temperature: 0.7, seed: 0}."
        )
    count, temperature = settings["count"], settings.get("temperature", 0.7)
    if count < 1 or not temperature > 0:
        raise UserError(
            f"samples of model '{name}': count {count} and temperature {temperature}; both must be "
            "above 0 (at temperature 0 all samples are the greedy translation)."
        )
    return count, temperature, settings.get("seed", 0)
