"""Means over directions and over the seeds of a router, of figures and of their replicates.

Training again with another seed gives another router, so the figure of a router with several seeds
is uncertain twice: by the requests, which the replicates redraw, and by the seeds; see `inference`.
With one seed nothing can be known of other ones: its interval is about that router only.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from routelmt.stats.arrays import FloatArray, IntArray
from routelmt.stats.bootstrap import Estimates
from routelmt.stats.inference import Clusters, Reference, SeedPart, reference, variances


class RouterFigures(NamedTuple):
    """A figure by direction (the average last) and router, then any further axes.

    value, spread: (directions + 1, routers, ...), mean and standard deviation over the seeds
    (NaN for one seed); samples: value on every replicate of the requests, replicates as last axis;
    interaction: variance of value that the replicates and the spread both hold; seeds: (routers,).
    """

    value: FloatArray
    samples: FloatArray
    spread: FloatArray
    interaction: FloatArray
    seeds: IntArray

    def set_expectation(self, router: int, point: FloatArray, samples: FloatArray) -> None:
        """Replace a router's seeds by an expectation, which has no spread."""
        self.value[:, router] = point
        self.samples[:, router] = samples
        self.spread[:, router] = 0.0
        self.interaction[:, router] = 0.0

    def at(self, cell: tuple[Any, ...]) -> RouterFigures:
        """A part of the figures, by an index of value that keeps all routers on axis 1."""
        whole = (*cell, slice(None))
        value, samples, spread, interaction, seeds = self
        return RouterFigures(value[cell], samples[whole], spread[cell], interaction[cell], seeds)

    def reference(self, clusters: Clusters) -> Reference:
        """Of every figure; clusters: by direction (the union last), (directions + 1,)."""
        return reference(self.samples, clusters, [self.seed_part()])

    def seed_part(self) -> SeedPart:
        """What the seeds add to the variance of every figure."""
        seeds = self.seeds.reshape(-1, *(1,) * (self.value.ndim - 2))
        variance = np.where(np.isnan(self.spread), 0.0, self.spread**2 / seeds)
        return SeedPart(variance, self.interaction, np.broadcast_to(seeds, variance.shape))

    def differences(
        self, first: IntArray, second: IntArray, clusters: Clusters
    ) -> tuple[FloatArray, Reference]:
        """Of pairs of different routers, positions (pairs,): (directions + 1, pairs, ...)."""
        whole = self.seed_part()
        parts = [
            SeedPart(whole.variance[:, side], whole.interaction[:, side], whole.seeds[:, side])
            for side in (first, second)
        ]
        difference = self.value[:, first] - self.value[:, second]
        samples = self.samples[:, first] - self.samples[:, second]
        return difference, reference(samples, clusters, parts)

    def drawn(self, seed: int) -> FloatArray:
        """The replicates with the seeds' part drawn too, normal: for what no formula is known of.

        A router's draw is the same in all directions and further axes, and independent of the
        other routers'.
        """
        part = self.seed_part()
        deviation = np.sqrt(np.maximum(part.variance - part.interaction, 0.0))
        size = self.samples.shape[-1]
        draws = np.stack([np.random.default_rng([seed, r]).normal(size=size)
                          for r in range(len(self.seeds))])  # fmt: skip
        draws = draws.reshape(len(draws), *(1,) * (self.value.ndim - 2), size)
        drawn: FloatArray = self.samples + deviation[..., np.newaxis] * draws
        return drawn


def with_average(estimates: Estimates) -> Estimates:
    """The same, with the mean over the directions as one more entry of the first axis."""
    return estimates.each(
        lambda values, mean: np.concatenate((values, mean[np.newaxis])), estimates.over_directions()
    )


def over_seeds(
    estimates: Estimates, priorities: Sequence[str], columns: Mapping[str, Sequence[str]]
) -> RouterFigures:
    """Means over each router's seeds; axis 1 of the estimates has one entry per priority column.

    Differences between figures of one router (two domains, with and without a guard) belong into
    the estimates: its seeds are then compared one by one.
    """
    position = {name: index for index, name in enumerate(priorities)}
    found = [
        _mean(estimates, [position[name] for name in sorted(names)]) for names in columns.values()
    ]
    value, samples, spread, interaction = (np.stack(p, axis=1) for p in zip(*found, strict=True))
    seeds = np.array([len(names) for names in columns.values()])
    return RouterFigures(value, samples, spread, interaction, seeds)


def side_by_side(figures: Sequence[RouterFigures]) -> RouterFigures:
    """Figures of the same directions as one, their routers one after the other."""
    whole = (np.concatenate(part, axis=1) for part in zip(*(f[:4] for f in figures), strict=True))
    value, samples, spread, interaction = whole
    return RouterFigures(
        value, samples, spread, interaction, np.concatenate([f.seeds for f in figures])
    )


def _mean(
    estimates: Estimates, own: list[int]
) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
    """Value, samples, spread and interaction of one router, from the columns of its seeds."""
    point, samples = estimates.point[:, own], estimates.samples[:, own]
    value, size = point.mean(axis=1), len(own)
    if size == 1:
        return value, samples[:, 0], np.full(value.shape, np.nan), np.zeros(value.shape)
    mean = samples.mean(axis=1)
    single = variances(samples).mean(axis=1)
    interaction = np.maximum((single - variances(mean)) / (size - 1), 0.0)
    return value, mean, point.std(axis=1, ddof=1), interaction
