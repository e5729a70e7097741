"""Table `noise`: how much of 1 - Spearman could be noise of the labels.

The label's reliability is that of `label_noise`, from rank correlations, as the metric is one. It
says what could be noise, not what is: a router may beat the ceiling by predicting what is peculiar
to its metric.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from routelmt import tables
from routelmt.evaluate.label_noise import NO_RELIABILITY, NONE, label_reliability, method_of
from routelmt.evaluate.quality_tables import place_names, role_of
from routelmt.evaluate.requests import Evaluation, clusters_of
from routelmt.roles import ROUTER
from routelmt.stats import inference, weighted
from routelmt.stats.arrays import AnyArray, FloatArray
from routelmt.stats.averages import over_seeds, with_average
from routelmt.stats.bootstrap import (
    DirectionData,
    Estimates,
    Kernel,
    bootstrap_estimates,
    sorted_by,
)
from routelmt.stats.inference import Reference, reference


class _Measure(NamedTuple):
    """A figure of the labels (router None) or of a router, and its reference, by place."""

    router: str | None
    name: str
    value: FloatArray
    reference: Reference


def noise(settings: dict[str, Any], evaluation: Evaluation) -> pa.Table:
    """Reliability and attainable Spearman of the label, and what they leave of each router's gap.

    settings: raters, names of other gains whose mean is the label; else all other gains are by
    metrics beside the label's. Raises UserError for raters whose gains were not given.
    """
    method, names = method_of(settings, evaluation)
    label = with_average(label_reliability(settings, evaluation))
    places, level = place_names(evaluation), settings["bootstrap"]["level"]
    sizes = [len(direction.gain) for direction in evaluation.directions]
    parts = []
    for measure in _measures(settings, evaluation, label):
        within = (-np.inf if measure.router else 0.0, 1.0)
        low, high = measure.reference.limits(measure.value, level, within)
        known = [_reason(measure.name, method) if why else None for why in np.isnan(measure.value)]
        undefined = measure.reference.undefined
        columns = {
            "direction": places,
            "router": [measure.router] * len(places),
            "measure": measure.name,
            "method": method,
            "metrics": ", ".join(names),
            "value": measure.value,
            "low": low,
            "high": high,
            "requests": [*sizes, sum(sizes)],
            "reason": inference.reasons(known, undefined, _reason(measure.name, method)),
            "clusters": clusters_of(evaluation.directions).counts,
            "undefined": undefined,
        }
        parts.append(tables.from_columns("noise", columns))
    return pa.concat_tables(parts)


def _router_kernel(direction: DirectionData) -> Kernel:
    """Spearman of every priority column and the gain, (priorities, B)."""
    gain = sorted_by(direction, direction.gain)
    columns = [sorted_by(direction, values) for values in direction.priorities.values()]

    def kernel(weights: AnyArray) -> tuple[FloatArray, ...]:
        ranks = weighted.gain_ranks(weights, gain)
        rho = [weighted.spearman(weights, column, ranks) for column in columns]
        return (np.stack(rho),)

    return kernel


def _measures(
    settings: dict[str, Any], evaluation: Evaluation, label: Estimates
) -> Iterator[_Measure]:
    clusters = clusters_of(evaluation.directions)
    attainable = label.each(np.sqrt)
    for name, estimates in (("reliability", label), ("attainable_spearman", attainable)):
        yield _Measure(None, name, estimates.point, reference(estimates.samples, clusters))
    bootstrap = settings["bootstrap"]
    kernels = [_router_kernel(direction) for direction in evaluation.directions]
    (found,) = bootstrap_estimates(
        evaluation.directions, kernels, bootstrap["replicates"], bootstrap["seed"]
    )
    rho = with_average(found)
    share = attainable.at(np.s_[:, np.newaxis]).each(_share, rho)
    names = list(evaluation.directions[0].priorities)
    both = {
        name: over_seeds(estimates, names, evaluation.columns)
        for name, estimates in (("spearman", rho), ("noise_share", share))
    }
    of_mean = _share(attainable.point[:, np.newaxis], both["spearman"].value)
    both["noise_share"] = both["noise_share"]._replace(value=of_mean)
    references = {name: figures.reference(clusters) for name, figures in both.items()}
    for index, router in enumerate(evaluation.routers):
        if role_of(router, settings) == ROUTER:
            for name, figures in both.items():
                own = Reference(*(column[:, index] for column in references[name]))
                yield _Measure(router, name, figures.value[:, index], own)


def _share(attainable: FloatArray, rho: FloatArray) -> FloatArray:
    """Of what a correlation lacks to 1, the share that noise takes; NaN for 1 itself."""
    return weighted.ratio(np.broadcast_to(1 - attainable, rho.shape), 1 - rho)


def _reason(measure: str, method: str) -> str:
    if measure == "spearman":
        return "priority or gain is the same for all requests of a direction"
    if method == NONE:
        return "one metric alone says nothing of its noise; add judge_metrics or raters"
    return NO_RELIABILITY
