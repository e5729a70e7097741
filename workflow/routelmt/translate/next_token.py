"""What the next-token distribution after a prompt says: the signals of one prefill."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from routelmt.translate.batches import LOGIT_ROWS


def signals(states: Any, head: Callable[[Any], Any]) -> tuple[Any, Any, Any, Any]:
    """(entropy, margin, max logit, states as fp16) as numpy, for states (n, hidden).

    head: the vocabulary projection.
    """
    parts = [_vocabulary_signals(head(some)) for some in states.split(LOGIT_ROWS)]
    entropy, margin, top = (np.concatenate(column) for column in zip(*parts, strict=True))
    return entropy, margin, top, states.half().cpu().numpy()


def _vocabulary_signals(logits: Any) -> tuple[Any, Any, Any]:
    """(entropy, margin, max logit) as numpy, for logits (n, vocabulary)."""
    # In float32 throughout: a bfloat16 entropy has two digits.
    logits = logits.float()
    logprobs = logits.log_softmax(dim=-1)
    probs = logprobs.exp()
    entropy = -(probs * logprobs.masked_fill(probs == 0, 0.0)).sum(dim=-1)
    best = probs.topk(2, dim=-1).values
    columns = (entropy, best[:, 0] - best[:, 1], logits.amax(dim=-1))
    entropy, margin, top = (c.cpu().numpy() for c in columns)
    return entropy, margin, top
