"""The small model's worst translations first, as a reference-free metric sees them.

Farinhas et al. 2025. It decides after decoding: the small model translates every request, and the
metric estimates the quality of every translation.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from routelmt.errors import UserError
from routelmt.routers.inputs import Priorities, RouterContext, RouterInputs
from routelmt.routers.registry import RouterType

ROUTER = RouterType(needs=frozenset({"estimates"}), costs=("decode", "estimate"))


def predict(spec: Mapping[str, Any], inputs: RouterInputs, context: RouterContext) -> Priorities:
    """The estimate of the small model's hypothesis, in the metric's points; the lowest goes first.

    Raises UserError for scores of another metric than the setting `metric`.
    """
    if inputs.estimates is None:
        raise UserError(
            f"router '{spec['type']}' reads scores by '{spec['metric']}': give it --estimates."
        )
    metrics = set(inputs.estimates.column("metric").to_pylist())
    if metrics - {spec["metric"]}:
        raise UserError(
            f"router '{spec['type']}': estimates by {sorted(metrics)}, but its setting 'metric' is "
            f"'{spec['metric']}'."
        )
    scores = inputs.estimates.column("score").to_numpy().astype(np.float64)
    return scores, -scores
