"""Seconds that a model takes for a prompt's token and for a decoded one, loading left out.

The ledger of costs charges a prompt's tokens where a model only reads (signals, a router's own
pass, the prefill that a routed request wastes) and where it translates. So reading is timed as it
is done for signals, by one forward pass over full batches, and decoding is all that translating
takes beyond it: the two add up to what translations take.
"""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable, Mapping, Sequence
from multiprocessing.connection import Connection
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from routelmt.errors import UserError
from routelmt.join import tie_keys
from routelmt.translate import requests
from routelmt.translate.engines import Engine, open_engine
from routelmt.translate.registry import ENGINES

PASSES = 3
WARM_UP = 8  # prompts before the clock starts
Work = Callable[[Engine, Sequence[Any]], int]  # what is timed: prompts to tokens decoded


class Timing(NamedTuple):
    """Seconds a token, one of each for every pass, and how the engine puts prompts together."""

    prefill: list[float]
    decode: list[float]
    batches: str


class Pass(NamedTuple):
    """What one pass took: seconds, tokens of its prompts, tokens decoded."""

    seconds: float
    read: int
    decoded: int


def time_model(
    segments: pa.Table,
    model: Mapping[str, Any],
    languages: Mapping[str, str],
    speed: Mapping[str, Any],
    rows: int,
) -> Timing:
    """Time a model on prompts of its own.

    rows: distinct prompts of a translating pass, drawn by hash over all directions; every pass has
    its own. A reading pass has more if they do not fill a batch. The two are timed by two processes
    one after the other: vLLM loads a model either to read or to decode. Beam search is not charged
    with the pass over its outputs that the transformers engine scores them with.
    Raises UserError for a model that does not run here, or too few segments.
    """
    if not ENGINES[model["engine"]].weights:
        raise UserError(
            f"engine '{model['engine']}' does not run the model here: state its rates in the "
            "config (rates: {MODEL: {prefill_tokens_per_second, decode_tokens_per_second}})."
        )
    asked = _drawn(segments), model, languages, speed, rows
    reading, batches = in_a_process(_time, _read, *asked)
    translating, _ = in_a_process(_time, _translate, *asked)
    return Timing(*token_seconds(reading, translating), batches)


def token_seconds(
    reading: Sequence[Pass], translating: Sequence[Pass]
) -> tuple[list[float], list[float]]:
    """Seconds for a token read and for one decoded, from a pass of each kind at a time."""
    read = [one.seconds / one.read for one in reading]
    decoded = [
        max(one.seconds - one.read * rate, 0.0) / max(one.decoded, 1)
        for one, rate in zip(translating, read, strict=True)
    ]
    return read, decoded


def _drawn(segments: pa.Table) -> pa.Table:
    order = np.argsort(tie_keys(segments.column("segment_id").to_pylist()), kind="stable")
    return segments.take(pa.array(order))


def in_a_process(work: Callable[..., Any], *arguments: Any) -> Any:
    """What the function returns; the device's memory is free again afterwards.

    The process ends with its work, so that none outlives a killed job for long.
    """
    context = multiprocessing.get_context("spawn")
    mine, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_send, args=(theirs, work, arguments))
    process.start()
    theirs.close()
    try:
        found = mine.recv()
    except EOFError:
        raise UserError(
            "the process that timed the model ended early: the cause is further up in this log, or "
            "it was killed for memory (more mem_mb, or fewer batch_tokens in 'speed', help then)."
        ) from None
    process.join()
    if isinstance(found, UserError):
        raise found
    return found


def _send(connection: Connection, work: Callable[..., Any], arguments: Sequence[Any]) -> None:
    try:
        found = work(*arguments)
    except UserError as error:
        found = error
    connection.send(found)


def _time(
    work: Work, segments: pa.Table, model: Mapping[str, Any], languages: Mapping[str, str],
    speed: Mapping[str, Any], rows: int,
) -> tuple[list[Pass], str]:  # fmt: skip
    """(PASSES passes of one kind after one that warms up, the engine's batches)."""
    engine = open_engine(model, speed)
    asked = requests.from_segments(segments, engine, model, languages)
    long, _ = requests.too_long(segments, asked, engine.context, model)
    prompts = [p for p, is_long in zip(asked.prompts, long, strict=True) if not is_long]
    if len(prompts) < PASSES + WARM_UP:
        raise UserError(f"{len(prompts)} distinct prompts are too few to time a model on.")
    warm, rest = prompts[:WARM_UP], prompts[WARM_UP:]
    if work is _read:
        rows = max(rows, rows_of_a_batch(rest, speed["batch_tokens"]))
    size = min(rows, len(rest) // PASSES)
    work(engine, warm)
    found = []
    for part in (rest[i * size : (i + 1) * size] for i in range(PASSES)):
        began = time.perf_counter()
        decoded = work(engine, part)
        found.append(Pass(time.perf_counter() - began, sum(map(len, part)), decoded))
    return found, engine.batches


def _read(engine: Engine, prompts: Sequence[Any]) -> int:
    for _ in engine.prefill(prompts):
        pass
    return 0


def _translate(engine: Engine, prompts: Sequence[Any]) -> int:
    """Tokens decoded."""
    found = engine.translate(prompts, logprobs=False)
    return sum(output.output_tokens for _, output in found)


def rows_of_a_batch(prompts: Sequence[Sequence[int]], budget: int) -> int:
    """How many of the first prompts make a batch of `budget` tokens; all if they do not."""
    reached = np.cumsum([len(p) for p in prompts]) >= budget
    return int(np.argmax(reached)) + 1 if reached.any() else len(prompts)
