"""Documents that hold together: an allocation that pays for switches of the model within one.

For one document and λ the best models of its segments maximise the sum of predicted quality less
λ x cost less charge x switches: exactly, by dynamic programming (Viterbi). All λ at once are the
upper concave hull of its assignments in the plane of cost and value: vertices are added between two
neighbours until none is above the line (Eisner & Severance 1976). A document's steps from vertex to
vertex then join those of all others in one walk (see pool_walk).

This module loads numba: import it inside functions, or in modules that always need it.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from routelmt.compiled import compiled
from routelmt.evaluate.pool_walk import Steps
from routelmt.stats.arrays import FloatArray, IntArray, KeyArray

# Charge that no quality makes up for: the whole document is one model's.
NEVER = 1e9
# Of the sums compared; less is floating-point noise.
NOISE = 1e-9
_EXCLUDED = -1e15


class _Vertex(NamedTuple):
    path: IntArray
    value: float
    cost: float


def coherent(
    predicted: FloatArray, known: FloatArray, quality: FloatArray, cost: FloatArray,
    keys: KeyArray, documents: Sequence[IntArray], charge: float,
) -> Steps:  # fmt: skip
    """The allocation that is charged for switches, in points of predicted quality.

    documents: rows of each in reading order; every request is in one. The other arguments: see
    pool_walk.allocation, which this is for a charge of 0.
    """
    start = np.empty(len(keys), np.int64)
    parts = []
    for document, rows in enumerate(documents):
        vertices = _vertices(predicted[rows], known[rows], min(charge, NEVER))
        start[rows] = vertices[0].path
        for here, there in pairwise(vertices):
            changed = np.flatnonzero(here.path != there.path)
            slope = (there.value - here.value) / (there.cost - here.cost)
            own = rows[changed]
            parts.append((own, here.path[changed], there.path[changed],
                          np.full(own.size, -slope), np.full(own.size, document)))  # fmt: skip
    empty = tuple(np.empty(0, kind) for kind in (np.int64, np.int64, np.int64, float, np.int64))
    columns = [np.concatenate(column) for column in zip(empty, *parts, strict=True)]
    first_keys = np.array([keys[rows[0]] for rows in documents])
    order = np.lexsort((first_keys[columns[4]], columns[3]))
    row, before, after, rank, _ = (column[order] for column in columns)
    return Steps(
        row.astype(np.uint32), np.append(rank[1:] != rank[:-1], True)[: row.size], before, after,
        quality[row, after] - quality[row, before], cost[row, after] - cost[row, before], start,
    )  # fmt: skip


def switches(models: IntArray, documents: Sequence[IntArray]) -> float:
    """Share of neighbouring segments of a document that have different models; NaN for none."""
    pairs = [models[rows[1:]] != models[rows[:-1]] for rows in documents if len(rows) > 1]
    return float(np.concatenate(pairs).mean()) if pairs else float("nan")


def _vertices(value: FloatArray, cost: FloatArray, charge: float) -> list[_Vertex]:
    """The hull of a document's assignments, the cheapest first, each dearer than the one before."""

    def best(score: FloatArray) -> _Vertex:
        path = _best_path(np.ascontiguousarray(score), charge)
        at = np.arange(len(path)), path
        paid = charge * np.count_nonzero(path[1:] != path[:-1])
        return _Vertex(path, float(value[at].sum()) - paid, float(cost[at].sum()))

    cheapest, dearest = (
        best(np.where(cost == end, value, _EXCLUDED))
        for end in (cost.min(axis=1, keepdims=True), cost.max(axis=1, keepdims=True))
    )
    found, open_ends = [cheapest], [dearest]
    while open_ends:
        here, there = found[-1], open_ends[-1]
        rise = there.cost - here.cost
        if rise <= NOISE * abs(there.cost):
            open_ends.pop()
            continue
        slope = (there.value - here.value) / rise
        between = best(value - slope * cost)
        above = between.value - here.value - slope * (between.cost - here.cost)
        if above > NOISE * (1 + abs(between.value)) and here.cost < between.cost < there.cost:
            open_ends.append(between)
        else:
            found.append(open_ends.pop())
    return found


@compiled
def _best_path(score: FloatArray, charge: float) -> IntArray:
    """Models of the segments, score (segments, models), with the largest sum less switches."""
    length, models = score.shape
    came_from = np.empty((length, models), np.int64)
    total, then = score[0].copy(), np.empty(models)
    for t in range(1, length):
        best = np.argmax(total)
        for m in range(models):
            came_from[t, m] = m if total[m] >= total[best] - charge else best
            then[m] = score[t, m] + max(total[m], total[best] - charge)
        total[:] = then
    path = np.empty(length, np.int64)
    path[-1] = np.argmax(total)
    for t in range(length - 1, 0, -1):
        path[t - 1] = came_from[t, path[t]]
    return path
