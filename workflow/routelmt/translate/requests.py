"""The distinct prompts of some segments: what is sent to a model, once each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from routelmt.translate import prompts
from routelmt.translate.engines import Engine


@dataclass(frozen=True)
class Requests:
    """`prompts[of_segment[i]]` is segment i's prompt; every prompt is there once."""

    prompts: Sequence[Any]  # token ids, or turns (see engines.Engine)
    of_segment: npt.NDArray[np.int64]  # (segments,)

    @property
    def lengths(self) -> npt.NDArray[np.int64]:
        """Prompt tokens (of turns: characters) of each segment, shape (segments,)."""
        sizes = np.array([len(p) for p in self.prompts], dtype=np.int64)
        return sizes[self.of_segment]


def from_segments(
    segments: pa.Table, engine: Engine, model: Mapping[str, Any], languages: Mapping[str, str]
) -> Requests:
    """Render and encode each distinct (direction, source), whatever its length."""
    distinct: dict[tuple[str, str], int] = {}
    pairs = zip(
        segments.column("direction").to_pylist(),
        segments.column("source").to_pylist(),
        strict=True,
    )
    of_segment = np.array([distinct.setdefault(pair, len(distinct)) for pair in pairs], np.int64)
    turns = [prompts.render(model["prompt"], languages, *pair) for pair in distinct]
    return Requests(engine.encode(turns), of_segment)


def too_long(
    segments: pa.Table, requests: Requests, context: int | None, model: Mapping[str, Any]
) -> tuple[npt.NDArray[np.bool_], str]:
    """Prompts that are too long to be translated, shape (prompts,), and a sentence about them.

    Longer than max_prompt_tokens, or than the model's context with max_new_tokens after them. The
    sentence is empty if there are none. An endpoint counts tokens itself: none are too long here.
    """
    lengths = np.array([len(p) for p in requests.prompts], dtype=np.int64)
    if "max_prompt_tokens" not in model:
        return np.zeros(len(lengths), dtype=np.bool_), ""
    limit, reason, lever = _limit(context, model)
    long = np.flatnonzero(requests.lengths > limit)
    if not len(long):
        return lengths > limit, ""
    examples = ", ".join(
        f"'{segments.column('segment_id')[int(i)].as_py()}' ({requests.lengths[i]} tokens)"
        for i in long[:5]
    )
    return lengths > limit, (
        f"{len(long)} of {segments.num_rows} segments have prompts longer than {limit} tokens "
        f"({reason}), first: {examples}. {lever}, or leave such requests out of the evaluation "
        "(leave_out: [degenerate] of an experiment)."
    )


def shortened(
    requests: Requests,
    long: npt.NDArray[np.bool_],
    segments: pa.Table,
    engine: Engine,
    model: Mapping[str, Any],
    languages: Mapping[str, str],
) -> list[Any]:
    """The prompts; those that are too long lose the end of their text (`prompts.shortened`).

    long: which, as `too_long` says.
    """
    found = list(requests.prompts)
    if not long.any():
        return found
    of_prompt = dict(
        zip(requests.of_segment.tolist(), segments.column("direction").to_pylist(), strict=True)
    )
    limit, _, _ = _limit(engine.context, model)
    for i in np.flatnonzero(long).tolist():
        turn = prompts.render(model["prompt"], languages, of_prompt[i], "")
        (empty,) = engine.encode([turn])
        found[i] = prompts.shortened(found[i], empty, limit, "max_prompt_tokens")
    return found


def _limit(context: int | None, model: Mapping[str, Any]) -> tuple[int, str, str]:
    """(most tokens of a prompt that is translated, what sets it, what to do to raise it)."""
    limit: int = model["max_prompt_tokens"]
    if context is None or context - model["max_new_tokens"] >= limit:
        return limit, "max_prompt_tokens", "Raise max_prompt_tokens"
    return (
        context - model["max_new_tokens"],
        f"the model's context of {context} tokens less max_new_tokens",
        "Lower max_new_tokens",
    )
