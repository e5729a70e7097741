"""A metric that is the weighted mean of others: their errors average out in its gains."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from routelmt import tables
from routelmt.errors import UserError
from routelmt.join import align


def mean_scores(parts: Sequence[pa.Table], metric: str, settings: Mapping[str, Any]) -> pa.Table:
    """Table `scores` of the metric, in the order of the first of settings["of"].

    parts: `scores` tables of one model on the same segments, one of every metric in
    settings["of"], in any order. settings: `of` and `weights` (positive, one each; null: equal).
    A score is sum(w_i s_i) / sum(w_i); it is truncated if any of them is. Segments with equal
    scores in every part have equal means: identical outputs of two models gain exactly 0.
    Raises UserError for parts that are missing, too many, or of other segments or models.
    """
    names = settings["of"]
    weights = weights_of(metric, settings)
    ordered = _in_order(parts, metric, names)
    first = ordered[0]
    model = _same_model(ordered, metric, names)
    aligned = [first] + [
        align(first, part, f"metric '{metric}': scores of '{names[0]}'", f"scores of '{name}'")
        for name, part in zip(names[1:], ordered[1:], strict=True)
    ]
    # Term by term: a matrix product may round a row by where it stands.
    total = np.zeros(first.num_rows)
    for weight, part in zip(weights, aligned, strict=True):
        total += weight * part.column("score").to_numpy()
    truncated = np.any([part.column("truncated").to_numpy() for part in aligned], axis=0)
    return tables.from_columns(
        "scores",
        {
            **{k: first.column(k) for k in tables.JOIN_KEY},
            "metric": metric,
            "model": model,
            "score": total / math.fsum(weights),
            "truncated": truncated,
            "error_spans": pa.nulls(first.num_rows, pa.string()),
        },
    )


def open_scorer(settings: Mapping[str, Any], speed: Mapping[str, Any]) -> NoReturn:
    """A mean has no scorer of its own; UserError that says what makes it."""
    raise UserError(
        f"a metric of type 'mean' scores no texts: score them with {', '.join(settings['of'])} and "
        "average the tables with `python -m routelmt mean-scores`."
    )


def weights_of(metric: str, settings: Mapping[str, Any]) -> list[float]:
    """Weight of every part. Raises UserError unless there is a positive one for each."""
    names, weights = settings["of"], settings.get("weights")
    if not names or len(set(names)) < len(names):
        raise UserError(
            f"metric '{metric}': 'of' is {names}; name each metric to be averaged, and each once."
        )
    if weights is None:
        return [1.0] * len(names)
    if len(weights) != len(names):
        raise UserError(
            f"metric '{metric}': {len(weights)} weights for the {len(names)} metrics "
            f"{', '.join(names)}; 'weights' needs one for each, in their order."
        )
    if not all(math.isfinite(weight) and weight > 0 for weight in weights):
        raise UserError(
            f"metric '{metric}': the weights {weights} are not all positive; leave a metric that "
            "should not count out of 'of'."
        )
    return [float(weight) for weight in weights]


def signature(settings: Mapping[str, Any], parts: Mapping[str, Any]) -> dict[str, Any]:
    """What a score means, from the signatures of the parts by metric (null where unknown)."""
    known = [part for part in parts.values() if part]
    weights = settings.get("weights")
    return {
        "signature": f"mean|of:{','.join(settings['of'])}"
        + (f"|weights:{','.join(f'{w:g}' for w in weights)}" if weights else ""),
        "reference": any(part.get("reference", True) for part in known),
        "of": {name: parts[name] for name in settings["of"]},
    }


def _in_order(parts: Sequence[pa.Table], metric: str, names: Sequence[str]) -> list[pa.Table]:
    found: dict[str, pa.Table] = {}
    for part in parts:
        name = "+".join(sorted(pc.unique(part.column("metric")).to_pylist()))
        if name in found:
            raise UserError(f"metric '{metric}': scores of '{name}' are given twice.")
        found[name] = part
    missing = [name for name in names if name not in found]
    extra = [name for name in found if name not in names]
    if missing or extra:
        raise UserError(
            f"metric '{metric}' is the mean of {', '.join(names)}: scores missing of "
            f"{', '.join(missing) or 'none'}, not asked for of {', '.join(extra) or 'none'}. Give "
            "one scores table of each."
        )
    return [found[name] for name in names]


def _same_model(parts: Sequence[pa.Table], metric: str, names: Sequence[str]) -> str:
    models = [sorted(pc.unique(part.column("model")).to_pylist()) for part in parts]
    if any(len(own) != 1 or own != models[0] for own in models):
        listed = "; ".join(
            f"'{name}' of {', '.join(own)}" for name, own in zip(names, models, strict=True)
        )
        raise UserError(f"metric '{metric}': the scores are not of one model: {listed}.")
    return str(models[0][0])
