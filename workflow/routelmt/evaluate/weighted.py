"""The metrics on bootstrap replicates written as copies of each request, not as copied rows.

A replicate repeats request i weights[b, i] times. Copies of a request are ties in everything, so
a metric on the copied rows can be computed from the weights and one sorted order. Blocks of
replicates have shape (replicates of the block, requests), written (B, n); weights are whole numbers
held as float64, so all counts are exact.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from routelmt.evaluate.arrays import FloatArray, IntArray


class SortedColumn(NamedTuple):
    """A column's rows in routed order, and where each run of equal values begins there."""

    order: IntArray
    starts: IntArray

    def group_of_row(self) -> IntArray:
        """The run of equal values that every row belongs to, shape (n,)."""
        group = np.zeros(self.order.size, dtype=np.int64)
        group[self.starts[1:]] = 1
        of_row = np.empty_like(group)
        of_row[self.order] = np.cumsum(group)
        return of_row


class GainRanks(NamedTuple):
    """weights times centred gain rank, (B, n), and the weighted sum of squared ranks, (B,)."""

    weighted: FloatArray
    squares: FloatArray


def sorted_column(values: FloatArray, order: IntArray) -> SortedColumn:
    """The runs of equal values of a column, given the order that sorts it."""
    in_order = values[order]
    changes = np.flatnonzero(in_order[1:] != in_order[:-1]) + 1
    return SortedColumn(order, np.concatenate(([0], changes)).astype(np.int64))


def mass_of_first(count: FloatArray, mass: FloatArray, k: IntArray) -> FloatArray:
    """Mass of the first k copies of every replicate, shape (B, budgets).

    count, mass: cumulative copies and their cumulative mass in routed order, shape (B, m);
    k: shape (B, budgets), 0 <= k <= copies of the replicate. The copies of one request have the
    same mass each, so the last request may be taken in part.
    """
    last = np.stack([np.searchsorted(c, wanted) for c, wanted in zip(count, k, strict=True)])
    row = np.arange(len(count))[:, np.newaxis]
    whole = last > 0
    count_before = np.where(whole, count[row, last - 1], 0.0)
    mass_before = np.where(whole, mass[row, last - 1], 0.0)
    copies = count[row, last] - count_before
    part = (k - count_before) / np.maximum(copies, 1.0)
    first: FloatArray = mass_before + part * (mass[row, last] - mass_before)
    return first


def oracle_copies(weights: FloatArray, gain: SortedColumn, k: IntArray) -> FloatArray:
    """Expected copies of each request in the oracle's top-k over its tie-breaks, (B, n).

    gain: sorted from the largest; k: shape (B,). Requests of equal gain share what is left of k
    at the boundary in proportion to their copies.
    """
    copies = _run_sums(weights[:, gain.order], gain.starts)
    before = np.cumsum(copies, axis=1) - copies
    share = np.clip((k[:, np.newaxis] - before) / np.maximum(copies, 1.0), 0.0, 1.0)
    expected: FloatArray = weights * share[:, gain.group_of_row()]
    return expected


def gain_ranks(weights: FloatArray, gain: SortedColumn) -> GainRanks:
    """The gain side of Spearman's correlation, shared by all routers of a block."""
    copies = _run_sums(weights[:, gain.order], gain.starts)
    ranks = _centred_ranks(copies)
    return GainRanks(weights * ranks[:, gain.group_of_row()], _squares(copies, ranks))


def spearman(weights_in_order: FloatArray, priority: SortedColumn, gain: GainRanks) -> FloatArray:
    """Spearman correlation of every replicate, average ranks over all copies, shape (B,).

    weights_in_order: weights[:, priority.order]. NaN for a replicate in which priority or gain
    is constant.
    """
    copies = _run_sums(weights_in_order, priority.starts)
    ranks = _centred_ranks(copies)
    weighted_gain = _run_sums(gain.weighted[:, priority.order], priority.starts)
    covariance = np.einsum("bn,bn->b", weighted_gain, ranks)
    return ratio(covariance, np.sqrt(_squares(copies, ranks)) * np.sqrt(gain.squares))


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


def guarded(weights: FloatArray, guard_order: IntArray) -> Guarded:
    """A block seen by a guard; guard_order: rows from the most eligible."""
    copies = weights.take(guard_order, axis=1)
    position = np.empty_like(guard_order)
    position[guard_order] = np.arange(guard_order.size)
    return Guarded(copies, np.cumsum(copies, axis=1) - copies, position)


def ratio(numerator: FloatArray, denominator: npt.ArrayLike) -> FloatArray:
    """numerator / denominator, NaN where the denominator is 0 (the metric is undefined)."""
    below = np.broadcast_to(np.asarray(denominator, dtype=np.float64), numerator.shape)
    quotient = np.full(numerator.shape, np.nan)
    np.divide(numerator, below, out=quotient, where=below != 0)
    return quotient


def _run_sums(in_order: FloatArray, starts: IntArray) -> FloatArray:
    if starts.size == in_order.shape[1]:
        return in_order
    sums: FloatArray = np.add.reduceat(in_order, starts, axis=1)
    return sums


def _centred_ranks(copies: FloatArray) -> FloatArray:
    # Average rank, last - (copies - 1) / 2, minus the mean rank (n + 1) / 2 of the replicate.
    last = np.cumsum(copies, axis=1)
    return last - copies / 2 - last[:, -1:] / 2


def _squares(copies: FloatArray, ranks: FloatArray) -> FloatArray:
    squares: FloatArray = np.einsum("bn,bn,bn->b", copies, ranks, ranks)
    return squares
