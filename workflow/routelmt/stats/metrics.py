"""Metrics of a router on the requests of one direction (RouteLMT §5.3, §6.4).

gain is quality of the large model minus quality of the small one, in points of the 0-100 scale.
order is what selection.ranking returns: row numbers from the first request routed to the last.
"""

import numpy as np
import numpy.typing as npt

from routelmt.roles import RISK_BUCKETS
from routelmt.stats.arrays import (
    FloatArray,
    IntArray,
    check_order,
    check_same_length,
    column,
    finite_column,
)

# Lower edge of minor loss, of tie and of substantial gain, in points (RouteLMT §6.4).
RISK_EDGES = (-5.0, -0.5, 0.5)
# Points of the 0-100 scale; a smaller headroom is floating-point noise of two equal means.
SMALLEST_HEADROOM = 1e-9

# Where a metric cannot leave a range (its interval may not either), by name.
RANGES = {
    "spearman": (-1.0, 1.0),
    "hit_rate": (0.0, 100.0),
    "headroom": (-np.inf, 1.0),
    **dict.fromkeys(("cpt_50", "cpt_80", "auroc", "hcr"), (0.0, 1.0)),
}
ANYWHERE = (-np.inf, np.inf)
# What leaves a metric undefined in a replicate; the others are where all directions have requests.
_NO_WAY = "Q_L is not above Q_S"
UNDEFINED = {
    "spearman": "priority or gain is constant",
    "headroom": "the gain oracle gains no more than a random router",
    "headroom_attainable": "the attainable oracle gains no more than a random router, or "
    "correlations of the gains fit no reliability between 0 and 1 in a direction",
    "auroc": "all gains have one sign",
    **dict.fromkeys(("pgr", "apgr", "cpt_50", "cpt_80", "hcr"), _NO_WAY),
    "mpm": f"{_NO_WAY}, or the band is empty",
}
NO_REQUEST = "a direction has no request"


def spearman(priority: npt.ArrayLike, gain: npt.ArrayLike) -> float:
    """Spearman correlation of priority and gain, average ranks for ties (RouteLMT §5.3).

    NaN where it is undefined; undefined_reason says why. Raises ValueError for NaN values.
    """
    if undefined_reason(priority, gain) is not None:
        return float("nan")
    ranks_priority = _centred_ranks(column("priority", priority))
    ranks_gain = _centred_ranks(finite_column("gain", gain))
    scale = np.sqrt(ranks_priority @ ranks_priority) * np.sqrt(ranks_gain @ ranks_gain)
    return float(ranks_priority @ ranks_gain / scale)


def undefined_reason(priority: npt.ArrayLike, gain: npt.ArrayLike) -> str | None:
    """Why the Spearman correlation of these columns is undefined, or None where it is defined."""
    values, gains = column("priority", priority), finite_column("gain", gain)
    check_same_length(priority=values, gain=gains)
    if values.size == 1:
        return "a single request has no rank correlation"
    for name, array in (("priority", values), ("gain", gains)):
        if np.all(array == array[0]):
            return f"{name} is {array[0]:g} for all {array.size} requests"
    return None


def hit_rate(order: npt.ArrayLike, gain: npt.ArrayLike, k: int) -> float:
    """Share of the router's top-k requests that belong to some best set (RouteLMT §5.3, METHODS).

    order, gain: shape (n,). With c the k-th largest gain, requests with gain > c are hits, and of
    those with gain = c as many as the best sets have places for. So no way to break ties in gain
    is better than another. Raises ValueError unless 0 < k <= n.
    """
    gains, routed = _gain_and_routed(order, gain, k)
    boundary = np.partition(gains, gains.size - k)[gains.size - k]
    above, tied = gains > boundary, gains == boundary
    places = k - above.sum()
    return float((above[routed].sum() + min(tied[routed].sum(), places)) / k)


def mean_delta(order: npt.ArrayLike, gain: npt.ArrayLike, k: int) -> float:
    """MeanΔ: mean gain, in points, of the router's top-k requests (RouteLMT §5.3).

    A random router expects the mean gain of all requests. Raises ValueError unless 0 < k <= n.
    """
    gains, routed = _gain_and_routed(order, gain, k)
    return float(gains[routed].mean())


def headroom_recovered(
    mean_delta: npt.ArrayLike, random: npt.ArrayLike, oracle: npt.ArrayLike
) -> FloatArray:
    """(MeanΔ - random) / (oracle - random): 0 for a random router, 1 for the gain oracle.

    The three MeanΔ broadcast against one another (single values, or bootstrap replicates).
    NaN where the oracle is no better than random: there is nothing to recover.
    """
    won = np.asarray(mean_delta, dtype=np.float64) - np.asarray(random, dtype=np.float64)
    headroom = np.asarray(oracle, dtype=np.float64) - np.asarray(random, dtype=np.float64)
    defined = headroom > SMALLEST_HEADROOM
    recovered: FloatArray = np.where(defined, won / np.where(defined, headroom, 1.0), np.nan)
    return recovered


def risk_buckets(
    gain_of_routed: npt.ArrayLike, edges: tuple[float, float, float] = RISK_EDGES
) -> FloatArray:
    """Shares of the routed requests in each of RISK_BUCKETS; they sum to 1 (RouteLMT §6.4).

    With edges (a, b, c): severe loss g <= a; minor loss a < g < b; tie b <= g <= c; substantial
    gain g > c. Raises ValueError for no request or edges that do not increase.
    """
    gains = finite_column("gain_of_routed", gain_of_routed)
    counts = np.bincount(risk_bucket_of(gains, edges), minlength=len(RISK_BUCKETS))
    return counts / gains.size


def risk_bucket_of(gain: npt.ArrayLike, edges: tuple[float, float, float] = RISK_EDGES) -> IntArray:
    """Index into RISK_BUCKETS of every gain; see risk_buckets for the edges."""
    severe, lower_tie, upper_tie = edges
    if not severe < lower_tie < upper_tie:
        raise ValueError(f"risk edges: found {edges}, expected three increasing numbers")
    gains = finite_column("gain", gain)
    beyond = [gains > severe, gains >= lower_tie, gains > upper_tie]
    bucket: IntArray = np.sum(beyond, axis=0, dtype=np.int64)
    return bucket


def _centred_ranks(values: FloatArray) -> FloatArray:
    _, group, counts = np.unique(values, return_inverse=True, return_counts=True)
    average_rank = np.cumsum(counts) - (counts - 1) / 2
    centred: FloatArray = average_rank[group] - (values.size + 1) / 2
    return centred


def _gain_and_routed(
    order: npt.ArrayLike, gain: npt.ArrayLike, k: int
) -> tuple[FloatArray, IntArray]:
    gains = finite_column("gain", gain)
    if not 0 < k <= gains.size:
        raise ValueError(f"k: found {k}, expected 0 < k <= {gains.size} (the requests given)")
    return gains, check_order(order, gains.size)[:k]
