"""What routing between any two systems of a pool could gain: arrays alone, see `atlas_tables`.

A pair of systems is judged by the gains of every metric. Rankings of its requests are these gains
(a gain oracle each), the small system's qualities, the lowest first (a quality oracle each; of a
reference-free metric: deferral by QE), and signals of the source alone. So the headroom that metric
B's gain oracle has under A is one entry of the same array as what a signal recovers.

Statistics of directions are averaged, then figures made of them: a share of headroom on the average
is that of the averaged MeanΔ, and a reliability that of the averaged correlations, which fit one
where those of a single direction may not. Arrays end with an axis of pairs, or of the replicates
of one pair: both go through the same formulas.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from routelmt.evaluate.label_noise import (
    ONE_FACTOR,
    PARALLEL,
    ROUNDING,
    reliability,
    weighted_correlations,
)
from routelmt.stats import weighted
from routelmt.stats.arrays import AnyArray, BoolArray, FloatArray, IntArray, KeyArray
from routelmt.stats.bootstrap import DirectionData, bootstrap_estimates, sorted_by
from routelmt.stats.metrics import headroom_recovered
from routelmt.stats.selection import budget_counts

PAIRS_AT_ONCE = 256  # memory only
GAIN, QUALITY, SIGNAL = "gain", "quality", "router"  # kinds of rankings, in their order


class Pool(NamedTuple):
    """The requests of one direction.

    quality: (metrics, systems, n), NaN where there is no score; signals: (signals, n), higher = to
    the large system first; clusters: what the bootstrap draws together, tie_keys: see `selection`,
    both (n,).
    """

    quality: FloatArray
    signals: FloatArray
    clusters: IntArray
    tie_keys: KeyArray


class Statistics(NamedTuple):
    """Of pairs (or replicates) by metric that judges; NaN for a metric that has no scores of both.

    mean_gain, losses and severe_losses (shares): (..., metrics, X); delta, MeanΔ of the first
    floor(p n) of each ranking: (..., budgets, rankings, metrics, X); pearson and spearman, of
    ranking and gain: (..., rankings, metrics, X).
    """

    mean_gain: FloatArray
    losses: FloatArray
    severe_losses: FloatArray
    delta: FloatArray
    pearson: FloatArray
    spearman: FloatArray


class Figures(NamedTuple):
    """By place (the average last): (places, metrics, X), or with budgets after the places.

    cross_headroom and agreement_*: means over the other metrics that share no rater with the judge.
    recovered: (places, budgets, rankings, metrics, X), shares of the headroom; pearson, spearman:
    (places, rankings, metrics, X).
    """

    mean_gain: FloatArray
    losses: FloatArray
    severe_losses: FloatArray
    headroom: FloatArray  # with budgets, as the next two
    cross_headroom: FloatArray
    attainable_headroom: FloatArray
    reliability: FloatArray
    attainable_spearman: FloatArray
    agreement_pearson: FloatArray
    agreement_spearman: FloatArray
    recovered: FloatArray
    pearson: FloatArray
    spearman: FloatArray


def pair_statistics(
    pool: Pool, pairs: IntArray, budgets: Sequence[float], edges: Sequence[float]
) -> tuple[IntArray, Statistics]:
    """Requests, (pairs,), and statistics of all pairs (small, large), (pairs, 2), of one direction.

    A pair's requests have scores of both systems by every metric that has any of both. Ties go by
    tie_keys. edges: a severe loss is at or below the first, a loss below the second.
    """
    order = np.argsort(pool.tie_keys)  # so that a stable sort breaks ties by key
    quality, signals = pool.quality[..., order], pool.signals[:, order]
    parts = []
    for first in range(0, len(pairs), PAIRS_AT_ONCE):
        small, large = pairs[first : first + PAIRS_AT_ONCE].T
        parts.append(_statistics(quality[:, small], quality[:, large], signals, budgets, edges))
    requests, found = zip(*parts, strict=True)
    whole = (np.concatenate(field, axis=-1) for field in zip(*found, strict=True))
    return np.concatenate(requests), Statistics(*whole)


def scored_requests(gain: FloatArray) -> tuple[BoolArray, BoolArray]:
    """Which metrics judge each pair, (metrics, pairs), and its requests, (pairs, n)."""
    scored = ~np.isnan(gain)
    there: BoolArray = np.any(scored, axis=-1)
    some: BoolArray = np.any(there, axis=0)
    complete: BoolArray = np.all(scored | ~there[..., np.newaxis], axis=0)
    return there, complete & some[:, np.newaxis]


def _statistics(
    small: FloatArray,
    large: FloatArray,
    signals: FloatArray,
    budgets: Sequence[float],
    edges: Sequence[float],
) -> tuple[IntArray, Statistics]:
    """small, large: (metrics, pairs, n)."""
    gain = large - small
    there, valid = scored_requests(gain)
    requests = valid.sum(axis=-1)
    alike = np.broadcast_to(signals[:, np.newaxis], (len(signals), *valid.shape))
    gain = np.where(valid & there[..., np.newaxis], gain, 0.0)
    ranking = np.where(valid, np.concatenate((gain, -np.nan_to_num(small), alike)), 0.0)
    place = np.empty(ranking.shape, np.int32)
    order = np.argsort(np.where(valid, -ranking, np.inf), axis=-1, kind="stable")
    np.put_along_axis(place, order, np.arange(valid.shape[-1], dtype=np.int32), axis=-1)
    sums = []
    for budget in budgets:
        k = budget_counts(budget, requests)
        first = (place < k[:, np.newaxis]).astype(np.float64)
        sums.append(weighted.ratio(_products(first, gain), k))
    ranks = _ranks(np.where(valid, ranking, np.inf))
    undefined = np.where(there, 0.0, np.nan)
    ranked = np.concatenate((undefined, undefined, np.zeros((len(signals), len(requests)))))
    both = ranked[:, np.newaxis] + undefined
    mean_gain, losses, severe_losses = (
        weighted.ratio(values.sum(axis=-1).astype(float), requests) + undefined
        for values in (gain, valid & (gain < edges[1]), valid & (gain <= edges[0]))
    )
    delta = np.stack(sums) + both
    pearson = _correlations(ranking, gain, valid) + both
    spearman = _correlations(ranks, ranks[: len(gain)], valid) + both
    found = Statistics(mean_gain, losses, severe_losses, delta, pearson, spearman)
    return requests, found


def _products(first: FloatArray, second: FloatArray) -> FloatArray:
    """Sums over requests of every row of (f, pairs, n) times every row of (s, pairs, n)."""
    found = np.moveaxis(first, 0, 1) @ np.moveaxis(second, 0, 2)
    return np.moveaxis(found, 0, -1)


def _ranks(values: FloatArray) -> FloatArray:
    from scipy.stats import rankdata

    ranks: FloatArray = rankdata(values, axis=-1)
    return ranks


def _correlations(first: FloatArray, second: FloatArray, valid: BoolArray) -> FloatArray:
    """Pearson's of rows of (f, pairs, n) and of (s, pairs, n): (f, s, pairs); NaN if constant."""
    size = np.maximum(valid.sum(axis=-1, keepdims=True), 1)

    def centred(values: FloatArray) -> tuple[FloatArray, FloatArray]:
        mean = np.where(valid, values, 0).sum(axis=-1, keepdims=True) / size
        deviation = np.where(valid, values - mean, 0.0)
        squares = (deviation**2).sum(axis=-1)
        largest = np.where(valid, np.abs(values), 0).max(axis=-1, initial=0) ** 2
        return deviation, np.where(squares > ROUNDING * largest, squares, 0.0)

    (x, x_squares), (y, y_squares) = centred(first), centred(second)
    return weighted.ratio(_products(x, y), np.sqrt(x_squares[:, np.newaxis] * y_squares))


def figures(by_direction: Statistics, apart: BoolArray) -> Figures:
    """What the statistics of several directions, (directions, ...), come to, and on the average.

    apart: whether two metrics share no rater, (metrics, metrics). A direction without the pair, or
    without the metrics, is in no average.
    """
    metrics, own = len(apart), np.arange(len(apart))
    judged = ~np.isnan(by_direction.mean_gain)
    ranked = ~np.isnan(by_direction.delta)
    present = (*(judged,) * 3, ranked, *(ranked[:, 0],) * 2)
    s = Statistics(*(_with_average(v, p) for v, p in zip(by_direction, present, strict=True)))
    mean = s.mean_gain[:, np.newaxis]
    oracle = s.delta[:, :, own, own]
    of_oracle = s.delta[:, :, :metrics] - mean[:, :, np.newaxis]
    linear, by_rank = (_reliabilities(v[:, :metrics], apart) for v in (s.pearson, s.spearman))
    others = apart[..., np.newaxis]
    return Figures(
        *s[:3],
        headroom=oracle - mean,
        cross_headroom=_mean(of_oracle, others, axis=2),
        attainable_headroom=np.sqrt(linear)[:, np.newaxis] * (oracle - mean),
        reliability=linear,
        attainable_spearman=np.sqrt(by_rank),
        agreement_pearson=_mean(s.pearson[:, :metrics], others, axis=1),
        agreement_spearman=_mean(s.spearman[:, :metrics], others, axis=1),
        recovered=headroom_recovered(s.delta, mean[:, :, np.newaxis], oracle[:, :, np.newaxis]),
        pearson=s.pearson,
        spearman=s.spearman,
    )


def _with_average(values: FloatArray, present: BoolArray) -> FloatArray:
    """The mean over the directions in which the pair is there, as one more of them."""
    total = np.where(present, values, 0.0).sum(axis=0)
    mean = weighted.ratio(total, present.sum(axis=0))
    return np.concatenate((values, mean[np.newaxis]))


def _mean(values: FloatArray, chosen: BoolArray, axis: int) -> FloatArray:
    """Mean along an axis of what is chosen and defined."""
    defined = chosen & ~np.isnan(values)
    return weighted.ratio(np.where(defined, values, 0.0).sum(axis=axis), defined.sum(axis=axis))


def _reliabilities(correlations: FloatArray, apart: BoolArray) -> FloatArray:
    """Of each metric's gains, (places, metrics, X), from (places, metrics, metrics, X).

    By the metrics that a place has and that share no rater, with it or among each other.
    """
    found = np.full(correlations.shape[:1] + correlations.shape[2:], np.nan)
    for place, here in enumerate(correlations):
        for metric in range(len(apart)):
            others = independent(metric, apart, ~np.isnan(here).all(axis=(0, 2)))
            if others:
                order = [metric, *others]
                method = ONE_FACTOR if len(others) > 1 else PARALLEL
                found[place, metric] = reliability(here[np.ix_(order, order)], method)
    return found


def independent(metric: int, apart: BoolArray, there: BoolArray) -> list[int]:
    """Metrics that share no rater with a metric, or among each other, the first ones first."""
    chosen: list[int] = []
    for other in np.flatnonzero(there & apart[metric]).tolist():
        if apart[other, chosen].all():
            chosen.append(other)
    return chosen


def pair_replicates(
    pools: Sequence[Pool],
    pair: tuple[int, int],
    budgets: Sequence[float],
    edges: Sequence[float],
    bootstrap: tuple[int, int],
) -> tuple[Statistics, list[IntArray]]:
    """Statistics of one pair on every replicate, (directions, ..., replicates), and its clusters.

    bootstrap: replicates and seed. NaN in a direction that the pair has no requests of.
    """
    here, directions, kernels = [], [], []
    for at, pool in enumerate(pools):
        gain = pool.quality[:, pair[1]] - pool.quality[:, pair[0]]
        judged, requests = scored_requests(gain[:, np.newaxis])
        there, valid = judged[:, 0], requests[0]
        if valid.any():
            small = pool.quality[:, pair[0], valid]
            ranking = np.concatenate((gain[:, valid], -small, pool.signals[:, valid]))
            data = _direction(str(at), pool, valid, ranking)
            here.append(at)
            directions.append(data)
            kernels.append(_kernel(data, ranking, there, budgets, edges))
    found = bootstrap_estimates(directions, kernels, *bootstrap)
    whole = []
    for estimates in found:
        shape = (len(pools), *estimates.samples.shape[1:])
        whole.append(np.full(shape, np.nan))
        whole[-1][here] = estimates.samples
    return Statistics(*whole), [direction.group_ids for direction in directions]


def _direction(name: str, pool: Pool, valid: BoolArray, ranking: FloatArray) -> DirectionData:
    """What the bootstrap draws: the requests of a pair with their rankings."""
    nothing = np.zeros(int(valid.sum()))
    columns = {f"{i}": row for i, row in enumerate(ranking) if not np.isnan(row).any()}
    return DirectionData(
        name, pool.clusters[valid], pool.tie_keys[valid], nothing, nothing, columns
    )


def _kernel(
    data: DirectionData,
    ranking: FloatArray,
    there: BoolArray,
    budgets: Sequence[float],
    edges: Sequence[float],
) -> Callable[[AnyArray], tuple[FloatArray, ...]]:
    """Statistics by replicate; rows of the ranking are the gains, then the others."""
    metrics, ranked = len(there), [int(name) for name in data.priorities]
    judges = np.flatnonzero(there).tolist()
    columns = {i: sorted_by(data, ranking[i]) for i in ranked}
    centred = ranking - ranking.mean(axis=1, keepdims=True)
    ascending, asked = np.unique(budgets, return_inverse=True)
    cells = np.ix_(np.array(ranked), np.array(judges))

    def kernel(weights: AnyArray) -> tuple[FloatArray, ...]:
        requests = weights.sum(axis=1)
        k = np.stack([budget_counts(p, requests) for p in ascending], axis=1)
        empty = np.full((len(ranking), metrics, len(weights)), np.nan)
        delta, pearson, spearman = np.stack([empty] * len(budgets)), empty.copy(), empty.copy()
        pearson[cells] = weighted_correlations(weights, centred[ranked], centred[judges])
        for m in judges:
            ranks = weighted.gain_ranks(weights, columns[m])
            for r in ranked:
                sums = weighted.sums_of_first(weights, columns[r], ranking[m], k)
                delta[:, r, m] = weighted.ratio(sums, k.T)[asked]
                spearman[r, m] = weighted.spearman(weights, columns[r], ranks)
        gain = ranking[:metrics]
        means = [np.where(np.isnan(gain), np.nan, of) @ weights.T.astype(np.float64)
                 for of in (gain, gain < edges[1], gain <= edges[0])]  # fmt: skip
        return (*(weighted.ratio(m, requests) for m in means), delta, pearson, spearman)

    return kernel
