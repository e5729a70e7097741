"""Paired bootstrap over requests, clustered by group_id, of every router and direction at once.

A replicate draws as many groups as there are, with replacement, over the union of the directions:
the same text moves together in all of them, and all routers see the same replicate, so that
differences between routers are paired. Replicates depend on the seed and on the set of groups
only: not on the order of rows, directions or routers, nor on which figure is computed.

Requests that a router gives the same priority count as the expectation over all ways to break
the tie: at the budget's boundary each of them counts with the same fraction. Only guards, which
decide in two steps, break ties by key as a deployed router must.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from routelmt.roles import RISK_BUCKETS
from routelmt.stats import weighted
from routelmt.stats.arrays import (
    AnyArray,
    FloatArray,
    IntArray,
    KeyArray,
    check_same_length,
    column,
    finite_column,
)
from routelmt.stats.metrics import RISK_EDGES, risk_bucket_of
from routelmt.stats.selection import (
    ROUNDING_SLACK,
    budget_count,
    eligible_counts,
    ranking,
)

MINIMUM_REPLICATES = 1000
# Speed and memory only: replicates at a time, and copies of a direction's columns.
REQUESTS_PER_BLOCK = 2**19
REPLICATES_PER_BLOCK = 128
# Weights up to this need one byte each.
SMALL_WEIGHT = 255
# Memory only: draws of no more groups than that, in all replicates, are kept for the next figure.
KEPT_COUNTS = 2**25

# What is computed from the weights of a block, (B, n): arrays whose last axis is B.
Kernel = Callable[[AnyArray], tuple[FloatArray, ...]]


@dataclass(frozen=True, eq=False)
class DirectionData:
    """The evaluated requests of one direction; every column has shape (n,).

    group_ids: equal for requests that move together (any type that sorts); tie_keys: see
    join.tie_keys; quality_small, gain: points of the 0-100 scale; priorities: per router,
    higher = large model first; guard_signals: per guard, higher = worse quality of the small
    model. Raises ValueError naming direction and column for anything that cannot be evaluated.
    """

    name: str
    group_ids: AnyArray
    tie_keys: KeyArray
    quality_small: FloatArray
    gain: FloatArray
    priorities: Mapping[str, FloatArray]
    guard_signals: Mapping[str, FloatArray] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for column_name in ("quality_small", "gain"):
            finite_column(f"direction {self.name}: {column_name}", getattr(self, column_name))
        for kind, columns in (("router", self.priorities), ("guard", self.guard_signals)):
            for name, values in columns.items():
                column(f"direction {self.name}: {kind} {name}", values)
                check_same_length(gain=self.gain, **{f"{self.name} {kind} {name}": values})
        whole = ("gain", "quality_small", "group_ids", "tie_keys")
        check_same_length(**{name: getattr(self, name) for name in whole})
        if repeated := len(self.tie_keys) - np.unique(self.tie_keys).size:
            raise ValueError(
                f"direction {self.name}: {repeated} tie keys are repeated; "
                "a segment id may occur once per direction"
            )


def subset(direction: DirectionData, rows: IntArray) -> DirectionData:
    """Some requests of a direction, in the order of `rows`."""
    return replace(
        direction,
        group_ids=direction.group_ids[rows],
        tie_keys=direction.tie_keys[rows],
        quality_small=direction.quality_small[rows],
        gain=direction.gain[rows],
        priorities={name: values[rows] for name, values in direction.priorities.items()},
        guard_signals={name: values[rows] for name, values in direction.guard_signals.items()},
    )


@dataclass(frozen=True)
class Policy:
    """A router, and the guard it is held to, if any (RouteLMT §6.4).

    guard: a name in DirectionData.guard_signals; quantile: the fraction of a direction that the
    guard lets pass first (see selection.guarded_ranking).
    """

    router: str
    guard: str | None = None
    quantile: float = 1.0

    def __post_init__(self) -> None:
        if not 0 < self.quantile <= 1:
            raise ValueError(f"policy {self.router}: quantile {self.quantile} is not in (0, 1]")
        if self.guard is None and self.quantile != 1:
            raise ValueError(f"policy {self.router}: quantile {self.quantile} without a guard")


@dataclass(frozen=True, eq=False)
class Estimates:
    """A figure on the requests as they are, and on every replicate.

    point: shape (directions, ...); samples: the same with replicates as last axis, NaN where a
    replicate leaves the figure undefined.
    """

    point: FloatArray
    samples: FloatArray

    def each(self, function: Callable[..., FloatArray], *others: "Estimates") -> "Estimates":
        """A function of the figures and the others', on the requests and on every replicate."""
        whole = zip(*(vars(estimates).values() for estimates in (self, *others)), strict=True)
        return Estimates(*(function(*parts) for parts in whole))

    def at(self, cell: Any) -> "Estimates":
        """A part of the figures, by an index of point's axes (an Ellipsis only at its end)."""
        return Estimates(self.point[cell], self.samples[cell])

    def over_directions(self) -> "Estimates":
        """The mean over directions, NaN where any direction is: point (...), samples (..., B)."""
        return self.each(lambda values: values.mean(axis=0))

    def mean_of(self, rows: list[int]) -> "Estimates":
        """The mean over some entries of the first axis, which stays with one."""
        return self.at(rows).each(lambda values: values.mean(axis=0)[np.newaxis])


@dataclass(frozen=True, eq=False)
class BootstrapTable:
    """The main table: axes named below, in the order of directions, routers and budgets.

    hit_rate, mean_delta: (directions, routers, budgets); spearman: (directions, routers);
    random_hit_rate, random_mean_delta: what a random router expects, (directions, budgets), and the
    mean gain, (directions,); oracle_mean_delta: (directions, budgets); call_rate: K / n,
    (directions, budgets).
    """

    directions: tuple[str, ...]
    routers: tuple[str, ...]
    budgets: tuple[float, ...]
    hit_rate: Estimates
    mean_delta: Estimates
    spearman: Estimates
    random_hit_rate: Estimates
    random_mean_delta: Estimates
    oracle_mean_delta: Estimates
    call_rate: Estimates


@dataclass(frozen=True, eq=False)
class BootstrapPolicies:
    """The requests that each policy routes: axes in the order of directions and policies.

    mean_delta: (directions, policies), in points; risk: (directions, policies, buckets), shares
    of the routed requests in each of roles.RISK_BUCKETS.
    """

    directions: tuple[str, ...]
    policies: tuple[Policy, ...]
    mean_delta: Estimates
    risk: Estimates


def replicate_weights(
    group_ids: npt.ArrayLike,
    replicates: int,
    seed: int,
    block: int = REPLICATES_PER_BLOCK,
) -> Iterator[AnyArray]:
    """How often each replicate contains each request: whole numbers, blocks of (<= block, n).

    group_ids: shape (n,); the requests of a group have the same weight in every replicate.
    The block size changes memory and speed, never the weights.
    """
    groups, group_of_request = np.unique(np.asarray(group_ids), return_inverse=True)
    if groups.size == 0:
        raise ValueError("group_ids: no request to resample")
    if replicates < 1 or block < 1:
        raise ValueError(f"replicates and block must be positive, found {replicates} and {block}")
    few = groups.size * replicates <= KEPT_COUNTS
    counts = (_kept_counts if few else _group_counts)(groups.size, replicates, seed, block)
    for drawn in counts:
        yield drawn.take(group_of_request, axis=1)


def _group_counts(groups: int, replicates: int, seed: int, block: int) -> Iterator[AnyArray]:
    """How often each replicate draws each group, blocks of (<= block, groups)."""
    generator = np.random.default_rng(seed)
    for first in range(0, replicates, block):
        drawn = generator.integers(groups, size=(min(block, replicates - first), groups))
        counts = np.stack([np.bincount(draw, minlength=groups) for draw in drawn])
        yield counts.astype(np.uint8) if counts.max() <= SMALL_WEIGHT else counts


@lru_cache(maxsize=4)
def _kept_counts(groups: int, replicates: int, seed: int, block: int) -> list[AnyArray]:
    """The same, kept: most tables bootstrap the same requests again and again."""
    return list(_group_counts(groups, replicates, seed, block))


def bootstrap_table(
    directions: Sequence[DirectionData],
    budgets: Sequence[float],
    replicates: int = MINIMUM_REPLICATES,
    seed: int = 0,
) -> BootstrapTable:
    """HitRate@p, MeanΔ@p and Spearman of every router, on the requests and on every replicate.

    K = floor(p * n) per direction, with the replicate's own n. Raises ValueError if the
    directions do not have the same routers, or a budget chooses no request of a direction.
    """
    routers = _common_routers(directions)
    _check_budgets(directions, budgets)
    kernels = [_table_kernel(direction, budgets) for direction in directions]
    found = bootstrap_estimates(directions, kernels, replicates, seed)
    names = tuple(direction.name for direction in directions)
    return BootstrapTable(names, routers, tuple(budgets), *found)


def bootstrap_pareto(
    directions: Sequence[DirectionData],
    call_rates: Sequence[float],
    replicates: int = MINIMUM_REPLICATES,
    seed: int = 0,
) -> Estimates:
    """Quality of the routed system at each call rate, exact at K = floor(rate * n).

    point: (directions, routers, call rates), points of the 0-100 scale. All samples are held in
    memory, 8 bytes each.
    """
    _common_routers(directions)
    for rate in call_rates:
        budget_count(rate, 0)
    kernels = [_pareto_kernel(direction, call_rates) for direction in directions]
    (quality,) = bootstrap_estimates(directions, kernels, replicates, seed)
    return quality


def bootstrap_policies(
    directions: Sequence[DirectionData],
    policies: Sequence[Policy],
    budget: float,
    replicates: int = MINIMUM_REPLICATES,
    seed: int = 0,
    edges: tuple[float, float, float] = RISK_EDGES,
) -> BootstrapPolicies:
    """MeanΔ and risk buckets of the requests each policy routes, guarded or not (RouteLMT §6.4).

    A guard's eligible set is found again within every replicate. Raises ValueError for a policy
    whose router or guard a direction does not have.
    """
    _common_routers(directions)
    _check_budgets(directions, [budget])
    kernels = [_policy_kernel(direction, policies, budget, edges) for direction in directions]
    delta, risk = bootstrap_estimates(directions, kernels, replicates, seed)
    names = tuple(direction.name for direction in directions)
    return BootstrapPolicies(names, tuple(policies), delta, risk)


def bootstrap_estimates(
    directions: Sequence[DirectionData],
    kernels: Sequence[Kernel],
    replicates: int,
    seed: int,
) -> list[Estimates]:
    """What the kernels, one per direction, compute from the requests and from every replicate."""
    ends = np.cumsum([len(direction.gain) for direction in directions])
    group_ids = np.concatenate([direction.group_ids for direction in directions])
    largest = max(len(direction.gain) for direction in directions)
    block = max(1, min(REPLICATES_PER_BLOCK, REQUESTS_PER_BLOCK // largest))
    blocks = []
    for weights in replicate_weights(group_ids, replicates, seed, block):
        own = [np.ascontiguousarray(part) for part in np.split(weights, ends[:-1], axis=1)]
        blocks.append(_stacked(kernels, own))
    as_they_are = _stacked(kernels, [np.ones((1, len(d.gain)), np.uint8) for d in directions])
    return [
        Estimates(point[..., 0], np.concatenate(samples, axis=-1))
        for point, *samples in zip(as_they_are, *blocks, strict=True)
    ]


def _stacked(kernels: Sequence[Kernel], weights: Sequence[AnyArray]) -> list[FloatArray]:
    results = [kernel(block) for kernel, block in zip(kernels, weights, strict=True)]
    return [np.stack(figures) for figures in zip(*results, strict=True)]


def _table_kernel(direction: DirectionData, budgets: Sequence[float]) -> Kernel:
    gain = sorted_by(direction, direction.gain)
    best_run = gain.run_of_row()
    routers = [sorted_by(direction, priority) for priority in direction.priorities.values()]
    chance = sorted_by(direction, np.zeros(len(direction.gain)))
    ascending, asked = np.unique(budgets, return_inverse=True)

    def kernel(weights: AnyArray) -> tuple[FloatArray, ...]:
        requests = weights.sum(axis=1)
        k = _budget_counts(requests, ascending)
        ranks = weighted.gain_ranks(weights, gain)
        cuts = weighted.cuts_of(weights, gain, k)
        hits = [
            weighted.hits_of_first(weights, column, best_run, cuts, k)
            for column in (*routers, chance)
        ]
        sums = [
            weighted.sums_of_first(weights, column, direction.gain, k)
            for column in (*routers, gain)
        ]
        hit_rate = weighted.ratio(np.stack(hits), k.T)[:, asked]
        delta = weighted.ratio(np.stack(sums), k.T)[:, asked]
        rho = [weighted.spearman(weights, column, ranks) for column in routers]
        everyone = weighted.ratio(weights @ direction.gain, requests)
        rate = weighted.ratio(k.T.astype(np.float64), requests)[asked]
        routed = (hit_rate[:-1], delta[:-1], np.stack(rho))
        return (*routed, hit_rate[-1], everyone, delta[-1], rate)

    return kernel


def _pareto_kernel(direction: DirectionData, call_rates: Sequence[float]) -> Kernel:
    routers = [sorted_by(direction, values) for values in direction.priorities.values()]
    ascending, asked = np.unique(call_rates, return_inverse=True)

    def kernel(weights: AnyArray) -> tuple[FloatArray, ...]:
        copies = weights.astype(np.float64)  # else every product would convert them
        requests = copies.sum(axis=1)
        k = _budget_counts(requests, ascending)
        small = weighted.ratio(copies @ direction.quality_small, requests)
        gains = [weighted.sums_of_first(weights, c, direction.gain, k) for c in routers]
        return (small + weighted.ratio(np.stack(gains)[:, asked], requests),)

    return kernel


def _policy_kernel(
    direction: DirectionData,
    policies: Sequence[Policy],
    budget: float,
    edges: tuple[float, float, float],
) -> Kernel:
    routers = [_policy_column(direction, policy) for policy in policies]
    guards = {p.guard: _guard_order(direction, p.guard) for p in policies if p.guard is not None}
    bucket = risk_bucket_of(direction.gain, edges)
    figures = np.stack([direction.gain, *(bucket == b for b in range(len(RISK_BUCKETS)))], axis=1)

    def routed(
        weights: AnyArray,
        requests: AnyArray,
        policy: Policy,
        column: weighted.SortedColumn,
        k: IntArray,
    ) -> FloatArray:
        """Sums of the figures over the requests a policy routes: (figures, B)."""
        if policy.guard is None or policy.quantile == 1:
            sums = [weighted.sums_of_first(weights, column, f, k) for f in figures.T]
            return np.concatenate(sums)
        eligible = eligible_counts(policy.quantile, requests)
        guard = guards[policy.guard]
        return weighted.guarded_sums(weights, column.order, guard, eligible, figures, k[:, 0]).T

    def kernel(weights: AnyArray) -> tuple[FloatArray, ...]:
        requests = weights.sum(axis=1)
        k = _budget_counts(requests, [budget])
        chosen = zip(policies, routers, strict=True)
        sums = [routed(weights, requests, policy, column, k) for policy, column in chosen]
        means = weighted.ratio(np.stack(sums), k[:, 0])
        return means[:, 0], means[:, 1:]

    return kernel


def _policy_column(direction: DirectionData, policy: Policy) -> weighted.SortedColumn:
    if policy.router not in direction.priorities:
        raise ValueError(
            f"direction {direction.name}: policy for router {policy.router}, which is not among "
            f"{sorted(direction.priorities)}"
        )
    return sorted_by(direction, direction.priorities[policy.router])


def _guard_order(direction: DirectionData, guard: str) -> IntArray:
    if guard not in direction.guard_signals:
        raise ValueError(
            f"direction {direction.name}: policy with guard {guard}, which is not among "
            f"{sorted(direction.guard_signals)}"
        )
    return ranking(direction.guard_signals[guard], direction.tie_keys)


def _budget_counts(requests: AnyArray, fractions: npt.ArrayLike) -> IntArray:
    """selection.budget_counts of every replicate's own requests, (B,), for all: (B, budgets).

    fractions: checked before, since this runs for every block.
    """
    products = np.multiply.outer(requests, np.asarray(fractions))
    counts: IntArray = np.floor(products + ROUNDING_SLACK).astype(np.int64)
    return counts


def sorted_by(direction: DirectionData, values: FloatArray) -> weighted.SortedColumn:
    """A column of a direction, largest first."""
    return weighted.sorted_column(values, ranking(values, direction.tie_keys))


def _common_routers(directions: Sequence[DirectionData]) -> tuple[str, ...]:
    if not directions:
        raise ValueError("directions: none given")
    routers = tuple(directions[0].priorities)
    if not routers:
        raise ValueError(f"direction {directions[0].name}: no router given")
    for direction in directions:
        if tuple(direction.priorities) != routers:
            raise ValueError(
                f"direction {direction.name}: routers {list(direction.priorities)} differ from "
                f"{list(routers)} of direction {directions[0].name}"
            )
    return routers


def _check_budgets(directions: Sequence[DirectionData], budgets: Sequence[float]) -> None:
    if not budgets:
        raise ValueError("budgets: none given")
    for direction in directions:
        for budget in budgets:
            if budget_count(budget, len(direction.gain)) == 0:
                raise ValueError(
                    f"direction {direction.name}: budget {budget} chooses none of its "
                    f"{len(direction.gain)} requests"
                )
