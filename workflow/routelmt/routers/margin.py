"""Where the small model's two likeliest next tokens are closest, first (PD ConfidenceMargin)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from routelmt.routers.inputs import Priorities, RouterContext, RouterInputs
from routelmt.routers.registry import RouterType

ROUTER = RouterType(needs=frozenset({"signals"}), costs=("shared_prefill",))


def predict(spec: Mapping[str, Any], inputs: RouterInputs, context: RouterContext) -> Priorities:
    """p1 - p2 of the small model's next token after the prompt; the smallest first."""
    margin = inputs.signal("margin", spec["type"])
    return margin, -margin
