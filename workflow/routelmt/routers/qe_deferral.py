"""The small model's worst translations first, as a reference-free metric sees them.

Farinhas et al. 2025. It decides after decoding: the small model translates every request, and the
metric estimates the quality of every translation.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from routelmt.routers.inputs import Priorities, RouterContext, RouterInputs
from routelmt.routers.registry import RouterType

ROUTER = RouterType(needs=frozenset({"estimates"}), costs=("decode", "estimate"))


def predict(spec: Mapping[str, Any], inputs: RouterInputs, context: RouterContext) -> Priorities:
    """The estimate of the small model's hypothesis, in the metric's points; the lowest goes first.

    Raises UserError for scores of another metric than the setting `metric`.
    """
    scores = inputs.estimate(spec["metric"], spec["type"])
    return scores, -scores
