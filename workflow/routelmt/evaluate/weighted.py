"""The metrics on bootstrap replicates written as copies of each request, not as copied rows.

A replicate repeats request i weights[b, i] times. Copies of a request are ties in everything, so
a metric on the copied rows can be computed from the weights and one sorted order. Requests of
equal priority are one run: a budget that ends within it takes the same fraction of all of them,
which is the expectation over ways to break the ties. Blocks of replicates have shape (replicates
of the block, requests), written (B, n); weights are whole numbers, so all counts are exact.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from routelmt.evaluate.arrays import AnyArray, FloatArray, IntArray


class SortedColumn(NamedTuple):
    """A column's rows in routed order, and where each run of equal values begins there."""

    order: IntArray
    starts: IntArray

    @property
    def tied(self) -> bool:
        """Whether any two rows have the same value."""
        return self.starts.size < self.order.size

    def ends(self) -> IntArray:
        """Where each run ends, shape (m,)."""
        return np.append(self.starts[1:], self.order.size)

    def group_of_row(self) -> IntArray:
        """The run of equal values that every row belongs to, shape (n,)."""
        group = np.zeros(self.order.size, dtype=np.int64)
        group[self.starts[1:]] = 1
        of_row = np.empty_like(group)
        of_row[self.order] = np.cumsum(group)
        return of_row


@dataclass(frozen=True, eq=False)
class Routed:
    """A block in routed order.

    in_order: copies of each row, (B, n); copies, count: of each run, and up to its end, (B, m).
    """

    in_order: FloatArray
    copies: FloatArray
    count: FloatArray


class Cuts(NamedTuple):
    """Where the first k copies end, each of shape (B, budgets).

    run: the run that is taken in part; start, end: its rows in routed order; part: the fraction
    of it that is taken.
    """

    run: IntArray
    start: IntArray
    end: IntArray
    part: FloatArray

    @property
    def place(self) -> FloatArray:
        """run + part: with `taken`, the fraction taken of every run."""
        place: FloatArray = self.run + self.part
        return place

    def only(self, budget: int) -> "Cuts":
        """The cuts of one of the budgets."""
        run, start, end = (rows[:, [budget]] for rows in (self.run, self.start, self.end))
        return Cuts(run, start, end, self.part[:, [budget]])


class GainRanks(NamedTuple):
    """The gain side of Spearman's correlation, shared by all routers of a block.

    weighted: weights times centred gain rank, (B, n); squares: the weighted sum of squared ranks;
    own: the sum of weights times `weighted`; cubes: the sum of cubed weights; all (B,).
    """

    weighted: FloatArray
    squares: FloatArray
    own: FloatArray
    cubes: FloatArray


def sorted_column(values: FloatArray, order: IntArray) -> SortedColumn:
    """The runs of equal values of a column, given the order that sorts it."""
    in_order = values[order]
    changes = np.flatnonzero(in_order[1:] != in_order[:-1]) + 1
    return SortedColumn(order, np.concatenate(([0], changes)).astype(np.int64))


def routed(weights: AnyArray, column: SortedColumn) -> Routed:
    """A block of weights, (B, n) of any number type, in a column's order."""
    in_order = weights.take(column.order, axis=1).astype(np.float64)
    copies = run_sums(in_order, column)
    return Routed(in_order, copies, np.cumsum(copies, axis=1))


def cuts(block: Routed, column: SortedColumn, k: IntArray | FloatArray) -> Cuts:
    """Where the first k copies of every replicate end.

    k: shape (B, budgets), 0 <= k <= copies of the replicate; it need not be whole.
    """
    run = np.minimum(first_reaching(block.count, k), block.count.shape[1] - 1)
    copies = np.take_along_axis(block.copies, run, axis=1)
    before = np.take_along_axis(block.count, run, axis=1) - copies
    part = (k - before) / np.maximum(copies, 1.0)
    return Cuts(run, column.starts[run], column.ends()[run], part)


def first_reaching(count: FloatArray, k: IntArray | FloatArray) -> IntArray:
    """Where each row of count, (B, m) and ascending, first reaches k, (B, budgets); m for never."""
    wanted = k.astype(np.float64)  # else every search would convert it
    return np.stack([c.searchsorted(w) for c, w in zip(count, wanted, strict=True)])


def taken(place: FloatArray, group: IntArray) -> FloatArray:
    """The fraction taken of the rows of some runs, (B, rows); place: (B, 1), see Cuts."""
    share = place - group
    return np.clip(share, 0.0, 1.0, out=share)


def sums_of_first(products: FloatArray, cut: Cuts) -> FloatArray:
    """Sum of a product over the copies before the cuts, shape (B, budgets).

    products: (B, rows) in routed order, at least up to the last cut's end: copies times a value.
    """
    before = prefix_sums(products, cut.start)
    within = prefix_sums(products, cut.end) - before
    first: FloatArray = before + cut.part * within
    return first


def prefix_sums(products: FloatArray, ends: IntArray) -> FloatArray:
    """Sum of the first ends[b, p] columns of every row: running sums only where ends differ."""
    found = np.empty(ends.shape)
    for p, end in enumerate(ends.T):
        low, high = end.min(), end.max()
        found[:, p] = products[:, :low].sum(axis=1)
        if high > low:
            beyond = np.cumsum(products[:, low:high], axis=1)
            row = np.flatnonzero(end > low)
            found[row, p] += beyond[row, end[row] - low - 1]
    return found


def mass_of_first(block: Routed, column: SortedColumn, mass: FloatArray, k: IntArray) -> FloatArray:
    """As sums_of_first for many cuts: mass is the cumulative sum by run, (B, m)."""
    cut = cuts(block, column, k)
    end = np.take_along_axis(mass, cut.run, axis=1)
    before = np.where(cut.run > 0, np.take_along_axis(mass, np.maximum(cut.run - 1, 0), axis=1), 0)
    first: FloatArray = before + cut.part * (end - before)
    return first


def gain_ranks(weights: AnyArray, gain: SortedColumn) -> GainRanks:
    """The gain side of Spearman's correlation, shared by all routers of a block."""
    by_run = routed(weights, gain)
    ranks = by_run.count - by_run.copies / 2 - by_run.count[:, -1:] / 2
    of_row = ranks.take(gain.group_of_row(), axis=1)
    np.multiply(weights, of_row, out=of_row)
    own = np.einsum("bn,bn->b", of_row, weights)
    return GainRanks(of_row, _squares(by_run), own, _cubes(by_run.in_order))


def spearman(block: Routed, priority: SortedColumn, gain: GainRanks) -> FloatArray:
    """Spearman correlation of every replicate, average ranks over all copies, shape (B,).

    NaN for a replicate in which priority or gain is constant.
    """
    # The average rank of a run is count - (copies - 1) / 2, and constants fall out of the
    # covariance because the gain's ranks are centred.
    ranks = run_sums(gain.weighted.take(priority.order, axis=1), priority)
    if priority.tied:
        own, squares = np.einsum("bn,bn->b", ranks, block.copies), _squares(block)
    else:
        own, squares = gain.own, _sum_of_squares(block.count[:, -1], gain.cubes)
    covariance = np.einsum("bn,bn->b", ranks, block.count) - own / 2
    return ratio(covariance, np.sqrt(squares) * np.sqrt(gain.squares))


def first_copies(copies: FloatArray, k: IntArray) -> FloatArray:
    """How many copies of each request are among the first k, shape (B, m).

    copies: (B, m) in routed order; k: (B, 1), at most the copies there are.
    """
    before = np.cumsum(copies, axis=1)
    np.subtract(k, before, out=before)
    before += copies
    np.minimum(before, copies, out=before)
    return np.maximum(before, 0.0, out=before)


class Guarded(NamedTuple):
    """A block in a guard's order: copies and copies before each request, (B, n), and where
    each row stands in that order, (n,)."""

    copies: FloatArray
    before: FloatArray
    position: IntArray

    def first_copies(self, eligible: IntArray, rows: IntArray) -> FloatArray:
        """Copies of each of the rows among the first eligible ones, shape (B, rows).

        eligible: shape (B, 1), copies let pass.
        """
        passed = eligible - self.before
        np.minimum(passed, self.copies, out=passed)
        np.maximum(passed, 0.0, out=passed)
        return passed.take(self.position[rows], axis=1)


def guarded(weights: AnyArray, guard_order: IntArray) -> Guarded:
    """A block seen by a guard; guard_order: rows from the most eligible."""
    copies = weights.take(guard_order, axis=1).astype(np.float64)
    position = np.empty_like(guard_order)
    position[guard_order] = np.arange(guard_order.size)
    return Guarded(copies, np.cumsum(copies, axis=1) - copies, position)


def ratio(numerator: FloatArray, denominator: npt.ArrayLike) -> FloatArray:
    """numerator / denominator, NaN where the denominator is 0 (the metric is undefined)."""
    below = np.broadcast_to(np.asarray(denominator, dtype=np.float64), numerator.shape)
    quotient = np.full(numerator.shape, np.nan)
    np.divide(numerator, below, out=quotient, where=below != 0)
    return quotient


def run_sums(in_order: FloatArray, column: SortedColumn) -> FloatArray:
    """Sums over the runs of equal values, (B, m), of (B, n) in the column's order."""
    if not column.tied:
        return in_order
    sums: FloatArray = np.add.reduceat(in_order, column.starts, axis=1)
    return sums


def _squares(block: Routed) -> FloatArray:
    return _sum_of_squares(block.count[:, -1], _cubes(block.copies))


def _sum_of_squares(requests: FloatArray, cubes: FloatArray) -> FloatArray:
    """Sum of squared centred ranks of that many rows, given the sum of cubed run lengths."""
    squares: FloatArray = (requests * requests * requests - cubes) / 12
    return squares


def _cubes(copies: FloatArray) -> FloatArray:
    cubes: FloatArray = np.einsum("bn,bn,bn->b", copies, copies, copies)
    return cubes
