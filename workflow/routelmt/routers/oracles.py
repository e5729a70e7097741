"""Routing by what only the references can tell: the bounds of what a router can reach."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from routelmt.routers.inputs import Priorities, RouterContext, RouterInputs
from routelmt.routers.registry import RouterType

ROUTER = RouterType(needs=frozenset({"gains"}), deployable=False)


def predict(spec: Mapping[str, Any], inputs: RouterInputs, context: RouterContext) -> Priorities:
    """gain-oracle: the largest gain first; quality-oracle: the worst small translation first.

    Predictions are in points of the quality metric.
    """
    if spec["type"] == "gain-oracle":
        gain = inputs.gain("gain", spec["type"])
        return gain, gain
    quality = inputs.gain("quality_small", spec["type"])
    return quality, -quality
