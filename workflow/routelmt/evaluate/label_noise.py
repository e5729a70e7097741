"""How reliable the gains of requests are, and what of the headroom a perfect router could reach.

Classical test theory: an observed gain is a true gain plus an error of its own, so a router that
knew every true gain would correlate with the observed ones as the square root of their
reliability (Spearman 1904). The reliability is estimated from how the gains of several metrics, or
of several raters, correlate:

raters      the label is the mean of m equally good ones: m r / (1 + (m - 1) r), r their mean
            correlation (Spearman-Brown)
one factor  three or more metrics of one common true gain: sum r_ab r_ac / sum r_bc over the pairs
            (b, c) of the others (Spearman's communality of a)
parallel    two metrics, taken to be equally good: r

Errors that metrics share (all look at the same reference, two count n-grams) make r too high;
metrics of different qualities make it too low.

A gain oracle picks by the very errors that it is judged by. Where gain and error are jointly
normal, its MeanΔ over that of a random choice is s z with s the deviation of observed gains, and
that of a perfect predictor of the true gain sqrt(r) s z (METHODS, attainable oracle): the
attainable headroom is sqrt(r) times the raw one, r of Pearson's correlations. With skewed real
gains it is right within some percent, see docs/evaluation.md.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import combinations
from typing import Any

import numpy as np

from routelmt.errors import UserError
from routelmt.evaluate.requests import Evaluation, aligned
from routelmt.stats import weighted
from routelmt.stats.arrays import AnyArray, FloatArray
from routelmt.stats.bootstrap import (
    DirectionData,
    Estimates,
    Kernel,
    bootstrap_estimates,
    sorted_by,
)

RATERS, ONE_FACTOR, PARALLEL, NONE = "raters", "one factor", "parallel", "none"
NO_RELIABILITY = "in a direction, the correlations of the gains fit no reliability between 0 and 1"
_LABEL = "the label"
# A variance below this share of the largest square is floating-point noise of a constant.
ROUNDING = 1e-12


def method_of(settings: Mapping[str, Any], evaluation: Evaluation) -> tuple[str, list[str]]:
    """How the reliability is estimated (NONE: not at all), and from whose gains."""
    others, raters = list(evaluation.other_gains), list(settings.get("raters", ()))
    missing = [rater for rater in raters if rater not in others]
    if missing:
        raise UserError(f"raters: no gains of {', '.join(missing)}; give --other-gains.")
    if len(raters) > 1:
        return RATERS, raters
    if len(others) > 1:
        return ONE_FACTOR, [settings.get("metric", _LABEL), *others]
    if others:
        return PARALLEL, [settings.get("metric", _LABEL), *others]
    return NONE, [settings.get("metric", _LABEL)]


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
    kernels = [_rank_kernel(direction) for direction in directions]
    (found,) = bootstrap_estimates(directions, kernels, replicates, seed)
    return found


def linear_correlations(
    directions: Sequence[DirectionData], replicates: int, seed: int
) -> Estimates:
    """The same of Pearson's."""
    kernels = [_linear_kernel(direction) for direction in directions]
    (found,) = bootstrap_estimates(directions, kernels, replicates, seed)
    return found


def _rank_kernel(direction: DirectionData) -> Kernel:
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


def _linear_kernel(direction: DirectionData) -> Kernel:
    columns = np.stack(list(direction.priorities.values()))
    columns -= columns.mean(axis=1, keepdims=True)

    def kernel(weights: AnyArray) -> tuple[FloatArray, ...]:
        return (weighted_correlations(weights, columns, columns),)

    return kernel


def weighted_correlations(weights: AnyArray, first: FloatArray, second: FloatArray) -> FloatArray:
    """Pearson's correlations of rows of first, (f, n), and second, (s, n), by replicate: (f, s, B).

    NaN for a row that is constant in a replicate. The rows are centred, for the digits.
    """
    copies = weights.astype(np.float64).T
    size = np.maximum(copies.sum(axis=0), 1)

    def moments(rows: FloatArray) -> tuple[FloatArray, FloatArray]:
        mean = rows @ copies / size
        variance = rows**2 @ copies / size - mean**2
        smallest = ROUNDING * (rows**2).max(axis=1, keepdims=True)
        return mean, np.where(variance > smallest, variance, 0.0)

    (mean, variance), (other_mean, other_variance) = moments(first), moments(second)
    together = np.stack([(first * row) @ copies / size for row in second], axis=1)
    covariance = together - mean[:, np.newaxis] * other_mean
    return weighted.ratio(covariance, np.sqrt(variance[:, np.newaxis] * other_variance))


def label_reliability(
    settings: Mapping[str, Any],
    evaluation: Evaluation,
    correlations: Callable[[Sequence[DirectionData], int, int], Estimates] = rank_correlations,
) -> Estimates:
    """Of the label by direction, from how the gains of method_of's metrics correlate."""
    method, names = method_of(settings, evaluation)
    bootstrap, shape = settings["bootstrap"], len(evaluation.directions)
    if method == NONE:
        return Estimates(np.full(shape, np.nan), np.full((shape, 1), np.nan))
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
    by_pair = correlations(directions, bootstrap["replicates"], bootstrap["seed"])
    point = reliability(np.moveaxis(by_pair.point, 0, -1), method)
    samples = reliability(np.moveaxis(by_pair.samples, 0, -2), method)
    return Estimates(point, samples)


def _gains(evaluation: Evaluation, name: str) -> list[FloatArray]:
    found = aligned(evaluation, evaluation.other_gains[name], f"gains by {name}")
    return [table.column("gain").to_numpy() for table in found]


def attainable_share(settings: Mapping[str, Any], evaluation: Evaluation) -> Estimates | None:
    """sqrt(r) by direction: of the raw headroom, what a perfect predictor of true gains reaches.

    None where nothing says how noisy the label is.
    """
    if method_of(settings, evaluation)[0] == NONE:
        return None
    found = label_reliability(settings, evaluation, linear_correlations)
    return Estimates(np.sqrt(found.point), np.sqrt(found.samples))
