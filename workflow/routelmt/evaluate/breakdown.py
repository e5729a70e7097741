"""Table `breakdown`: how well routers rank within each domain and each quarter of source lengths.

Every group of requests is evaluated as a direction is: the budget is K = floor(p * n) of the
group's own requests. Quarters are cut at the quartiles of each direction's source lengths; equal
lengths stay together, so quarters need not be equally large.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from routelmt import tables
from routelmt.data.words import words
from routelmt.errors import UserError
from routelmt.evaluate.quality_tables import role_of
from routelmt.evaluate.requests import Evaluation, aligned
from routelmt.evaluate.router_metrics import expect_no_correlation, with_expected_chance
from routelmt.roles import AVERAGE
from routelmt.stats import inference
from routelmt.stats.arrays import AnyArray, IntArray
from routelmt.stats.averages import RouterFigures, over_seeds
from routelmt.stats.bootstrap import (
    DirectionData,
    Estimates,
    bootstrap_table,
    subset,
)
from routelmt.stats.measures import percent
from routelmt.stats.metrics import (
    ANYWHERE,
    NO_REQUEST,
    RANGES,
    UNDEFINED,
    undefined_reason,
)

# Of fewer requests nothing can be said: a HitRate's standard error would be 25 points.
MINIMUM_REQUESTS = 30
QUARTERS = ("shortest", "short", "long", "longest")


class Group(NamedTuple):
    """Requests of one direction: rows of it; detail says what they have in common."""

    direction: DirectionData
    by: str  # domain or length
    name: str
    detail: str
    rows: IntArray


def breakdown(settings: dict[str, Any], evaluation: Evaluation) -> pa.Table:
    """MeanΔ and HitRate (by budget) and Spearman of every router in every group.

    settings: minimum_requests, of a group whose figures are defined; by default 30, and as many
    as the smallest budget needs to choose one request. Raises UserError without segments.
    """
    evaluation = with_expected_chance(evaluation, settings)
    groups = list(_groups(evaluation))
    needed = fewest_requests(settings)
    large = [group for group in groups if len(group.rows) >= needed]
    found = _figures(settings, large) if large else {}
    parts = [
        tables.from_columns("breakdown", _columns(settings, evaluation, cell, needed))
        for cell in _cells(settings, evaluation, groups, large, found)
    ]
    return pa.concat_tables(parts)


def fewest_requests(settings: Mapping[str, Any]) -> int:
    """Requests that a group needs: minimum_requests, and one for the smallest budget to choose."""
    smallest: int = settings.get("minimum_requests", MINIMUM_REQUESTS)
    return max(smallest, int(np.ceil(1 / min(settings["budgets"]) - 1e-9)), 2)


def _groups(evaluation: Evaluation) -> Iterator[Group]:
    if evaluation.segments is None:
        raise UserError(
            "table breakdown needs the test segments, for domains and lengths; give --segments."
        )
    found = aligned(evaluation, evaluation.segments, "segments")
    for direction, segments in zip(evaluation.directions, found, strict=True):
        domain = np.array(segments.column("domain").to_pylist(), dtype=object)
        for name in sorted({d for d in domain if d is not None}):
            yield Group(direction, "domain", name, "", np.flatnonzero(domain == name))
        lengths = np.array([words(text) for text in segments.column("source").to_pylist()])
        quarter = quarters(lengths)
        for index, name in enumerate(QUARTERS):
            rows = np.flatnonzero(quarter == index)
            yield Group(direction, "length", name, _range(lengths[rows]), rows)


def quarters(lengths: AnyArray) -> IntArray:
    """The quarter, 0 to 3, of every length: how many quartiles lie below it."""
    edges = np.quantile(lengths, [0.25, 0.5, 0.75])
    return np.searchsorted(edges, lengths).astype(np.int64)


def _range(lengths: AnyArray) -> str:
    if not lengths.size:
        return "no request"
    low, high = int(lengths.min()), int(lengths.max())
    return f"{low} words" if low == high else f"{low} to {high} words"


_Found = dict[tuple[str, float | None], Estimates]


def _figures(settings: dict[str, Any], groups: list[Group]) -> _Found:
    """By metric and budget, the figures of (groups, priority columns)."""
    bootstrap = settings["bootstrap"]
    parts = [_part(group, index) for index, group in enumerate(groups)]
    table = bootstrap_table(parts, settings["budgets"], bootstrap["replicates"], bootstrap["seed"])
    found: _Found = {("spearman", None): table.spearman}
    for b, budget in enumerate(table.budgets):
        found["hit_rate", budget] = percent(table.hit_rate.at(np.s_[:, :, b]))
        found["mean_delta", budget] = table.mean_delta.at(np.s_[:, :, b])
    return found


def _part(group: Group, index: int) -> DirectionData:
    name = f"{group.direction.name} {group.by} {group.name} {index}"
    return replace(subset(group.direction, group.rows), name=name)


class _Cell(NamedTuple):
    """One metric and budget in one group, or in that of all directions: the average."""

    direction: str
    metric: str
    budget: float | None
    groups: list[Group]
    figures: RouterFigures | None  # (1, routers); None where a group is too small


def _cells(
    settings: dict[str, Any],
    evaluation: Evaluation,
    groups: list[Group],
    large: list[Group],
    found: _Found,
) -> Iterator[_Cell]:
    position = {(g.direction.name, g.by, g.name): i for i, g in enumerate(large)}
    metrics: list[tuple[str, float | None]] = [("spearman", None)]
    metrics += [(m, p) for p in settings["budgets"] for m in ("hit_rate", "mean_delta")]
    for metric, budget in metrics:
        for by, name in dict.fromkeys((g.by, g.name) for g in groups):
            own = [g for g in groups if (g.by, g.name) == (by, name)]
            cells = [(group.direction.name, [group]) for group in own]
            if len(own) == len(evaluation.directions):
                cells.append((AVERAGE, own))
            for place, here in cells:
                at = [position.get((g.direction.name, by, name)) for g in here]
                enough = [i for i in at if i is not None]
                figures = None
                if len(enough) == len(at):
                    estimates = found[metric, budget].mean_of(enough)
                    figures = _mean(settings, evaluation, estimates, metric, here)
                yield _Cell(place, metric, budget, here, figures)


def _mean(
    settings: dict[str, Any],
    evaluation: Evaluation,
    estimates: Estimates,
    metric: str,
    groups: list[Group],
) -> RouterFigures:
    """Over the seeds, (1, routers)."""
    names = tuple(evaluation.directions[0].priorities)
    figures = over_seeds(estimates, names, evaluation.columns)
    if metric == "spearman":
        constant = any(np.ptp(g.direction.gain[g.rows]) == 0 for g in groups)
        expect_no_correlation(settings, evaluation, figures, np.array([constant]))
    return figures


def _columns(
    settings: dict[str, Any], evaluation: Evaluation, cell: _Cell, needed: int
) -> dict[str, Any]:
    names, own, first = evaluation.routers, cell.groups, cell.groups[0]
    alone = len(own) == 1 and cell.direction != AVERAGE
    clusters = inference.Clusters.of(
        [np.concatenate([g.direction.group_ids[g.rows] for g in own])]
    )[0]
    nothing = np.full(len(names), np.nan)
    value, low, high, undefined = nothing, nothing, nothing, np.zeros(len(names))
    if cell.figures is not None:
        reference = cell.figures.reference(clusters)
        level, within = settings["bootstrap"]["level"], RANGES.get(cell.metric, ANYWHERE)
        value, undefined = cell.figures.value[0], reference.undefined[0]
        low, high = (end[0] for end in reference.limits(cell.figures.value, level, within))
    known = [
        _reason(evaluation.columns[router], own, needed, not alone) if why else None
        for router, why in zip(names, np.isnan(value), strict=True)
    ]
    return {
        "router": list(names),
        "direction": cell.direction,
        "by": first.by,
        "group": first.name,
        "detail": first.detail if alone else "",
        "budget": pa.array([cell.budget] * len(names), pa.float64()),
        "role": [role_of(router, settings) for router in names],
        "metric": cell.metric,
        "value": value,
        "low": low,
        "high": high,
        "requests": sum(len(group.rows) for group in own),
        "reason": inference.reasons(known, undefined, UNDEFINED.get(cell.metric, NO_REQUEST)),
        "clusters": clusters.counts,
        "undefined": undefined,
    }


def _reason(columns: tuple[str, ...], own: list[Group], needed: int, named: bool) -> str:
    for group in own:
        head = f"{group.direction.name}: " if named else ""
        if len(group.rows) < needed:
            return f"{head}{len(group.rows)} requests, {needed} are needed"
        gain = group.direction.gain[group.rows]
        for column in columns:
            why = undefined_reason(group.direction.priorities[column][group.rows], gain)
            if why:
                return f"{head}{why}"
    return "undefined in a direction"
