"""Table `human`: whether the order of two routers by a metric holds for people, or cannot be told.

Both judge the same requests: those that people have scored. Points of people and of a metric are of
different size, so the metric's difference is told in deviations of people's gains: `expected`, what
people would see if they agreed. Where they see nothing, that speaks against the metric only if a
difference of that size would have been found, and that needs requests: `detectable`.
"""

from __future__ import annotations

from itertools import combinations
from typing import Any

import numpy as np
import pyarrow as pa

from routelmt import tables
from routelmt.errors import UserError
from routelmt.evaluate.cross_metric import judged_by
from routelmt.evaluate.quality_tables import differences
from routelmt.evaluate.requests import Evaluation
from routelmt.roles import AVERAGE

HOLDS, REVERSED, NOT_CONFIRMED = "holds", "reversed", "not confirmed"
CANNOT_TELL, UNDEFINED = "too few requests to tell", "undefined"
_PEOPLES = ("difference", "low", "high", "p_value", "p_holm", "detectable", "clusters", "undefined",
            "reason")  # fmt: skip


def human(settings: dict[str, Any], evaluation: Evaluation) -> pa.Table:
    """Differences in MeanΔ between all deployable routers, by the metric and by people.

    settings: metric, its name; human, names of other gains that are by people; oracles. p-values
    are Holm-corrected over the pairs. Raises UserError for people whose gains were not given.
    """
    if missing := [name for name in settings["human"] if name not in evaluation.other_gains]:
        raise UserError(f"table human: no gains by {', '.join(missing)}; give --other-gains.")
    ranked = [i for i, r in enumerate(evaluation.routers) if r not in settings["oracles"]]
    asked = ([list(combinations(ranked, 2))], ("mean_delta",))
    own, parts = differences(settings, evaluation, *asked), []
    requests = {d.name: len(d.gain) for d in evaluation.directions}
    requests[AVERAGE] = sum(requests.values())
    for judge in settings["human"]:
        judged = judged_by(evaluation, judge)
        people, scale = differences(settings, judged, *asked), _scales(evaluation, judged)
        direction = people.column("direction").to_pylist()
        difference = own.column("difference").to_numpy()
        expected = difference * np.array([scale[place] for place in direction])
        columns = {
            "judge": judge,
            **{name: people.column(name) for name in ("router", "other", "direction", "budget")},
            "metric": settings["metric"],
            "metric_difference": difference,
            "metric_p_holm": own.column("p_holm"),
            "expected": expected,
            **{name: people.column(name) for name in _PEOPLES},
            "verdict": _verdicts(people, expected, 1 - settings["bootstrap"]["level"]),
            "requests": [requests[place] for place in direction],
        }
        parts.append(tables.from_columns("human", columns))
    return pa.concat_tables(parts)


def _scales(evaluation: Evaluation, judged: Evaluation) -> dict[str, float]:
    """Deviation of people's gains over that of the metric's, by place; NaN for constant gains."""
    both = [[float(np.std(d.gain)) for d in e.directions] for e in (judged, evaluation)]
    names = [d.name for d in evaluation.directions]
    found = {name: (people, own) for name, people, own in zip(names, *both, strict=True)}
    found[AVERAGE] = (float(np.mean(both[0])), float(np.mean(both[1])))
    return {name: people / own if own else np.nan for name, (people, own) in found.items()}


def _verdicts(people: pa.Table, expected: np.ndarray[Any, Any], alpha: float) -> list[str]:
    p, difference, detectable = (
        people.column(c).to_numpy() for c in ("p_holm", "difference", "detectable")
    )
    told, same = p < alpha, np.sign(difference) == np.sign(expected)
    unknown = np.isnan(p) | np.isnan(expected)
    cases = [unknown, told & same, told, np.abs(expected) >= detectable]
    names = [UNDEFINED, HOLDS, REVERSED, NOT_CONFIRMED]
    found: list[str] = np.select(cases, names, CANNOT_TELL).tolist()
    return found
