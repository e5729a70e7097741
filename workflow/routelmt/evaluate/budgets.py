"""One total budget over all directions.

The paper gives every direction the same share (RouteLMT §5.3). Here the same number of requests is
also given to whoever needs it most, wherever that is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple, TypeVar

import numpy as np
import pyarrow as pa

from routelmt import tables
from routelmt.evaluate.deployment import Deployment, deployment
from routelmt.evaluate.given import Given
from routelmt.evaluate.ledger import added_costs, ledger_of
from routelmt.evaluate.quality_tables import role_of
from routelmt.evaluate.requests import clusters_of
from routelmt.evaluate.stream_tables import NOTHING_ROUTED, Row
from routelmt.progress import progress
from routelmt.roles import ORACLE
from routelmt.stats import inference, weighted
from routelmt.stats.arrays import AnyArray, FloatArray, IntArray
from routelmt.stats.averages import over_seeds
from routelmt.stats.bootstrap import (
    DirectionData,
    Estimates,
    replicate_weights,
)
from routelmt.stats.selection import budget_counts

ORACLE_ALLOCATION = "oracle"
ALL = "all"
# Share of the mean cost that a request counts with at least: one that costs less than nothing to
# route comes first if it gains.
LEAST_COST = 1e-9
# Replicates at a time: speed and memory only.
BLOCK = 32


_Name = TypeVar("_Name")


class _Requests(NamedTuple):
    """The requests of all directions, one after the other."""

    direction: IntArray
    groups: AnyArray
    gain: FloatArray
    quality_small: FloatArray


class _Way(NamedTuple):
    """How requests are chosen: the largest values first, of each direction or of all.

    cost: of routing a request, where the budget is what routing by `like` costs, not a count.
    """

    values: FloatArray
    apart: bool
    cost: FloatArray | None = None
    like: FloatArray | None = None


# Routed copies of a block and their gain by direction, from its weights and counts.
_Choose = Callable[[AnyArray, IntArray], FloatArray]


class _Share(NamedTuple):
    """By direction and over all requests (last), and by seed: (directions + 1, seeds)."""

    rate: Estimates
    mean_delta: Estimates
    quality: Estimates


def deployment_with_costs(settings: Mapping[str, Any], given: Given) -> Deployment:
    """The deployment of a table's inputs (see registry), with costs where there are rates."""
    found = deployment(settings, given)
    if not given.paths["rates"]:
        return found
    return replace(found, added_costs=added_costs(settings, found.test, *ledger_of(given)))


def budgets(settings: dict[str, Any], deployment: Deployment) -> pa.Table:
    """Quality of every way to share out one total of sum of floor(p n) requests.

    per_direction: the paper's, floor(p n) in each by priority. pooled: the highest priorities of
    all directions. predicted_gain: the largest predicted gains of all; where the prediction is no
    gain, what isotonic regression on the calibration data makes of the priority, by direction.
    gain_per_second, gain_per_money: the largest predicted gains for what routing a request adds to
    the cost, until all has been spent that predicted_gain spends; of routers that predict a gain
    (the best for a cost is argmax of gain - lambda x cost, METHODS).
    oracle: the largest gains of all. behind_oracle: the quality that the oracle has more, paired.
    Rows by direction, and 'all' over all requests (every request counts the same there).
    """
    requests = _requests(deployment.test.directions)
    names = [*(d.name for d in deployment.test.directions), ALL]
    clusters = clusters_of(deployment.test.directions)
    ways = {
        (router, way): chosen
        for router in deployment.test.routers
        for way, chosen in _ways(settings, deployment, router).items()
    } | {(ORACLE_ALLOCATION, ORACLE_ALLOCATION): [_Way(requests.gain, False)]}
    found: list[Row] = []
    for budget in progress(settings["budgets"], "budgets", "budget"):
        shares = _allocated(settings, requests, ways, budget)
        best = shares[ORACLE_ALLOCATION, ORACLE_ALLOCATION]
        for (router, way), share in shares.items():
            role = ORACLE if router == ORACLE_ALLOCATION else role_of(router, settings)
            same = {"router": router, "role": role, "budget": budget, "allocation": way}
            found += [same | row for row in _rows(settings, share, best, names, clusters)]
    return tables.from_rows("budgets", found)


def isotonic(priority: FloatArray, gain: FloatArray, at: FloatArray) -> FloatArray:
    """Expected gain at priorities `at`: the non-decreasing fit of gain on priority, (len(at),).

    Least squares by pooling adjacent violators; equal priorities are one point. Between the points
    the fit is linear, beyond them constant.
    """
    points, of_row, counts = np.unique(priority, return_inverse=True, return_counts=True)
    means = np.bincount(of_row, gain) / counts
    values: list[float] = []
    weights: list[float] = []
    members: list[int] = []
    for mean, count in zip(means.tolist(), counts.tolist(), strict=True):
        values.append(mean)
        weights.append(count)
        members.append(1)
        while len(values) > 1 and values[-2] >= values[-1]:
            merged = weights[-2] + weights[-1]
            values[-2] = (values[-2] * weights[-2] + values[-1] * weights[-1]) / merged
            weights[-2] = merged
            members[-2] += members[-1]
            del values[-1], weights[-1], members[-1]
    fit: FloatArray = np.interp(at, points, np.repeat(values, members))
    return fit


def _requests(directions: Sequence[DirectionData]) -> _Requests:
    return _Requests(
        np.repeat(np.arange(len(directions)), [len(d.gain) for d in directions]),
        np.concatenate([d.group_ids for d in directions]),
        np.concatenate([d.gain for d in directions]),
        np.concatenate([d.quality_small for d in directions]),
    )


def _ways(settings: dict[str, Any], deployment: Deployment, router: str) -> dict[str, list[_Way]]:
    """By allocation, how each seed of a router chooses."""
    columns, directions = deployment.test.columns[router], deployment.test.directions
    priorities = [np.concatenate([d.priorities[c] for d in directions]) for c in columns]
    ways = {
        "per_direction": [_Way(values, True) for values in priorities],
        "pooled": [_Way(values, False) for values in priorities],
    }
    if router in settings["oracles"]:
        return ways
    # Where the expected gain is equal, whoever is further up in its own direction comes first.
    ranks = [np.concatenate([_ranks(d.priorities[c]) for d in directions]) for c in columns]
    predicted = [_predicted_gain(settings, deployment, router, c) for c in columns]
    ordered = [_one_order(gain, rank) for gain, rank in zip(predicted, ranks, strict=True)]
    ways["predicted_gain"] = [_Way(values, False) for values in ordered]
    for unit, costs in deployment.added_costs.items():
        if router in costs and router in settings["gain_routers"]:
            cost = costs[router]
            worth = [gain / np.maximum(cost, LEAST_COST * cost.mean()) for gain in predicted]
            ways[f"gain_per_{unit}"] = [
                _Way(values, False, cost, like) for values, like in zip(worth, ordered, strict=True)
            ]
    return ways


def _ranks(values: FloatArray) -> FloatArray:
    """Share of the values that are smaller."""
    smaller: FloatArray = np.searchsorted(np.sort(values), values) / values.size
    return smaller


def _one_order(first: FloatArray, then: FloatArray) -> FloatArray:
    """Numbers that order as the pairs (first, then) do, equal where both are."""
    order = np.lexsort((then, first))
    differs = (np.diff(first[order]) != 0) | (np.diff(then[order]) != 0)
    numbers = np.empty(first.size)
    numbers[order] = np.concatenate(([0], np.cumsum(differs)))
    return numbers


def _predicted_gain(
    settings: dict[str, Any], deployment: Deployment, router: str, column: str
) -> FloatArray:
    if router in settings["gain_routers"]:
        return np.concatenate([d.priorities[column] for d in deployment.predicted.directions])
    return np.concatenate(
        [isotonic(held_out.priorities[column], held_out.gain, test.priorities[column])
         for held_out, test in deployment.calibrated()]
    )  # fmt: skip


def _allocated(
    settings: dict[str, Any],
    requests: _Requests,
    ways: Mapping[_Name, Sequence[_Way]],
    budget: float,
) -> dict[_Name, _Share]:
    """What every way gives each direction, by seed."""
    bootstrap = settings["bootstrap"]
    found: dict[_Name, list[FloatArray]] = {name: [] for name in ways}
    chosen = {name: [_chooser(requests, way) for way in seeds] for name, seeds in ways.items()}
    blocks = replicate_weights(requests.groups, bootstrap["replicates"], bootstrap["seed"], BLOCK)
    for block in (np.ones((1, requests.gain.size), np.uint8), *blocks):
        sizes, small = _by_direction(requests, block)
        k = np.stack([budget_counts(budget, n) for n in sizes.T], axis=1)
        for name, seeds in chosen.items():
            sums = [choose(block, k) for choose in seeds]
            found[name].append(np.stack([_figures(s, sizes, small) for s in sums], axis=2))
    return {name: _share(np.concatenate(parts, axis=-1)) for name, parts in found.items()}


def _share(figures: FloatArray) -> _Share:
    """From (3, directions + 1, seeds, 1 + B), the point before the replicates."""
    return _Share(*(Estimates(figure[..., 0], figure[..., 1:]) for figure in figures))


def _chooser(requests: _Requests, way: _Way) -> _Choose:
    columns = _columns(requests, way)
    if way.cost is None or way.like is None:
        return lambda block, k: _routed(requests, block, columns, k)
    like, cost = _columns(requests, _Way(way.like, False)), way.cost

    def within_cost(block: AnyArray, k: IntArray) -> FloatArray:
        spent = _routed(requests._replace(gain=cost), block, like, k)[:, 1].sum(axis=1)
        return weighted.first_within(
            block, columns[0], requests.direction, requests.gain, cost, spent, k.shape[1]
        )

    return within_cost


def _columns(requests: _Requests, way: _Way) -> list[weighted.SortedColumn]:
    """All requests in the order in which they are chosen, or those of each direction."""
    order = np.argsort(-way.values, kind="stable").astype(np.int64)
    directions = range(requests.direction[-1] + 1)
    parts = [order[requests.direction[order] == d] for d in directions] if way.apart else [order]
    return [weighted.sorted_column(way.values, rows) for rows in parts]


def _by_direction(requests: _Requests, weights: AnyArray) -> tuple[FloatArray, FloatArray]:
    """Requests and the sum of the small model's quality by direction, each (B, directions)."""
    inside = requests.direction[:, np.newaxis] == np.arange(requests.direction[-1] + 1)
    copies = weights.astype(np.float64)
    return copies @ inside, copies @ (inside * requests.quality_small[:, np.newaxis])


def _routed(
    requests: _Requests,
    weights: AnyArray,
    columns: Sequence[weighted.SortedColumn],
    k: IntArray,
) -> FloatArray:
    """Routed copies and their gain by direction, (B, 2, directions); k: (B, directions).

    columns: one of all requests for the total of k, or one for each direction's own.
    """
    totals = [k.sum(axis=1)] if len(columns) == 1 else list(k.T)
    parts = [
        weighted.first_by_label(
            weights, column, requests.direction, requests.gain, wanted, k.shape[1]
        )
        for column, wanted in zip(columns, totals, strict=True)
    ]
    sums: FloatArray = np.sum(parts, axis=0)
    return sums


def _figures(routed: FloatArray, sizes: FloatArray, small: FloatArray) -> FloatArray:
    """Rate, MeanΔ and quality, (3, directions + 1, B), the last over all requests."""
    count, gained, served, quality = (
        np.concatenate((part, part.sum(axis=1, keepdims=True)), axis=1).T
        for part in (routed[:, 0], routed[:, 1], sizes, small)
    )
    return np.stack(
        (weighted.ratio(count, served), weighted.ratio(gained, count),
         weighted.ratio(quality + gained, served))
    )  # fmt: skip


def _rows(
    settings: dict[str, Any],
    share: _Share,
    best: _Share,
    names: Sequence[str],
    clusters: inference.Clusters,
) -> Iterator[Row]:
    """Of each direction; figures are means over the seeds of their router."""
    behind = best.quality.each(np.subtract, share.quality)
    found, undefined = {}, np.zeros(len(names))
    for name, estimates in (*share._asdict().items(), ("behind_oracle", behind)):
        columns = [str(seed) for seed in range(estimates.point.shape[1])]
        figures = over_seeds(estimates, columns, {"": columns})
        reference = figures.reference(clusters)
        ends = reference.limits(figures.value, settings["bootstrap"]["level"])
        found[name] = [part[:, 0] for part in (figures.value, *ends)]
        undefined = np.maximum(undefined, reference.undefined[:, 0])
    nothing = np.isnan(found["mean_delta"][0])
    known = [NOTHING_ROUTED if missing else None for missing in nothing]
    why = inference.reasons(known, undefined, NOTHING_ROUTED)
    for d, name in enumerate(names):
        row: Row = {"direction": name, "reason": why[d]}
        row |= {
            "clusters": clusters.counts[d],
            "undefined": undefined[d],
            "rate": found["rate"][0][d],
        }
        for figure in ("mean_delta", "quality", "behind_oracle"):
            value, low, high = (part[d] for part in found[figure])
            row |= {figure: value, f"{figure}_low": low, f"{figure}_high": high}
        yield row
