"""Means over directions and over the seeds of a router, of figures and of their replicates.

Training again with another seed gives another router, so the figure of a router with several
seeds is uncertain twice. Each replicate redraws both: the requests (by group, see bootstrap) and
the seeds. As few seeds drawn with replacement vary too little, by (S - 1) / S in variance, their
deviations are stretched so that a mean over S seeds gets its variance s^2 / S (Rao & Wu 1988).
With one seed nothing can be known of other ones: its interval is about that router only.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple
from zlib import crc32

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
    estimates: Estimates,
    priorities: Sequence[str],
    columns: Mapping[str, Sequence[str]],
    seed: int = 0,
) -> RouterFigures:
    """Means over each router's seeds; axis 1 of the estimates has one entry per priority column.

    A replicate's mean is over seeds drawn for it, the same in all directions and figures and
    independent between routers. seed: of these draws.
    """
    position = {name: index for index, name in enumerate(priorities)}
    value, samples, spread = [], [], []
    for router, names in columns.items():
        own = [position[name] for name in sorted(names)]
        drawn = seed_weights(router, len(own), estimates.samples.shape[-1], seed)
        value.append(estimates.point[:, own].mean(axis=1))
        samples.append(np.einsum("ps...b,sb->p...b", estimates.samples[:, own], drawn))
        spread.append(_deviation(estimates.point[:, own]))
    return RouterFigures(np.stack(value, 1), np.stack(samples, 1), np.stack(spread, 1))


def seed_weights(router: str, seeds: int, replicates: int, seed: int = 0) -> FloatArray:
    """How much each seed of a router counts in each replicate, (seeds, replicates); sums are 1.

    The mean of any fixed values over the seeds, so weighted, has their sample variance / seeds.
    """
    if seeds == 1:
        return np.ones((1, replicates))
    generator = np.random.default_rng([seed, crc32(router.encode("utf-8"))])
    counts = generator.multinomial(seeds, np.full(seeds, 1 / seeds), size=replicates).T
    weights: FloatArray = 1 / seeds + np.sqrt(seeds / (seeds - 1)) * (counts - 1) / seeds
    return weights


def _deviation(points: FloatArray) -> FloatArray:
    if points.shape[1] == 1:
        return np.full(points[:, 0].shape, np.nan)
    deviation: FloatArray = points.std(axis=1, ddof=1)
    return deviation
