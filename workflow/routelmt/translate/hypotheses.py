"""Stage `hypotheses`: one model's translation of every segment."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Mapping
from dataclasses import fields
from functools import partial
from typing import Any

import pyarrow as pa

from routelmt import tables
from routelmt.blocks import Blocks, Columns
from routelmt.translate import chatter, prompts, requests
from routelmt.translate.degenerate import is_degenerate
from routelmt.translate.engines import Decoded, open_engine

# Prompts decoded between two moments at which a killed job can go on.
BLOCK_ROWS = 2048
TOO_LONG = Decoded("", 0, "too_long", math.nan)


def translate_segments(
    segments: pa.Table,
    model_name: str,
    model: Mapping[str, Any],
    languages: Mapping[str, str],
    speed: Mapping[str, Any],
    blocks: Blocks | None = None,
) -> pa.Table:
    """Table `hypotheses`, one row a segment in the segments' order.

    Segments with the same direction and source are decoded once and share the result. Blank
    sources are translated like any other and flagged as degenerate. mean_logprob is the mean
    log-probability (nats) of the decoded tokens, end of sequence included, under the model's own
    distribution: of the greedy choices, or of the best hypothesis of the beam search.

    blocks: where finished blocks of `block_rows` prompts (in `speed`) are kept and found again.
    A prompt that is too long for the model stays a row: blank, finish_reason too_long, degenerate.

    Closed reasoning before a translation is taken off, see `chatter`.

    Raises UserError if the model cannot be loaded, or all its answers are blank.
    """
    blocks = blocks or Blocks()
    around = partial(prompts.around, model["prompt"], languages)
    engine = open_engine(model, {**speed, "kept": blocks.folder})
    asked = requests.from_segments(segments, engine, model, languages)
    long, about = requests.too_long(segments, asked, engine.context, model)
    if about:
        print(f"left blank, never cut: {about}", file=sys.stderr)
    sent = [p for p, is_long in zip(asked.prompts, long, strict=True) if not is_long]

    def work(part: list[int], report: Callable[[int], object]) -> Columns:
        decoded: list[Any] = [None] * len(part)
        for row, output in engine.translate([sent[i] for i in part]):
            decoded[row] = output
            report(1)
        return {f.name: [getattr(d, f.name) for d in decoded] for f in fields(Decoded)}

    rows = speed.get("block_rows") or BLOCK_ROWS
    columns = blocks.compute(sent, [len(p) for p in sent], rows, work)
    decoded = (Decoded(*values) for values in zip(*columns.values(), strict=True))
    found = [TOO_LONG if is_long else next(decoded) for is_long in long]
    sources, directions = (segments.column(c).to_pylist() for c in ("source", "direction"))
    raw = [found[int(i)] for i in asked.of_segment]
    outputs = [chatter.cleaned(s, o) for s, o in zip(sources, raw, strict=True)]
    chatter.tell(model_name, sources, raw, outputs)
    chatter.refuse_blank(model_name, sources, outputs, str(blocks.folder))
    return tables.from_columns(
        "hypotheses",
        {
            **{name: segments.column(name) for name in tables.JOIN_KEY},
            "model": model_name,
            "hypothesis": [o.text for o in outputs],
            "prompt_tokens": [
                int(n) if o.prompt_tokens is None else o.prompt_tokens
                for n, o in zip(asked.lengths, outputs, strict=True)
            ],
            "output_tokens": [o.output_tokens for o in outputs],
            "finish_reason": [o.finish_reason for o in outputs],
            "mean_logprob": [o.mean_logprob for o in outputs],
            "degenerate": [
                is_degenerate(s, o.text, d, o.finish_reason, around(d))
                for s, d, o in zip(sources, directions, outputs, strict=True)
            ],
        },
    )
