"""The metrics on bootstrap replicates written as copies of each request, not as copied rows.

A replicate repeats request i weights[b, i] times. Copies of a request are ties in everything, so
a metric on the copied rows can be computed from the weights and one sorted order. Requests of
equal priority are one run: a budget that ends within it takes the same fraction of all of them,
which is the expectation over ways to break the ties. Blocks of replicates have shape (replicates
of the block, requests), written (B, n); weights are whole numbers, so all counts are exact.
The sums themselves are in `loops`, which is loaded when the first of them is made.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from routelmt.stats.arrays import AnyArray, FloatArray, IntArray, PlaceArray


class SortedColumn(NamedTuple):
    """A column's rows in routed order; run r of equal values is order[bounds[r]:bounds[r + 1]].

    Of 32 bits, and without a sign, which compiled loops would look at: twice as fast.
    """

    order: PlaceArray
    bounds: PlaceArray

    def run_of_place(self) -> PlaceArray:
        """The run of every place in the order, shape (n,)."""
        runs = np.arange(self.bounds.size - 1, dtype=np.uint32)
        return np.repeat(runs, np.diff(self.bounds))

    def run_of_row(self) -> PlaceArray:
        """The run of equal values that every row belongs to, shape (n,)."""
        of_row = np.empty_like(self.order)
        of_row[self.order] = self.run_of_place()
        return of_row


class Cuts(NamedTuple):
    """Where the first k copies end in a column, each (B, budgets).

    run: that of the last of them, -1 for no copies; places: how many copies of it are among them.
    """

    run: IntArray
    places: IntArray


class GainRanks(NamedTuple):
    """The gain side of Spearman's correlation, shared by all routers of a block.

    weighted: weights times centred gain rank, (B, n); squares: the weighted sum of squared ranks,
    (B,); cubes: the sum of cubed weights, (B,), which every column without ties shares.
    """

    weighted: FloatArray
    squares: FloatArray
    cubes: FloatArray


def sorted_column(values: FloatArray, order: IntArray) -> SortedColumn:
    """The runs of equal values of a column, given the order that sorts it."""
    in_order = values[order]
    changes = np.flatnonzero(in_order[1:] != in_order[:-1]) + 1
    bounds = np.concatenate(([0], changes, [order.size]))
    return SortedColumn(order.astype(np.uint32), bounds.astype(np.uint32))


def sums_of_first(
    weights: AnyArray, column: SortedColumn, values: FloatArray, k: IntArray
) -> FloatArray:
    """Sum of a value over the first k copies of every replicate, shape (budgets, B).

    values: by row, (n,); k: (B, budgets), ascending in every replicate, at most its copies.
    """
    from routelmt.stats import loops

    found: FloatArray = loops.sums_of_first(weights, *column, values, k)
    return found


def places_of(weights: AnyArray, column: SortedColumn, k: IntArray) -> FloatArray:
    """Where the first k copies of every replicate end, (B, budgets): run + the fraction of it.

    So of run r the fraction clip(place - r, 0, 1) is taken. k: (B, budgets), at most the copies.
    """
    from routelmt.stats import loops

    found: FloatArray = loops.places_of(weights, *column, k)
    return found


def cuts_of(weights: AnyArray, column: SortedColumn, k: IntArray) -> Cuts:
    """Where the first k copies of every replicate end. k: (B, budgets), ascending, as above."""
    from routelmt.stats import loops

    return Cuts(*loops.cuts_of(weights, *column, k))


def hits_of_first(
    weights: AnyArray, column: SortedColumn, best_run: PlaceArray, cuts: Cuts, k: IntArray
) -> FloatArray:
    """Expected number of the first k copies that belong to some best set, (budgets, B) (METHODS).

    best_run: the run of each row by gain, (n,); cuts: where the best k end, by gain. A copy above
    the cut's run is a hit, and of those within it as many as the best set has places for. Where k
    ends within a run of the column, its copies are drawn without replacement, so that those of the
    cut's run are hypergeometric: the expectation of what has a place is exact.
    """
    from routelmt.stats import loops

    found: FloatArray = loops.hits_of_first(weights, *column, best_run, *cuts, k)
    return found


def first_by_label(
    weights: AnyArray,
    column: SortedColumn,
    labels: IntArray,
    values: FloatArray,
    k: IntArray,
    count: int,
) -> FloatArray:
    """Copies among the first k of every replicate and their sum of a value, by label of the rows.

    labels: 0 to count - 1, (n,), and values, (n,): by row; k: (B,). Shape (B, 2, count).
    """
    from routelmt.stats import loops

    place = places_of(weights, column, k[:, np.newaxis])[:, 0]
    run = column.run_of_place()
    found: FloatArray = loops.by_label(weights, column.order, run, labels, values, place, count)
    return found


def first_within(
    weights: AnyArray,
    column: SortedColumn,
    labels: IntArray,
    values: FloatArray,
    cost: FloatArray,
    limit: FloatArray,
    count: int,
) -> FloatArray:
    """As first_by_label, of the first copies whose costs add up to a limit.

    cost: by row, (n,); limit: (B,). The request at the limit is taken with the probability that
    meets it exactly.
    """
    from routelmt.stats import loops

    found: FloatArray = loops.by_label_within(
        weights, column.order, labels, values, cost, limit, count
    )
    return found


def gain_ranks(weights: AnyArray, gain: SortedColumn) -> GainRanks:
    """The gain side of Spearman's correlation, shared by all routers of a block."""
    from routelmt.stats import loops

    return GainRanks(*loops.gain_ranks(weights, *gain))


def spearman(weights: AnyArray, priority: SortedColumn, gain: GainRanks) -> FloatArray:
    """Spearman correlation of every replicate, average ranks over all copies, shape (B,).

    NaN for a replicate in which priority or gain is constant.
    """
    from routelmt.stats import loops

    found: FloatArray = loops.spearman(weights, *priority, *gain)
    return found


def guarded_sums(
    weights: AnyArray,
    order: PlaceArray,
    guard_order: IntArray,
    eligible: IntArray,
    figures: FloatArray,
    k: IntArray,
) -> FloatArray:
    """Sums of figures over the k copies that a guarded router routes, shape (B, figures).

    The first k in the order among the first `eligible` copies of the guard's order; if those are
    fewer, the first of the others until there are k. figures: by row, (n, figures); eligible, k:
    (B,).
    """
    from routelmt.stats import loops

    found: FloatArray = loops.guarded_sums(
        weights, order, guard_order.astype(np.uint32), eligible, figures, k
    )
    return found


def ratio(numerator: FloatArray, denominator: npt.ArrayLike) -> FloatArray:
    """numerator / denominator, NaN where the denominator is 0 (the metric is undefined)."""
    below = np.broadcast_to(np.asarray(denominator, dtype=np.float64), numerator.shape)
    quotient = np.full(numerator.shape, np.nan)
    np.divide(numerator, below, out=quotient, where=below != 0)
    return quotient
