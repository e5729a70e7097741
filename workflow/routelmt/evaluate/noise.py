"""Table `noise`: how much of 1 - Spearman could be noise of the labels.

Classical test theory: an observed gain is a true gain plus an error of its own, so a router that
knew every true gain would correlate with the observed ones as the square root of their
reliability (Spearman 1904). The reliability is estimated from how the gains of several metrics, or
of several raters, correlate:

raters      the label is the mean of m equally good ones: m r / (1 + (m - 1) r), r their mean
            correlation (Spearman-Brown)
one factor  three or more metrics of one common true gain: sum r_ab r_ac / sum r_bc over the pairs
            (b, c) of the others (Spearman's communality of a)
parallel    two metrics, taken to be equally good: r

All are rank correlations, as the metric is one. Errors that metrics share (all look at the same
reference, two count n-grams) make r, and so the ceiling, too high; metrics of different qualities
make it too low. It says what could be noise, not what is: a router may beat it by predicting what
is peculiar to its metric.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from routelmt import tables
from routelmt.errors import UserError
from routelmt.evaluate import inference, weighted
from routelmt.evaluate.arrays import AnyArray, FloatArray
from routelmt.evaluate.averages import over_seeds, with_average
from routelmt.evaluate.bootstrap import (
    DirectionData,
    Estimates,
    Kernel,
    bootstrap_estimates,
    sorted_by,
)
from routelmt.evaluate.inference import Reference, reference
from routelmt.evaluate.quality_tables import place_names, role_of
from routelmt.evaluate.requests import Evaluation, aligned, clusters_of
from routelmt.evaluate.roles import ROUTER

RATERS, ONE_FACTOR, PARALLEL = "raters", "one factor", "parallel"
_LABEL = "the label"


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
    label = _label_reliability(settings, evaluation, method, names)
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


def method_of(settings: Mapping[str, Any], evaluation: Evaluation) -> tuple[str, list[str]]:
    """How the reliability is estimated ("none": not at all), and from whose gains."""
    others, raters = list(evaluation.other_gains), list(settings.get("raters", ()))
    missing = [rater for rater in raters if rater not in others]
    if missing:
        raise UserError(f"table noise: no gains of {', '.join(missing)}; give --other-gains.")
    if len(raters) > 1:
        return RATERS, raters
    if len(others) > 1:
        return ONE_FACTOR, [settings.get("metric", _LABEL), *others]
    if others:
        return PARALLEL, [settings.get("metric", _LABEL), *others]
    return "none", [settings.get("metric", _LABEL)]


def reliability(correlations: FloatArray, method: str) -> FloatArray:
    """Reliability of the label from the correlations of (m, m, ...) gains; see the module.

    one factor and parallel: the label is the first. NaN where correlations are not positive or
    their pattern fits no reliability up to 1.
    """
    size = len(correlations)
    pairs = [correlations[pair] for pair in combinations(range(size), 2)]
    if method == RATERS:
        mean = np.mean(pairs, axis=0)
        found = size * mean / np.where(mean > 0, 1 + (size - 1) * mean, np.nan)
    elif method == ONE_FACTOR:
        others = list(combinations(range(1, size), 2))
        above = np.sum([correlations[0, b] * correlations[0, c] for b, c in others], axis=0)
        below = np.sum([correlations[b, c] for b, c in others], axis=0)
        positive = (below > 0) & np.all(correlations[0] > 0, axis=0)
        found = above / np.where(positive, below, np.nan)
    else:
        found = np.where(correlations[0, 1] > 0, correlations[0, 1], np.nan)
    return np.where(found <= 1, found, np.nan)


def rank_correlations(directions: Sequence[DirectionData], replicates: int, seed: int) -> Estimates:
    """Spearman's correlation of every two priority columns: point (directions, m, m)."""
    kernels = [_correlation_kernel(direction) for direction in directions]
    (found,) = bootstrap_estimates(directions, kernels, replicates, seed)
    return found


def _correlation_kernel(direction: DirectionData) -> Kernel:
    columns = [sorted_by(direction, values) for values in direction.priorities.values()]

    def kernel(weights: AnyArray) -> tuple[FloatArray, ...]:
        ranks = [weighted.gain_ranks(weights, column) for column in columns]
        found = np.ones((len(columns), len(columns), len(weights)))
        for b, second in enumerate(columns):
            for a, first in enumerate(ranks):
                if a != b:
                    found[a, b] = weighted.spearman(weights, second, first)
        return (found,)

    return kernel


def _router_kernel(direction: DirectionData) -> Kernel:
    """Spearman of every priority column and the gain, (priorities, B)."""
    gain = sorted_by(direction, direction.gain)
    columns = [sorted_by(direction, values) for values in direction.priorities.values()]

    def kernel(weights: AnyArray) -> tuple[FloatArray, ...]:
        ranks = weighted.gain_ranks(weights, gain)
        rho = [weighted.spearman(weights, column, ranks) for column in columns]
        return (np.stack(rho),)

    return kernel


def _label_reliability(
    settings: dict[str, Any], evaluation: Evaluation, method: str, names: list[str]
) -> Estimates:
    """By place, with the average over the directions last."""
    bootstrap, shape = settings["bootstrap"], len(evaluation.directions)
    if method == "none":
        return with_average(Estimates(np.full(shape, np.nan), np.full((shape, 1), np.nan)))
    found = {name: _gains(evaluation, name) for name in names if name in evaluation.other_gains}
    directions = [
        DirectionData(
            d.name,
            d.group_ids,
            d.tie_keys,
            d.quality_small,
            d.gain,
            {name: found[name][i] if name in found else d.gain for name in names},
        )
        for i, d in enumerate(evaluation.directions)
    ]
    by_pair = rank_correlations(directions, bootstrap["replicates"], bootstrap["seed"])
    point = reliability(np.moveaxis(by_pair.point, 0, -1), method)
    samples = reliability(np.moveaxis(by_pair.samples, 0, -2), method)
    return with_average(Estimates(point, samples))


def _gains(evaluation: Evaluation, name: str) -> list[FloatArray]:
    found = aligned(evaluation, evaluation.other_gains[name], f"gains by {name}")
    return [table.column("gain").to_numpy() for table in found]


def _measures(
    settings: dict[str, Any], evaluation: Evaluation, label: Estimates
) -> Iterator[_Measure]:
    clusters = clusters_of(evaluation.directions)
    attainable = Estimates(np.sqrt(label.point), np.sqrt(label.samples))
    for name, estimates in (("reliability", label), ("attainable_spearman", attainable)):
        yield _Measure(None, name, estimates.point, reference(estimates.samples, clusters))
    bootstrap = settings["bootstrap"]
    kernels = [_router_kernel(direction) for direction in evaluation.directions]
    (found,) = bootstrap_estimates(
        evaluation.directions, kernels, bootstrap["replicates"], bootstrap["seed"]
    )
    rho = with_average(found)
    share = Estimates(
        _share(attainable.point[:, np.newaxis], rho.point),
        _share(attainable.samples[:, np.newaxis], rho.samples),
    )
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
    if method == "none":
        return "one metric alone says nothing of its noise; add judge_metrics or raters"
    return "in a direction, the correlations of the gains fit no reliability between 0 and 1"
