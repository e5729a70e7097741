"""The policies of `streaming` on bootstrap replicates, compiled: each runs again on every one.

A decision depends on those before it and on the calibration values, so a replicate is a stream of
its own with calibration values of its own. Values are levels: places among all values that occur,
from 0. held: calibration levels of each replicate, ascending, (B, m) with the first `counts` in
use; rows: requests in the order in which a replicate serves them, (B, s) with the first `served` in
use; coins: their draws, (B, s), see streaming.uniforms; levels, gain: by row of the requests.
What comes back are the number routed and the sum of their gains.

This module loads numba: import it inside functions, or in modules that always need it.
"""

import numpy as np

from routelmt.compiled import compiled
from routelmt.stats.arrays import AnyArray, FloatArray, IntArray
from routelmt.stats.selection import ROUNDING_SLACK

NOTHING = np.iinfo(np.int64).max  # a threshold above every level
EVERYTHING = -1  # one below


@compiled
def repeated(levels: IntArray, weights: AnyArray, counts: IntArray) -> IntArray:
    """Every level as often as its weight, in the order given: (B, m); weights: (B, n)."""
    copies = np.zeros((len(weights), counts.max()), np.int64)
    for b in range(len(weights)):
        place = 0
        for i in range(levels.size):
            for _ in range(weights[b, i]):
                copies[b, place] = levels[i]
                place += 1
    return copies


@compiled
def quantile(ascending: IntArray, count: int, rate: float) -> int:
    """The threshold of streaming.threshold_of."""
    wanted = rate * count
    if wanted <= 0:
        return NOTHING
    if wanted >= count:
        return EVERYTHING
    threshold: int = ascending[count - max(1, int(np.ceil(wanted - ROUNDING_SLACK)))]
    return threshold


@compiled
def share_at(ascending: IntArray, count: int, rate: float, level: int) -> float:
    """Of the requests at the threshold, the share that is routed."""
    below = np.searchsorted(ascending[:count], level, side="left")
    through = np.searchsorted(ascending[:count], level, side="right")
    share: float = (rate * count - (count - through)) / (through - below)
    return share


@compiled
def fixed(
    held: IntArray,
    counts: IntArray,
    rates: FloatArray,
    rows: IntArray,
    served: IntArray,
    coins: FloatArray,
    levels: IntArray,
    gain: FloatArray,
) -> FloatArray:
    """Of the calibration values' thresholds for each of the rates: (B, rates, 2)."""
    sums = np.zeros((len(rows), rates.size, 2))
    taus, at_taus = np.empty(rates.size, np.int64), np.empty(rates.size)
    for b in range(len(rows)):
        for r in range(rates.size):
            taus[r] = quantile(held[b], counts[b], rates[r])
            at_taus[r] = share_at(held[b], counts[b], rates[r], taus[r])
        for i in range(served[b]):
            row = rows[b, i]
            for r in range(rates.size):
                if levels[row] > taus[r] or (levels[row] == taus[r] and coins[b, i] < at_taus[r]):
                    sums[b, r, 0] += 1
                    sums[b, r, 1] += gain[row]
    return sums


@compiled
def controller(
    held: IntArray,
    counts: IntArray,
    rate: float,
    correction: float,
    rows: IntArray,
    served: IntArray,
    coins: FloatArray,
    levels: IntArray,
    gain: FloatArray,
) -> FloatArray:
    """Of streaming.Controller: (B, 2)."""
    sums = np.zeros((len(rows), 2))
    for b in range(len(rows)):
        ascending, count, quantile_level = held[b], counts[b], rate
        for i in range(served[b]):
            row = rows[b, i]
            tau = quantile(ascending, count, quantile_level)
            routed = levels[row] > tau
            if levels[row] == tau:
                routed = coins[b, i] < share_at(ascending, count, quantile_level, tau)
            quantile_level += correction * (rate - routed)
            if routed:
                sums[b, 0] += 1
                sums[b, 1] += gain[row]
    return sums


@compiled
def rolling(
    window: IntArray,
    sizes: IntArray,
    length: int,
    rate: float,
    rows: IntArray,
    served: IntArray,
    coins: FloatArray,
    levels: IntArray,
    gain: FloatArray,
) -> FloatArray:
    """Of streaming.Rolling that looks back on `length` requests, 0 < rate < 1: (B, 2).

    window: levels looked back on at first, the oldest first, (B, w) with the first `sizes` in use.
    The next threshold is near the last one: it moves up and down the levels, with the number of
    values above it at hand.
    """
    sums = np.zeros((len(rows), 2))
    top = max(levels.max(), window.max())
    last, held = np.empty(length, np.int64), np.zeros(top + 1, np.int64)
    for b in range(len(rows)):
        count, oldest = sizes[b], 0
        last[:count] = window[b, :count]
        held[:] = 0
        for level in last[:count]:
            held[level] += 1
        tau, above = top, 0
        for i in range(served[b]):
            wanted = rate * count
            place = max(1, int(np.ceil(wanted - ROUNDING_SLACK)))
            while tau > 0 and above + held[tau] < place:
                above += held[tau]
                tau -= 1
            while above >= place:
                tau += 1
                above -= held[tau]
            row = rows[b, i]
            level = levels[row]
            if level > tau or (level == tau and coins[b, i] < (wanted - above) / held[tau]):
                sums[b, 0] += 1
                sums[b, 1] += gain[row]
            if count < length:
                last[count] = level
                count += 1
            else:
                leaving = last[oldest]
                held[leaving] -= 1
                above -= leaving > tau
                last[oldest] = level
                oldest = (oldest + 1) % length
            held[level] += 1
            above += level > tau
    return sums
