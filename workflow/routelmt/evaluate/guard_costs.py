"""Table `guard_costs`: what an eligibility guard buys, and what its signal costs (RouteLMT §6.4).

The table `guards` with the ledger of `costs` beside it. Who is eligible is a quantile of the
direction, so the evaluation has the guard's signal of every request, and `seconds` charges that. A
deployment would take the quantile's threshold from validation data and walk down the ranking,
asking the guard about one request after the other until the budget is spent: `calibrated_seconds`
charges the requests up to the last one routed, by the threshold that leaves just these eligible. At
quantile 1 nobody is asked. A guard that needs the reference is charged as if its signal came free,
as oracles are in the table `costs`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from routelmt import tables
from routelmt.evaluate.given import Given
from routelmt.evaluate.ledger import (
    PER,
    Costs,
    GuardedCosts,
    NoRate,
    Rates,
    Row,
    Tokens,
    guarded_costs,
    ledger_of,
    rated,
    rates_of,
    request_costs,
    spending_of,
    tokens_of,
)
from routelmt.evaluate.policy_tables import guards, seed_pairs
from routelmt.evaluate.quality_tables import place_names
from routelmt.evaluate.rates import mixture
from routelmt.evaluate.requests import Evaluation, clusters_of, effective_counts, evaluation
from routelmt.progress import progress
from routelmt.roles import ORACLE, RANDOM, RISK_BUCKETS, ROUTER, UNGUARDED
from routelmt.stats import inference
from routelmt.stats.arrays import AnyArray, BoolArray, FloatArray
from routelmt.stats.averages import RouterFigures, over_seeds, with_average
from routelmt.stats.bootstrap import (
    DirectionData,
    Estimates,
    Policy,
    bootstrap_pareto,
    bootstrap_policies,
)
from routelmt.stats.selection import budget_count, eligible_counts, guarded_ranking, ranking

_SEVERE = RISK_BUCKETS.index("severe_loss")
_Key = tuple[str, str, float, float]  # router, guard, budget, quantile


class _Spent(NamedTuple):
    """By place (the average last): the columns about seconds."""

    seconds: FloatArray
    low: FloatArray
    high: FloatArray
    guard: FloatArray
    calibrated: FloatArray
    asked: FloatArray
    reason: str | None


class _Request(NamedTuple):
    """Of one direction, by request: whether it is routed, and whether the guard is asked."""

    routed: BoolArray
    asked: BoolArray


def guard_costs_table(settings: dict[str, Any], given: Given) -> pa.Table:
    """The guards' costs of a table's inputs (see registry)."""
    return guard_costs(settings, evaluation(settings, given), *ledger_of(given))


def guard_costs(
    settings: dict[str, Any],
    evaluation: Evaluation,
    gains: pa.Table,
    hypotheses: Mapping[str, pa.Table],
    rates: pa.Table,
) -> pa.Table:
    """The rows of table `guards` with seconds, and a row for every router that draws by chance.

    settings: as for the tables `guards` and `costs`; gains, hypotheses, rates: see `costs`. Rates
    that are missing leave the seconds undefined, with the reason.
    """
    if not settings["guards"]["rank"]:
        return tables.from_rows("guard_costs", [])
    tokens, seconds = tokens_of(evaluation, gains, hypotheses), rates_of(rates)
    known = guards(settings, evaluation).to_pylist()
    keys = dict.fromkeys((r["router"], r["guard"], r["budget"], r["quantile"]) for r in known)
    spent = {
        key: _spent(settings, evaluation, tokens, seconds, key)
        for key in progress(list(keys), "costs of guards", "guard")
    }
    places = place_names(evaluation)
    found = [
        _row(known_row, spent[key], places.index(known_row["direction"]))
        for known_row in known
        for key in [tuple(known_row[c] for c in ("router", "guard", "budget", "quantile"))]
    ]
    for router in settings["random"]:
        for budget in settings["budgets"] if router in evaluation.columns else ():
            found += _by_chance(settings, evaluation, tokens, seconds, router, budget)
    remarks = {
        (router, guard): mixture(rates, rated(settings["cost"], router, guard))
        for router, guard in dict.fromkeys((row["router"], row["guard"]) for row in found)
    }
    return tables.from_rows(
        "guard_costs", [r | {"remark": remarks[r["router"], r["guard"]]} for r in found]
    )


def _row(known: Row, spent: _Spent, place: int) -> Row:
    figures = {k: v for k, v in known.items() if k != "oracle"}
    return figures | {
        "role": ORACLE if known["oracle"] else ROUTER,
        "degenerate": known["guard"] != UNGUARDED and known["quantile"] == known["budget"],
        **_seconds_of(spent, place),
        "reason": spent.reason or known["reason"],
    }


def _seconds_of(spent: _Spent, place: int) -> Row:
    return {
        "seconds": spent.seconds[place],
        "seconds_low": spent.low[place],
        "seconds_high": spent.high[place],
        "guard_seconds": spent.guard[place],
        "calibrated_seconds": spent.calibrated[place],
        "asked": spent.asked[place],
    }


def _spent(
    settings: dict[str, Any],
    evaluation: Evaluation,
    tokens: Sequence[tuple[Tokens, Tokens]],
    rates: Rates,
    key: _Key,
) -> _Spent:
    """The seconds of one ranking router, guard, budget and quantile; means over their seeds."""
    router, guard, budget, quantile = key
    alone = guard == UNGUARDED or quantile == 1
    signal = router if guard == UNGUARDED else guard
    pairs = seed_pairs(evaluation, router, signal)
    policies = [Policy(column) if alone else Policy(column, s, quantile) for column, s in pairs]
    asked = np.array(
        [np.mean([_chosen(d, policy, budget).asked.mean() for policy in policies])
         for d in evaluation.directions]
    )  # fmt: skip
    try:
        found = [guarded_costs(*pair, settings["cost"], (router, signal), rates) for pair in tokens]
    except NoRate as error:
        return _undefined(_averaged(asked), str(error))
    everyone = [c.unguarded if alone else _all_asked(c) for c in found]
    total = _bootstrapped(settings, evaluation, policies, budget, everyone)
    reference = total.reference(clusters_of(evaluation.directions))
    level = settings["bootstrap"]["level"]
    low, high = (end[:, 0] for end in reference.limits(total.value, level, (0.0, np.inf)))
    extra, calibrated = (
        np.array(
            [
                np.mean([spent(c, _chosen(d, p, budget)) for p in policies])
                for c, d in zip(found, evaluation.directions, strict=True)
            ]
        )
        for spent in (_guard_seconds, _calibrated_seconds)
    )
    if alone:
        extra = np.zeros_like(extra)
    return _Spent(
        total.value[:, 0],
        low,
        high,
        _averaged(extra),
        _averaged(calibrated),
        _averaged(asked),
        None,
    )


def _all_asked(costs: GuardedCosts) -> Costs:
    return costs.guarded._replace(router=costs.guarded.router + costs.asking)


def _guard_seconds(costs: GuardedCosts, chosen: _Request) -> float:
    """What the guard adds to the router alone if that routed the same requests, all being asked."""
    extra = _mean_cost(_all_asked(costs), chosen.routed)
    return max(0.0, extra - _mean_cost(costs.unguarded, chosen.routed))  # rounding


def _calibrated_seconds(costs: GuardedCosts, chosen: _Request) -> float:
    """Where only some are asked: they pay for it. All that are routed are among them, or nobody."""
    if not chosen.asked.any():
        return _mean_cost(costs.unguarded, chosen.routed)
    asking = PER * float(np.mean(costs.asking * chosen.asked))
    return _mean_cost(costs.guarded, chosen.routed) + asking


def _mean_cost(costs: Costs, routed: BoolArray) -> float:
    always = costs.router + costs.small
    added = costs.router_routed + costs.small_routed + costs.large_routed
    return PER * float(np.mean(always + np.where(routed, added, 0.0)))


def _chosen(direction: DirectionData, policy: Policy, budget: float) -> _Request:
    """Who is routed, and who is asked on the way down the ranking until the budget is spent.

    Where fewer are eligible than the budget takes, all are asked and the next best fill it up.
    """
    n = len(direction.gain)
    k = budget_count(budget, n)
    own, keys = direction.priorities[policy.router], direction.tie_keys
    routed, asked = np.zeros(n, dtype=np.bool_), np.zeros(n, dtype=np.bool_)
    if policy.guard is None:
        routed[ranking(own, keys)[:k]] = True
        return _Request(routed, asked)
    signal = direction.priorities[policy.guard]
    chosen = guarded_ranking(own, signal, keys, policy.quantile)[:k]
    routed[chosen] = True
    if k == 0:
        return _Request(routed, asked)
    order = ranking(own, keys)
    enough = int(eligible_counts(policy.quantile, np.array([n]))[0]) >= k
    last = int(np.flatnonzero(routed[order])[-1]) + 1 if enough else n
    asked[order[:last]] = True
    return _Request(routed, asked)


def _bootstrapped(
    settings: dict[str, Any],
    evaluation: Evaluation,
    policies: list[Policy],
    budget: float,
    found: Sequence[Costs],
) -> RouterFigures:
    """Seconds for PER requests by place, (directions + 1, 1), on the guards' own replicates.

    What is always spent, and the share of routed requests times what the routed ones add, with
    costs in the place of quality and gain: neither decides who is routed.
    """
    bootstrap, columns = settings["bootstrap"], list(dict.fromkeys(p.router for p in policies))
    signals = [policy.guard for policy in policies if policy.guard]
    own = [
        replace(
            d,
            priorities={c: d.priorities[c] for c in columns},
            guard_signals={s: d.priorities[s] for s in signals},
        )
        for d in spending_of(evaluation.directions, found, Costs._fields)
    ]
    drawn = (bootstrap["replicates"], bootstrap["seed"])
    edges = settings["risk_edges"]
    added = bootstrap_policies(own, policies, budget, *drawn, (edges[0], edges[1], edges[2]))
    always, share = _always_and_share(own, columns[0], budget, drawn)
    total = always.each(lambda spent, part, more: spent + part * more, share, added.mean_delta)
    names = [str(policy) for policy in policies]
    return over_seeds(with_average(total), names, {"all": names})


def _always_and_share(
    directions: Sequence[DirectionData], column: str, budget: float, drawn: tuple[int, int]
) -> tuple[Estimates, Estimates]:
    """What is spent in any case, and the share of requests that is routed: (directions, 1)."""
    one = [replace(d, priorities={column: d.priorities[column]}) for d in directions]
    ones = [replace(d, quality_small=np.zeros(len(d.gain)), gain=np.ones(len(d.gain))) for d in one]
    always, share = bootstrap_pareto(one, [0.0], *drawn), bootstrap_pareto(ones, [budget], *drawn)
    return always.at(np.s_[:, :, 0]), share.at(np.s_[:, :, 0])


def _by_chance(
    settings: dict[str, Any],
    evaluation: Evaluation,
    tokens: Sequence[tuple[Tokens, Tokens]],
    rates: Rates,
    router: str,
    budget: float,
) -> list[Row]:
    """The expectation of routing at random: what becomes of all requests, at the budget's share."""
    bootstrap, edges = settings["bootstrap"], settings["risk_edges"]
    drawn, column = (bootstrap["replicates"], bootstrap["seed"]), evaluation.columns[router][0]
    own = [replace(d, priorities={column: d.priorities[column]}) for d in evaluation.directions]
    every = bootstrap_policies(own, [Policy(column)], 1.0, *drawn, (edges[0], edges[1], edges[2]))
    figures = {
        "severe_loss": every.risk.at(np.s_[:, 0, _SEVERE]),
        "mean_delta": every.mean_delta.at(np.s_[:, 0]),
    }
    places, clusters = len(own) + 1, clusters_of(own)
    undefined = np.isnan(with_average(every.mean_delta).samples[:, 0]).mean(axis=-1)
    nothing, reason = np.full(len(own), np.nan), None
    figures["seconds"] = Estimates(nothing, nothing[:, None])
    try:
        found = [request_costs(*pair, settings["cost"], router, rates) for pair in tokens]
        spending = spending_of(own, found, Costs._fields)
        ends = bootstrap_pareto(spending, [0.0, 1.0], *drawn)
        _, share = _always_and_share(spending, column, budget, drawn)
        figures["seconds"] = ends.each(
            lambda at, rate: at[:, 0, 0] + rate[:, 0] * (at[:, 0, 1] - at[:, 0, 0]), share
        )
    except NoRate as error:
        reason = str(error)
    columns: dict[str, AnyArray] = {}
    for name, estimates in figures.items():
        whole = with_average(estimates)
        reference = inference.reference(whole.samples, clusters)
        if name == "severe_loss":
            counts = effective_counts(own, 1.0)
            low, high = reference.share_limits(whole.point, counts, bootstrap["level"])
        else:
            low, high = reference.limits(whole.point, bootstrap["level"])
        columns |= {name: whole.point, f"{name}_low": low, f"{name}_high": high}
    differences = (n for n in tables.TABLES["guard_costs"].columns if "_difference" in n)
    columns |= {name: np.zeros(places) for name in differences}  # it is its own unguarded router
    columns |= {
        "guard_seconds": np.zeros(places),
        "calibrated_seconds": columns["seconds"],
        "asked": np.zeros(places),
        "clusters": clusters.counts,
        "undefined": undefined,
    }
    same = {"router": router, "guard": UNGUARDED, "budget": budget, "quantile": 1.0,
            "role": RANDOM, "degenerate": False, "reason": reason}  # fmt: skip
    return [
        same | {"direction": place} | {name: values[p] for name, values in columns.items()}
        for p, place in enumerate(place_names(evaluation))
    ]


def _averaged(values: FloatArray) -> FloatArray:
    return np.append(values, values.mean())


def _undefined(asked: FloatArray, reason: str) -> _Spent:
    nothing = np.full(len(asked), np.nan)
    return _Spent(nothing, nothing, nothing, nothing, nothing, asked, reason)
