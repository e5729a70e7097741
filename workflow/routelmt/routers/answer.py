"""A router by another answer of a trained one: of the same adapter, so of the same pass.

Its settings: `of`, a trained router of the config, and `output`, one of that router's answers (see
`readout.Readout`): "gain", "quality_small", "quantile-0.1", "spread" or "probability". What it
predicts is that answer; its priority is the answer with the sign of its meaning.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from routelmt.errors import UserError
from routelmt.routers.artifact import read_record
from routelmt.routers.inputs import Priorities
from routelmt.routers.objective.readout import Answers, Readout
from routelmt.routers.registry import RouterType

# The seed is that of the router it asks.
BEHAVIOUR = 1
ROUTER = RouterType(needs=frozenset({"model"}), seeded=True, in_model=True, costs=("prefill",))


def choose(spec: Mapping[str, Any], artifact: Path, answers: Answers) -> Priorities:
    """(prediction, priority) of each row by spec["output"].

    answers: of the trained router in `artifact`, from `lora.predict_together`. Raises UserError if
    the output is not among them.
    """
    output = spec["output"]
    known = sorted(set(answers) - {"prediction", "priority"})
    if output not in known:
        raise UserError(
            f"router '{spec['of']}' ({artifact}) has no answer '{output}' for a router of type "
            f"answer; it has {', '.join(known)}."
        )
    values = answers[output]
    return values, Readout.from_record(read_record(artifact)).sign(output) * values
