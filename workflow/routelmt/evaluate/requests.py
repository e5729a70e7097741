"""Predictions and gains of an experiment brought together into the evaluated requests.

The unit is the union of the test datasets within a direction. Every router and seed must have
predicted every request once: a join that loses rows would flatter whoever fails on hard ones.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from routelmt.errors import UserError
from routelmt.evaluate.given import Given
from routelmt.join import tie_keys
from routelmt.stats.arrays import AnyArray, BoolArray, FloatArray, IntArray
from routelmt.stats.bootstrap import DirectionData
from routelmt.stats.inference import Clusters
from routelmt.stats.selection import budget_count
from routelmt.tables import JOIN_KEY

SHOWN_IDS = 3


@dataclass(frozen=True, eq=False)
class Evaluation:
    """The requests of every direction, and the priority columns (one per seed) of every router.

    columns: router -> names in DirectionData.priorities, in the order of its seeds; segments: of
    the same requests; other_gains: of the same requests by other metrics, by their names.
    """

    directions: tuple[DirectionData, ...]
    columns: Mapping[str, tuple[str, ...]]
    segments: pa.Table | None = None
    other_gains: Mapping[str, pa.Table] = field(default_factory=dict)

    @property
    def routers(self) -> tuple[str, ...]:
        """Routers, in the order in which the predictions were given."""
        return tuple(self.columns)


class _Run(NamedTuple):
    router: str
    seed: int
    rows: IntArray  # in the predictions
    request: IntArray  # row in the gains, -1 for none


def evaluation(settings: Mapping[str, Any], given: Given) -> Evaluation:
    """The evaluation of a table's inputs (see registry), with segments and other gains if given.

    settings: routers, bootstrap, and budgets, judge_metrics and raters where the table has them.
    """
    metrics = [*settings.get("judge_metrics", ()), *settings.get("raters", ())]
    return evaluation_of(
        settings,
        given.read("predictions"),
        given.read("gains"),
        given.read_if("segments"),
        gains_by_metric(list(dict.fromkeys(metrics)), given.each("other_gains")),
    )


def evaluation_of(
    settings: Mapping[str, Any],
    predictions: pa.Table,
    gains: pa.Table,
    segments: pa.Table | None = None,
    other_gains: Mapping[str, pa.Table] | None = None,
) -> Evaluation:
    """The evaluation of these tables. UserError where they do not match; see evaluated_requests.

    settings: routers (those of the table, in its order; by default all), bootstrap {replicates,
    seed, level, clusters, strings}, and budgets, each of which must choose a request.
    """
    found = replace(
        evaluated_requests(predictions, gains, settings.get("routers"), settings["bootstrap"]),
        segments=segments,
        other_gains=other_gains or {},
    )
    for budget in settings.get("budgets", ()):
        _check_budget(found, budget)
    return found


def gains_by_metric(names: Sequence[str], files: Sequence[pa.Table]) -> dict[str, pa.Table]:
    """Other gains by metric, from as many tables for each, the first metric's first.

    Raises UserError if the tables cannot be shared out evenly.
    """
    each, left = divmod(len(files), len(names)) if names else (0, len(files))
    if left or (names and not each):
        raise UserError(
            f"--other-gains: found {len(files)} files for metrics {', '.join(names) or 'none'}; "
            "give one of every test dataset and direction for each metric, metric by metric."
        )
    return {
        name: pa.concat_tables(files[each * index : each * (index + 1)])
        for index, name in enumerate(names)
    }


def evaluated_requests(
    predictions: pa.Table,
    gains: pa.Table,
    routers: Sequence[str] | None = None,
    bootstrap: Mapping[str, Any] | None = None,
) -> Evaluation:
    """All requests of the gains, with the priorities of every router and seed.

    routers: those that count, in this order; by default all, in the order in which they first
    occur, as directions do. bootstrap: see cluster_ids. Segment ids are made unique by the dataset.
    Raises UserError naming router, seed, direction, counts and the first ids where predictions are
    missing, repeated or of unknown requests, and for gains that occur twice.
    """
    keys = _keys(gains)
    _check_unique(keys)
    direction = _strings(gains, "direction")
    columns: dict[str, list[str]] = {}
    priorities: dict[str, FloatArray] = {}
    if routers is not None:
        predictions = _of(predictions, routers)
    priority = predictions.column("priority").to_numpy()
    for run in _runs(predictions, keys):
        _check_run(run, predictions, gains, direction)
        name = f"{run.router}/seed{run.seed}"
        columns.setdefault(run.router, []).append(name)
        priorities[name] = np.empty(gains.num_rows)
        priorities[name][run.request] = priority[run.rows]
    clusters = cluster_ids(gains, bootstrap or {})
    parts = [
        _direction(name, direction == name, gains, clusters, priorities)
        for name in dict.fromkeys(direction.tolist())
    ]
    order = columns if routers is None else routers
    return Evaluation(tuple(parts), {router: tuple(columns[router]) for router in order})


def _check_budget(evaluation: Evaluation, budget: float) -> None:
    for direction in evaluation.directions:
        requests = len(direction.gain)
        if budget_count(budget, requests) == 0:
            raise UserError(
                f"config key 'budgets': {budget:g} of the {requests:,} requests of direction "
                f"{direction.name} is none; use at least {1 / requests:.3g} or more test data."
            )


def cluster_ids(gains: pa.Table, bootstrap: Mapping[str, Any]) -> IntArray:
    """What the bootstrap draws together, as a number for each request, (rows of gains,).

    bootstrap: clusters "groups" (a text in all its directions), "documents" (connected components
    of groups and documents, the default) or "domains"; strings: datasets whose doc_id is no running
    text. Ids of groups and documents hold within a dataset. A request without a domain is its
    group's. Raises UserError for domains where no request has any.
    """
    by = bootstrap.get("clusters", "documents")
    groups = np.unique(_joined(gains, ("dataset", "group_id")), return_inverse=True)[1]
    if by == "groups":
        return groups
    if by == "domains":
        names, there = gains.column("domain"), gains.column("domain").is_valid()
    else:
        names = pc.binary_join_element_wise(gains.column("dataset"), gains.column("doc_id"), ":")
        strings = pa.array(list(bootstrap.get("strings", ())), pa.string())
        there = pc.and_(names.is_valid(), pc.invert(pc.is_in(gains.column("dataset"), strings)))
    rows = np.flatnonzero(there.to_numpy())
    if by == "domains" and not rows.size:
        raise UserError(
            "config key 'bootstrap.clusters': domains, but no evaluated request has one; use "
            "documents or groups."
        )
    size = int(groups.max(initial=-1)) + 1
    named = np.unique(names.take(pa.array(rows)).to_numpy(), return_inverse=True)[1]
    if by == "domains":
        groups[rows] = size + named
        return groups
    return _components(groups, groups[rows], size + named)


def _components(groups: IntArray, ends: IntArray, others: IntArray) -> IntArray:
    """The connected component of every group's node, where ends[i] and others[i] are linked."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    nodes = int(max(groups.max(initial=-1), others.max(initial=-1))) + 1
    links = coo_array((np.ones(len(ends), np.int8), (ends, others)), shape=(nodes, nodes))
    found: IntArray = connected_components(links, directed=False)[1][groups]
    return found


def clusters_of(directions: Sequence[DirectionData]) -> Clusters:
    """Clusters that the requests of each direction are in, and of all directions last."""
    ids = [direction.group_ids for direction in directions]
    return Clusters.of([*ids, np.concatenate(ids)])


def effective_counts(directions: Sequence[DirectionData], share: float) -> FloatArray:
    """Independent requests that floor(share n) are worth at the least, (directions + 1,).

    As if all requests of a cluster were the same (Kish's design effect at a correlation of 1). The
    last is of a mean over the directions.
    """
    ids = [direction.group_ids for direction in directions]
    routed = [budget_count(share, own.size) for own in ids]
    found = []
    for own, count in (*zip(ids, routed, strict=True), (np.concatenate(ids), sum(routed))):
        sizes = np.unique(own, return_counts=True)[1]
        found.append(count * own.size / float(np.sum(sizes**2)))
    *each, together = found
    apart = len(each) ** 2 / sum(1 / count if count else np.inf for count in each)
    return np.array([*each, min(together, apart)])


def aligned(evaluation: Evaluation, table: pa.Table, what: str) -> list[pa.Table]:
    """Rows of a table with JOIN_KEY for the requests of every direction, in their order.

    what: the table in messages. Raises UserError for requests without a row, or with two.
    """
    direction, found = _strings(table, "direction"), []
    for own in evaluation.directions:
        here = table.filter(pa.array(direction == own.name))
        keys = tie_keys(_joined(here, ("dataset", "segment_id"))) if here.num_rows else np.empty(0)
        by_key = np.argsort(keys, kind="stable")
        place = np.searchsorted(keys, own.tie_keys, sorter=by_key)
        row = by_key[np.minimum(place, len(keys) - 1)] if len(keys) else place
        missing = int((keys[row] != own.tie_keys).sum()) if len(keys) else len(own.tie_keys)
        repeated = len(keys) - np.unique(keys).size
        if missing or repeated:
            raise UserError(
                f"{what}, direction {own.name}: of {len(own.tie_keys):,} evaluated requests "
                f"{missing:,} have no row; {repeated:,} rows are repeated. Give the files of every "
                "test dataset and direction, each once."
            )
        found.append(here.take(pa.array(row)))
    return found


def _of(predictions: pa.Table, routers: Sequence[str]) -> pa.Table:
    """The predictions of some routers; UserError if one has none."""
    found = set(pc.unique(predictions.column("router")).to_pylist())
    missing = [router for router in routers if router not in found]
    if missing:
        raise UserError(
            f"predictions: none of router {', '.join(missing)}; there: {', '.join(sorted(found))}."
        )
    return predictions.filter(pc.is_in(predictions.column("router"), pa.array(list(routers))))


def _direction(
    name: str,
    rows: BoolArray,
    gains: pa.Table,
    clusters: IntArray,
    priorities: Mapping[str, FloatArray],
) -> DirectionData:
    own = gains.filter(pa.array(rows))
    return DirectionData(
        name=name,
        group_ids=clusters[rows],
        tie_keys=tie_keys(_joined(own, ("dataset", "segment_id"))),
        quality_small=own.column("quality_small").to_numpy(),
        gain=own.column("gain").to_numpy(),
        priorities={column: values[rows] for column, values in priorities.items()},
    )


def _runs(predictions: pa.Table, keys: pa.Array) -> Iterator[_Run]:
    """The predictions of every router and seed, in the order in which they first occur."""
    if not predictions.num_rows:
        return
    request = pc.fill_null(pc.index_in(_keys(predictions), value_set=keys), -1).to_numpy()
    seed = predictions.column("seed").cast(pa.string())
    label = pc.binary_join_element_wise(seed, predictions.column("router"), "/")
    run = label.combine_chunks().dictionary_encode()
    code = run.indices.to_numpy()
    by_run = np.argsort(code, kind="stable")
    ends = np.cumsum(np.bincount(code, minlength=len(run.dictionary)))
    for name, rows in zip(run.dictionary.to_pylist(), np.split(by_run, ends[:-1]), strict=True):
        number, router = name.split("/", 1)
        yield _Run(router, int(number), rows, request[rows].astype(np.int64))


def _check_run(run: _Run, predictions: pa.Table, gains: pa.Table, direction: AnyArray) -> None:
    times = np.bincount(run.request[run.request >= 0], minlength=gains.num_rows)
    unknown = predictions.take(pa.array(run.rows[run.request < 0]))
    if np.all(times == 1) and not unknown.num_rows:
        return
    affected = [*direction[times != 1].tolist(), *unknown.column("direction").to_pylist()]
    place = affected[0]
    here = pa.array(direction == place)
    own, times = gains.filter(here), times[direction == place]
    strangers = unknown.filter(pc.equal(unknown.column("direction"), place))
    problems = [
        f"{len(ids):,} {what} (first: {', '.join(ids[:SHOWN_IDS])})"
        for what, ids in (
            ("are missing", _names(own.filter(pa.array(times == 0)))),
            ("occur more than once", _names(own.filter(pa.array(times > 1)))),
            ("are of requests that have no gain", _names(strangers)),
        )
        if ids
    ]
    raise UserError(
        f"predictions of router '{run.router}', seed {run.seed}, direction {place}: of "
        f"{own.num_rows:,} requests {'; '.join(problems)}; directions affected: "
        f"{', '.join(dict.fromkeys(affected))}. Delete this router's predictions and let the "
        "workflow rebuild them."
    )


def _check_unique(keys: pa.Array) -> None:
    counts = pc.value_counts(keys)
    twice = counts.filter(pc.greater(counts.field("counts"), 1)).field("values").to_pylist()
    if twice:
        raise UserError(
            f"gains: {len(twice):,} requests occur more than once, first: "
            f"{', '.join(twice[:SHOWN_IDS])}; give every gains file once."
        )


def _names(table: pa.Table) -> list[str]:
    return list(_joined(table, ("dataset", "segment_id")))


def _keys(table: pa.Table) -> pa.Array:
    return pc.binary_join_element_wise(*(table.column(c) for c in JOIN_KEY), "/").combine_chunks()


def _joined(table: pa.Table, columns: tuple[str, str]) -> AnyArray:
    joined: AnyArray = pc.binary_join_element_wise(
        *(table.column(c) for c in columns), ":"
    ).to_numpy()
    return joined


def _strings(table: pa.Table, column: str) -> AnyArray:
    values: AnyArray = table.column(column).to_numpy()
    return values
