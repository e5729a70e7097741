"""Means over directions and over the seeds of a router, of figures and of their replicates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from routelmt.evaluate.arrays import FloatArray
from routelmt.evaluate.bootstrap import Estimates


class RouterFigures(NamedTuple):
    """A figure by direction (the average last) and router, then any further axes.

    value, spread: (directions + 1, routers, ...), mean and standard deviation over the seeds
    (NaN for one seed); samples: value on every replicate, replicates as last axis.
    """

    value: FloatArray
    samples: FloatArray
    spread: FloatArray

    def set_expectation(self, router: int, point: FloatArray, samples: FloatArray) -> None:
        """Replace a router's seeds by an expectation, which has no spread."""
        self.value[:, router] = point
        self.samples[:, router] = samples
        self.spread[:, router] = 0.0


def with_average(estimates: Estimates) -> Estimates:
    """The same, with the mean over the directions as one more entry of the first axis."""
    mean = estimates.over_directions()
    return Estimates(
        np.concatenate((estimates.point, mean.point[np.newaxis])),
        np.concatenate((estimates.samples, mean.samples[np.newaxis])),
    )


def over_seeds(
    estimates: Estimates, priorities: Sequence[str], columns: Mapping[str, Sequence[str]]
) -> RouterFigures:
    """Means over each router's seeds; axis 1 of the estimates has one entry per priority column.

    A replicate's mean is over the same replicate of every seed, so the interval of the mean holds
    what the requests contribute; spread holds what the seeds contribute.
    """
    position = {name: index for index, name in enumerate(priorities)}
    value, samples, spread = [], [], []
    for names in columns.values():
        own = [position[name] for name in names]
        value.append(estimates.point[:, own].mean(axis=1))
        samples.append(estimates.samples[:, own].mean(axis=1))
        spread.append(_deviation(estimates.point[:, own]))
    return RouterFigures(np.stack(value, 1), np.stack(samples, 1), np.stack(spread, 1))


def _deviation(points: FloatArray) -> FloatArray:
    if points.shape[1] == 1:
        return np.full(points[:, 0].shape, np.nan)
    deviation: FloatArray = points.std(axis=1, ddof=1)
    return deviation
