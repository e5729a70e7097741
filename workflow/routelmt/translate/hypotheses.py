"""Stage `hypotheses`: one model's translation of every segment."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pyarrow as pa

from routelmt import tables
from routelmt.progress import progress
from routelmt.translate import requests
from routelmt.translate.degenerate import is_degenerate
from routelmt.translate.engines import Decoded, open_engine


def translate_segments(
    segments: pa.Table,
    model_name: str,
    model: Mapping[str, Any],
    languages: Mapping[str, str],
    speed: Mapping[str, Any],
) -> pa.Table:
    """Table `hypotheses`, one row a segment in the segments' order.

    Segments with the same direction and source are decoded once and share the result. Blank
    sources are translated like any other and flagged as degenerate. mean_logprob is the mean
    log-probability (nats) of the decoded tokens, end of sequence included, under the model's own
    distribution: of the greedy choices, or of the best hypothesis of the beam search.

    Raises UserError if the model cannot be loaded or a prompt is too long.
    """
    engine = open_engine(model, speed)
    asked = requests.from_segments(segments, engine, model, languages)
    found: dict[int, Decoded] = dict(
        progress(engine.translate(asked.prompts), "translating", "rows", len(asked.prompts))
    )
    outputs = [found[int(i)] for i in asked.of_segment]
    sources = segments.column("source").to_pylist()
    return tables.from_columns(
        "hypotheses",
        {
            **{name: segments.column(name) for name in tables.JOIN_KEY},
            "model": model_name,
            "hypothesis": [o.text for o in outputs],
            "prompt_tokens": asked.lengths,
            "output_tokens": [o.output_tokens for o in outputs],
            "finish_reason": [o.finish_reason for o in outputs],
            "mean_logprob": [o.mean_logprob for o in outputs],
            "degenerate": [
                is_degenerate(s, o.text, o.finish_reason)
                for s, o in zip(sources, outputs, strict=True)
            ],
        },
    )
