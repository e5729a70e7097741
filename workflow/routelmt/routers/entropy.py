"""Where the small model is least sure of its first word, first (RouteLMT App. A)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from routelmt.routers.inputs import Priorities, RouterContext, RouterInputs
from routelmt.routers.registry import RouterType

ROUTER = RouterType(needs=frozenset({"signals"}), costs=("shared_prefill",))


def predict(spec: Mapping[str, Any], inputs: RouterInputs, context: RouterContext) -> Priorities:
    """Entropy (nats, whole vocabulary) of the small model's next token after the prompt."""
    values = inputs.signal("entropy", spec["type"])
    return values, values
