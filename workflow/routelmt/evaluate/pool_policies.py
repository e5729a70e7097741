"""Policies over a pool, on the requests as they are and on every replicate.

A budget is a share of the range from the cheapest model's mean cost to the dearest one's, by
direction and in each replicate: 0.3 of a pool of two is the budget p = 0.3 of a pair. What a
router's own passes cost is paid from it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import accumulate, combinations
from typing import NamedTuple

import numpy as np

from routelmt.evaluate.pool_documents import coherent
from routelmt.evaluate.pool_walk import Steps, allocation, assigned, cascade, walked
from routelmt.evaluate.pools import Place, Pool
from routelmt.stats.arrays import AnyArray, FloatArray, IntArray
from routelmt.stats.bootstrap import Estimates, Kernel, bootstrap_estimates

ALLOCATED, COHERENT, PAIR, CASCADE, ORACLE = "allocated", "coherent", "pair", "cascade", "oracle"


class Part(NamedTuple):
    """Steps for some of the budgets, and what requests come to before the first step, (n,).

    budgets: their places; spent: the places of those that are really spent, ascending.
    """

    steps: Steps
    quality: FloatArray
    cost: FloatArray
    budgets: IntArray
    spent: IntArray


class Column(NamedTuple):
    """One seed of a policy: by direction its parts, none where its costs are not known."""

    policy: str
    name: str
    seed: str
    parts: tuple[tuple[Part, ...], ...]
    reason: str | None = None

    @property
    def key(self) -> str:
        """Unique among all columns of a pool."""
        return "\t".join(self[:3])

    @property
    def row(self) -> tuple[str, str]:
        """The policy and its name: what seeds are averaged over."""
        return self.policy, self.name


class PoolEstimates(NamedTuple):
    """Axes: directions, columns or models, budgets, and models last for the shares.

    zero: of the static mixture, (directions, 1, budgets).
    """

    quality: Estimates
    cost: Estimates
    shares: Estimates
    zero: Estimates
    single_quality: Estimates
    single_cost: Estimates


def policies(pool: Pool, budgets: FloatArray, charge: float | None) -> list[Column]:
    """Every policy but the models alone and their static mixture."""
    everyone = tuple(range(len(pool.models)))
    found = [column for column, _ in routed(pool, budgets, everyone)]
    if charge is not None:
        found += [column for column, _ in routed(pool, budgets, everyone, charge)]
    if len(everyone) > 2:
        found += _best_pairs(pool, budgets)
    for metric in pool.places[0].judged:
        found.append(_oracle(pool, budgets, everyone, metric))
    if pool.places[0].estimates is not None:
        found.append(_cascade(pool, budgets))
    return found


def routed(
    pool: Pool, budgets: FloatArray, models: tuple[int, ...], charge: float | None = None
) -> Iterator[tuple[Column, str]]:
    """The allocation among some of the models by each router and seed, and by the oracle last.

    With each the router's name. charge: for every switch within a document, see pool_documents.
    """
    policy = ALLOCATED if charge is None else COHERENT
    for router, columns in pool.columns.items():
        for seed in columns:
            values = [place.predicted[seed] for place in pool.places]
            parts = _parts(pool, router, budgets, models, values, charge)
            yield _column(policy, router, seed, parts), router
    if charge is None:
        yield _oracle(pool, budgets, models), ORACLE


def _column(policy: str, name: str, seed: str, parts: list[Part] | str) -> Column:
    if isinstance(parts, str):
        return Column(policy, name, seed, (), parts)
    return Column(policy, name, seed, tuple((part,) for part in parts))


def _oracle(
    pool: Pool, budgets: FloatArray, models: tuple[int, ...], metric: str | None = None
) -> Column:
    """The allocation by the quality itself, or by another metric's."""

    values = [place.judged[metric] if metric else place.quality for place in pool.places]
    parts = _parts(pool, "", budgets, models, values)
    return _column(ORACLE, f"oracle of {metric}" if metric else "gain oracle", "", parts)


def _parts(
    pool: Pool,
    router: str,
    budgets: FloatArray,
    models: tuple[int, ...],
    values: Sequence[FloatArray],
    charge: float | None = None,
) -> list[Part] | str:
    """By direction, for the values that decide; or why the router's costs are not known."""
    found, names = [], np.array(models)
    for place, value in zip(pool.places, values, strict=True):
        costs = place.costs[router]
        if isinstance(costs, str):
            return costs
        known = place.known(costs.model)
        decide, allowed, quality, cost = (
            np.ascontiguousarray(own[:, names])
            for own in (value, known, place.quality, costs.model)
        )
        keys = place.data.tie_keys
        if charge is None:
            steps = allocation(decide, allowed, quality, cost, keys)
        else:
            steps = coherent(decide, allowed, quality, cost, keys, place.documents, charge)
        steps = steps._replace(
            start=names[steps.start], before=names[steps.before], after=names[steps.after]
        )
        found.append(_part(steps, place.quality, costs.always, costs.model, len(budgets)))
    return found


def _part(
    steps: Steps, quality: FloatArray, always: FloatArray, cost: FloatArray, budgets: int
) -> Part:
    at = np.arange(len(steps.start)), steps.start
    every = np.arange(budgets)
    return Part(steps, quality[at], always + cost[at], every, every)


def _cascade(pool: Pool, budgets: FloatArray) -> Column:
    parts = []
    for place in pool.places:
        costs = place.costs[""]
        assert not isinstance(costs, str) and place.estimates is not None
        if isinstance(place.asking, str):
            return Column(CASCADE, "estimates", "", (), place.asking)
        cost = costs.model.copy()
        cost[:, :-1] += place.asking
        steps = cascade(place.estimates, place.quality, cost, place.data.tie_keys)
        parts.append(_part(steps, place.quality, costs.always, cost, len(budgets)))
    return _column(CASCADE, "estimates", "", parts)


def _best_pairs(pool: Pool, budgets: FloatArray) -> list[Column]:
    """At every budget the two models that a router makes the most of, on the average.

    Unlike the other policies they may leave some of the budget, where all of it would cost quality;
    and they are chosen on the very requests that they are judged on. So what a pool is better by is
    rather too small.
    """
    best: dict[str, list[_Choice]] = {}
    for models in combinations(range(len(pool.models)), 2):
        by_router: dict[str, list[Column]] = {}
        for column, router in routed(pool, budgets, models):
            by_router.setdefault(router, []).append(column)
        for router, columns in by_router.items():
            value = at_once(pool, columns, budgets).mean(axis=(0, 1))
            own = [_Choice(v, columns, b) for b, v in enumerate(np.nan_to_num(value, nan=-np.inf))]
            before = best.get(router, own)
            best[router] = [_better(*pair) for pair in zip(own, before, strict=True)]
    found = []
    for own in best.values():
        chosen = list(accumulate(own, _better))
        found += [
            _composed([choice.columns[seed] for choice in chosen], [c.budget for c in chosen])
            for seed in range(len(own[0].columns))
        ]
    return found


class _Choice(NamedTuple):
    """Seeds of a policy at a budget, and what they come to on the average."""

    value: float
    columns: list[Column]
    budget: int


def _better(first: _Choice, second: _Choice) -> _Choice:
    return first if first.value > second.value else second


def _composed(chosen: Sequence[Column], spent: Sequence[int]) -> Column:
    """One policy that at each budget is another column, with what is spent of it."""
    first = chosen[0]
    if first.reason:
        return first._replace(policy=PAIR)
    where: dict[int, list[int]] = {}
    for budget, column in enumerate(chosen):
        where.setdefault(id(column), []).append(budget)
    columns = {id(column): column for column in chosen}
    parts = tuple(
        tuple(
            columns[key]
            .parts[place][0]
            ._replace(budgets=np.array(budgets), spent=np.array([spent[b] for b in budgets]))
            for key, budgets in where.items()
        )
        for place in range(len(first.parts))
    )
    return Column(PAIR, first.name, first.seed, parts)


def at_once(pool: Pool, columns: Sequence[Column], budgets: FloatArray) -> FloatArray:
    """Quality on the requests as they are: (directions, columns, budgets)."""
    found = [
        _kernel(place, at, columns, budgets)(np.ones((1, len(place.quality)), np.uint8))[0]
        for at, place in enumerate(pool.places)
    ]
    return np.stack(found)[..., 0]


def estimates(
    pool: Pool, columns: Sequence[Column], budgets: FloatArray, replicates: int, seed: int
) -> PoolEstimates:
    """All figures of the columns, of the models alone and of their mixture."""
    kernels = [_kernel(place, at, columns, budgets) for at, place in enumerate(pool.places)]
    return PoolEstimates(*bootstrap_estimates(pool.directions, kernels, replicates, seed))


def limits(cost_sums: FloatArray, budgets: FloatArray) -> FloatArray:
    """What may be spent on all requests, (B, budgets); cost_sums: of each model, (B, models)."""
    cheapest, dearest = cost_sums.min(axis=1), cost_sums.max(axis=1)
    found: FloatArray = cheapest[:, None] + np.multiply.outer(dearest - cheapest, budgets)
    return found


def model_costs(place: Place) -> FloatArray:
    """What each model alone costs, (n, models)."""
    plain = place.costs[""]
    assert not isinstance(plain, str)
    return plain.model


def _kernel(place: Place, at: int, columns: Sequence[Column], budgets: FloatArray) -> Kernel:
    models = place.quality.shape[1]
    model_cost = model_costs(place)

    def kernel(weights: AnyArray) -> tuple[FloatArray, ...]:
        copies = weights.astype(np.float64)
        requests, size = copies.sum(axis=1), len(copies)
        quality, cost = copies @ place.quality, copies @ model_cost
        limit = limits(cost, budgets)
        found = np.full((2 + models, len(columns), len(budgets), size), np.nan)
        for c, column in enumerate(columns):
            for part in column.parts[at] if column.parts else ():
                before = copies @ part.cost
                left = limit[:, part.spent] - before[:, None]
                gain, spent, moved = walked(weights, part.steps, left, models)
                counts = np.stack([copies @ (part.steps.start == m) for m in range(models)])
                found[0, c, part.budgets] = copies @ part.quality + gain
                found[1, c, part.budgets] = before + spent
                found[2:, c, part.budgets] = (counts + moved).swapaxes(0, 1)
        found /= requests
        quality, cost = ((sums / requests[:, None]).T for sums in (quality, cost))
        zero = mixture(quality, cost, (limit / requests[:, None]).T)
        return found[0], found[1], np.moveaxis(found[2:], 0, 2), zero[None], quality, cost

    return kernel


def mixture(quality: FloatArray, cost: FloatArray, budgets: FloatArray) -> FloatArray:
    """Best static mixture of at most two models at each budget: (budgets, B).

    quality, cost: means of each model, (models, B); budgets: mean costs within their range.
    """
    found = np.full(budgets.shape, -np.inf)
    for i in range(len(cost)):
        for j in range(len(cost)):
            with np.errstate(divide="ignore", invalid="ignore"):
                share = np.where(cost[j] > cost[i], (budgets - cost[i]) / (cost[j] - cost[i]), 0.0)
            share = np.where(np.abs(share) < 1e-9, 0.0, share)
            share = np.where(np.abs(share - 1) < 1e-9, 1.0, share)
            may = (share >= 0) & (share <= 1) & ((cost[j] > cost[i]) | np.isclose(budgets, cost[i]))
            mixed = quality[i] + share * (quality[j] - quality[i])
            found = np.where(may, np.maximum(found, mixed), found)
    return found


def switch_rates(
    pool: Pool, column: Column, budgets: FloatArray, rate: Callable[[IntArray, Place], float]
) -> FloatArray:
    """A figure of the assignment at every budget, (directions, budgets)."""
    found = np.full((len(pool.places), len(budgets)), np.nan)
    for at, place in enumerate(pool.places):
        limit = limits(model_costs(place).sum(axis=0)[None], budgets)[0]
        for part in column.parts[at] if column.parts else ():
            before = part.cost.sum()
            for b in part.budgets:
                if limit[b] >= before * (1 - 1e-9):
                    found[at, b] = rate(assigned(part.steps, limit[b] - before), place)
    return found


def seeds_of(columns: Sequence[Column]) -> Mapping[tuple[str, str], list[str]]:
    """Keys of the seeds of each policy, in the order of the columns."""
    found: dict[tuple[str, str], list[str]] = {}
    for column in columns:
        found.setdefault(column.row, []).append(column.key)
    return found
