"""The README of a trained LoRA router."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_TARGETS = {
    "gain": ("the gain of the large model over the small one", "largest predicted gain"),
    "quality_small": ("the quality of the small model's translation", "lowest predicted quality"),
}

_CARD = """\
# {title}

Reads the prompt that the small model would translate from, in one prefill of the small model with
this LoRA, and predicts in points of the quality metric:
{target}.
It sends to the large model the requests with the {order}.
Method: RouteLMT, arXiv 2604.22520.

## Use

```
python -m routelmt route --router DIR --budget 0.3 --input requests.jsonl
```

Each line of `requests.jsonl` has a `direction` ({directions}), a `source` and, if you like, an
`id`. Of each direction, the share `--budget` of the requests is marked `large`. `--base` names the
folder of the base model if it is no longer at `{base}`; its weights and tokenizer are
checked.

The LoRA alone loads with
`PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(BASE), DIR)`. The prediction is
`(weight @ h + bias) * {scale:.6g} + {shift:.6g}`, with `weight` and `bias` from
`head.safetensors` and h the final hidden state (after the final norm) at the last prompt token.

## Base

`{base}`{revision}, weights SHA-256 `{weights}`, run in {dtype}. Prompt, one user turn of the
tokenizer's chat template with the generation prompt added:

```
{prompt}
```

Prompts above {max_length} tokens lose the end of their text, not what follows it; {truncated} of
the training rows did.

## Training

{training} rows, {validation} for validation, seed {seed}. Rows by dataset and direction:

{rows}

{hyperparameters}.

## On the validation rows

| learning rate | epoch | MSE (head's unit) | RMSE (points) | Spearman |
|---|---|---|---|---|
| {learning_rate:g} | {epoch} | {validation_mse:.4f} | {validation_rmse_points:.2f} | \
{validation_spearman:.3f} |

The epoch was chosen on these rows, so on new ones expect slightly less. All epochs, and all
learning rates tried, are in `history.jsonl`; everything that shaped the router is in
`router.json`.
"""


def card(record: Mapping[str, Any]) -> str:
    """Markdown from a router's record."""
    target, order = _TARGETS[record["target"]]
    base, rows = record["base"], record["rows"]
    shown = {k: v for k, v in record["hyperparameters"].items() if k not in ("type", "target")}
    return _CARD.format(
        title="RouteLMT router" if record["target"] == "gain" else "RouteLMT-Q router",
        target=target,
        order=order,
        directions=", ".join(record["directions"]),
        base=base["path"],
        revision=f" at revision `{base['revision']}`" if base["revision"] else "",
        weights=base["weights_sha256"],
        truncated=rows["truncated"],
        training=rows["training"]["count"],
        validation=rows["validation"]["count"],
        rows="\n".join(f"- {k}: {v}" for k, v in rows["training"]["by_direction"].items()),
        hyperparameters=", ".join(f"{k.replace('_', ' ')} {v}" for k, v in shown.items()),
        **{k: record[k] for k in ("scale", "shift", "dtype", "prompt", "max_length", "seed")},
        **record["result"],
    )
