"""What the card of a probe says of its type, from its record."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def about(record: Mapping[str, Any], file: str) -> dict[str, Any]:
    """Fields of `card`; file: the one with the weights."""
    names = {
        "final": "the last layer",
        "mean": "the mean over all layers",
        "dirichlet": "Dirichlet-weighted layers",
        "dirichlet-input": "Dirichlet-weighted layers, their weights from the embeddings",
        "mix": "a learned mix of all layers",
        "stacked": "all layers side by side",
    }
    ridge = record.get("fit") == "ridge"
    what = names[record["layers"]]
    token = "last prompt token" if record["pool"] == "last" else "mean over the prompt's tokens"
    paper = record["layers"] != "mix" and record["target"] == "small-wins"
    output, note = "(heads * h).sum() + bias", ""
    if ridge:
        output = "(heads[d] * h).sum() + bias[d]"
        note = ", and d = 1 for the first of `directions` in `router.json`, 0 for what all share"
    if record["layers"] == "dirichlet-input":
        note = (
            "; here layer l counts `softmax(gate @ e + gate_bias)[l]` times `heads[l] @ h[l] + "
            "offsets[l]`, e the embedding layer"
        )
    return {
        "title": f"Probe on {what}",
        "reads": f"Reads {what} of the unchanged small model ({token}), which the translation's "
        "own prefill computes.",
        "method": "ridge regression, shared and crossed with the direction; alpha chosen on the "
        "validation rows."
        if ridge
        else "ProbeDirichlet (Towards Fair and Comprehensive Evaluation of Routers in "
        "Collaborative LLM Systems)" + ("." if paper else "; a variant of it."),
        "loading": f"The output is `{output}`, with the tensors of `{file}` and h the states "
        f"(layers, hidden), embeddings first, the last after the final norm{note}.",
        "limits": [
            "A linear function of states that were not trained for it; the milliseconds leave out "
            "the prefill, which translating needs anyway."
        ],
    }
