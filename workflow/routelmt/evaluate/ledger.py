"""What each request costs under a router or a guard: seconds of the device, or money.

A router that decides before decoding costs C_R + (1 - p) C_S + p C_L a request, one that decides
after the small model has translated C_S + C_QE + p C_L. Costs come from the tokens that each
request really took, and from measured rates.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from routelmt import tables
from routelmt.evaluate.given import Given
from routelmt.evaluate.rates import DECODE, PREFILL, REQUEST, rate_key
from routelmt.evaluate.requests import Evaluation
from routelmt.join import align
from routelmt.stats.arrays import FloatArray
from routelmt.stats.bootstrap import DirectionData

# Of a table of hypotheses, what costs are computed from.
TOKEN_COLUMNS = [*tables.JOIN_KEY, "prompt_tokens", "output_tokens"]
PER = 1000  # requests that seconds and money are for
SECONDS_PER_HOUR = 3600
TOKENS_PER_PRICE = 1_000_000
# At most so many tokens are decoded for an answer in words (METHODS: self-ask).
ANSWER_TOKENS = 10
# Terms of a router type that are a pass of its own, measured together as its rate by request.
_OWN_PASS = frozenset({"prefill", "encoder", "answer", "samples"})
Row = dict[str, Any]
Rates = Mapping[tuple[str, str], float]  # seconds, or money, by name and step


class Tokens(NamedTuple):
    """Of the requests of a direction, each (n,): tokens of a model's prompts and outputs."""

    prompt: FloatArray
    output: FloatArray


class Costs(NamedTuple):
    """Of the requests of a direction, each (n,): what is spent in any case, and if routed.

    router, small: always spent; router_routed, small_routed, large_routed: what routing the
    request adds. small_routed is negative where the small model's translation is saved.
    """

    router: FloatArray
    small: FloatArray
    router_routed: FloatArray
    small_routed: FloatArray
    large_routed: FloatArray


class NoRate(Exception):
    """A rate, or token counts, that the costs need are not there."""


def ledger_of(given: Given) -> tuple[pa.Table, dict[str, pa.Table], pa.Table]:
    """Gains, hypotheses by size, rates: what seconds and money are counted from."""
    names = {size: f"hypotheses_{size}" for size in ("small", "large")}
    hypotheses = {size: given.read(name, TOKEN_COLUMNS) for size, name in names.items()}
    return given.read("gains"), hypotheses, pa.concat_tables(given.each("rates"))


def rates_of(table: pa.Table) -> dict[tuple[str, str], float]:
    """Seconds by name and step, from a `rates` table."""
    rows = zip(*(table.column(c).to_pylist() for c in ("name", "step", "seconds")), strict=True)
    return {(name, step): seconds for name, step, seconds in rows}


def priced(
    seconds: Rates, prices: Mapping[str, Any], cost: Mapping[str, Any]
) -> dict[tuple[str, str], float]:
    """Money by name and step: tokens have their own price, or take the device's time."""
    per_hour = prices.get("per_hour")
    found: dict[tuple[str, str], float] = {}
    if per_hour is not None:
        found = {key: value * per_hour / SECONDS_PER_HOUR for key, value in seconds.items()}
    for model in (cost["small"], cost["large"]):
        if model in prices.get("per_million", {}):
            for step, price in zip((PREFILL, DECODE), prices["per_million"][model], strict=True):
                found[model, step] = price / TOKENS_PER_PRICE
    return found


def request_costs(
    small: Tokens, large: Tokens, cost: Mapping[str, Any], router: str, rates: Rates
) -> Costs:
    """What each request costs under a router, in the unit of the rates.

    Raises NoRate naming what is missing.
    """
    spec = cost["routers"].get(router, {"terms": []})
    terms = frozenset(spec["terms"])
    translating = _translating(small, cost["small"], rates)
    reading = small.prompt * _rate(rates, cost["small"], PREFILL)
    large_cost = _translating(large, cost["large"], rates)
    own = np.zeros(len(reading))
    if terms & _OWN_PASS:
        own = own + _own_pass(small, cost, router, rates)
    if "base_prefill" in terms:  # in the small model's tokens, which are all that is counted
        own = own + small.prompt * _rate(rates, spec["base"], PREFILL)
    if "estimate" in terms:
        own = own + _rate(rates, spec["metric"], REQUEST)
    kept = np.zeros(len(reading)) if "decode" in terms else -translating
    # The prefill that the decision was read from is the translation's own, unless there is none.
    wasted = reading if "shared_prefill" in terms else np.zeros(len(reading))
    return Costs(own, translating, wasted, kept, large_cost)


def added_costs(
    settings: Mapping[str, Any],
    evaluation: Evaluation,
    gains: pa.Table,
    hypotheses: Mapping[str, pa.Table],
    rates: pa.Table,
) -> dict[str, dict[str, FloatArray]]:
    """What routing each request adds, by unit (second, money) and by router whose rates are known.

    Each (n,), the directions one after the other. Arguments: see `costs`.
    """
    tokens, seconds = tokens_of(evaluation, gains, hypotheses), rates_of(rates)
    prices = settings["cost"].get("prices")
    units = {"second": seconds}
    if prices:
        units["money"] = priced(seconds, prices, settings["cost"])
    found: dict[str, dict[str, FloatArray]] = {unit: {} for unit in units}
    for (unit, own), router in itertools.product(units.items(), evaluation.routers):
        try:
            spent = [request_costs(*pair, settings["cost"], router, own) for pair in tokens]
        except NoRate:
            continue
        found[unit][router] = np.concatenate(
            [c.router_routed + c.small_routed + c.large_routed for c in spent]
        )
    return found


class GuardedCosts(NamedTuple):
    """What requests cost under a guard that none has asked yet, and asking each, (n,).

    unguarded: the router alone. guarded: the same where the guard's signal decides; what asking
    takes is not in it. asking: the guard's own pass, for every request that it is asked about.
    """

    unguarded: Costs
    guarded: Costs
    asking: FloatArray


def guarded_costs(
    small: Tokens, large: Tokens, cost: Mapping[str, Any], pair: tuple[str, str], rates: Rates
) -> GuardedCosts:
    """Costs under pair = (ranking router, guard), in the unit of the rates (METHODS "Guards").

    Asking a guard takes its pass and its quality estimate, as it would as a router. A guard that is
    another answer of the ranking router's own pass adds none. A guard that reads the small model's
    translation must be routed after it: the translation of a routed request is wasted, that of a
    kept one is needed anyway. A prefill that both take from the translation is wasted once.
    Raises NoRate naming what is missing.
    """
    router, guard = pair
    own, signal = (request_costs(small, large, cost, name, rates) for name in pair)
    shared = _pass_of(cost, router) == _pass_of(cost, guard)
    translated = not (own.small_routed.any() and signal.small_routed.any())
    nothing = np.zeros(len(own.small))
    wasted = np.maximum(own.router_routed, signal.router_routed)
    return GuardedCosts(
        own,
        own._replace(
            router_routed=nothing if translated else wasted,
            small_routed=nothing if translated else own.small_routed,
        ),
        nothing if shared else signal.router,
    )


def rated(cost: Mapping[str, Any], *routers: str) -> list[str]:
    """The models, routers and metrics whose rates the costs under these routers rest on."""
    names = [cost["small"], cost["large"]]
    for router in routers:
        spec = cost["routers"].get(router, {"terms": []})
        if _OWN_PASS.intersection(spec["terms"]):
            names += [router, _pass_of(cost, router)]
        if "base" in spec:
            names.append(spec["base"])
        if "estimate" in spec["terms"]:
            names.append(spec["metric"])
    return names


def _pass_of(cost: Mapping[str, Any], router: str) -> str:
    """The router whose pass over a request a router's answer is read from."""
    return str(cost["routers"].get(router, {}).get("of") or router)


def break_even(costs: Sequence[Costs]) -> tuple[float, str | None]:
    """The budget at which routing costs what all-large does, or NaN and why there is none.

    With mean costs (METHODS): spent in any case + p x what routing adds = C_L.
    """
    always, added, large = (
        float(np.mean([np.mean(part) for part in parts]))
        for parts in (
            [c.router + c.small for c in costs],
            [c.router_routed + c.small_routed + c.large_routed for c in costs],
            [c.large_routed for c in costs],
        )
    )
    if large <= always:
        return float("nan"), "costs more than all-large at any budget"
    return min(1.0, (large - always) / added), None


def _own_pass(small: Tokens, cost: Mapping[str, Any], router: str, rates: Rates) -> FloatArray:
    """A router's pass over every request: as measured, else from the small model's rates."""
    spec = cost["routers"][router]
    for name in (router, spec.get("of")):
        if (name, REQUEST) in rates:
            return np.full(len(small.prompt), rates[name, REQUEST])
    if "encoder" in spec["terms"]:
        raise NoRate(f"no rate of router {router}: state {rate_key(router, REQUEST)}")
    base = spec.get("base") or cost["small"]
    reading = small.prompt * _rate(rates, base, PREFILL)
    decoded = np.zeros(len(reading))
    if "answer" in spec["terms"]:
        decoded = np.full(len(reading), float(ANSWER_TOKENS))
    if "samples" in spec["terms"]:  # a sample is about as long as the translation
        decoded = spec["samples"] * small.output
    return reading + decoded * (_rate(rates, base, DECODE) if decoded.any() else 0.0)


def _translating(tokens: Tokens, model: str, rates: Rates) -> FloatArray:
    if np.isnan(tokens.prompt).any() or np.isnan(tokens.output).any():
        raise NoRate(f"no token counts of {model}: its translations are precomputed")
    return tokens.prompt * _rate(rates, model, PREFILL) + tokens.output * _rate(
        rates, model, DECODE
    )


def _rate(rates: Rates, name: str, step: str) -> float:
    if (name, step) not in rates:
        raise NoRate(f"no {step} rate of {name}: state {rate_key(name, step)}")
    return rates[name, step]


def tokens_of(
    evaluation: Evaluation, gains: pa.Table, hypotheses: Mapping[str, pa.Table]
) -> list[tuple[Tokens, Tokens]]:
    """(small, large) of every direction, in the order of its requests."""
    direction = gains.column("direction").to_numpy()
    columns = {}
    for size, table in hypotheses.items():
        placed = align(gains, table, "gains", f"hypotheses of the {size} model")
        columns[size] = [
            pc.cast(placed.column(c), pa.float64()).to_numpy()
            for c in ("prompt_tokens", "output_tokens")
        ]
    return [
        (Tokens(*(values[direction == d.name] for values in columns["small"])),
         Tokens(*(values[direction == d.name] for values in columns["large"])))
        for d in evaluation.directions
    ]  # fmt: skip


def spending_of(
    directions: Sequence[DirectionData], found: Sequence[Costs], fields: Sequence[str]
) -> list[DirectionData]:
    """The directions with costs in the place of quality: they add up over requests as it does."""
    spending = []
    for direction, costs in zip(directions, found, strict=True):
        own = {name: getattr(costs, name) for name in fields}
        always = [values for name, values in own.items() if not name.endswith("_routed")]
        routed = [values for name, values in own.items() if name.endswith("_routed")]
        nothing = np.zeros(len(direction.gain))
        spending.append(
            replace(
                direction,
                quality_small=PER * np.sum([nothing, *always], axis=0),
                gain=PER * np.sum([nothing, *routed], axis=0),
            )
        )
    return spending
