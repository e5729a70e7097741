"""Stage `signals`: what one prefill of the small model says before anything is decoded."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from routelmt import tables
from routelmt.progress import progress
from routelmt.states import StatesWriter
from routelmt.translate import requests
from routelmt.translate.engines import Prefill, open_engine
from routelmt.translate.layer_states import LayerStates

STATES_ENGINE = "transformers"


def prefill_signals(
    segments: pa.Table,
    model_name: str,
    model: Mapping[str, Any],
    languages: Mapping[str, str],
    speed: Mapping[str, Any],
    states_out: Path | None = None,
    provenance: Mapping[str, Any] | None = None,
) -> pa.Table:
    """Table `signals`, one row a segment in the segments' order.

    Of the next-token distribution after the prompt: entropy (nats, whole vocabulary), margin
    p1 - p2, the largest logit; and the final hidden state (after the final norm, fp16) at the last
    prompt token (RouteLMT section 4, appendix A). Segments with the same direction and source
    share one forward pass.

    states_out: where the states of every layer go, from the same pass, with `provenance` as their
    record; see `routelmt.states`. Only the transformers engine has them, so it runs the model then.
    A prompt that is too long to be translated loses the end of its text, as adapters cut it;
    prompt_tokens counts all of it. Raises UserError if the model cannot be loaded.
    """
    engine = open_engine({**model, "engine": STATES_ENGINE} if states_out else model, speed)
    asked = requests.from_segments(segments, engine, model, languages)
    long, about = requests.too_long(segments, asked, engine.context, model)
    if about:
        print(f"read without the end of their text: {about}", file=sys.stderr)
    sent = requests.shortened(asked, long, segments, engine, model, languages)
    if states_out is None:
        found = _collect(engine.prefill(sent), len(sent))
    else:
        with StatesWriter(states_out, segments, asked.of_segment, len(sent)) as writer:
            passes = _kept(engine.prefill_layers(sent), writer.put)  # type: ignore[attr-defined]
            found = _collect(passes, len(sent))
            writer.finish(provenance or {})
    index = asked.of_segment
    return tables.from_columns(
        "signals",
        {
            **{name: segments.column(name) for name in tables.JOIN_KEY},
            "model": model_name,
            "prompt_tokens": asked.lengths,
            "entropy": found.entropy[index],
            "margin": found.margin[index],
            "max_logit": found.max_logit[index],
            "state": _lists(found.states[index]),
        },
    )


def _kept(
    passes: Iterator[tuple[Prefill, LayerStates]], put: Callable[[Any, Any, Any], None]
) -> Iterator[Prefill]:
    """The signals of each pass; the states go to `put`."""
    for batch, states in passes:
        put(batch.rows, states.last, states.mean)
        yield batch


def _collect(passes: Iterator[Prefill], prompts: int) -> Prefill:
    """The engine's batches as one, in the order of the prompts."""
    batches = []
    with progress((), "prefill", "rows", prompts) as bar:
        for batch in passes:
            batches.append(batch)
            bar.update(len(batch.rows))
    order = np.argsort(np.concatenate([b.rows for b in batches]))
    names = ("rows", "entropy", "margin", "max_logit", "states")
    return Prefill(*(np.concatenate([getattr(b, n) for b in batches])[order] for n in names))


def _lists(states: npt.NDArray[np.float16]) -> pa.Array:
    """States (rows, hidden) as an Arrow list column."""
    rows, hidden = states.shape
    offsets = np.arange(0, (rows + 1) * hidden, hidden, dtype=np.int32)
    return pa.ListArray.from_arrays(offsets, pa.array(states.reshape(-1)))
