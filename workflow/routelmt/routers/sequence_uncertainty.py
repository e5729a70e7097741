"""Where the small model is least sure of its own translation, first (RouteLLM; Gupta et al. 2024).

It decides after decoding: the small model translates every request.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from routelmt.errors import UserError
from routelmt.routers.inputs import Priorities, RouterContext, RouterInputs
from routelmt.routers.registry import RouterType

ROUTER = RouterType(needs=frozenset({"hypotheses"}), costs=("decode",))
# Nats a token of a request that the small model did not translate: it goes first. No decoded token
# is so improbable, since float32 probabilities end at exp(-87).
NOT_TRANSLATED = 100.0


def predict(spec: Mapping[str, Any], inputs: RouterInputs, context: RouterContext) -> Priorities:
    """Mean -log-probability (nats a token) of the small model's hypothesis.

    A request of which nothing was decoded (too long, refused by an endpoint) has NOT_TRANSLATED.
    Raises UserError where a translation has no log-probability.
    """
    table = inputs.hypotheses
    if table is None:
        raise UserError(f"router '{spec['type']}' reads translations: give it --hypotheses.")
    values = -table.column("mean_logprob").to_numpy().astype(np.float64)
    tokens = table.column("output_tokens").to_pylist()
    nothing = np.array([count == 0 for count in tokens], dtype=np.bool_)
    unknown = np.isnan(values) & ~nothing
    if unknown.any():
        first = table.column("segment_id")[int(unknown.argmax())].as_py()
        model = table.column("model")[0].as_py()
        raise UserError(
            f"router '{spec['type']}': {int(unknown.sum()):,} of {len(values):,} translations of "
            f"model '{model}' have no log-probability (first: segment {first}). Engines "
            "transformers and vllm give them; openai does with 'logprobs: true' where the endpoint "
            "has them, precomputed never. Change the engine, or leave the router out."
        )
    values[nothing] = NOT_TRANSLATED
    return values, values
