"""The engine types. One new engine: a file and a line here."""

from __future__ import annotations

from typing import NamedTuple


class EngineType(NamedTuple):
    """A module with `load(model, speed)`, or, without a model, `hypotheses(segments, name, model)`.

    has_model: whether there is a model that can be asked for signals and trained on.
    """

    module: str
    has_model: bool = True


ENGINES = {
    "transformers": EngineType("routelmt.translate.transformers_engine"),
    "vllm": EngineType("routelmt.translate.unavailable"),
    "precomputed": EngineType("routelmt.translate.precomputed", has_model=False),
}
