"""Table `costs`: seconds of the device, and money, against the quality they buy.

The requests that are routed are the router's own choice, so one that sends the long ones pays for
them; what a request costs is in `ledger`.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa

from routelmt import tables
from routelmt.evaluate.given import Given
from routelmt.evaluate.ledger import (
    PER,
    Costs,
    NoRate,
    Rates,
    Row,
    Tokens,
    break_even,
    ledger_of,
    priced,
    rated,
    rates_of,
    request_costs,
    spending_of,
    tokens_of,
)
from routelmt.evaluate.quality_tables import place_names, role_of
from routelmt.evaluate.rates import mixture
from routelmt.evaluate.requests import Evaluation, clusters_of, evaluation
from routelmt.progress import progress
from routelmt.stats import inference
from routelmt.stats.arrays import FloatArray
from routelmt.stats.averages import RouterFigures, over_seeds, with_average
from routelmt.stats.bootstrap import DirectionData, bootstrap_pareto
from routelmt.stats.cost_curves import Spending, bootstrap_cost_aiq, zero_router_aiq
from routelmt.stats.metrics import NO_REQUEST

# Budgets of every curve, beside the experiment's own.
STEPS = tuple(step / 20 for step in range(21))


def costs_table(settings: dict[str, Any], given: Given) -> pa.Table:
    """The costs of a table's inputs (see registry)."""
    return costs(settings, evaluation(settings, given), *ledger_of(given))


def costs(
    settings: dict[str, Any],
    evaluation: Evaluation,
    gains: pa.Table,
    hypotheses: Mapping[str, pa.Table],
    rates: pa.Table,
) -> pa.Table:
    """Table `costs`: every router at STEPS and the experiment's budgets.

    settings: as for the other tables, and cost {small, large: names of the models; routers: by name
    {terms: of RouterType.costs, of: the router it is another answer of, metric: that of its
    estimates, samples: how many}; prices: null, or {currency, per_hour: of the device, per_million:
    {model: [input, output] tokens}}}. gains: those of the evaluation, in its order. hypotheses: of
    the small and the large model, by 'small' and 'large', on the same segments. Intervals hold what
    the requests contribute; the rates are taken as they are.
    """
    steps = sorted({*STEPS, *settings["budgets"]})
    tokens = tokens_of(evaluation, gains, hypotheses)
    seconds = rates_of(rates)
    prices = settings["cost"].get("prices")
    money = priced(seconds, prices, settings["cost"]) if prices else {}
    clusters = clusters_of(evaluation.directions)
    found: list[Row] = []
    zero = [zero_router_aiq(direction) for direction in evaluation.directions]
    zero.append(float(np.mean(zero)))
    for router in progress(evaluation.routers, "costs", "router"):
        remark = mixture(rates, rated(settings["cost"], router))
        areas = {unit: _aiq(settings, evaluation, router, tokens, own)
                 for unit, own in (("seconds", seconds), ("money", money))}  # fmt: skip
        ledger = _ledger(settings, evaluation, router, tokens, seconds, steps)
        spent = _money(settings, evaluation, router, tokens, money, steps)
        quality = _curve(settings, evaluation, router, evaluation.directions, steps).value[:, 0]
        for p, place in enumerate(place_names(evaluation)):
            for b, budget in enumerate(steps):
                found.append(
                    {"router": router, "direction": place, "budget": budget,
                     "role": role_of(router, settings), "quality": quality[p, b],
                     "money": spent[p, b], "currency": prices and prices["currency"],
                     "aiq_zero": zero[p],
                     "remark": remark, "clusters": clusters.counts[p]}
                    | {f"aiq_{unit}{end}": values[p] for unit, own in areas.items()
                       for end, values in own.items()}
                    | ledger[p][b]
                )  # fmt: skip
    return tables.from_rows("costs", found)


def _ledger(
    settings: dict[str, Any],
    evaluation: Evaluation,
    router: str,
    tokens: Sequence[tuple[Tokens, Tokens]],
    rates: Rates,
    steps: Sequence[float],
) -> list[list[Row]]:
    """By place and budget, the columns about seconds."""
    places = len(evaluation.directions) + 1
    try:
        found = [request_costs(*pair, settings["cost"], router, rates) for pair in tokens]
    except NoRate as error:
        print(f"costs of {router}: unknown, {error}", file=sys.stderr)
        return [[_undefined(str(error)) for _ in steps] for _ in range(places)]
    bootstrap = settings["bootstrap"]

    def spent(fields: Sequence[str], replicates: int = 1) -> RouterFigures:
        spending = spending_of(evaluation.directions, found, fields)
        return _curve(settings, evaluation, router, spending, steps, replicates)

    total = spent(Costs._fields, bootstrap["replicates"])
    reference = total.reference(clusters_of(evaluation.directions))
    low, high = reference.limits(total.value, bootstrap["level"], (0.0, np.inf))
    parts = {
        "router_seconds": spent(("router", "router_routed")).value[:, 0],
        "small_seconds": spent(("small", "small_routed")).value[:, 0],
        "large_seconds": spent(("large_routed",)).value[:, 0],
    }
    rows = []
    for p in range(places):
        here = found if p == places - 1 else [found[p]]
        even, reason = break_even(here)
        large = PER * float(np.mean([np.mean(c.large_routed) for c in here]))
        rows.append(
            [
                {"seconds": total.value[p, 0, b], "seconds_low": low[p, 0, b],
                 "seconds_high": high[p, 0, b],
                 **{name: max(0.0, values[p, b]) for name, values in parts.items()},
                 "mean_seconds": _at_mean(here, step),
                 "of_all_large": total.value[p, 0, b] / large,
                 "router_share": max(0.0, parts["router_seconds"][p, b]) / total.value[p, 0, b],
                 "break_even": even, "undefined": reference.undefined[p, 0, b],
                 "reason": reason or _doubt(reference.undefined[p, 0, b])}
                for b, step in enumerate(steps)
            ]
        )  # fmt: skip
    return rows


def _money(
    settings: dict[str, Any],
    evaluation: Evaluation,
    router: str,
    tokens: Sequence[tuple[Tokens, Tokens]],
    rates: Rates,
    steps: Sequence[float],
) -> FloatArray:
    """Money by place and budget, NaN where there is no price for something."""
    try:
        found = [request_costs(*pair, settings["cost"], router, rates) for pair in tokens]
    except NoRate:
        return np.full((len(evaluation.directions) + 1, len(steps)), np.nan)
    spending = spending_of(evaluation.directions, found, Costs._fields)
    return _curve(settings, evaluation, router, spending, steps).value[:, 0]


def _aiq(
    settings: dict[str, Any],
    evaluation: Evaluation,
    router: str,
    tokens: Sequence[tuple[Tokens, Tokens]],
    rates: Rates,
) -> dict[str, FloatArray]:
    """AIQ over costs by place, and the ends of its interval; NaN where a rate is missing."""
    try:
        found = [request_costs(*pair, settings["cost"], router, rates) for pair in tokens]
    except NoRate:
        return dict.fromkeys(("", "_low", "_high"), np.full(len(tokens) + 1, np.nan))
    spending = [
        Spending(c.router + c.small, c.router_routed + c.small_routed + c.large_routed, c.small,
                 c.large_routed)
        for c in found
    ]  # fmt: skip
    columns = evaluation.columns[router]
    chance = router in settings["random"]
    own = [
        replace(d, priorities={c: 0.0 * d.priorities[c] if chance else d.priorities[c]
                               for c in columns})
        for d in evaluation.directions
    ]  # fmt: skip
    bootstrap = settings["bootstrap"]
    areas = bootstrap_cost_aiq(own, spending, bootstrap["replicates"], bootstrap["seed"])
    figures = over_seeds(with_average(areas), columns, {router: columns})
    reference = figures.reference(clusters_of(evaluation.directions))
    low, high = reference.limits(figures.value, bootstrap["level"])
    return {"": figures.value[:, 0], "_low": low[:, 0], "_high": high[:, 0]}


def _curve(
    settings: dict[str, Any],
    evaluation: Evaluation,
    router: str,
    directions: Sequence[DirectionData],
    steps: Sequence[float],
    replicates: int = 1,
) -> RouterFigures:
    """(directions + 1, 1, steps): means over the seeds of a router.

    A router that draws by chance is its expectation: the line between the ends.
    """
    columns = evaluation.columns[router]
    own = [replace(d, priorities={c: d.priorities[c] for c in columns}) for d in directions]
    found = with_average(bootstrap_pareto(own, steps, replicates, settings["bootstrap"]["seed"]))
    figures = over_seeds(found, columns, {router: columns})
    if router in settings["random"]:
        share = np.array(steps)
        value, samples = figures.value, figures.samples
        figures.set_expectation(
            0,
            value[:, 0, :1] + share * (value[:, 0, -1:] - value[:, 0, :1]),
            samples[:, 0, :1] + share[:, None] * (samples[:, 0, -1:] - samples[:, 0, :1]),
        )
    return figures


def _doubt(undefined: float) -> str | None:
    return inference.reasons([None], np.array([undefined]), NO_REQUEST)[0]


def _at_mean(found: Sequence[Costs], step: float) -> float:
    """Seconds if the routed requests were like all others: the formula with mean costs."""
    means = [
        np.mean(c.router + c.small)
        + step * np.mean(c.router_routed + c.small_routed + c.large_routed)
        for c in found
    ]
    return PER * float(np.mean(means))


def _undefined(reason: str) -> Row:
    seconds = ("seconds", "seconds_low", "seconds_high", "router_seconds", "small_seconds")
    others = ("large_seconds", "mean_seconds", "of_all_large", "router_share", "break_even")
    unknown = dict.fromkeys((*seconds, *others), float("nan"))
    return unknown | {"reason": reason, "undefined": 0.0}
