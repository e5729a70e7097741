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
from routelmt.evaluate import inference
from routelmt.evaluate.arrays import AnyArray, FloatArray, IntArray
from routelmt.evaluate.averages import RouterFigures, over_seeds
from routelmt.evaluate.bootstrap import BootstrapTable, DirectionData, Estimates, bootstrap_table
from routelmt.evaluate.metrics import undefined_reason
from routelmt.evaluate.quality_tables import role_of
from routelmt.evaluate.requests import Evaluation, aligned
from routelmt.evaluate.roles import AVERAGE
from routelmt.evaluate.router_metrics import expect_no_correlation, with_expected_chance

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
    figures = _figures(settings, evaluation, large) if large else {}
    parts = [
        tables.from_columns("breakdown", _columns(settings, evaluation, cell, groups, needed))
        for cell in _cells(settings, evaluation, groups, large, figures)
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


_Found = dict[tuple[str, float | None], tuple[Estimates, RouterFigures]]


def _figures(settings: dict[str, Any], evaluation: Evaluation, groups: list[Group]) -> _Found:
    """By metric and budget, the figures of (groups, routers)."""
    bootstrap = settings["bootstrap"]
    parts = [_part(group, index) for index, group in enumerate(groups)]
    table = bootstrap_table(parts, settings["budgets"], bootstrap["replicates"], bootstrap["seed"])
    found: _Found = {}
    for name, budget, estimates in _estimates(table):
        figures = over_seeds(estimates, table.routers, evaluation.columns, bootstrap["seed"])
        found[name, budget] = estimates, figures
    expect_no_correlation(
        found["spearman", None][1],
        [router in settings["random"] for router in evaluation.routers],
        np.array([np.ptp(part.gain) == 0 for part in parts]),
    )
    return found


def _part(group: Group, index: int) -> DirectionData:
    own, rows = group.direction, group.rows
    return replace(
        own,
        name=f"{own.name} {group.by} {group.name} {index}",
        group_ids=own.group_ids[rows],
        tie_keys=own.tie_keys[rows],
        quality_small=own.quality_small[rows],
        gain=own.gain[rows],
        priorities={name: values[rows] for name, values in own.priorities.items()},
    )


def _estimates(table: BootstrapTable) -> Iterator[tuple[str, float | None, Estimates]]:
    yield "spearman", None, table.spearman
    for b, budget in enumerate(table.budgets):
        for name, factor, figure in (
            ("hit_rate", 100.0, table.hit_rate),
            ("mean_delta", 1.0, table.mean_delta),
        ):
            at = (figure.point[:, :, b], figure.samples[:, :, b])
            yield name, budget, Estimates(factor * at[0], factor * at[1])


class _Cell(NamedTuple):
    """One metric and budget in one group (of all directions: the average), by router."""

    direction: str
    by: str
    name: str
    metric: str
    budget: float | None
    value: FloatArray
    samples: FloatArray
    group: Group | None


def _cells(
    settings: dict[str, Any],
    evaluation: Evaluation,
    groups: list[Group],
    large: list[Group],
    found: _Found,
) -> Iterator[_Cell]:
    routers = len(evaluation.routers)
    nothing = np.full(routers, np.nan), np.full((routers, 1), np.nan)
    position = {(g.direction.name, g.by, g.name): i for i, g in enumerate(large)}
    metrics: list[tuple[str, float | None]] = [("spearman", None)]
    metrics += [(m, p) for p in settings["budgets"] for m in ("hit_rate", "mean_delta")]
    for metric, budget in metrics:
        for by, name in dict.fromkeys((g.by, g.name) for g in groups):
            own = [g for g in groups if (g.by, g.name) == (by, name)]
            parts = []
            for group in own:
                at = position.get((group.direction.name, by, name))
                figures = found[metric, budget][1] if at is not None else None
                part = nothing if figures is None else (figures.value[at], figures.samples[at])
                parts.append(part)
                place = group.direction.name
                yield _Cell(place, by, name, metric, budget, part[0], part[1], group)
            if len(own) == len(evaluation.directions):
                sizes = max(samples.shape[-1] for _, samples in parts)
                samples = [np.broadcast_to(s, (routers, sizes)) for _, s in parts]
                value, drawn = np.mean([v for v, _ in parts], axis=0), np.mean(samples, axis=0)
                yield _Cell(AVERAGE, by, name, metric, budget, value, drawn, None)


def _columns(
    settings: dict[str, Any],
    evaluation: Evaluation,
    cell: _Cell,
    groups: list[Group],
    needed: int,
) -> dict[str, Any]:
    names = evaluation.routers
    low, high = inference.percentile_limits(cell.samples, settings["bootstrap"]["level"])
    undefined = np.isnan(cell.value)
    own = [cell.group] if cell.group else _same(groups, cell)
    return {
        "router": list(names),
        "direction": cell.direction,
        "by": cell.by,
        "group": cell.name,
        "detail": cell.group.detail if cell.group else "",
        "budget": pa.array([cell.budget] * len(names), pa.float64()),
        "role": [role_of(router, settings) for router in names],
        "metric": cell.metric,
        "value": cell.value,
        "low": np.where(undefined, np.nan, low),
        "high": np.where(undefined, np.nan, high),
        "requests": sum(len(group.rows) for group in own),
        "reason": [
            _reason(evaluation.columns[router], own, needed, cell.group is None) if why else None
            for router, why in zip(names, undefined, strict=True)
        ],
    }


def _same(groups: list[Group], cell: _Cell) -> list[Group]:
    return [g for g in groups if (g.by, g.name) == (cell.by, cell.name)]


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
