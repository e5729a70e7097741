"""Table `router_metrics`: every metric of every router, by direction, averaged and pooled.

Pooled: the requests of all directions under one budget, ranked against one another. A router that
draws by chance is one whose requests all tie, which is its exact expectation.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields, replace
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from routelmt import tables
from routelmt.evaluate.quality_tables import role_of
from routelmt.evaluate.requests import Evaluation, clusters_of
from routelmt.roles import AVERAGE, POOLED
from routelmt.stats import inference
from routelmt.stats.arrays import BoolArray
from routelmt.stats.averages import RouterFigures, over_seeds, with_average
from routelmt.stats.bootstrap import (
    BootstrapTable,
    DirectionData,
    Estimates,
    bootstrap_table,
)
from routelmt.stats.curves import CURVE_METRICS, HIGH_BAND, LOW_BUDGET, bootstrap_curves
from routelmt.stats.measures import measures
from routelmt.stats.metrics import (
    ANYWHERE,
    NO_REQUEST,
    RANGES,
    SMALLEST_HEADROOM,
    UNDEFINED,
    undefined_reason,
)

# Undefined where the large model is no better than the small one.
_OF_THE_WAY = frozenset({"pgr", "apgr", "cpt_50", "cpt_80", "mpm", "hcr"})


class _Metric(NamedTuple):
    """A metric at one budget (None: it has none): (directions, average, pooled; routers)."""

    name: str
    budget: float | None
    figures: RouterFigures


def router_metrics(settings: dict[str, Any], evaluation: Evaluation) -> pa.Table:
    """All metrics with their intervals, and the reason of each that is undefined."""
    evaluation = with_expected_chance(evaluation, settings)
    directions = [*evaluation.directions, pooled(evaluation)]
    places = [*(d.name for d in evaluation.directions), AVERAGE, POOLED]
    sizes = [len(direction.gain) for direction in evaluation.directions]
    requests = [*sizes, sum(sizes), sum(sizes)]
    clusters = clusters_of(evaluation.directions)[[*range(len(places) - 1), -1]]
    parts = []
    for metric in _all_metrics(settings, evaluation, directions):
        found = metric.figures
        reference, within = found.reference(clusters), RANGES.get(metric.name, ANYWHERE)
        low, high = reference.limits(found.value, settings["bootstrap"]["level"], within)
        undefined = np.isnan(found.value)
        for r, router in enumerate(evaluation.routers):
            draws = router in settings["random"]
            known = _reasons(metric.name, router, evaluation, directions, undefined[:, r])
            doubtful = reference.undefined[:, r]
            columns = {
                "router": router,
                "direction": places,
                "budget": pa.array([metric.budget] * len(places), pa.float64()),
                "role": role_of(router, settings),
                "metric": metric.name,
                "value": found.value[:, r],
                "low": low[:, r],
                "high": high[:, r],
                "seeds": 0 if draws else len(evaluation.columns[router]),
                "seed_spread": np.zeros(len(places)) if draws else found.spread[:, r],
                "requests": requests,
                "reason": inference.reasons(
                    known, doubtful, UNDEFINED.get(metric.name, NO_REQUEST)
                ),
                "clusters": clusters.counts,
                "undefined": doubtful,
            }
            parts.append(tables.from_columns("router_metrics", columns))
    return pa.concat_tables(parts)


def with_expected_chance(evaluation: Evaluation, settings: Mapping[str, Any]) -> Evaluation:
    """The same, with one column of equal priorities for each router that draws by chance."""
    chance = [router for router in evaluation.routers if router in settings["random"]]
    columns = {r: (r,) if r in chance else names for r, names in evaluation.columns.items()}
    directions = tuple(
        replace(
            d,
            priorities={
                name: np.zeros(len(d.gain)) if router in chance else d.priorities[name]
                for router, names in columns.items()
                for name in names
            },
        )
        for d in evaluation.directions
    )
    return replace(evaluation, directions=directions, columns=columns)


def expect_no_correlation(
    settings: Mapping[str, Any],
    evaluation: Evaluation,
    spearman: RouterFigures,
    constant: BoolArray,
) -> None:
    """Give routers that draw by chance a Spearman of 0: ties all over have none of their own.

    constant: by place, whether gains are constant, which leaves every router without one.
    """
    value = np.where(constant, np.nan, 0.0)
    for index, router in enumerate(evaluation.routers):
        if router in settings["random"]:
            spearman.set_expectation(index, value, np.zeros_like(spearman.samples[:, index]))


def pooled(evaluation: Evaluation) -> DirectionData:
    """The requests of all directions as one."""
    parts = evaluation.directions
    names = parts[0].priorities
    return DirectionData(
        name=POOLED,
        group_ids=np.concatenate([d.group_ids for d in parts]),
        # Ids may repeat between directions, and no figure here depends on how ties are broken.
        tie_keys=np.arange(sum(len(d.gain) for d in parts), dtype=np.uint64),
        quality_small=np.concatenate([d.quality_small for d in parts]),
        gain=np.concatenate([d.gain for d in parts]),
        priorities={name: np.concatenate([d.priorities[name] for d in parts]) for name in names},
    )


def _all_metrics(
    settings: Mapping[str, Any], evaluation: Evaluation, directions: list[DirectionData]
) -> Iterator[_Metric]:
    replicates, seed = settings["bootstrap"]["replicates"], settings["bootstrap"]["seed"]
    budgets = settings["budgets"]
    # Apart, since a block has as many replicates as its largest direction lets it; they have the
    # same groups, so the replicates are the same.
    apart = (directions[:-1], directions[-1:])
    table = _one_table([bootstrap_table(d, budgets, replicates, seed) for d in apart])
    curves = _concatenated([bootstrap_curves(d, replicates, seed) for d in apart])

    def figures(estimates: Estimates) -> RouterFigures:
        """From (directions, average, pooled; priorities)."""
        return over_seeds(estimates, table.routers, evaluation.columns)

    found, spearman = measures(table, _places), figures(_places(table.spearman))
    constant = np.array([np.ptp(d.gain) == 0 for d in directions])
    at = np.array([*constant[:-1], constant[:-1].any(), constant[-1]])
    expect_no_correlation(settings, evaluation, spearman, at)
    yield _Metric("spearman", None, spearman)
    for b, budget in enumerate(budgets):
        for name in ("hit_rate", "mean_delta", "headroom"):
            yield _Metric(name, budget, figures(found[name].at(np.s_[:, :, b])))
        yield _Metric("pgr", budget, figures(_places(_recovered(table, b))))
    for m, name in enumerate(CURVE_METRICS):
        yield _Metric(name, None, figures(_places(curves.at(np.s_[:, m]))))


def _one_table(found: Sequence[BootstrapTable]) -> BootstrapTable:
    """Tables of the same routers and budgets as one, their directions one after the other."""
    figures: dict[str, Any] = {
        field.name: _concatenated([getattr(table, field.name) for table in found])
        for field in fields(BootstrapTable)
        if isinstance(getattr(found[0], field.name), Estimates)
    }
    directions = tuple(name for table in found for name in table.directions)
    return replace(found[0], directions=directions, **figures)


def _concatenated(found: Sequence[Estimates]) -> Estimates:
    return found[0].each(lambda *parts: np.concatenate(parts), *found[1:])


def _places(estimates: Estimates) -> Estimates:
    """From the directions and pooled: with the average over the directions before pooled."""
    return _concatenated([with_average(estimates.at(np.s_[:-1])), estimates.at(np.s_[-1:])])


def _recovered(table: BootstrapTable, budget: int) -> Estimates:
    """PGR, (Q(p) - Q_S) / (Q_L - Q_S): routed gain per request over the mean gain (RouteLLM)."""
    delta, rate = table.mean_delta.at(np.s_[:, :, budget]), table.call_rate.at(np.s_[:, [budget]])
    mean = table.random_mean_delta.at(np.s_[:, None])
    way = mean.each(lambda gains: np.where(gains > SMALLEST_HEADROOM, gains, np.nan))
    return rate.each(lambda rates, deltas, means: rates * deltas / means, delta, way)


def _reasons(
    metric: str,
    router: str,
    evaluation: Evaluation,
    directions: list[DirectionData],
    undefined: Any,
) -> list[str | None]:
    """By place, why it is undefined; the average's is that of the first such direction."""
    columns = evaluation.columns[router]
    found = [
        _reason(metric, direction, columns) if nothing else None
        for direction, nothing in zip(directions, [*undefined[:-2], undefined[-1]], strict=True)
    ]
    named = (f"{d.name}: {why}" for d, why in zip(directions, found[:-1], strict=False) if why)
    first = next(named, None)
    average = (first or _UNRECOVERABLE) if undefined[-2] else None
    return [*found[:-1], average, found[-1]]


_UNRECOVERABLE = "the gain oracle gains no more than a random router"


def _reason(metric: str, direction: DirectionData, columns: tuple[str, ...]) -> str:
    gain = direction.gain
    if metric == "spearman":
        reasons = (undefined_reason(direction.priorities[column], gain) for column in columns)
        return next((reason for reason in reasons if reason), _constant(gain))
    if metric == "headroom":
        return _UNRECOVERABLE
    if metric == "auroc":
        return f"no request has a gain {'above 0' if gain.max() <= 0 else 'of 0 or less'}"
    if metric in _OF_THE_WAY and gain.mean() <= SMALLEST_HEADROOM:
        small = direction.quality_small.mean()
        return f"Q_L = {small + gain.mean():.4g} is not above Q_S = {small:.4g}"
    return (
        f"the band is empty: {HIGH_BAND[0]:.0%} of Q_L - Q_S is reached at or before call rate "
        f"{LOW_BUDGET:g}"
    )


def _constant(gain: Any) -> str:
    return f"gain is {gain[0]:g} for all {gain.size} requests"
