"""Table `cross_metric`: the same routers, judged by the gains of other metrics.

Predictions stay what they are; only what counts as gain changes. A ranking of routers that holds
under the other metrics does not hang on one metric's peculiarities.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import combinations
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from routelmt import tables
from routelmt.errors import UserError
from routelmt.evaluate.quality_tables import place_names, role_of
from routelmt.evaluate.requests import Evaluation, aligned, clusters_of
from routelmt.evaluate.router_metrics import expect_no_correlation, with_expected_chance
from routelmt.roles import ROUTER
from routelmt.stats import inference, weighted
from routelmt.stats.arrays import FloatArray
from routelmt.stats.averages import RouterFigures, over_seeds, with_average
from routelmt.stats.bootstrap import Estimates, bootstrap_table
from routelmt.stats.inference import NO_DIFFERENCE
from routelmt.stats.measures import percent
from routelmt.stats.metrics import ANYWHERE, RANGES


class _Judged(NamedTuple):
    """Figures of (directions + 1, routers, budgets) by one metric's gains."""

    spearman: RouterFigures
    hit_rate: RouterFigures
    mean_delta: RouterFigures


def cross_metric(settings: dict[str, Any], evaluation: Evaluation) -> pa.Table:
    """MeanΔ, HitRate, Spearman and rank of every router by every metric's gains.

    Rows without a router hold Kendall's tau-b between the rankings by MeanΔ of the judge and of
    the experiment's own metric, over the deployable routers. settings: metric, its name. Raises
    UserError if no other gains were given.
    """
    if not evaluation.other_gains:
        raise UserError(
            "table cross_metric needs gains by other metrics: set judge_metrics of the experiment."
        )
    evaluation = with_expected_chance(evaluation, settings)
    own = settings["metric"]
    judged = {own: _judged(settings, evaluation)}
    for name in evaluation.other_gains:
        judged[name] = _judged(settings, judged_by(evaluation, name))
    parts = []
    for judge, found in judged.items():
        for metric, budget, figures in _figures(settings, evaluation, found):
            parts.append(_rows(settings, evaluation, (judge, metric, budget), figures))
        for b, budget in enumerate(settings["budgets"]):
            if judge != own:
                agreement = _agreement(settings, evaluation, judged[own], found, b)
                parts.append(_rows(settings, evaluation, (judge, "kendall_tau", budget), agreement))
    return pa.concat_tables(parts)


def judged_by(evaluation: Evaluation, metric: str) -> Evaluation:
    """The same requests and priorities with the gains of another metric."""
    found = aligned(evaluation, evaluation.other_gains[metric], f"gains by {metric}")
    directions = tuple(
        replace(
            direction,
            quality_small=gains.column("quality_small").to_numpy(),
            gain=gains.column("gain").to_numpy(),
        )
        for direction, gains in zip(evaluation.directions, found, strict=True)
    )
    return replace(evaluation, directions=directions)


def _judged(settings: dict[str, Any], evaluation: Evaluation) -> _Judged:
    bootstrap = settings["bootstrap"]
    table = bootstrap_table(
        evaluation.directions, settings["budgets"], bootstrap["replicates"], bootstrap["seed"]
    )
    figures = (table.spearman, percent(table.hit_rate), table.mean_delta)
    judged = _Judged(
        *(over_seeds(with_average(e), table.routers, evaluation.columns) for e in figures)
    )
    constant = [np.ptp(direction.gain) == 0 for direction in evaluation.directions]
    at = np.array([*constant, any(constant)])
    expect_no_correlation(settings, evaluation, judged.spearman, at)
    return judged


def _figures(
    settings: dict[str, Any], evaluation: Evaluation, found: _Judged
) -> Iterator[tuple[str, float | None, RouterFigures | Estimates]]:
    """(metric, budget, figures of (directions + 1, routers)); ranks come as drawn replicates."""
    yield "spearman", None, found.spearman
    for b, budget in enumerate(settings["budgets"]):
        delta = found.mean_delta.at((..., b))
        yield "hit_rate", budget, found.hit_rate.at((..., b))
        yield "mean_delta", budget, delta
        yield "rank", budget, _ranks(settings, delta, _deployable(settings, evaluation))


def _deployable(settings: dict[str, Any], evaluation: Evaluation) -> list[int]:
    return [i for i, r in enumerate(evaluation.routers) if role_of(r, settings) == ROUTER]


def _ranks(settings: dict[str, Any], delta: RouterFigures, ranked: list[int]) -> Estimates:
    """Rank by MeanΔ among some routers, 1 the best, ties shared; NaN for the other routers."""
    point = np.full(delta.value.shape, np.nan)
    samples = np.full(delta.samples.shape, np.nan)
    if ranked:
        point[:, ranked] = _rank(delta.value[:, ranked][..., np.newaxis])[..., 0]
        samples[:, ranked] = _rank(delta.drawn(settings["bootstrap"]["seed"])[:, ranked])
    return Estimates(point, samples)


def _rank(values: FloatArray) -> FloatArray:
    """Ranks along axis 1 of (places, routers, B)."""
    difference = values[:, np.newaxis] - values[:, :, np.newaxis]
    better = (difference > NO_DIFFERENCE).sum(axis=2)
    equal = (np.abs(difference) <= NO_DIFFERENCE).sum(axis=2)
    ranks: FloatArray = better + (equal + 1) / 2
    return np.where(np.isnan(values), np.nan, ranks)


def _agreement(
    settings: dict[str, Any], evaluation: Evaluation, own: _Judged, other: _Judged, budget: int
) -> Estimates:
    """Kendall's tau-b by place, (directions + 1,)."""
    ranked, seed = _deployable(settings, evaluation), settings["bootstrap"]["seed"]
    sides = [judged.mean_delta.at((..., budget)) for judged in (own, other)]
    point = kendall_tau(*(side.value[:, ranked] for side in sides))
    return Estimates(point, kendall_tau(*(side.drawn(seed)[:, ranked] for side in sides)))


def kendall_tau(first: FloatArray, second: FloatArray) -> FloatArray:
    """Kendall's tau-b along axis 1; NaN for fewer than two routers or a constant column."""
    pairs = np.array(list(combinations(range(first.shape[1]), 2)), dtype=np.int64).reshape(-1, 2).T
    signs = []
    for values in (first, second):
        difference = values[:, pairs[0]] - values[:, pairs[1]]
        signs.append(np.where(np.abs(difference) <= NO_DIFFERENCE, 0.0, np.sign(difference)))
    a, b = signs
    scale = np.sqrt(np.abs(a).sum(axis=1) * np.abs(b).sum(axis=1))
    return weighted.ratio((a * b).sum(axis=1), scale)


def _rows(
    settings: dict[str, Any],
    evaluation: Evaluation,
    cell: tuple[str, str, float | None],
    figures: RouterFigures | Estimates,
) -> pa.Table:
    """A row per place, and per router where the figures have them.

    Estimates are of whole numbers or of their order: their interval is of percentiles.
    """
    judge, metric, budget = cell
    clusters, level = clusters_of(evaluation.directions), settings["bootstrap"]["level"]
    if isinstance(figures, Estimates):
        value = figures.point
        low, high = inference.percentile_limits(figures.samples, level)
        undefined = np.isnan(figures.samples).mean(axis=-1)
    else:
        value, reference = figures.value, figures.reference(clusters)
        low, high = reference.limits(value, level, RANGES.get(metric, ANYWHERE))
        undefined = reference.undefined
    places = place_names(evaluation)
    routers: list[str | None] = [None] if value.ndim == 1 else list(evaluation.routers)
    nothing = np.isnan(value.ravel())
    known = [_REASONS[metric] if why else None for why in nothing]
    names = [router for _ in places for router in routers]
    columns = {
        "judge": judge,
        "router": names,
        "direction": [place for place in places for _ in routers],
        "budget": pa.array([budget] * value.size, pa.float64()),
        "role": [role_of(router, settings) if router else None for router in names],
        "metric": metric,
        "value": value.ravel(),
        "low": np.where(nothing, np.nan, low.ravel()),
        "high": np.where(nothing, np.nan, high.ravel()),
        "reason": inference.reasons(known, undefined, _REASONS[metric]),
        "clusters": np.repeat(clusters.counts, len(routers)),
        "undefined": undefined.ravel(),
    }
    return tables.from_columns("cross_metric", columns)


_CONSTANT = "priority or gain is the same for all requests of a direction"
_REASONS = {
    "spearman": _CONSTANT,
    "hit_rate": _CONSTANT,
    "mean_delta": _CONSTANT,
    "rank": "only deployable routers are ranked",
    "kendall_tau": "fewer than two deployable routers, or all of them equal",
}
