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
from routelmt.evaluate import inference, weighted
from routelmt.evaluate.arrays import FloatArray
from routelmt.evaluate.averages import RouterFigures, over_seeds, with_average
from routelmt.evaluate.bootstrap import Estimates, bootstrap_table
from routelmt.evaluate.inference import NO_DIFFERENCE
from routelmt.evaluate.quality_tables import place_names, role_of
from routelmt.evaluate.requests import Evaluation, aligned
from routelmt.evaluate.roles import ROUTER
from routelmt.evaluate.router_metrics import expect_no_correlation, with_expected_chance


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
        for metric, budget, estimates in _figures(settings, evaluation, found):
            parts.append(_rows(settings, evaluation, (judge, metric, budget), estimates))
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
    figures = (
        over_seeds(with_average(e), table.routers, evaluation.columns, bootstrap["seed"])
        for e in (table.spearman, table.hit_rate, table.mean_delta)
    )
    judged = _Judged(*figures)
    constant = [np.ptp(direction.gain) == 0 for direction in evaluation.directions]
    expect_no_correlation(
        judged.spearman,
        [router in settings["random"] for router in evaluation.routers],
        np.array([*constant, any(constant)]),
    )
    return judged


def _figures(
    settings: dict[str, Any], evaluation: Evaluation, found: _Judged
) -> Iterator[tuple[str, float | None, Estimates]]:
    """(metric, budget, estimates of (directions + 1, routers))."""
    yield "spearman", None, Estimates(found.spearman.value, found.spearman.samples)
    for b, budget in enumerate(settings["budgets"]):
        hits, delta = found.hit_rate, found.mean_delta
        yield "hit_rate", budget, Estimates(100 * hits.value[:, :, b], 100 * hits.samples[:, :, b])
        yield "mean_delta", budget, Estimates(delta.value[:, :, b], delta.samples[:, :, b])
        yield "rank", budget, _ranks(delta, _deployable(settings, evaluation), b)


def _deployable(settings: dict[str, Any], evaluation: Evaluation) -> list[int]:
    return [i for i, r in enumerate(evaluation.routers) if role_of(r, settings) == ROUTER]


def _ranks(delta: RouterFigures, ranked: list[int], budget: int) -> Estimates:
    """Rank by MeanΔ among some routers, 1 the best, ties shared; NaN for the other routers."""
    point = np.full(delta.value.shape[:2], np.nan)
    samples = np.full((*point.shape, delta.samples.shape[-1]), np.nan)
    if ranked:
        point[:, ranked] = _rank(delta.value[:, ranked, budget][..., np.newaxis])[..., 0]
        samples[:, ranked] = _rank(delta.samples[:, ranked, budget])
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
    ranked = _deployable(settings, evaluation)
    first, second = own.mean_delta, other.mean_delta
    point = kendall_tau(first.value[:, ranked, budget], second.value[:, ranked, budget])
    samples = kendall_tau(first.samples[:, ranked, budget], second.samples[:, ranked, budget])
    return Estimates(point, samples)


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
    estimates: Estimates,
) -> pa.Table:
    """A row per place, and per router where the estimates have them."""
    judge, metric, budget = cell
    places, whole = place_names(evaluation), estimates.point.ndim == 1
    routers: list[str | None] = [None] if whole else list(evaluation.routers)
    low, high = inference.percentile_limits(estimates.samples, settings["bootstrap"]["level"])
    value = estimates.point.ravel()
    undefined = np.isnan(value)
    names = [router for _ in places for router in routers]
    columns = {
        "judge": judge,
        "router": names,
        "direction": [place for place in places for _ in routers],
        "budget": pa.array([budget] * len(value), pa.float64()),
        "role": [role_of(router, settings) if router else None for router in names],
        "metric": metric,
        "value": value,
        "low": np.where(undefined, np.nan, low.ravel()),
        "high": np.where(undefined, np.nan, high.ravel()),
        "reason": [_REASONS[metric] if why else None for why in undefined],
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
