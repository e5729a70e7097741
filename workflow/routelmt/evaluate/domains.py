"""Table `domains`: the routers' figures within named domains of the test data, against the rest.

A named domain is a set of requests by their dataset, their domain, or both (RouteLMT's appendix:
medical and colloquial test sets). It is evaluated as test data of its own: K = floor(p * n) of its
own requests in each direction. All requests that no name takes are IN_DOMAIN.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from routelmt import tables
from routelmt.errors import UserError
from routelmt.evaluate.breakdown import fewest_requests
from routelmt.evaluate.quality_tables import role_of
from routelmt.evaluate.requests import Evaluation, aligned, clusters_of
from routelmt.evaluate.router_metrics import expect_no_correlation, with_expected_chance
from routelmt.roles import AVERAGE, IN_DOMAIN
from routelmt.stats import inference
from routelmt.stats.arrays import BoolArray, FloatArray, IntArray
from routelmt.stats.averages import RouterFigures, over_seeds
from routelmt.stats.bootstrap import (
    BootstrapTable,
    DirectionData,
    Estimates,
    bootstrap_table,
    subset,
)
from routelmt.stats.measures import measures
from routelmt.stats.metrics import (
    ANYWHERE,
    NO_REQUEST,
    RANGES,
    UNDEFINED,
    undefined_reason,
)

_COLUMNS = {"datasets": "dataset", "domains": "domain"}


class _Part(NamedTuple):
    """The requests of a domain in one direction, and its place in the bootstrap table."""

    domain: str
    direction: str
    requests: DirectionData
    at: int | None  # None: too few to evaluate


class _Place(NamedTuple):
    """A domain in a direction or on the average, and the rest of the same directions."""

    domain: str
    direction: str
    own: list[_Part]
    rest: list[_Part]


_Metrics = dict[str, Estimates]  # (1, priority columns, budgets)


def domains(settings: dict[str, Any], evaluation: Evaluation) -> pa.Table:
    """Spearman, HitRate, MeanΔ and headroom of every router by named domain, direction and budget.

    settings: as for the table `routers`; domains {name: {datasets: [...], domains: [...]}}, of
    which either may be left out; minimum_requests, see the table `breakdown`. difference: to the
    rest in the same directions. The average is over the directions that have the domain. Domain
    and rest are redrawn in the same replicates, with the same seeds. Raises UserError without
    segments, for a name that no request has, and for requests that have two.
    """
    if not settings["domains"]:
        return tables.arrow_schema("domains").empty_table()
    evaluation = with_expected_chance(evaluation, settings)
    needed = fewest_requests(settings)
    parts = list(_parts(settings["domains"], evaluation, needed))
    large = [part.requests for part in parts if part.at is not None]
    bootstrap = settings["bootstrap"]
    drawn = (bootstrap["replicates"], bootstrap["seed"])
    table = bootstrap_table(large, settings["budgets"], *drawn) if large else None
    found = []
    for place in _places(parts):
        own, rest = (_metrics(table, part) for part in (place.own, place.rest))
        found += [
            tables.from_columns("domains", columns)
            for columns in _columns(settings, evaluation, place, (own, _minus(own, rest)), needed)
        ]
    return pa.concat_tables(found)


def _parts(
    named: Mapping[str, Mapping[str, Any]], evaluation: Evaluation, needed: int
) -> Iterator[_Part]:
    """Named domains in their order and then the rest, each by direction; empty ones left out."""
    if evaluation.segments is None:
        raise UserError("named domains are told by the test segments; give --segments.")
    members: dict[str, list[IntArray]] = {name: [] for name in (*named, IN_DOMAIN)}
    for segments in aligned(evaluation, evaluation.segments, "segments"):
        taken = np.zeros(segments.num_rows, dtype=np.int64)
        for name, spec in named.items():
            own = _members(spec, segments)
            members[name].append(np.flatnonzero(own))
            taken += own
        _check_disjoint(named, segments, taken)
        members[IN_DOMAIN].append(np.flatnonzero(taken == 0))
    at = 0
    for name, by_direction in members.items():
        if name in named and not any(len(rows) for rows in by_direction):
            raise UserError(
                f"config key 'domains.{name}': no test request is of {_written(named[name])}; "
                f"there: {_there(evaluation.segments)}."
            )
        for direction, rows in zip(evaluation.directions, by_direction, strict=True):
            if len(rows):
                enough = len(rows) >= needed
                yield _Part(name, direction.name, _requests(direction, name, rows),
                            at if enough else None)  # fmt: skip
                at += enough


def _members(spec: Mapping[str, Any], segments: pa.Table) -> BoolArray:
    """Which of a direction's requests have one of the datasets, and one of the domains."""
    own = np.ones(segments.num_rows, dtype=np.bool_)
    for key, column in _COLUMNS.items():
        if spec.get(key):
            values = np.array(segments.column(column).to_pylist(), dtype=object)
            own &= np.isin(values, np.array(spec[key], dtype=object))
    return own


def _check_disjoint(
    named: Mapping[str, Mapping[str, Any]], segments: pa.Table, taken: IntArray
) -> None:
    twice = np.flatnonzero(taken > 1)
    if twice.size:
        first = segments.slice(int(twice[0]), 1)
        both = [name for name, spec in named.items() if _members(spec, first)[0]]
        raise UserError(
            f"config key 'domains': {twice.size:,} requests are in both {' and '.join(both)}, "
            f"first: {first.column('dataset')[0]}/{first.column('segment_id')[0]}; a request may "
            "be in one."
        )


def _written(spec: Mapping[str, Any]) -> str:
    return " and ".join(f"{key} {', '.join(spec[key])}" for key in _COLUMNS if spec.get(key))


def _there(segments: pa.Table) -> str:
    found = {key: sorted(set(filter(None, segments.column(column).unique().to_pylist())))
             for key, column in _COLUMNS.items()}  # fmt: skip
    return _written(found)


def _requests(direction: DirectionData, domain: str, rows: IntArray) -> DirectionData:
    return replace(subset(direction, rows), name=f"{direction.name} {domain}")


def _places(parts: Sequence[_Part]) -> Iterator[_Place]:
    """Every part, and after those of a domain the average over them."""
    rest = {part.direction: part for part in parts if part.domain == IN_DOMAIN}
    for domain in dict.fromkeys(part.domain for part in parts):
        own = [part for part in parts if part.domain == domain]
        against = [rest[p.direction] for p in own if domain != IN_DOMAIN and p.direction in rest]
        for part in own:
            here = [other for other in against if other.direction == part.direction]
            yield _Place(domain, part.direction, [part], here)
        yield _Place(domain, AVERAGE, own, against if len(against) == len(own) else [])


def _metrics(table: BootstrapTable | None, parts: Sequence[_Part]) -> _Metrics | None:
    """All metrics, each the mean over the parts; None where one is too small, or there is none."""
    at = [part.at for part in parts if part.at is not None]
    if table is None or not at or len(at) < len(parts):
        return None
    return measures(table, lambda estimates: estimates.mean_of(at))


def _over_seeds(
    settings: dict[str, Any],
    evaluation: Evaluation,
    metrics: _Metrics | None,
    parts: Sequence[_Part],
) -> dict[str, RouterFigures]:
    """Means over the seeds, (1, routers, budgets); parts: the requests that the metrics are of."""
    if metrics is None:
        return {}
    names = tuple(evaluation.directions[0].priorities)
    found = {name: over_seeds(e, names, evaluation.columns) for name, e in metrics.items()}
    constant = any(np.ptp(part.requests.gain) == 0 for part in parts)
    budgets = found["spearman"].value.shape[2]
    expect_no_correlation(settings, evaluation, found["spearman"], np.full((1, budgets), constant))
    return found


def _columns(
    settings: dict[str, Any],
    evaluation: Evaluation,
    place: _Place,
    found: tuple[_Metrics | None, _Metrics | None],
    needed: int,
) -> Iterator[dict[str, Any]]:
    """The columns of each metric, by router and then budget; found: metrics, and differences."""
    names, budgets = evaluation.routers, settings["budgets"]
    router, budget = (axis.ravel() for axis in np.indices((len(names), len(budgets))))
    parts = (place.own, [*place.own, *place.rest])
    clusters = [clusters_of([part.requests for part in own])[-1] for own in parts]
    seeds = np.array([_seeds(settings, evaluation, names[r]) for r in router])
    level, nothing = settings["bootstrap"]["level"], np.full(len(router), np.nan)
    figures, differences = (
        _over_seeds(settings, evaluation, metrics, own)
        for metrics, own in zip(found, parts, strict=True)
    )
    for metric in ("spearman", "hit_rate", "mean_delta", "headroom"):
        own, within = figures.get(metric), RANGES.get(metric, ANYWHERE)
        shown = _with_interval("", own, clusters[0], level, within, len(router))
        undefined = np.zeros(len(router))
        if own is not None:
            undefined = own.reference(clusters[0]).undefined.ravel()
        known = [
            _reason(metric, place.own, evaluation.columns[names[r]], needed) if missing else None
            for r, missing in zip(router, np.isnan(shown["value"]), strict=True)
        ]
        spread = nothing if own is None else own.spread.ravel()
        yield {
            "router": [names[r] for r in router],
            "direction": place.direction,
            "domain": place.domain,
            "budget": np.array(budgets)[budget],
            "role": [role_of(names[r], settings) for r in router],
            "metric": metric,
            **shown,
            "seeds": seeds,
            "seed_spread": np.where(seeds == 0, 0.0, spread),
            "requests": sum(len(part.requests.gain) for part in place.own),
            "directions": len(place.own),
            **_with_interval(
                "difference", differences.get(metric), clusters[1], level, ANYWHERE, len(router)
            ),
            "reason": inference.reasons(known, undefined, UNDEFINED.get(metric, NO_REQUEST)),
            "clusters": clusters[0].counts,
            "undefined": undefined,
        }


def _minus(own: _Metrics | None, rest: _Metrics | None) -> _Metrics | None:
    """Differences on the same replicates, seed by seed."""
    if own is None or rest is None:
        return None
    return {name: figures.each(np.subtract, rest[name]) for name, figures in own.items()}


def _with_interval(
    name: str,
    figures: RouterFigures | None,
    clusters: inference.Clusters,
    level: float,
    within: tuple[float, float],
    size: int,
) -> dict[str, FloatArray]:
    """The columns of figures of (1, routers, budgets), each (size,); NaN for none."""
    columns = [np.full(size, np.nan)] * 3
    if figures is not None:
        ends = figures.reference(clusters).limits(figures.value, level, within)
        columns = [part.ravel() for part in (figures.value, *ends)]
    names = (name or "value", f"{name}_low".strip("_"), f"{name}_high".strip("_"))
    return dict(zip(names, columns, strict=True))


def _seeds(settings: dict[str, Any], evaluation: Evaluation, router: str) -> int:
    return 0 if router in settings["random"] else len(evaluation.columns[router])


def _reason(metric: str, own: Sequence[_Part], columns: Sequence[str], needed: int) -> str:
    for part in own:
        head = f"{part.direction}: " if len(own) > 1 else ""
        if part.at is None:
            return f"{head}{len(part.requests.gain)} requests, {needed} are needed"
        for column in columns if metric == "spearman" else ():
            why = undefined_reason(part.requests.priorities[column], part.requests.gain)
            if why:
                return f"{head}{why}"
    return "the gain oracle gains no more than a random router"
