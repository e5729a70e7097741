"""Among several models under a mean cost: every policy is one walk ("More than two models").

argmax_m E[q_m | x] - λ c_m(x) is, for one request and all λ, the upper concave hull of its models
in the plane of cost and predicted quality: from the cheapest to the dearest, each step with a
smaller slope than the one before. All steps of all requests, the steepest first, are the policy at
every budget: λ is the slope where the money is spent. A cascade is a walk too, its steps in the
order of the estimates that stop it. A replicate weighs the steps and walks the same way, so that λ
is found in it anew.

A budget takes whole steps as far as it goes; steps of the same slope count with the same fraction,
the expectation over ways to break the tie. With two models and a cost of 0 and 1 this is top-K
routing with K = floor(p n). Budgets are spent even where the predicted gain is negative, as those
of pairs are.

This module loads numba: import it inside functions, or in modules that always need it.
"""

from typing import NamedTuple

import numpy as np

from routelmt.compiled import compiled
from routelmt.stats.arrays import AnyArray, BoolArray, FloatArray, IntArray, KeyArray, PlaceArray

# Of a budget: sums of floating-point costs may miss it by so much.
SLACK = 1e-9


class Steps(NamedTuple):
    """Steps in the order in which a policy takes them, each (steps,), and where requests start.

    row: request (for documents, the first of its requests); last: whether the next step has another
    slope; before, after: models; gain, cost: what the step really adds to quality and cost. start:
    model of each request before the first step, (n,).
    """

    row: PlaceArray
    last: BoolArray
    before: IntArray
    after: IntArray
    gain: FloatArray
    cost: FloatArray
    start: IntArray


def allocation(
    predicted: FloatArray, known: FloatArray, quality: FloatArray, cost: FloatArray, keys: KeyArray
) -> Steps:
    """The Lagrangian allocation, arrays (n, models) and (n,).

    predicted: quality, up to a constant of each request; known: the cost that a decision may know;
    quality, cost: what really comes of it. Of models that cost a request the same the better
    predicted counts, then the first.
    """
    start, row, before, after, slope = _hulls(predicted, known)
    return _in_order(start, row, before, after, -slope, quality, cost, keys)


def cascade(estimates: FloatArray, quality: FloatArray, cost: FloatArray, keys: KeyArray) -> Steps:
    """Model 0 translates; while the estimated quality is below a threshold the next one does.

    estimates: of each model's translation, (n, models); the last model's is not asked for. cost: of
    a model alone; those that were asked before add up.
    """
    start, row, before, after, height = _climbs(estimates)
    return _in_order(start, row, before, after, height, quality, np.cumsum(cost, axis=1), keys)


def _in_order(
    start: IntArray, row: IntArray, before: IntArray, after: IntArray, rank: FloatArray,
    quality: FloatArray, cost: FloatArray, keys: KeyArray,
) -> Steps:  # fmt: skip
    """Steps by rank, the smallest first; a request's own come in ascending rank."""
    order = np.lexsort((keys[row], rank))
    row, before, after, rank = row[order], before[order], after[order], rank[order]
    last = np.append(rank[1:] != rank[:-1], True)[: len(rank)]
    return Steps(
        row.astype(np.uint32), last, before, after,
        quality[row, after] - quality[row, before], cost[row, after] - cost[row, before], start,
    )  # fmt: skip


def walked(
    weights: AnyArray, steps: Steps, limit: FloatArray, models: int
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """What the steps add within limits of cost: gain and cost (P, B), requests (P, models, B).

    weights: copies of each request, (B, n); limit: sums of cost that the steps may add, ascending,
    (B, P). NaN for a limit below 0: not even the cheapest models can be paid.
    """
    found = _walk(weights, *steps[:-1], limit, models)
    return found[:, 0], found[:, 1], found[:, 2:]


@compiled
def _walk(
    weights: AnyArray, row: PlaceArray, last: BoolArray, before: IntArray, after: IntArray,
    gain: FloatArray, cost: FloatArray, limit: FloatArray, models: int,
) -> FloatArray:  # fmt: skip
    replicates, budgets = limit.shape
    found = np.empty((budgets, 2 + models, replicates))
    state = np.empty(2 + models)  # gain, cost and requests of each model so far
    for b in range(replicates):
        own = weights[b]
        state[:] = 0.0
        p = 0
        while p < budgets and limit[b, p] < -SLACK * abs(limit[b, budgets - 1]):
            found[p, :, b] = np.nan
            p += 1
        first = 0
        while p < budgets and first < row.size:
            run, copies, won, spent = first, 0.0, 0.0, 0.0
            while True:
                taken = own[row[run]]
                copies, won, spent = (
                    copies + taken, won + taken * gain[run], spent + taken * cost[run]
                )  # fmt: skip
                run += 1
                if last[run - 1]:
                    break
            # Budgets that end within this run take a part of it.
            while p < budgets and state[1] + spent > limit[b, p] + SLACK * abs(limit[b, p]):
                left = max(limit[b, p] - state[1], 0.0)
                share = min(np.floor(left / (spent / copies) + SLACK), copies) / copies
                found[p, :, b] = state
                found[p, 0, b] += share * won
                found[p, 1, b] += share * spent
                for i in range(first, run):
                    found[p, 2 + before[i], b] -= share * own[row[i]]
                    found[p, 2 + after[i], b] += share * own[row[i]]
                p += 1
            state[0] += won
            state[1] += spent
            for i in range(first, run):
                state[2 + before[i]] -= own[row[i]]
                state[2 + after[i]] += own[row[i]]
            first = run
        while p < budgets:
            found[p, :, b] = state
            p += 1
    return found


def assigned(steps: Steps, limit: float) -> IntArray:
    """The model of each request: whole steps within a limit of cost, ties by the requests' keys."""
    chosen = steps.start.copy()
    spent = np.cumsum(steps.cost)
    over = np.flatnonzero(spent > limit + SLACK * abs(limit))
    taken = slice(0, int(over[0]) if over.size else len(spent))
    # Later steps of a request overwrite its earlier ones.
    chosen[steps.row[taken]] = steps.after[taken]
    return chosen


@compiled
def _hulls(
    value: FloatArray, cost: FloatArray
) -> tuple[IntArray, IntArray, IntArray, IntArray, FloatArray]:
    """Of each request its first model, and the steps along its upper concave hull."""
    n, models = value.shape
    start = np.empty(n, np.int64)
    row, before, after = np.empty((3, n * (models - 1)), np.int64)
    slope = np.empty(n * (models - 1))
    hull = np.empty(models, np.int64)
    at = 0
    for i in range(n):
        size = 0
        for m in np.argsort(cost[i], kind="mergesort"):
            if size and cost[i, m] == cost[i, hull[size - 1]]:
                if value[i, m] <= value[i, hull[size - 1]]:
                    continue
                size -= 1
            while size > 1:
                a, c = hull[size - 2], hull[size - 1]
                bend = (value[i, c] - value[i, a]) * (cost[i, m] - cost[i, a])
                if bend > (value[i, m] - value[i, a]) * (cost[i, c] - cost[i, a]):
                    break
                size -= 1
            hull[size] = m
            size += 1
        start[i] = hull[0]
        for k in range(1, size):
            a, c = hull[k - 1], hull[k]
            row[at], before[at], after[at] = i, a, c
            slope[at] = (value[i, c] - value[i, a]) / (cost[i, c] - cost[i, a])
            at += 1
    return start, row[:at], before[:at], after[:at], slope[:at]


@compiled
def _climbs(
    estimates: FloatArray,
) -> tuple[IntArray, IntArray, IntArray, IntArray, FloatArray]:
    """The steps of a cascade: from a translation to the next one that is estimated higher."""
    n, models = estimates.shape
    row, before, after = np.empty((3, n * (models - 1)), np.int64)
    height = np.empty(n * (models - 1))
    at = 0
    for i in range(n):
        here = 0
        while here < models - 1:
            there = here + 1
            while there < models - 1 and estimates[i, there] <= estimates[i, here]:
                there += 1
            row[at], before[at], after[at], height[at] = i, here, there, estimates[i, here]
            here, at = there, at + 1
    return np.zeros(n, np.int64), row[:at], before[:at], after[:at], height[:at]
