"""The distinct prompts of some segments: what is sent to a model, once each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from routelmt.errors import UserError
from routelmt.translate import prompts
from routelmt.translate.engines import Engine


@dataclass(frozen=True)
class Requests:
    """`prompts[of_segment[i]]` is segment i's prompt; every prompt is there once."""

    prompts: list[list[int]]
    of_segment: npt.NDArray[np.int64]  # (segments,)

    @property
    def lengths(self) -> npt.NDArray[np.int64]:
        """Prompt tokens of each segment, shape (segments,)."""
        sizes = np.array([len(p) for p in self.prompts], dtype=np.int64)
        return sizes[self.of_segment]


def from_segments(
    segments: pa.Table, engine: Engine, model: Mapping[str, Any], languages: Mapping[str, str]
) -> Requests:
    """Render and encode each distinct (direction, source).

    Raises UserError if a prompt is longer than max_prompt_tokens, or too long for the model's
    context with max_new_tokens after it.
    """
    distinct: dict[tuple[str, str], int] = {}
    pairs = zip(
        segments.column("direction").to_pylist(),
        segments.column("source").to_pylist(),
        strict=True,
    )
    of_segment = np.array([distinct.setdefault(pair, len(distinct)) for pair in pairs], np.int64)
    turns = [prompts.render(model["prompt"], languages, *pair) for pair in distinct]
    requests = Requests(engine.encode(turns), of_segment)
    _check_lengths(segments, requests, engine.context, model)
    return requests


def _check_lengths(
    segments: pa.Table, requests: Requests, context: int | None, model: Mapping[str, Any]
) -> None:
    limit, reason = model["max_prompt_tokens"], "max_prompt_tokens"
    advice = "Raise max_prompt_tokens, or leave these segments out."
    if context is not None and context - model["max_new_tokens"] < limit:
        limit = context - model["max_new_tokens"]
        reason = f"the model's context of {context} tokens less max_new_tokens"
        advice = "Lower max_new_tokens, or leave these segments out."
    long = np.flatnonzero(requests.lengths > limit)
    if not len(long):
        return
    examples = ", ".join(
        f"'{segments.column('segment_id')[int(i)].as_py()}' ({requests.lengths[i]} tokens)"
        for i in long[:5]
    )
    raise UserError(
        f"{len(long)} of {segments.num_rows} segments have prompts longer than {limit} tokens "
        f"({reason}), first: {examples}. {advice}"
    )
