"""What the small model itself calls hard to translate, first (ProbeDirichlet's SelfAsk).

The model is asked for a number from 0 (hardest) to 100 (easiest): a prefill of its own and a few
decoded tokens for every request.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from typing import Any

import numpy as np

from routelmt.routers.inputs import Priorities, RouterContext, RouterInputs
from routelmt.routers.registry import RouterType

BEHAVIOUR = 1
ROUTER = RouterType(needs=frozenset({"model"}), decodes=True, costs=("prefill", "answer"))
PROMPT = (
    "On a scale from 0 (very hard) to 100 (very easy), how easy is it to translate the following "
    "text from {src} into {tgt} correctly? Answer with the number alone.\n{src}: {text}\nNumber:"
)
MAX_NEW_TOKENS = 10
UNPARSABLE = 0.5  # ease of a text that got no number
_NUMBER = re.compile(r"-?\d+(?:[.,]\d+)?")


def predict(spec: Mapping[str, Any], inputs: RouterInputs, context: RouterContext) -> Priorities:
    """Ease by the model's own rating / 100, 0 to 1; the least easy goes first.

    An answer without a number from 0 to 100, and a text that is too long to ask about, count as
    0.5; the share of such requests is said on standard error and kept in the context's notes.
    Setting `prompt`: a template with {src}, {tgt} and {text}. Each distinct prompt is asked once.
    """
    ease = ask(spec.get("prompt") or PROMPT, inputs, context)
    failed = np.isnan(ease)
    share = float(failed.mean()) if len(ease) else 0.0
    print(f"{spec['type']}: {share:.1%} of {len(ease):,} answers unparsable", file=sys.stderr)
    context.notes["unparsable"] = share
    ease[failed] = UNPARSABLE
    return ease, -ease


def ask(template: str, inputs: RouterInputs, context: RouterContext) -> Any:
    """Rating / 100 of each request by the small model, greedy, shape (rows,); NaN if unparsable."""
    from routelmt.translate import requests
    from routelmt.translate.chatter import without_reasoning
    from routelmt.translate.engines import open_engine

    model = {
        **context.model,
        "prompt": template,
        "beams": 1,
        "max_new_tokens": MAX_NEW_TOKENS,
    }
    engine = open_engine(model, context.speed)
    asked = requests.from_segments(inputs.segments, engine, model, context.languages)
    long, about = requests.too_long(inputs.segments, asked, engine.context, model)
    if about:
        print(f"not asked about: {about}", file=sys.stderr)
    short = [i for i, is_long in enumerate(long) if not is_long]
    found = np.full(len(asked.prompts), np.nan)
    if short:
        for n, answer in engine.translate([asked.prompts[i] for i in short]):
            found[short[n]] = rating(without_reasoning("", answer.text)) / 100
    return found[asked.of_segment]


def rating(answer: str) -> float:
    """The first number of an answer if it is from 0 to 100, else NaN."""
    match = _NUMBER.search(answer)
    value = float(match.group().replace(",", ".")) if match else -1.0
    return value if 0 <= value <= 100 else float("nan")
