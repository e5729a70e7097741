"""Seconds that a model takes for a prompt's token and for a decoded one, loading left out."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from routelmt.errors import UserError
from routelmt.evaluate.selection import tie_keys
from routelmt.translate import requests
from routelmt.translate.engines import Engine, open_engine
from routelmt.translate.registry import ENGINES

PASSES = 3
WARM_UP = 8  # prompts before the clock starts


def time_model(
    segments: pa.Table,
    model: Mapping[str, Any],
    languages: Mapping[str, str],
    speed: Mapping[str, Any],
    rows: int,
) -> tuple[list[float], list[float]]:
    """Seconds a prompt token and seconds a decoded token, one of each for every pass.

    rows: distinct prompts of a pass, drawn by hash over all directions; every pass has its own. A
    prefill is timed by itself; decoding is what translating the same prompts takes beyond it.
    Raises UserError for a model that does not run here, or too few segments.
    """
    if not ENGINES[model["engine"]].weights:
        raise UserError(
            f"engine '{model['engine']}' does not run the model here: state its rates in the "
            "config (rates: {MODEL: {prefill_tokens_per_second, decode_tokens_per_second}})."
        )
    engine = open_engine(model, speed)
    prompts = requests.from_segments(_drawn(segments), engine, model, languages).prompts
    if len(prompts) < PASSES + WARM_UP:
        raise UserError(f"{len(prompts)} distinct prompts are too few to time a model on.")
    warm, rest = prompts[:WARM_UP], prompts[WARM_UP:]
    size = min(rows, len(rest) // PASSES)
    _time(engine, warm)
    passes = [_time(engine, rest[i * size : (i + 1) * size]) for i in range(PASSES)]
    return [p[0] for p in passes], [p[1] for p in passes]


def _drawn(segments: pa.Table) -> pa.Table:
    order = np.argsort(tie_keys(segments.column("segment_id").to_pylist()), kind="stable")
    return segments.take(pa.array(order))


def _time(engine: Engine, prompts: Sequence[Any]) -> tuple[float, float]:
    read = sum(map(len, prompts))
    began = time.perf_counter()
    for _ in engine.prefill(prompts):
        pass
    prefill = time.perf_counter() - began
    began = time.perf_counter()
    decoded = sum(output.output_tokens for _, output in engine.translate(prompts))
    translating = time.perf_counter() - began
    return prefill / read, max(translating - prefill, 0.0) / max(decoded, 1)
