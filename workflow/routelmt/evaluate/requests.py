"""Predictions and gains of an experiment brought together into the evaluated requests.

The unit is the union of the test datasets within a direction. Every router and seed must have
predicted every request once: a join that loses rows would flatter whoever fails on hard ones.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from routelmt.errors import UserError
from routelmt.evaluate.arrays import AnyArray, BoolArray, FloatArray, IntArray
from routelmt.evaluate.bootstrap import DirectionData
from routelmt.evaluate.selection import tie_keys
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


def evaluated_requests(
    predictions: pa.Table, gains: pa.Table, routers: Sequence[str] | None = None
) -> Evaluation:
    """All requests of the gains, with the priorities of every router and seed.

    routers: those that count, in this order; by default all, in the order in which they first
    occur, as directions do. Group ids hold within a
    dataset; segment ids are made unique by it. Raises UserError naming router, seed, direction,
    counts and the first ids where predictions are missing, repeated or of unknown requests, and
    for gains that occur twice.
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
    groups = np.unique(_joined(gains, ("dataset", "group_id")), return_inverse=True)[1]
    parts = [
        _direction(name, direction == name, gains, groups, priorities)
        for name in dict.fromkeys(direction.tolist())
    ]
    order = columns if routers is None else routers
    return Evaluation(tuple(parts), {router: tuple(columns[router]) for router in order})


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
    groups: AnyArray,
    priorities: Mapping[str, FloatArray],
) -> DirectionData:
    own = gains.filter(pa.array(rows))
    return DirectionData(
        name=name,
        group_ids=groups[rows],
        tie_keys=tie_keys(_joined(own, ("dataset", "segment_id"))),
        quality_small=own.column("quality_small").to_numpy(),
        gain=own.column("gain").to_numpy(),
        priorities={column: values[rows] for column, values in priorities.items()},
    )


def _runs(predictions: pa.Table, keys: pa.Array) -> Iterator[_Run]:
    """The predictions of every router and seed, in the order in which they first occur."""
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
