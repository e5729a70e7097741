"""The engine types. One new engine: a file and a line here."""

from __future__ import annotations

from typing import NamedTuple

from routelmt import plugins


class EngineType(NamedTuple):
    """A module with `load(model, speed)`, or, if precomputed, `hypotheses(segments, name, model)`.

    weights: whether the weights are at hand, for signals and for routers that read the model.
    environment: what it runs in, see routelmt.environments; the core one if empty.
    """

    module: str
    precomputed: bool = False
    weights: bool = True
    environment: str = ""


_BUILT_IN: dict[str, EngineType] = {
    "transformers": EngineType("routelmt.translate.transformers_engine"),
    "vllm": EngineType("routelmt.translate.vllm_engine", environment="vllm"),
    "openai": EngineType("routelmt.translate.openai_engine", weights=False),
    "precomputed": EngineType("routelmt.translate.precomputed", precomputed=True, weights=False),
    "published": EngineType("routelmt.translate.precomputed", precomputed=True, weights=False),
}
ENGINES = plugins.Registry("engines", _BUILT_IN)
