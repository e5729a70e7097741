"""The README of a trained router, written from its record.

Fields of a record (router.json); all but the first group may be absent:

type, target, directions, seed, rows {training: {count, by_direction: {dataset/direction: count}},
validation: {count}, truncated}, hyperparameters (the router's settings).

provenance: {labels: {experiment, metric, signature, small and large: {name, path, ...}}}, all of
them where they are known: see `trail.labelled`.

about: {title, reads (what it reads, a sentence), method (name and source, a sentence), loading
(Markdown: how its files fit together), limits: [sentences]} - what only the type's module knows.
loss, shift, scale, quantiles, rank_by, rank_by_deviations, also, margin, samples: see `readout` and
`targets`. base: {path, revision, weights_sha256}; dtype, prompt, max_length: what is run.
result: {learning_rate, epoch, validation_loss, validation_spearman, training_seconds, ...} of the
kept epoch. validation: see `validation.routing_metrics`. cost: {terms: [of ROUTER.costs],
milliseconds (a request, on the validation rows), device, batches}.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

_PREDICTS = {
    "gain": "the gain of the large model over the small one, in points of the quality metric",
    "quality_small": "the quality of the small model's translation, in points of the metric",
    "small-wins": "the probability that the small model's translation is at least as good",
    "small-wins-sampled": "the share of sampled pairs in which the small model is at least as good",
    "small-within": "the probability that the small model is at most {margin:.4g} points worse",
}
_FIRST = {
    "gain": "largest predicted gain",
    "quality_small": "lowest predicted quality",
}
_LIBRARIES = {"lora": "peft", "encoder": "transformers", "xlmr": "transformers"}
_HUB_NAME = re.compile(r"[\w.-]+/[\w.-]+")
_COSTS = {
    "prefill": "one pass of its own over the prompt through the small model",
    "shared_prefill": "nothing beyond the prefill of the small model's own translation",
    "base_prefill": "one pass over the prompt through its base, another model than the small one",
    "encoder": "one pass of an encoder over the source text",
    "answer": "a few tokens decoded by the small model",
    "decode": "the small model's translation, made before the decision",
    "samples": "sampled translations of the small model",
    "estimate": "one pass of a quality-estimation metric over the small model's translation",
}


def card(record: Mapping[str, Any]) -> str:
    """Markdown from a router's record; see the module for its fields."""
    about = record.get("about", {})
    parts = [
        _front_matter(record),
        f"# {about.get('title', record['type'] + ' router')}",
        _what(record, about),
        _use(record, about),
        _base(record),
        _models(record),
        _training(record),
        _results(record),
        _cost(record),
        _limits(record, about),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _front_matter(record: Mapping[str, Any]) -> str:
    """What the Hugging Face Hub reads of a card: YAML, its values written as JSON.

    Of a base model in a folder nothing is said: the Hub refuses what is no name of its own.
    """
    languages = {code for direction in record["directions"] for code in direction.split("-")}
    path = record.get("base", {}).get("path", "")
    fields = {
        "base_model": path if _HUB_NAME.fullmatch(path) and not Path(path).is_dir() else None,
        "library_name": _LIBRARIES.get(record["type"]),
        "language": sorted(languages),
        "tags": ["routelmt", "translation", "model-routing", record["type"]],
    }
    lines = (f"{name}: {json.dumps(value)}" for name, value in fields.items() if value)
    return "\n".join(["---", *lines, "---"])


def _models(record: Mapping[str, Any]) -> str:
    """Between which models it routes, and by which metric it learned."""
    labels = record.get("provenance", {}).get("labels", {})
    lines = [
        f"- {role} model: {model['name']}"
        + "".join(f", {name.replace('_', ' ')} `{model[name]}`" for name in model if name != "name")
        for role in ("small", "large")
        if (model := labels.get(role))
    ]
    if "metric" in labels:
        signature = f", `{labels['signature']}`" if "signature" in labels else ""
        lines.append(f"- metric of the labels: {labels['metric']}{signature}")
    if "experiment" in labels:
        lines.append(f"- experiment: {labels['experiment']}")
    return "\n".join(["## Models and metric", "", *lines]) if lines else ""


def _what(record: Mapping[str, Any], about: Mapping[str, Any]) -> str:
    target = record["target"]
    lines = [about["reads"]] if "reads" in about else []
    lines.append(f"It predicts {_PREDICTS[target].format_map(record)}.")
    first = _FIRST.get(target, "lowest prediction")
    if record.get("loss") == "quantile":
        first += f" (its {record['rank_by']:g} quantile; the prediction is the median)"
    elif record.get("rank_by_deviations"):
        first += f" (prediction {record['rank_by_deviations']:+g} x predicted spread)"
    lines.append(f"It sends to the large model the requests with the {first}.")
    if record.get("also"):
        lines.append(f"The same pass also predicts {_PREDICTS[record['also']['target']]}.")
    if "method" in about:
        lines.append(f"Method: {about['method']}")
    return "\n".join(lines)


def _use(record: Mapping[str, Any], about: Mapping[str, Any]) -> str:
    direction = record["directions"][0]
    base = record.get("base", {}).get("path")
    moved = f" `--base` names the folder of the base model if it left `{base}`." if base else ""
    text = f"""\
## Use

```
python -m routelmt route --router DIR --budget 0.3 --input requests.jsonl
```

Each line of `requests.jsonl` has a `direction` ({", ".join(record["directions"])}), a `source` and,
if you like, an `id`. Of each direction, the share `--budget` is marked `large`.{moved}
In Python, with DIR this folder:

```python
from routelmt.routers.deploy import Request, load_router, score_requests

router = load_router(DIR)
requests = [Request(1, "{direction}", "Open the file."), Request(2, "{direction}", "Save it.")]
prediction, priority = score_requests(router, requests)  # higher priority: large model first
```"""
    return text + (f"\n\n{about['loading']}" if "loading" in about else "")


def _base(record: Mapping[str, Any]) -> str:
    base = record.get("base")
    if not base:
        return ""
    revision = f" at revision `{base['revision']}`" if base.get("revision") else ""
    weights = f", weights SHA-256 `{base['weights_sha256']}`" if "weights_sha256" in base else ""
    dtype = f", run in {record['dtype']}" if "dtype" in record else ""
    lines = [f"## Base\n\n`{base['path']}`{revision}{weights}{dtype}."]
    if "prompt" in record:
        lines.append(
            "Prompt, one user turn of the tokenizer's chat template with the generation prompt "
            f"added:\n\n```\n{record['prompt']}\n```"
        )
    if "max_length" in record:
        lines.append(
            f"Texts that make more than {record['max_length']} tokens lose their end; "
            f"{record['rows'].get('truncated', 0)} of the training rows did."
        )
    return "\n\n".join(lines)


def _training(record: Mapping[str, Any]) -> str:
    rows = record["rows"]
    counts = [f"- {name}: {n}" for name, n in rows["training"]["by_direction"].items()]
    hidden = ("type", "target")
    settings = {
        k: v for k, v in record["hyperparameters"].items() if k not in hidden and v is not None
    }
    shown = ", ".join(f"{k.replace('_', ' ')} {_value(v)}" for k, v in settings.items())
    text = (
        f"## Training\n\n{rows['training']['count']} rows, {rows['validation']['count']} for "
        f"validation, seed {record['seed']}. Rows by dataset and direction:\n\n"
        + "\n".join(counts)
        + f"\n\nHyperparameters: {shown}."
    )
    return text + _labels(record)


def _labels(record: Mapping[str, Any]) -> str:
    """How the labels came about, where that is not plain from the target."""
    if "samples" not in record:
        return ""
    small, large = record["samples"]
    alone = small == large == 1
    text = (
        "The labels compare one translation of each model"
        if alone
        else f"The labels compare {small} x {large} sampled translations of a text"
    )
    if record.get("margin") is not None:
        text += (
            f"; the small model may be {record['margin']:.4g} points worse, found on validation "
            "rows as the margin that tells requests apart best"
        )
        if alone:
            text += " (with one translation each that is the median gain: a split in half)"
    return f"\n\n{text}."


def _value(value: Any) -> str:
    if isinstance(value, Sequence) and not isinstance(value, str):
        return "/".join(_value(v) for v in value)
    return f"{value:g}" if isinstance(value, float) else str(value)


def _results(record: Mapping[str, Any]) -> str:
    parts = []
    if "result" in record:
        names = [n for n, v in record["result"].items() if isinstance(v, int | float)]
        values = [_metric(record["result"][n]) for n in names]
        parts.append(_table([n.replace("_", " ") for n in names], [values]))
    if "validation" in record:
        found = record["validation"]
        at = f"@{found['budget']:g}"
        rows = [
            [name, *(_metric(v[m]) for m in ("spearman", "hit_rate", "mean_delta"))]
            for name, v in [*found["by_direction"].items(), ("average", found)]
        ]
        parts.append(_table(["direction", "Spearman", f"HitRate{at}", f"MeanΔ{at} (points)"], rows))
    if not parts:
        return ""
    note = (
        "What was chosen (epoch, learning rate, ...) was chosen on these rows: on new ones expect "
        "slightly less. `router.json` has everything that shaped the router; `history.jsonl`, if "
        "there, every epoch."
    )
    return "\n\n".join(["## On the validation rows", *parts, note])


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _metric(value: float | None) -> str:
    return "undefined" if value is None else f"{value:.4g}"


def _cost(record: Mapping[str, Any]) -> str:
    cost = record.get("cost")
    if not cost:
        return ""
    terms = [f"- {_COSTS[term]}" for term in cost["terms"]] or ["- reading the text"]
    measured = ""
    if cost.get("milliseconds") is not None:
        measured = (
            f"\n\nMeasured on the validation rows: {cost['milliseconds']:.3g} ms a request "
            f"({cost.get('device', 'cpu')}, in batches)."
        )
    return "## Cost of a request\n\n" + "\n".join(terms) + measured


def _limits(record: Mapping[str, Any], about: Mapping[str, Any]) -> str:
    return "## Limits\n\n" + "\n".join(f"- {limit}" for limit in _sentences(record, about))


def _sentences(record: Mapping[str, Any], about: Mapping[str, Any]) -> Iterator[str]:
    yield (
        "It learned the small model's behaviour on these directions and datasets, and one metric's "
        "view of it: validate it again for other text, another metric or another pair of models."
    )
    yield "A direction without training rows is predicted all the same, with a warning."
    if record.get("loss") in ("pairwise", "top_p"):
        yield "It was trained for order first: read its points as a ranking, not as a forecast."
    yield from about.get("limits", ())
