"""Where the small model's largest logit is lowest, first (PD MaxLogits)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from routelmt.routers.inputs import Priorities, RouterContext, RouterInputs
from routelmt.routers.registry import RouterType

ROUTER = RouterType(needs=frozenset({"signals"}), costs=("shared_prefill",))


def predict(spec: Mapping[str, Any], inputs: RouterInputs, context: RouterContext) -> Priorities:
    """Largest logit of the next token after the prompt; the lowest first.

    Not squashed: a sigmoid of logits this large is 1 for all of them, and ties rank nothing.
    """
    logit = inputs.signal("max_logit", spec["type"])
    return logit, -logit
