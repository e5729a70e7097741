"""Intervals, tests and power: one standard error and one t reference for all three.

An interval is the figure +- t times its standard error, a p-value the two-sided tail of figure /
error in the same t distribution: a difference is outside its interval at level 1 - a exactly where
p < a. The error is from the bootstrap (over clusters of requests) and from the training seeds:

    variance = requests + sum of s^2 / S over the routers of the figure

s is the deviation between a router's S seeds, and holds what requests and seeds do together. That
interaction is also in the replicates of a mean over seeds, as 1 / (S - 1) of what the replicates of
single seeds vary more than those of their mean; `requests` is without it, so that it counts once
(redrawing seeds and requests in every replicate would count it three times: Owen 2007).

Degrees of freedom are Satterthwaite's: clusters - 1 for the requests, S - 1 for each s. Clusters of
unequal size count as the number of equal ones that would be worth as much (Kish 1965): 30 packages
of which a few hold most strings are worth 12, and t with 29 degrees of freedom covers too little.

Two or three seeds may by chance be alike; there the usual formula trusts them and a nominal 5 %
test rejects up to 15 % of the time. So the degrees of freedom (not the error) take every s^2 at its
upper confidence limit (SEEDS_LIMIT), and the formula that is unbiased in small samples.

A replicate in which a figure is undefined is NaN; it is left out, and counted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from routelmt.stats.arrays import FloatArray

# Any metric's unit; a smaller difference is floating-point noise of two sums in different order.
NO_DIFFERENCE = 1e-9
# One-sided confidence of the limit that s^2 has in the degrees of freedom: simulated sizes of 5 %
# tests are 2 to 6 % for any ratio of seeds' and requests' variance with it.
SEEDS_LIMIT = 0.85
# More undefined replicates than this share are a reason to doubt the figure.
DOUBTFUL = 0.05
# Of fewer clusters an interval is approximate: a remark says so.
FEW_CLUSTERS = 40
_INFINITE = 1e9  # degrees of freedom of a normal distribution
# Above so many degrees of freedom scipy's noncentral t loses digits; the normal is as good.
_NEARLY_NORMAL = 1e4


@dataclass(frozen=True)
class Clusters:
    """Clusters that requests are in, by place or for one.

    counts: how many. effective: how many of equal size are worth as much, (sum m)^2 / sum m^2 of
    their sizes m.
    """

    counts: npt.NDArray[np.int64]
    effective: FloatArray

    @classmethod
    def of(cls, ids: Sequence[npt.NDArray[Any]]) -> Clusters:
        """By place, of the cluster of each of its requests."""
        sizes = [np.unique(own, return_counts=True)[1].astype(np.float64) for own in ids]
        effective = [size.sum() ** 2 / max((size**2).sum(), 1) for size in sizes]
        return cls(np.array([size.size for size in sizes]), np.array(effective))

    def __getitem__(self, places: Any) -> Clusters:
        """Those of some places."""
        return Clusters(self.counts[places], self.effective[places])


class SeedPart(NamedTuple):
    """What training seeds add to the variance of a figure that is a mean over them.

    variance: s^2 / S; interaction: how much of it the replicates of the figure hold too; both of
    the figure's shape. seeds: S, that shape or one that it can be repeated to; with S = 1 nothing
    is known of other seeds, and both are 0.
    """

    variance: FloatArray
    interaction: FloatArray
    seeds: npt.NDArray[np.int64]


class Reference(NamedTuple):
    """Standard errors of figures, their degrees of freedom, and the share of undefined replicates.

    All of the figures' shape; errors are NaN with fewer than two clusters or defined replicates.
    """

    error: FloatArray
    df: FloatArray
    undefined: FloatArray

    def quantile(self, fraction: float) -> FloatArray:
        """Of Student's t distribution with these degrees of freedom."""
        from scipy.special import stdtrit

        found: FloatArray = stdtrit(self.df, fraction)
        return found

    def limits(
        self, value: FloatArray, level: float, within: tuple[float, float] = (-np.inf, np.inf)
    ) -> tuple[FloatArray, FloatArray]:
        """The interval of figures; within: the range that they cannot leave. NaN as they are."""
        _check_fraction("level", level)
        half = self.quantile((1 + level) / 2) * self.error
        return np.clip(value - half, *within), np.clip(value + half, *within)

    def share_limits(
        self, value: FloatArray, routed: npt.ArrayLike, level: float
    ) -> tuple[FloatArray, FloatArray]:
        """Wilson's interval (1927) of shares, on the effective number of requests.

        That is value (1 - value) / error^2, at most `routed`: so many independent requests as would
        have this error (Korn & Graubard 1998). Where fewer than one request or all but one are of
        the kind, Wilson's centre stands for the value there; an error of 0 leaves `routed`, see
        requests.effective_counts.
        """
        _check_fraction("level", level)
        most = np.where(np.isnan(self.error), np.nan, routed)
        z2 = self.quantile((1 + level) / 2) ** 2
        centre = (value + z2 / (2 * most)) / (1 + z2 / most)
        expected = np.where(np.minimum(value, 1 - value) * most >= 1, value, centre)
        n = expected * (1 - expected) / np.maximum(self.error, NO_DIFFERENCE) ** 2
        n = np.minimum(n, most)
        centre = (value + z2 / (2 * n)) / (1 + z2 / n)
        half = np.sqrt(z2 * (value * (1 - value) / n + z2 / (4 * n**2))) / (1 + z2 / n)
        return np.clip(centre - half, 0, value), np.clip(centre + half, value, 1)

    def p_values(self, difference: FloatArray) -> FloatArray:
        """Two-sided p-values of no difference: 1 for none, NaN where the error is not known."""
        from scipy.special import stdtr

        with np.errstate(divide="ignore", invalid="ignore"):
            tails = 2 * stdtr(self.df, -np.abs(difference) / self.error)
        known = np.where(self.error > NO_DIFFERENCE, tails, np.nan)
        equal = (np.abs(difference) <= NO_DIFFERENCE) & ~np.isnan(self.error)
        return np.where(equal, 1.0, known)

    def detectable(self, alpha: float = 0.05, power: float = 0.8) -> FloatArray:
        """The true difference that a two-sided test at alpha finds with this power.

        By the noncentral t distribution. For the first step of Holm's correction give alpha / the
        number of tests: then it is what is found before any other difference is.
        """
        from scipy.special import nctdtrinc, ndtri

        _check_fraction("alpha", alpha)
        _check_fraction("power", power)
        critical = self.quantile(1 - alpha / 2)
        with np.errstate(invalid="ignore"):
            steps = nctdtrinc(self.df, 1 - power, critical)
        steps = np.where(self.df < _NEARLY_NORMAL, steps, critical + ndtri(power))
        found: FloatArray = np.asarray(steps * self.error)
        return found


def reference(samples: FloatArray, clusters: Clusters, seeds: Sequence[SeedPart] = ()) -> Reference:
    """The reference of figures with these bootstrap replicates, shape (..., B); see the module.

    clusters: those drawn from, of the figures' shape or one that it can be repeated to (on the
    right: (places,) for (places, routers)). seeds: of each router that is in the figures.
    """
    spread, undefined = _variances(samples)
    drawn = _over_axes(clusters.counts.astype(np.float64), spread)
    worth = _over_axes(clusters.effective, spread)
    with np.errstate(divide="ignore", invalid="ignore"):
        # Replicates of G clusters vary (G - 1) / G too little; of one cluster not at all.
        spread = np.where(drawn > 1, spread * drawn / (drawn - 1), np.nan)
        requests = np.maximum(spread - sum(part.interaction for part in seeds), 0.0)
        variance = requests + sum(part.variance for part in seeds)
        own_df = np.maximum(worth - 1, 1.0)
        parts = [(requests, own_df)]
        for part in seeds:
            own = np.broadcast_to(part.seeds, spread.shape) - 1
            limit = _limit_factors(own)
            parts.append((part.variance * limit, np.maximum(own, 1)))
        whole = sum(size for size, _ in parts)
        squares = sum(size**2 / (df + 2) for size, df in parts)
        df = np.where(squares > 0, whole**2 / squares - 2, own_df)
    return Reference(np.sqrt(variance), np.clip(df, 1, _INFINITE), undefined)


def _over_axes(values: FloatArray, like: FloatArray) -> FloatArray:
    """The values repeated along the further axes of another array."""
    return np.broadcast_to(
        values.reshape(values.shape + (1,) * (like.ndim - values.ndim)), like.shape
    )


def _limit_factors(df: npt.NDArray[np.int64]) -> FloatArray:
    """The upper confidence limit of a variance as a multiple of its estimate."""
    from scipy.special import chdtri

    known = np.maximum(df, 1)
    factors: FloatArray = known / chdtri(known, SEEDS_LIMIT)
    return factors


def variances(samples: FloatArray) -> FloatArray:
    """Of the defined replicates along the last axis; NaN with fewer than 2 of them."""
    return _variances(samples)[0]


def _variances(samples: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Variances along the last axis, and shares of undefined replicates."""
    size = samples.shape[-1]
    found = samples.var(axis=-1, ddof=1) if size > 1 else np.full(samples.shape[:-1], np.nan)
    if not np.isnan(found).any():
        return found, np.zeros(found.shape)
    defined = ~np.isnan(samples)
    count = defined.sum(axis=-1)
    mean = np.where(defined, samples, 0).sum(axis=-1) / np.maximum(count, 1)
    squares = np.where(defined, samples - mean[..., np.newaxis], 0) ** 2
    found = np.where(count > 1, squares.sum(axis=-1) / np.maximum(count - 1, 1), np.nan)
    return found, 1 - count / size


def share_difference_limits(
    value: FloatArray, low: FloatArray, high: FloatArray, others: Sequence[int]
) -> tuple[FloatArray, FloatArray]:
    """Limits of the shares minus the shares at `others` of the last axis (Newcombe 1998, 10).

    value, low, high: shares and their own limits. The shares count as independent, so those of
    requests that both have make the interval too wide, never too narrow.
    """
    down, up = value - low, high - value
    difference = value - value[..., others]
    return (
        difference - np.hypot(down, up[..., others]),
        difference + np.hypot(up, down[..., others]),
    )


def percentile_limits(samples: npt.ArrayLike, level: float = 0.95) -> tuple[FloatArray, FloatArray]:
    """The central level (a fraction) of the replicates along the last axis, shapes (...).

    Undefined replicates are left out; NaN where all are. Raises ValueError for no replicates, or
    unless 0 < level < 1.
    """
    _check_fraction("level", level)
    low, high = quantiles(samples, [(1 - level) / 2, (1 + level) / 2])
    return low, high


def quantiles(samples: npt.ArrayLike, fractions: Sequence[float]) -> FloatArray:
    """Quantiles of the defined replicates along the last axis, (fractions, ...)."""
    ascending = np.sort(np.asarray(samples, dtype=np.float64), axis=-1)  # NaN comes last
    if ascending.ndim == 0 or not ascending.shape[-1]:
        raise ValueError(f"samples: expected shape (..., replicates), found {ascending.shape}")
    last = (~np.isnan(ascending)).sum(axis=-1, keepdims=True) - 1
    found = []
    for fraction in fractions:
        place = np.maximum(fraction * last, 0)
        below = np.floor(place).astype(np.int64)
        above = np.minimum(below + 1, np.maximum(last, 0))
        ends = [np.take_along_axis(ascending, at, axis=-1) for at in (below, above)]
        found.append((ends[0] + (place - below) * (ends[1] - ends[0]))[..., 0])
    return np.stack(found)


def reasons(
    known: Sequence[str | None], undefined: FloatArray, why: str | None = None
) -> list[str | None]:
    """Why figures are undefined or doubtful, None for those that are neither.

    known: of those that are undefined on the requests as they are; undefined: shares of replicates,
    raveled; why: what leaves a replicate of this figure undefined.
    """
    said = f": {why}" if why else ""
    return [
        reason
        or (f"undefined in {share:.0%} of the replicates{said}" if share > DOUBTFUL else None)
        for reason, share in zip(known, np.ravel(undefined).tolist(), strict=True)
    ]


def few_clusters(clusters: int) -> str:
    """What is to be said of intervals from fewer than FEW_CLUSTERS clusters."""
    return (
        f"There are intervals from {clusters} clusters of requests (texts, documents or domains); "
        f"those from fewer than {FEW_CLUSTERS} are approximate."
    )


def holm(p_values: npt.ArrayLike) -> FloatArray:
    """Holm's step-down adjusted p-values, in the order given (Holm 1979).

    Raises ValueError for a p-value outside 0..1, NaN included: leave undefined pairs out.
    """
    values = np.asarray(p_values, dtype=np.float64)
    if values.ndim != 1 or not np.all((values >= 0) & (values <= 1)):
        raise ValueError(f"p_values: expected a column of numbers in 0..1, found {values}")
    ascending = np.argsort(values, kind="stable")
    hypotheses_left = np.arange(values.size, 0, -1)
    stepped = np.maximum.accumulate(values[ascending] * hypotheses_left)
    adjusted = np.empty_like(values)
    adjusted[ascending] = np.minimum(stepped, 1.0)
    return adjusted


def _check_fraction(name: str, value: float) -> None:
    if not 0 < value < 1:
        raise ValueError(f"{name}: found {value}, expected 0 < {name} < 1")
