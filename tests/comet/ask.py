"""Questions to the comet metric, answered in one process of its environment.

Reads a JSON list of settings from standard input; prints a JSON list of messages, null where the
scorer opened. Two more questions take {"settings", "triples"}: --scores prints the triples' scores
by each of the settings; --out-of-memory prints [[budget before, after], scores] of a model whose
memory holds few rows.
"""

from __future__ import annotations

import json
import sys
from typing import Any

from routelmt.errors import UserError
from routelmt.score.comet_metric import open_scorer

SPEED = {"batch_tokens": 4000, "device": "cpu", "threads": 1}
ROWS_THAT_FIT = 4


def refusal(settings: dict[str, Any]) -> str | None:
    try:
        open_scorer(settings, SPEED)
    except UserError as error:
        return str(error)
    return None


def short_of_memory(settings: dict[str, Any], triples: list[tuple[str, str, str]]) -> Any:
    """Scores by a model that refuses larger batches as a full GPU does."""
    import torch

    scorer = open_scorer(settings, SPEED)
    forward = scorer.model.forward

    def refusing(**inputs: Any) -> Any:
        if len(inputs["input_ids"]) > ROWS_THAT_FIT:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return forward(**inputs)

    scorer.model.forward = refusing
    before, values = scorer.budget, scorer.score(triples).values
    return [[before, scorer.budget], values]


if __name__ == "__main__":
    asked = json.load(sys.stdin)
    triples = [tuple(t) for t in asked["triples"]] if isinstance(asked, dict) else []
    if "--out-of-memory" in sys.argv:
        print(json.dumps(short_of_memory(asked["settings"], triples)))
    elif "--scores" in sys.argv:
        scorers = [open_scorer(settings, SPEED) for settings in asked["settings"]]
        print(json.dumps([scorer.score(triples).values for scorer in scorers]))
    else:
        print(json.dumps([refusal(settings) for settings in asked]))
