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
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from routelmt.evaluate import weighted
from routelmt.evaluate.arrays import (
    AnyArray,
    FloatArray,
    IntArray,
    KeyArray,
    check_same_length,
    column,
    finite_column,
)
from routelmt.evaluate.metrics import RISK_EDGES, risk_bucket_of
from routelmt.evaluate.roles import RISK_BUCKETS
from routelmt.evaluate.selection import (
    ROUNDING_SLACK,
    budget_count,
    eligible_counts,
    ranking,
)

MINIMUM_REPLICATES = 1000
# Speed and memory only: a block of one direction stays within the processor's cache.
REQUESTS_PER_BLOCK = 2**17
REPLICATES_PER_BLOCK = 128
# Bytes just below the largest block that glibc still takes from its heap once one was freed.
REUSED_BYTES = 31 * 2**20
# Weights up to this need one byte each.
SMALL_WEIGHT = 255

# What is computed from the weights of a block, (B, n): arrays whose last axis is B.
Kernel = Callable[[AnyArray], tuple[FloatArray, ...]]


@dataclass(frozen=True, eq=False)
class DirectionData:
    """The evaluated requests of one direction; every column has shape (n,).

    group_ids: equal for requests that move together (any type that sorts); tie_keys: see
    selection.tie_keys; quality_small, gain: points of the 0-100 scale; priorities: per router,
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
        check_same_length(
            gain=self.gain,
            quality_small=self.quality_small,
            group_ids=self.group_ids,
            tie_keys=self.tie_keys,
        )
        repeated = len(self.tie_keys) - np.unique(self.tie_keys).size
        if repeated:
            raise ValueError(
                f"direction {self.name}: {repeated} tie keys are repeated; "
                "a segment id may occur once per direction"
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

    def over_directions(self) -> "Estimates":
        """The mean over directions, NaN where any direction is: point (...), samples (..., B)."""
        return Estimates(self.point.mean(axis=0), self.samples.mean(axis=0))


@dataclass(frozen=True, eq=False)
class BootstrapTable:
    """The main table: axes named below, in the order of directions, routers and budgets.

    hit_rate, mean_delta: (directions, routers, budgets); spearman: (directions, routers);
    random_mean_delta: what a random router expects, the mean gain, (directions,);
    oracle_mean_delta: (directions, budgets); call_rate: K / n, (directions, budgets).
    """

    directions: tuple[str, ...]
    routers: tuple[str, ...]
    budgets: tuple[float, ...]
    hit_rate: Estimates
    mean_delta: Estimates
    spearman: Estimates
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
    generator = np.random.default_rng(seed)
    for first in range(0, replicates, block):
        drawn = generator.integers(groups.size, size=(min(block, replicates - first), groups.size))
        counts = np.stack([np.bincount(draw, minlength=groups.size) for draw in drawn])
        if counts.max() <= SMALL_WEIGHT:
            counts = counts.astype(np.uint8)
        yield counts.take(group_of_request, axis=1)


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
    per_block: int = REQUESTS_PER_BLOCK,
) -> list[Estimates]:
    """What the kernels, one per direction, compute from the requests and from every replicate."""
    # Speed only: freeing one large block makes glibc keep the blocks of the kernels from here on
    # (its thresholds adapt), instead of returning each to the system and clearing its pages again.
    np.empty(REUSED_BYTES, dtype=np.uint8)
    ends = np.cumsum([len(direction.gain) for direction in directions])
    group_ids = np.concatenate([direction.group_ids for direction in directions])
    largest = max(len(direction.gain) for direction in directions)
    block = max(1, min(REPLICATES_PER_BLOCK, per_block // largest))
    blocks = []
    for weights in replicate_weights(group_ids, replicates, seed, block):
        blocks.append(_stacked(kernels, np.split(weights, ends[:-1], axis=1)))
    as_they_are = _stacked(kernels, [np.ones((1, len(d.gain))) for d in directions])
    return [
        Estimates(point[..., 0], np.concatenate(samples, axis=-1))
        for point, *samples in zip(as_they_are, *blocks, strict=True)
    ]


def _stacked(kernels: Sequence[Kernel], weights: Sequence[AnyArray]) -> list[FloatArray]:
    results = [kernel(block) for kernel, block in zip(kernels, weights, strict=True)]
    return [np.stack(figures) for figures in zip(*results, strict=True)]


def _table_kernel(direction: DirectionData, budgets: Sequence[float]) -> Kernel:
    gain = sorted_by(direction, direction.gain)
    group = gain.group_of_row()
    routers = [sorted_by(direction, priority) for priority in direction.priorities.values()]

    def kernel(weights: AnyArray) -> tuple[FloatArray, ...]:
        k = budget_cells(weights, budgets)
        ranks = weighted.gain_ranks(weights, gain)
        best_first = weighted.routed(weights, gain)
        oracle = weighted.cuts(best_first, gain, k)
        hits, delta, rho = [], [], []
        for router in routers:
            block = weighted.routed(weights, router)
            cut = weighted.cuts(block, router, k)
            hits.append(_hit_rates(block, cut, group[router.order], oracle, k))
            delta.append(_means_of_first(block, cut, direction.gain[router.order], k))
            rho.append(weighted.spearman(block, router, ranks))
        everyone = weighted.ratio(weights @ direction.gain, weights.sum(axis=1))
        best = _means_of_first(best_first, oracle, direction.gain[gain.order], k)
        rate = weighted.ratio(k.T.astype(np.float64), weights.sum(axis=1))
        return np.stack(hits), np.stack(delta), np.stack(rho), everyone, best, rate

    return kernel


def _pareto_kernel(direction: DirectionData, call_rates: Sequence[float]) -> Kernel:
    routers = [sorted_by(direction, values) for values in direction.priorities.values()]

    def routed_gain(weights: AnyArray, router: weighted.SortedColumn, k: IntArray) -> FloatArray:
        block = weighted.routed(weights, router)
        gain = weighted.run_sums(block.in_order * direction.gain[router.order], router)
        return weighted.mass_of_first(block, router, np.cumsum(gain, axis=1), k).T

    def kernel(weights: AnyArray) -> tuple[FloatArray, ...]:
        k = budget_cells(weights, call_rates)
        requests = weights.sum(axis=1)
        small = weighted.ratio(weights @ direction.quality_small, requests)
        gains = [routed_gain(weights, router, k) for router in routers]
        return (small + weighted.ratio(np.stack(gains), requests),)

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
    in_bucket = [bucket == index for index in range(len(RISK_BUCKETS))]
    figures = np.stack([direction.gain, *in_bucket], axis=1)

    def kernel(weights: AnyArray) -> tuple[FloatArray, ...]:
        k = budget_cells(weights, [budget])
        guarded = {name: weighted.guarded(weights, order) for name, order in guards.items()}
        sums = []
        for policy, router in zip(policies, routers, strict=True):
            if policy.guard is None or policy.quantile == 1:
                sums.append(_sums_of_routed(weights, router, figures, k))
            else:
                guard = guarded[policy.guard]
                passed = _guarded_copies(weights, router.order, guard, policy.quantile, k)
                sums.append((passed @ figures[router.order]).T)
        means = weighted.ratio(np.stack(sums), k[:, 0])
        return means[:, 0], means[:, 1:]

    return kernel


def _sums_of_routed(
    weights: AnyArray, router: weighted.SortedColumn, figures: FloatArray, k: IntArray
) -> FloatArray:
    """Sums of the figures, (n, figures), over the first k copies: (figures, B); k: (B, 1)."""
    block = weighted.routed(weights, router)
    cut = weighted.cuts(block, router, k)
    last = int(cut.end.max())
    in_order = figures[router.order[:last]].T
    sums = [weighted.sums_of_first(block.in_order[:, :last] * f, cut)[:, 0] for f in in_order]
    return np.stack(sums)


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


def _guarded_copies(
    weights: AnyArray,
    order: IntArray,
    guard: weighted.Guarded,
    quantile: float,
    k: IntArray,
) -> FloatArray:
    """Copies of each request that a guarded router routes, in its order, (B, n); k: (B, 1)."""
    eligible = eligible_counts(quantile, weights.sum(axis=1))[:, np.newaxis]
    passed = guard.first_copies(eligible, order)
    routed = weighted.first_copies(passed, k)
    if np.all(eligible >= k):
        return routed
    others = weights.take(order, axis=1) - passed
    return routed + weighted.first_copies(others, np.maximum(k - eligible, 0))


def _hit_rates(
    block: weighted.Routed,
    cut: weighted.Cuts,
    group: IntArray,
    oracle: weighted.Cuts,
    k: IntArray,
) -> FloatArray:
    """(budgets, B); group: the run of equal gains of every row, in the router's order."""
    last = int(cut.end.max())
    hits = [
        weighted.sums_of_first(
            weighted.taken(oracle.place[:, [p]], group[:last]) * block.in_order[:, :last],
            cut.only(p),
        )[:, 0]
        for p in range(k.shape[1])
    ]
    return weighted.ratio(np.stack(hits), k.T)


def _means_of_first(
    block: weighted.Routed, cut: weighted.Cuts, values: FloatArray, k: IntArray
) -> FloatArray:
    """Mean value of the first k copies, (budgets, B), NaN where k is 0; values: in routed order."""
    last = int(cut.end.max())
    sums = weighted.sums_of_first(block.in_order[:, :last] * values[:last], cut)
    return weighted.ratio(sums.T, k.T)


def budget_cells(weights: AnyArray, fractions: Sequence[float]) -> IntArray:
    """selection.budget_counts of every replicate's own requests, (B, budgets).

    fractions: checked before, since this runs for every block.
    """
    products = np.multiply.outer(weights.sum(axis=1), np.asarray(fractions))
    cells: IntArray = np.floor(products + ROUNDING_SLACK).astype(np.int64)
    return cells


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
