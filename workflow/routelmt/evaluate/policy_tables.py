"""The tables of what routing costs: risk buckets (RouteLMT §6.3) and guards (§6.4)."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from routelmt import tables
from routelmt.evaluate.quality_tables import place_names, role_of
from routelmt.evaluate.requests import Evaluation, clusters_of, effective_counts
from routelmt.progress import progress
from routelmt.roles import RISK_BUCKETS, UNGUARDED
from routelmt.stats import inference
from routelmt.stats.arrays import FloatArray
from routelmt.stats.averages import RouterFigures, over_seeds, side_by_side, with_average
from routelmt.stats.bootstrap import (
    BootstrapPolicies,
    DirectionData,
    Estimates,
    Policy,
    bootstrap_policies,
)
from routelmt.stats.inference import NO_DIFFERENCE
from routelmt.stats.metrics import NO_REQUEST

_SEVERE = RISK_BUCKETS.index("severe_loss")


def risk_buckets(settings: dict[str, Any], evaluation: Evaluation) -> pa.Table:
    """Shares of the routed requests in each bucket, by router, direction and budget.

    A bucket that no routed request is in has an upper limit all the same, see
    inference.Reference.share_limits.
    """
    clusters = clusters_of(evaluation.directions)
    level = settings["bootstrap"]["level"]
    names, places = evaluation.routers, place_names(evaluation)
    shape = (len(places), len(names), len(RISK_BUCKETS))
    place, router, bucket = (axis.ravel() for axis in np.indices(shape))
    parts = []
    for budget in progress(settings["budgets"], "risk buckets", "budget"):
        shares = _bucket_shares(settings, evaluation, budget)
        reference = shares.reference(clusters)
        routed = _routed(settings, evaluation, budget)[:, :, np.newaxis]
        low, high = reference.share_limits(shares.value, routed, level)
        undefined = reference.undefined.ravel()
        columns = {
            "router": [names[r] for r in router],
            "direction": [places[p] for p in place],
            "budget": budget,
            "role": [role_of(names[r], settings) for r in router],
            "bucket": [RISK_BUCKETS[b] for b in bucket],
            "share": shares.value.ravel(),
            "low": low.ravel(),
            "high": high.ravel(),
            "clusters": clusters.counts[place],
            "undefined": undefined,
            "reason": inference.reasons([None] * undefined.size, undefined, NO_REQUEST),
        }
        parts.append(tables.from_columns("risk_buckets", columns))
    return pa.concat_tables(parts)


def _routed(settings: dict[str, Any], evaluation: Evaluation, budget: float) -> FloatArray:
    """Requests that a router's shares are of, as effective_counts, (directions + 1, routers)."""
    own, everyone = (effective_counts(evaluation.directions, share) for share in (budget, 1.0))
    by_router = [everyone if r in settings["random"] else own for r in evaluation.routers]
    return np.stack(by_router, axis=1)


def _bucket_shares(
    settings: dict[str, Any], evaluation: Evaluation, budget: float
) -> RouterFigures:
    columns = [name for names in evaluation.columns.values() for name in names]
    routed = _policies(settings, evaluation.directions, [Policy(c) for c in columns], budget)
    shares = over_seeds(with_average(routed.risk), columns, evaluation.columns)
    chance = [i for i, r in enumerate(evaluation.routers) if r in settings["random"]]
    if chance:  # routing at random expects the shares of all requests
        everything = _policies(settings, evaluation.directions, [Policy(columns[0])], 1.0)
        expected = with_average(everything.risk)
        for index in chance:
            shares.set_expectation(index, expected.point[:, 0], expected.samples[:, 0])
    return shares


class _Sweep(NamedTuple):
    """A ranking router, a guard (or UNGUARDED), a quantile, and the policies of their seeds."""

    router: str
    guard: str
    quantile: float
    policies: tuple[Policy, ...]


def guards(settings: dict[str, Any], evaluation: Evaluation) -> pa.Table:
    """Severe loss and MeanΔ of every ranking router under every guard and quantile.

    Differences are to the same router without a guard, paired on every replicate. Without severe
    losses on either side that of their shares is within what either may have all the same, see
    inference.share_difference_limits. Every ranking router also stands there unguarded, and every
    guard at quantile = budget, where the ranking no longer matters and the guard routes alone.
    """
    guard_columns = [c for g in settings["guards"]["signals"] for c in evaluation.columns[g]]
    directions = [
        DirectionData(**{**vars(d), "guard_signals": {c: d.priorities[c] for c in guard_columns}})
        for d in evaluation.directions
    ]
    parts = [
        _guards_at(settings, evaluation, directions, budget)
        for budget in progress(settings["budgets"], "guards", "budget")
        if settings["guards"]["rank"]
    ]
    return pa.concat_tables(parts) if parts else tables.arrow_schema("guards").empty_table()


def _guards_at(
    settings: dict[str, Any],
    evaluation: Evaluation,
    directions: list[DirectionData],
    budget: float,
) -> pa.Table:
    sweeps = list(_sweeps(settings["guards"], evaluation, budget))
    policies = list(dict.fromkeys(policy for sweep in sweeps for policy in sweep.policies))
    routed = _policies(settings, tuple(directions), policies, budget)
    severe = routed.risk.at(np.s_[:, :, _SEVERE])
    places = place_names(evaluation)
    columns: dict[str, Any] = {
        "router": [sweep.router for sweep in sweeps] * len(places),
        "guard": [sweep.guard for sweep in sweeps] * len(places),
        "oracle": [sweep.guard in settings["oracles"] for sweep in sweeps] * len(places),
        "direction": [place for place in places for _ in sweeps],
        "budget": budget,
        "quantile": [sweep.quantile for sweep in sweeps] * len(places),
    }
    clusters, level = clusters_of(evaluation.directions), settings["bootstrap"]["level"]
    routed_counts = effective_counts(evaluation.directions, budget)[:, np.newaxis]
    shares, deltas = (_over_sweeps(e, policies, sweeps) for e in (severe, routed.mean_delta))
    fewer, more = (_over_sweeps(e, policies, sweeps, True) for e in (severe, routed.mean_delta))
    of_shares, of_deltas, of_fewer, of_more = (
        figures.reference(clusters) for figures in (shares, deltas, fewer, more)
    )
    ends = of_shares.share_limits(shares.value, routed_counts, level)
    columns |= _with_interval("severe_loss", shares.value, ends)
    columns |= _with_interval("mean_delta", deltas.value, of_deltas.limits(deltas.value, level))
    # Other requests were sent, yet no replicate has another share: none or all are severe losses.
    silent = (of_fewer.error <= NO_DIFFERENCE) & (of_more.error > NO_DIFFERENCE)
    alone = [next(i for i, s in enumerate(sweeps) if s[:2] == (x[0], UNGUARDED)) for x in sweeps]
    apart = inference.share_difference_limits(shares.value, *ends, alone)
    low, high = np.where(silent, apart, of_fewer.limits(fewer.value, level))
    columns |= _with_interval("severe_loss_difference", fewer.value, (low, high))
    ends = of_more.limits(more.value, level)
    columns |= _with_interval("mean_delta_difference", more.value, ends)
    undefined = np.maximum(of_shares.undefined, of_deltas.undefined).ravel()
    columns |= {
        "clusters": np.repeat(clusters.counts, len(sweeps)),
        "undefined": undefined,
        "reason": inference.reasons([None] * undefined.size, undefined, NO_REQUEST),
    }
    return tables.from_columns("guards", columns)


def _with_interval(
    name: str, value: FloatArray, ends: tuple[FloatArray, FloatArray]
) -> dict[str, FloatArray]:
    values = zip((name, f"{name}_low", f"{name}_high"), (value, *ends), strict=True)
    return {column: value.ravel() for column, value in values}


def _over_sweeps(
    estimates: Estimates,
    policies: list[Policy],
    sweeps: list[_Sweep],
    to_unguarded: bool = False,
) -> RouterFigures:
    """Means over the seeds, (directions + 1, sweeps), or of their differences to unguarded."""
    position = {policy: index for index, policy in enumerate(policies)}
    averaged, found = with_average(estimates), []
    for sweep in sweeps:
        own = [position[policy] for policy in sweep.policies]
        alone = [position[Policy(policy.router)] for policy in sweep.policies]
        part = averaged.at(np.s_[:, own])
        if to_unguarded:
            part = part.each(np.subtract, averaged.at(np.s_[:, alone]))
        names = [str(policy) for policy in sweep.policies]
        found.append(over_seeds(part, names, {sweep.router: names}))
    return side_by_side(found)


def _sweeps(guards: dict[str, Any], evaluation: Evaluation, budget: float) -> Iterator[_Sweep]:
    quantiles = sorted({*guards["quantiles"], budget})
    for router in guards["rank"]:
        unguarded = tuple(Policy(column) for column in evaluation.columns[router])
        yield _Sweep(router, UNGUARDED, 1.0, unguarded)
        for guard, quantile in product(guards["signals"], quantiles):
            seeds = seed_pairs(evaluation, router, guard)
            policies = tuple(Policy(column, signal, quantile) for column, signal in seeds)
            yield _Sweep(router, guard, quantile, policies)


def seed_pairs(evaluation: Evaluation, router: str, guard: str) -> list[tuple[str, str]]:
    """Seed by seed where router and guard have the same seeds, else every combination."""
    ranks, signals = evaluation.columns[router], evaluation.columns[guard]
    seeds = [[name.rsplit("/", 1)[1] for name in names] for names in (ranks, signals)]
    if seeds[0] == seeds[1]:
        return list(zip(ranks, signals, strict=True))
    return list(product(ranks, signals))


def _policies(
    settings: dict[str, Any],
    directions: tuple[DirectionData, ...],
    policies: list[Policy],
    budget: float,
) -> BootstrapPolicies:
    bootstrap = settings["bootstrap"]
    edges = settings["risk_edges"]
    return bootstrap_policies(
        directions,
        policies,
        budget,
        bootstrap["replicates"],
        bootstrap["seed"],
        (edges[0], edges[1], edges[2]),
    )
