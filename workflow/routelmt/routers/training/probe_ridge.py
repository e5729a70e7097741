"""Ridge regression on frozen states, of one layer or of all side by side, by `training.ridge`.

States of all layers are some thousand numbers a row, too many rows of which for memory: every step
reads them once from disk, unless `probe_model.Layers` can keep them. Memory beside that: one vector
of directions x layers x hidden size, in float64, a step.

This module loads torch: import it inside functions.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from routelmt.routers.networks.probe_model import (
    READ_ROWS,
    FoldedProbe,
    HalfRows,
    Layers,
    Vectors,
    layer_dots,
    layer_sums,
    moments,
    runs,
)
from routelmt.routers.objective.targets import FloatArray
from routelmt.routers.training import ridge
from routelmt.routers.training.probe_fit import check_finite
from routelmt.states import IntArray


@dataclass(frozen=True)
class CrossedRows:
    """What is read of each row, its place in the heads (see ridge.places), its target (rows,)."""

    features: Vectors | Layers
    places: IntArray
    targets: npt.NDArray[Any]


class CrossedStates:
    """States, standardised and centred in each direction, as products; see `ridge`.

    shape: (directions, layers, hidden), that of what is multiplied with them. length: the mean
    squared length of a row. overall, means: of all rows (layers, hidden), of each direction's.
    """

    def __init__(self, data: Vectors | Layers, places: IntArray, standardise: bool) -> None:
        """places: direction of each row from 1 on, none left out. Two passes over the rows."""
        self._data, self.counts = data, np.bincount(places)[1:]
        self.shape = (len(self.counts), *data.shape)
        self._parts = [
            (place - 1, rows[start : start + READ_ROWS])
            for place in range(1, len(self.counts) + 1)
            for rows in [np.flatnonzero(places == place)]
            for start in range(0, len(rows), READ_ROWS)
        ]
        deviation: FloatArray
        self.overall, deviation = (m.double().numpy() for m in moments(data))
        self.scale = deviation if standardise else np.ones_like(deviation)
        self.length = float(np.square(deviation / self.scale).sum())
        self.means = self._sums(np.ones(data.rows)) / self.counts[:, None, None]

    def gram(self, heads: FloatArray) -> FloatArray:
        """X_d^T X_d heads_d of each direction, of `shape` as the heads: one pass."""
        raw = heads / self.scale
        levels = (raw * self.means).sum(axis=(1, 2))
        sums, totals = np.zeros(self.shape), np.zeros(len(levels))
        weights = torch.from_numpy(raw).float()
        for d, _, states in self._batches():
            scores = layer_dots(states, weights[d]).sum(1) - levels[d]
            sums[d] += layer_sums(states, scores).numpy()
            totals[d] += float(scores.sum())
        sums -= self.means * totals[:, None, None]
        return sums / self.scale

    def moment(self, centred: FloatArray) -> FloatArray:
        """X_d^T y_d of each direction, for targets (rows,) that are centred in each: one pass."""
        return self._sums(centred) / self.scale

    def _sums(self, factors: FloatArray) -> FloatArray:
        sums, of_row = np.zeros(self.shape), torch.from_numpy(factors).float()
        for d, rows, states in self._batches():
            sums[d] += layer_sums(states, of_row[torch.from_numpy(rows)]).numpy()
        return sums

    def _batches(self) -> Iterator[tuple[int, IntArray, torch.Tensor | HalfRows]]:
        """(direction from 0, rows, their states), every row once."""
        batches = self._data.batches([rows for _, rows in self._parts])
        for (d, _), (rows, states) in zip(self._parts, batches, strict=True):
            yield d, rows, states


def fit(
    training: CrossedRows, validation: CrossedRows, alphas: Sequence[float], standardise: bool
) -> tuple[FoldedProbe, dict[str, Any]]:
    """(the probe of the alpha with the lowest validation error, `result` of the record).

    A penalty is alpha times the mean squared length of a row. Raises UserError where states are
    not finite.
    """
    start = time.monotonic()
    crossed = CrossedStates(training.features, training.places, standardise)
    if not np.isfinite(crossed.means).all():
        check_finite(training.features, "training")
    levels = np.bincount(training.places, training.targets)[1:] / crossed.counts
    centred = training.targets - levels[training.places - 1]

    def multiply(vector: FloatArray) -> FloatArray:
        return ridge.mixed(crossed.gram(ridge.mixed(vector.reshape(crossed.shape)))).ravel()

    right = ridge.mixed(crossed.moment(centred)).ravel()
    solutions = ridge.solve(multiply, right, [alpha * crossed.length for alpha in alphas])
    probes = [
        _folded(ridge.mixed(values.reshape(crossed.shape)), levels, crossed)
        for values in solutions.values
    ]
    errors = [_error(probe, validation) for probe in probes]
    if not np.isfinite(errors).all():
        check_finite(validation.features, "validation")
    best, result = ridge.choose(alphas, errors, solutions)
    return probes[best], result | {"training_seconds": time.monotonic() - start}


def _folded(heads: FloatArray, levels: FloatArray, crossed: CrossedStates) -> FoldedProbe:
    """Of heads (directions, layers, hidden) of standardised states: what raw ones are read with."""
    raw = ridge.with_shared(heads) / crossed.scale
    means = np.concatenate((crossed.overall[None], crossed.means))
    shares = crossed.counts / crossed.counts.sum()
    bias = np.append(shares @ levels, levels) - (raw * means).sum(axis=(1, 2))
    return FoldedProbe(torch.from_numpy(raw).float(), torch.from_numpy(bias).float())


def _error(probe: FoldedProbe, data: CrossedRows) -> float:
    """Mean squared error, in the head's unit."""
    batches = data.features.batches(runs(data.features.rows))
    scores = np.concatenate([probe.scores(states) for _, states in batches])
    outputs = ridge.own_column(scores, data.places)[:, 0]
    return float(np.mean(np.square(outputs - data.targets)))
