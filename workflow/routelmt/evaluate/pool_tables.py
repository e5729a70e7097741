"""The tables of a pool: quality at cost, shares of the models, which of them deserve a place."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import combinations
from typing import Any

import numpy as np
import pyarrow as pa

from routelmt import tables
from routelmt.evaluate.given import Given
from routelmt.evaluate.pool_documents import switches
from routelmt.evaluate.pool_policies import (
    ORACLE,
    PAIR,
    Column,
    PoolEstimates,
    at_once,
    estimates,
    policies,
    routed,
    seeds_of,
    switch_rates,
)
from routelmt.evaluate.pools import Place, Pool, Priced, pool
from routelmt.evaluate.requests import clusters_of
from routelmt.progress import progress
from routelmt.roles import AVERAGE, ROUTER
from routelmt.stats.arrays import FloatArray, IntArray
from routelmt.stats.averages import RouterFigures, over_seeds, with_average
from routelmt.stats.bootstrap import Estimates

# Budgets of every curve, beside the experiment's own.
STEPS = tuple(step / 20 for step in range(21))
SINGLE, MIXTURE = "single", "mixture"
# Sizes of the subsets that table pool_choice compares.
LARGEST = 5
UNAFFORDABLE = "the budget does not pay the cheapest model and what deciding costs"

_ENDS = ("", "_low", "_high")
_FIGURES = ("quality", "cost", "to_mixture", "to_pair", "area")

Row = dict[str, Any]
# What a row says of what it has not.
_EMPTY: Row = {
    **{f"{figure}{end}": np.nan for figure in _FIGURES for end in _ENDS},
    "switches": np.nan,
    "role": ROUTER,
    "reason": None,
}


def pool_table(settings: dict[str, Any], given: Given) -> pa.Table:
    """Quality and cost of every policy, direction and budget."""
    found = pool(settings, given)
    return quality_at_cost(settings, found)


def quality_at_cost(settings: dict[str, Any], found: Pool) -> pa.Table:
    """Rows of `pool`: the models alone, their mixture by chance, and every policy.

    settings: bootstrap, budgets, and pool {unit, switch_cost}.
    """
    budgets, columns, made = _estimated(settings, found)
    rows = [*_single_rows(settings, found, made), *_mixture_rows(settings, found, made, budgets)]
    zero = _repeated(made.zero, len(columns))
    parts = {
        "quality": _figures(made.quality, columns),
        "cost": _figures(made.cost, columns),
        "to_mixture": _figures(_less(made.quality, zero), columns),
        "area": _figures(_areas(_less(made.quality, zero), budgets), columns),
        "to_pair": _figures(_to_pair(made.quality, columns), columns),
    }
    cells = {name: _cells(settings, found, part) for name, part in parts.items()}
    undefined = cells["quality"]["undefined"]
    flips = _switches(found, columns, budgets)
    reasons = {column.row: column.reason for column in columns}
    clusters = clusters_of(found.directions).counts
    for c, (policy, name) in enumerate(seeds_of(columns)):
        for p, direction in enumerate(_places(found)):
            for b, budget in enumerate(budgets):
                row = _EMPTY | {
                    "policy": policy, "name": name, "direction": direction, "budget": budget,
                    "role": ORACLE if policy == ORACLE or name == "gain oracle" else ROUTER,
                    "unit": settings["pool"]["unit"], "switches": flips[policy, name][p, b],
                    "clusters": clusters[p], "undefined": undefined[p, c, b],
                }  # fmt: skip
                for figure, of in cells.items():
                    at = (p, c, 0 if figure == "area" else b)
                    row |= {f"{figure}{end}": of[end][at] for end in _ENDS}
                if np.isnan(row["quality"]):
                    row["reason"] = reasons[policy, name] or UNAFFORDABLE
                rows.append(row)
    return tables.from_rows("pool", rows)


def pool_shares(settings: dict[str, Any], given: Given) -> pa.Table:
    """How many requests every policy gives to each model."""
    return shares(settings, pool(settings, given))


def shares(settings: dict[str, Any], found: Pool) -> pa.Table:
    """Rows of `pool_shares`; a policy's shares at a budget add up to 1."""
    budgets, columns, made = _estimated(settings, found)
    figures = _figures(made.shares, columns)
    cells = _cells(settings, found, figures, (0.0, 1.0))
    clusters = clusters_of(found.directions).counts
    rows = []
    for c, (policy, name) in enumerate(seeds_of(columns)):
        for p, direction in enumerate(_places(found)):
            for b, budget in enumerate(budgets):
                for m, model in enumerate(found.models):
                    share = cells[""][p, c, b, m]
                    rows.append(
                        {"policy": policy, "name": name, "direction": direction, "budget": budget,
                         "model": model, "share": float(np.clip(share, 0, 1)),
                         "low": cells["_low"][p, c, b, m], "high": cells["_high"][p, c, b, m],
                         "clusters": clusters[p], "undefined": cells["undefined"][p, c, b, m],
                         "reason": UNAFFORDABLE if np.isnan(share) else None}
                    )  # fmt: skip
    return tables.from_rows("pool_shares", rows)


def pool_choice(settings: dict[str, Any], given: Given) -> pa.Table:
    """Which models deserve to be in the pool."""
    return choice(settings, pool(settings, given))


def choice(settings: dict[str, Any], found: Pool) -> pa.Table:
    """Rows of `pool_choice`: the best subset of each size, chosen on one half of the clusters and
    judged on the other, under a budget in the whole pool's range.
    """
    bootstrap = settings["bootstrap"]
    choosing, judging = _halves(found, bootstrap["seed"])
    budgets = np.array(sorted(settings["budgets"]))
    rows = []
    sizes = range(1, min(LARGEST, len(found.models)) + 1)
    names = [*found.columns, ORACLE]
    best = {half: _best_subsets(half, budgets, sizes) for half in (choosing, judging)}
    for name in progress(names, "choice of models", "router"):
        chosen = best[choosing][name]
        for b, budget in enumerate(budgets):
            sets = [chosen[size, b] for size in sizes]
            columns = [
                (column._replace(policy=str(size)), subset)
                for size, (_, subset) in zip(sizes, sets, strict=True)
                for column, router in routed(judging, budgets[[b]], subset)
                if router == name
            ]
            made = estimates(
                judging, [c for c, _ in columns], budgets[[b]], bootstrap["replicates"],
                bootstrap["seed"],
            )  # fmt: skip
            flat = [c for c, _ in columns]
            quality = _figures(made.quality, flat)
            cells = _cells(settings, judging, quality)
            seeds = len(flat) // len(sets)
            steps = _figures(_to_smaller(made.quality, seeds), flat)
            to_smaller = _cells(settings, judging, steps)
            for s, size in enumerate(sizes):
                value, subset = sets[s]
                rows.append(
                    {"name": name, "budget": budget, "size": size,
                     "role": ORACLE if name == ORACLE else ROUTER,
                     "models": ", ".join(found.models[m] for m in subset),
                     "same": subset == best[judging][name][size, b][1],
                     "chosen_at": value,
                     **{f"quality{end}": cells[end][-1, s, 0] for end in _ENDS},
                     **{f"to_smaller{end}": to_smaller[end][-1, s, 0]
                        for end in _ENDS},
                     "clusters": clusters_of(judging.directions).counts[-1],
                     "undefined": cells["undefined"][-1, s, 0],
                     "reason": UNAFFORDABLE if np.isnan(cells[""][-1, s, 0]) else None}
                )  # fmt: skip
    return tables.from_rows("pool_choice", rows)


def _best_subsets(
    found: Pool, budgets: FloatArray, sizes: Sequence[int]
) -> dict[str, dict[tuple[int, int], tuple[float, tuple[int, ...]]]]:
    """By name, size and budget the quality and models of the best subset, on the average.

    Of subsets that are equally good the first, so the cheapest models, counts.
    """
    best: dict[str, dict[tuple[int, int], tuple[float, tuple[int, ...]]]] = {}
    for size in sizes:
        for subset in combinations(range(len(found.models)), size):
            by_name: dict[str, list[Column]] = {}
            for column, name in routed(found, budgets, subset):
                by_name.setdefault(name, []).append(column)
            for name, columns in by_name.items():
                value = at_once(found, columns, budgets).mean(axis=(0, 1))
                own = best.setdefault(name, {})
                for b in range(len(budgets)):
                    before = own.get((size, b))
                    if before is None or value[b] > before[0] or np.isnan(before[0]):
                        own[size, b] = float(value[b]), subset
    return best


def _halves(found: Pool, seed: int) -> tuple[Pool, Pool]:
    """The requests of one half of the clusters, and those of the other."""
    clusters = np.unique(np.concatenate([d.group_ids for d in found.directions]))
    drawn = np.random.default_rng(seed).permutation(clusters)[: clusters.size // 2]
    halves = []
    for inside in (True, False):
        rows = [np.flatnonzero(np.isin(d.group_ids, drawn) == inside) for d in found.directions]
        places = (_of(place, own) for place, own in zip(found.places, rows, strict=True))
        halves.append(replace(found, places=tuple(places)))
    return halves[0], halves[1]


def _of(place: Place, rows: IntArray) -> Place:
    """Some requests of a direction."""
    data = place.data
    return replace(
        place,
        data=replace(
            data,
            group_ids=data.group_ids[rows],
            tie_keys=data.tie_keys[rows],
            quality_small=data.quality_small[rows],
            gain=data.gain[rows],
            priorities={name: own[rows] for name, own in data.priorities.items()},
        ),
        quality=place.quality[rows],
        predicted={name: own[rows] for name, own in place.predicted.items()},
        costs={
            name: own if isinstance(own, str) else Priced(own.always[rows], own.model[rows])
            for name, own in place.costs.items()
        },
        length=place.length[rows],
        estimates=None,
        judged={},
        documents=(),
    )


def _estimated(
    settings: Mapping[str, Any], found: Pool
) -> tuple[FloatArray, list[Column], PoolEstimates]:
    budgets = np.array(sorted({*STEPS, *settings["budgets"]}))
    charge = settings["pool"]["switch_cost"]
    columns = policies(found, budgets, np.inf if charge == "never" else charge)
    bootstrap = settings["bootstrap"]
    made = estimates(found, columns, budgets, bootstrap["replicates"], bootstrap["seed"])
    return budgets, columns, made


def _places(found: Pool) -> list[str]:
    return [*(d.name for d in found.directions), AVERAGE]


def _figures(made: Estimates, columns: Sequence[Column]) -> RouterFigures:
    """With the average over directions, and means over seeds: axis 1 is seeds_of(columns)."""
    keys = [column.key for column in columns]
    by_row = {"\t".join(row): seeds for row, seeds in seeds_of(columns).items()}
    return over_seeds(with_average(made), keys, by_row)


def _cells(
    settings: Mapping[str, Any],
    found: Pool,
    figures: RouterFigures,
    within: tuple[float, float] = (-np.inf, np.inf),
) -> dict[str, FloatArray]:
    """Values, ends of their intervals, and undefined shares."""
    reference = figures.reference(clusters_of(found.directions))
    low, high = reference.limits(figures.value, settings["bootstrap"]["level"], within)
    return {"": figures.value, "_low": low, "_high": high, "undefined": reference.undefined}


def _less(made: Estimates, other: Estimates) -> Estimates:
    return Estimates(made.point - other.point, made.samples - other.samples)


def _repeated(made: Estimates, columns: int) -> Estimates:
    return Estimates(*(np.repeat(part, columns, axis=1) for part in (made.point, made.samples)))


def _areas(differences: Estimates, budgets: FloatArray) -> Estimates:
    """Mean over the cost range of what a policy is above the mixture, (directions, columns, 1).

    Where it cannot be paid the mixture is taken: 0 there.
    """

    def area(values: FloatArray) -> FloatArray:
        return np.asarray(np.trapezoid(np.nan_to_num(values), budgets, axis=2))[:, :, None]

    return Estimates(area(differences.point), area(differences.samples))


def _to_pair(quality: Estimates, columns: Sequence[Column]) -> Estimates:
    """Of a router's allocation less its best pair; NaN for all others."""
    place = {column.key: at for at, column in enumerate(columns)}
    pairs = [
        None if column.policy == PAIR else place.get(column._replace(policy=PAIR).key)
        for column in columns
    ]
    found = []
    for values in (quality.point, quality.samples):
        differences = np.full(values.shape, np.nan)
        for at, pair in enumerate(pairs):
            if pair is not None:
                differences[:, at] = values[:, at] - values[:, pair]
        found.append(differences)
    return Estimates(*found)


def _to_smaller(quality: Estimates, seeds: int) -> Estimates:
    """Of each size less the one before, seed by seed; NaN for the first."""
    found = []
    for values in (quality.point, quality.samples):
        differences = np.full(values.shape, np.nan)
        differences[:, seeds:] = values[:, seeds:] - values[:, :-seeds]
        found.append(differences)
    return Estimates(*found)


def _switches(
    found: Pool, columns: Sequence[Column], budgets: FloatArray
) -> dict[tuple[str, str], FloatArray]:
    """Of neighbours within a document, by policy: (directions + 1, budgets)."""
    each: dict[tuple[str, str], list[FloatArray]] = {}
    for column in columns:
        own = (
            np.full((len(found.places), len(budgets)), np.nan)
            if column.policy == PAIR
            else switch_rates(
                found, column, budgets, lambda models, place: switches(models, place.documents)
            )
        )
        each.setdefault(column.row, []).append(np.concatenate([own, own.mean(axis=0)[None]]))
    return {row: np.mean(own, axis=0) for row, own in each.items()}


def _single_rows(settings: Mapping[str, Any], found: Pool, made: PoolEstimates) -> list[Row]:
    clusters = clusters_of(found.directions)
    cells = {}
    for name, own in (("quality", made.single_quality), ("cost", made.single_cost)):
        columns = [Column(SINGLE, model, "", ()) for model in found.models]
        cells[name] = _cells(settings, found, _figures(own, columns))
    costs = made.single_cost.point
    cheapest, dearest = costs.min(axis=1, keepdims=True), costs.max(axis=1, keepdims=True)
    share = (costs - cheapest) / (dearest - cheapest)
    share = np.concatenate([share, share.mean(axis=0)[None]])
    return [
        _EMPTY
        | {"policy": SINGLE, "name": model, "direction": direction,
           "budget": float(np.clip(share[p, m], 0, 1)), "unit": settings["pool"]["unit"],
           "clusters": clusters.counts[p], "undefined": cells["quality"]["undefined"][p, m]}
        | {f"{figure}{end}": of[end][p, m] for figure, of in cells.items() for end in _ENDS}
        for p, direction in enumerate(_places(found)) for m, model in enumerate(found.models)
    ]  # fmt: skip


def _mixture_rows(
    settings: Mapping[str, Any], found: Pool, made: PoolEstimates, budgets: FloatArray
) -> list[Row]:
    clusters = clusters_of(found.directions)
    column = Column(MIXTURE, "static mixture", "", ())
    cells = _cells(settings, found, _figures(made.zero, [column]))
    costs = made.single_cost.point
    cheapest, dearest = (
        np.append(end, end.mean()) for end in (costs.min(axis=1), costs.max(axis=1))
    )
    return [
        _EMPTY
        | {"policy": MIXTURE, "name": column.name, "direction": direction, "budget": budget,
           "unit": settings["pool"]["unit"],
           "cost": cheapest[p] + budget * (dearest[p] - cheapest[p]),
           "clusters": clusters.counts[p], "undefined": cells["undefined"][p, 0, b]}
        | {f"quality{end}": cells[end][p, 0, b] for end in _ENDS}
        for p, direction in enumerate(_places(found)) for b, budget in enumerate(budgets)
    ]  # fmt: skip
