"""Stage `hypotheses`: one model's translation of every segment."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import pyarrow as pa

from routelmt import tables
from routelmt.progress import progress
from routelmt.translate import requests
from routelmt.translate.engines import Decoded, open_engine

# A piece of 1 to 32 characters (a loop over up to about eight tokens) at least four times in a row.
REPEATED = re.compile(r"(.{1,32}?)\1{3,}", re.DOTALL)
MIN_REPEATED = 12  # characters; "hahahaha" and "......" are legitimate


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


def is_degenerate(source: str, hypothesis: str, finish_reason: str) -> bool:
    """Whether source or hypothesis is blank, the output was cut off, or one piece is repeated.

    A repetition that the source has too is no fault of the model.
    """
    if not source.strip() or not hypothesis.strip() or finish_reason == "length":
        return True
    return is_repetitive(hypothesis) and not is_repetitive(source)


def is_repetitive(text: str) -> bool:
    """Whether one piece, repeated without a break, makes up more than half of the text.

    The piece has 1 to 32 characters and stands at least four times in a row; the whole run has at
    least 12 characters. White space around the text does not count.
    """
    text = text.strip()
    longest = max((len(run.group()) for run in REPEATED.finditer(text)), default=0)
    return longest >= MIN_REPEATED and 2 * longest > len(text)
