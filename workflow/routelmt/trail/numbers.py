"""Two tables of one kind, number by number: joined by their key, with the intervals they have."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from routelmt import tables
from routelmt.stats.arrays import BoolArray, FloatArray, IntArray

_NULL = "\x00"  # of a key's column; no name has it


@dataclass(frozen=True)
class Change:
    """A number of one row in both tables; NaN is 'undefined'. low, high: NaN without interval.

    outside: whether b lies outside a's interval; None where there is none.
    """

    key: Mapping[str, Any]
    column: str
    a: float
    b: float
    a_low: float
    a_high: float
    b_low: float
    b_high: float
    outside: bool | None

    @property
    def size(self) -> tuple[bool, bool, bool, float]:
        """For sorting: undefined on one side, outside, with an interval, in units of it (or a)."""
        half = (self.a_high - self.a_low) / 2
        scale = half if half > 0 else abs(self.a) or 1.0
        one_sided = bool(np.isnan(self.a) != np.isnan(self.b))
        distance = 0.0 if one_sided else float(np.nan_to_num(abs(self.b - self.a) / scale))
        return one_sided, bool(self.outside), self.outside is not None, distance


@dataclass(frozen=True)
class TableDiff:
    """How two tables differ; changes: the largest first; others: differing rows by column."""

    name: str
    what: str
    rows: tuple[int, int]
    only: tuple[tuple[Mapping[str, Any], ...], tuple[Mapping[str, Any], ...]]
    changes: tuple[Change, ...]
    others: Mapping[str, int]

    @property
    def identical(self) -> bool:
        """Whether both hold the same."""
        return not (self.changes or self.others or any(self.only))


def compare(name: str, what: str, a: pa.Table, b: pa.Table) -> TableDiff:
    """The differences of two tables of the kind `what`, whose columns may be those of old versions.

    Rows are matched by the key columns of that kind. Values are compared exactly, NaN with NaN as
    equal.
    """
    key = [c for c in tables.TABLES[what].key if c in a.column_names and c in b.column_names]
    keys_a, keys_b = _keys(a, key), _keys(b, key)
    match = pc.fill_null(pc.index_in(keys_a, value_set=keys_b), -1).to_numpy()
    left = np.flatnonzero(match >= 0)
    right = match[left]
    only_b = np.setdiff1d(np.arange(b.num_rows), right)
    ends = intervals(a, what)
    bounds = {end for pair in ends.values() for end in pair}
    measured = [c for c in a.column_names if c not in key and c not in bounds]
    changes: list[Change] = []
    others: dict[str, int] = {}
    for column in measured:
        if column not in b.column_names:
            others[column] = len(left)
            continue
        if pa.types.is_floating(a.schema.field(column).type):
            changes += _changes(a, b, left, right, key, column, ends.get(column))
        elif count := int(_differ(a.column(column), b.column(column), left, right).sum()):
            others[column] = count
    others |= {c: len(left) for c in b.column_names if c not in a.column_names}
    found = a.select(key), b.select(key)
    only = tuple(
        tuple(keys.take(pa.array(rows)).to_pylist())
        for keys, rows in zip(found, (np.flatnonzero(match < 0), only_b), strict=True)
    )
    changes.sort(key=lambda change: change.size, reverse=True)
    return TableDiff(
        name, what, (a.num_rows, b.num_rows), (only[0], only[1]), tuple(changes), others
    )


def intervals(table: pa.Table, what: str) -> dict[str, tuple[str, str]]:
    """The columns with a bootstrap interval, and those of its ends.

    X has its ends in X_low and X_high, or in low and high if these follow it in the schema.
    """
    names = [n for n in tables.TABLES[what].columns if n in table.column_names]
    found = {
        n: (f"{n}_low", f"{n}_high") for n in names if f"{n}_low" in names and f"{n}_high" in names
    }
    for before, name in pairwise(names):
        about = tables.TABLES[what].columns[name].about
        if name == "low" and "high" in names and about.startswith("lower end"):
            found[before] = ("low", "high")
    return found


def _keys(table: pa.Table, key: list[str]) -> pa.Array:
    parts = [pc.fill_null(table.column(c).cast(pa.string()), _NULL) for c in key]
    return pc.binary_join_element_wise(*parts, "\x1f").combine_chunks()


def _differ(a: pa.ChunkedArray, b: pa.ChunkedArray, left: IntArray, right: IntArray) -> BoolArray:
    """Where values that are no floating-point numbers differ."""
    one, other = a.take(pa.array(left)).to_pylist(), b.take(pa.array(right)).to_pylist()
    return np.array([x != y for x, y in zip(one, other, strict=True)], dtype=np.bool_)


def _changes(
    a: pa.Table,
    b: pa.Table,
    left: IntArray,
    right: IntArray,
    key: list[str],
    column: str,
    ends: tuple[str, str] | None,
) -> Iterator[Change]:
    values = [_floats(a, column, left), _floats(b, column, right)]
    nothing = np.full(len(left), np.nan)
    bounds = [  # of a: low, high; of b: low, high
        _floats(table, end, rows) if ends and end in table.column_names else nothing
        for table, rows in ((a, left), (b, right))
        for end in (ends or ("", ""))
    ]
    columns = [*values, *bounds]
    same = [
        (x == y) | (np.isnan(x) & np.isnan(y))
        for x, y in (values, (bounds[0], bounds[2]), (bounds[1], bounds[3]))
    ]
    for row in np.flatnonzero(~np.all(same, axis=0)):
        one, other, a_low, a_high, b_low, b_high = (float(c[row]) for c in columns)
        known = not np.isnan([other, a_low, a_high]).any()
        yield Change(
            {name: a.column(name)[int(left[row])].as_py() for name in key},
            column, one, other, a_low, a_high, b_low, b_high,
            not a_low <= other <= a_high if known else None,
        )  # fmt: skip


def _floats(table: pa.Table, column: str, rows: IntArray) -> FloatArray:
    """Values of some rows; null as NaN."""
    found: FloatArray = np.asarray(
        table.column(column).take(pa.array(rows)).to_numpy(), dtype=np.float64
    )
    return found
