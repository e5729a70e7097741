"""Intervals, paired comparisons and power from bootstrap replicates.

A replicate in which a metric is undefined is NaN; it is left out, and counted.
"""

from math import erfc, sqrt
from statistics import NormalDist
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from routelmt.evaluate.arrays import FloatArray

# Any metric's unit; a smaller difference is floating-point noise of two sums in different order.
NO_DIFFERENCE = 1e-9


class Interval(NamedTuple):
    """A percentile interval and the number of undefined replicates it leaves out."""

    low: float
    high: float
    left_out: int


class PairedDifference(NamedTuple):
    """A difference between routers, its interval, its p-value, replicates left out."""

    difference: float
    low: float
    high: float
    p_value: float
    left_out: int


def percentile_interval(samples: npt.ArrayLike, level: float = 0.95) -> Interval:
    """The central level (a fraction) of the bootstrap samples, shape (replicates,).

    NaN limits where every replicate is undefined. Raises ValueError for no samples, or unless
    0 < level < 1.
    """
    _check_fraction("level", level)
    defined, left_out = _defined(samples)
    if defined.size == 0:
        return Interval(float("nan"), float("nan"), left_out)
    low, high = np.quantile(defined, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(low), float(high), left_out)


def percentile_limits(samples: npt.ArrayLike, level: float = 0.95) -> tuple[FloatArray, FloatArray]:
    """Lower and upper limits of percentile_interval along the last axis, shapes (...)."""
    _check_fraction("level", level)
    values = np.asarray(samples, dtype=np.float64)
    fractions = [(1 - level) / 2, (1 + level) / 2]
    low, high = np.quantile(values, fractions, axis=-1)
    for cell in map(tuple, np.argwhere(np.isnan(low))):
        low[cell], high[cell], _ = percentile_interval(values[cell], level)
    return low, high


def share_limits(samples: npt.ArrayLike, level: float = 0.95) -> tuple[FloatArray, FloatArray]:
    """percentile_limits of a share: stretched deviations of a few seeds may lead beyond 0 and 1."""
    low, high = percentile_limits(samples, level)
    return np.clip(low, 0, 1), np.clip(high, 0, 1)


def paired_difference(
    difference: float, samples: npt.ArrayLike, level: float = 0.95
) -> PairedDifference:
    """A difference between two routers, from its values on the same bootstrap replicates.

    samples: a - b replicate by replicate, shape (replicates,). The interval is the percentile
    interval; the p-value is two-sided and normal with the bootstrap standard error. Counting
    replicates beyond zero instead could not go below 2 / replicates, and after Holm's correction
    over the pairs of a dozen routers a thousand replicates would never find anything.
    """
    low, high, left_out = percentile_interval(samples, level)
    error = standard_errors(np.asarray(samples, dtype=np.float64)[np.newaxis])
    p_value = float(normal_p_values(np.array([difference]), error)[0])
    return PairedDifference(difference, low, high, p_value, left_out)


def standard_errors(samples: FloatArray) -> FloatArray:
    """Bootstrap standard errors along the last axis; NaN with fewer than 2 defined replicates."""
    defined = ~np.isnan(samples)
    count = defined.sum(axis=-1)
    mean = np.where(defined, samples, 0).sum(axis=-1) / np.maximum(count, 1)
    squares = np.where(defined, samples - mean[..., np.newaxis], 0) ** 2
    error = np.sqrt(squares.sum(axis=-1) / np.maximum(count - 1, 1))
    return np.where(count > 1, error, np.nan)


def normal_p_values(differences: FloatArray, errors: FloatArray) -> FloatArray:
    """Two-sided p-values of differences with these bootstrap standard errors, see above.

    1 where there is no difference; NaN where the replicates say nothing about the error.
    """
    p_values = np.full(differences.shape, np.nan)
    for cell, (difference, error) in enumerate(zip(differences, errors, strict=True)):
        if np.isnan(error):
            continue
        if abs(difference) <= NO_DIFFERENCE:
            p_values[cell] = 1.0
        elif error > NO_DIFFERENCE:
            p_values[cell] = erfc(abs(difference) / error / sqrt(2))
    return p_values


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


def minimum_detectable_difference(
    difference_samples: npt.ArrayLike, alpha: float = 0.05, power: float = 0.8
) -> float:
    """The true difference a two-sided test at alpha finds with this power, in the metric's unit.

    (z of 1 - alpha/2 plus z of power) times the bootstrap standard error of the difference.
    Raises ValueError with fewer than two defined replicates.
    """
    defined, _ = _defined(difference_samples)
    if defined.size < 2:
        raise ValueError(f"difference_samples: {defined.size} defined replicates, 2 are needed")
    return detectable_errors(alpha, power) * float(defined.std(ddof=1))


def detectable_errors(alpha: float = 0.05, power: float = 0.8) -> float:
    """The difference that is found with this power, in standard errors."""
    _check_fraction("alpha", alpha)
    _check_fraction("power", power)
    normal = NormalDist()
    return normal.inv_cdf(1 - alpha / 2) + normal.inv_cdf(power)


def _defined(samples: npt.ArrayLike) -> tuple[FloatArray, int]:
    values = np.asarray(samples, dtype=np.float64)
    if values.ndim != 1 or values.size == 0:
        raise ValueError(f"samples: expected shape (replicates,), found {values.shape}")
    defined = values[~np.isnan(values)]
    return defined, int(values.size - defined.size)


def _check_fraction(name: str, value: float) -> None:
    if not 0 < value < 1:
        raise ValueError(f"{name}: found {value}, expected 0 < {name} < 1")
