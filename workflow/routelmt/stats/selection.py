"""Which requests go to the large model under a budget (RouteLMT §3, guards §6.4).

Every choice is made within one direction. Ties in priority are broken by a hash of the segment
id (join.tie_keys), so the same requests are chosen whatever the order of the rows.
"""

import numpy as np
import numpy.typing as npt

from routelmt.stats.arrays import BoolArray, IntArray, check_same_length, column

# p * n in floating point can fall just short of the integer that is meant (0.29 * 100 =
# 28.999...996). Far above that error for any n below a million, far below one request.
ROUNDING_SLACK = 1e-9


def budget_counts(p: float, sizes: npt.ArrayLike) -> IntArray:
    """floor(p * n) for every n in sizes. Raises ValueError unless 0 <= p <= 1 and n >= 0."""
    return _floors("budget", p, sizes)


def budget_count(p: float, n: int) -> int:
    """K = floor(p * n), the requests of one direction that budget p sends to the large model.

    Robust to floating-point error (0.29 of 100 is 29). Raises ValueError unless 0 <= p <= 1.
    """
    return int(budget_counts(p, np.array([n]))[0])


def eligible_counts(quantile: float, sizes: npt.ArrayLike) -> IntArray:
    """floor(quantile * n) for every n: the requests a guard lets pass first.

    Counted as budgets are, so that quantile = p leaves exactly K eligible: there the guard is
    routing by its signal (RouteLMT §6.4). Raises ValueError unless 0 < quantile <= 1.
    """
    if quantile == 0:
        raise ValueError("quantile: found 0, which leaves no request eligible; use 0 < q <= 1")
    return _floors("quantile", quantile, sizes)


def ranking(priority: npt.ArrayLike, tie_keys: npt.ArrayLike) -> IntArray:
    """Row numbers from the first request routed to the last: higher priority first.

    priority, tie_keys: shape (n,); equal priorities go by the smaller tie key.
    Raises ValueError for an empty column, a NaN priority, or columns of different lengths.
    """
    values = column("priority", priority)
    keys = np.asarray(tie_keys, dtype=np.uint64)
    check_same_length(priority=values, tie_keys=keys)
    return np.lexsort((keys, -values)).astype(np.int64)


def guarded_ranking(
    priority: npt.ArrayLike,
    guard_signal: npt.ArrayLike,
    tie_keys: npt.ArrayLike,
    quantile: float,
) -> IntArray:
    """Row numbers from first routed to last: the eligible by priority, then the others.

    The first k are what a guarded router sends on, so its route rate stays k / n.

    guard_signal: shape (n,), HIGHER = worse quality of the small model = more eligible (negate a
    quality score). Eligible are the floor(quantile * n) requests with the highest signal, ties by
    tie_keys. With quantile 1 this is the unguarded ranking (RouteLMT §6.4).
    """
    order = ranking(priority, tie_keys)
    signal = column("guard_signal", guard_signal)
    check_same_length(priority=order, guard_signal=signal)
    eligible_count = int(eligible_counts(quantile, np.array([order.size]))[0])
    eligible = _first(ranking(signal, tie_keys), eligible_count)
    return np.concatenate((order[eligible[order]], order[~eligible[order]]))


def route(priority: npt.ArrayLike, tie_keys: npt.ArrayLike, k: int) -> BoolArray:
    """True for the k requests of highest priority. Raises ValueError unless 0 <= k <= n."""
    return _first(ranking(priority, tie_keys), k)


def _first(order: IntArray, k: int) -> BoolArray:
    if not 0 <= k <= order.size:
        raise ValueError(f"k: found {k}, expected 0 <= k <= {order.size} (the requests given)")
    mask = np.zeros(order.size, dtype=np.bool_)
    mask[order[:k]] = True
    return mask


def _floors(name: str, fraction: float, sizes: npt.ArrayLike) -> IntArray:
    if not 0 <= fraction <= 1:
        raise ValueError(f"{name}: found {fraction}, expected a fraction between 0 and 1")
    requests = np.asarray(sizes, dtype=np.int64)
    if np.any(requests < 0):
        raise ValueError(f"{name}: a direction cannot have {int(requests.min())} requests")
    counts: IntArray = np.floor(fraction * requests + ROUNDING_SLACK).astype(np.int64)
    return counts
