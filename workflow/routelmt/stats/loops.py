"""The loops of `weighted`, compiled: one walk down the order of a replicate for every figure.

Its weights stay in the processor's cache meanwhile; steps over whole arrays would pass over memory
for each of them. weights: (B, n), order and bounds as in weighted.SortedColumn; the rest is by row,
but for what says otherwise.

This module loads numba: import it inside functions, or in modules that always need it.
"""

import numpy as np

from routelmt.compiled import compiled
from routelmt.stats.arrays import AnyArray, FloatArray, IntArray, PlaceArray

# Of the most likely outcome's; what is less likely adds nothing that a float could hold.
SMALLEST_CHANCE = 1e-20


@compiled
def sums_of_first(
    weights: AnyArray, order: PlaceArray, bounds: PlaceArray, values: FloatArray, k: IntArray
) -> FloatArray:
    replicates, budgets = k.shape
    found = np.zeros((budgets, replicates))
    tied = bounds.size <= order.size
    for b in range(replicates):
        own = weights[b]
        count, before, run = 0, 0.0, np.uint32(0)
        copies, mass = 1, 0.0  # of the last run, which a budget may take in part
        for p in range(budgets):
            if tied:
                while count < k[b, p]:
                    copies, mass = 0, 0.0
                    for place in range(bounds[run], bounds[run + 1]):
                        row = order[place]
                        copies += own[row]
                        mass += own[row] * values[row]
                    count, before, run = count + copies, before + mass, run + np.uint32(1)
            else:  # a run is a row, and there is time to be saved
                while count < k[b, p]:
                    copies = own[order[run]]
                    mass = copies * values[order[run]]
                    count, before, run = count + copies, before + mass, run + np.uint32(1)
            found[p, b] = before - (count - k[b, p]) / copies * mass
    return found


@compiled
def places_of(weights: AnyArray, order: PlaceArray, bounds: PlaceArray, k: IntArray) -> FloatArray:
    replicates, budgets = k.shape
    found = np.zeros((replicates, budgets))
    for b in range(replicates):
        for p in range(budgets):
            count, run = 0, 0
            while count < k[b, p]:
                copies = 0
                for place in range(bounds[run], bounds[run + 1]):
                    copies += weights[b, order[place]]
                if count + copies >= k[b, p]:
                    found[b, p] = run + (k[b, p] - count) / copies
                count += copies
                run += 1
    return found


@compiled
def cuts_of(
    weights: AnyArray, order: PlaceArray, bounds: PlaceArray, k: IntArray
) -> tuple[IntArray, IntArray]:
    runs, places = np.zeros(k.shape, np.int64), np.zeros(k.shape, np.int64)
    for b in range(len(k)):
        own = weights[b]
        count, copies, run = 0, 0, 0
        for p in range(k.shape[1]):
            while count < k[b, p]:
                copies = 0
                for place in range(bounds[run], bounds[run + 1]):
                    copies += own[order[place]]
                count, run = count + copies, run + 1
            runs[b, p], places[b, p] = run - 1, copies - (count - k[b, p])
    return runs, places


@compiled
def hits_of_first(
    weights: AnyArray,
    order: PlaceArray,
    bounds: PlaceArray,
    best_run: PlaceArray,
    cut: IntArray,
    places: IntArray,
    k: IntArray,
) -> FloatArray:
    replicates, budgets = k.shape
    found = np.zeros((budgets, replicates))
    for b in range(replicates):
        own = weights[b]
        for p in range(budgets):
            count, run, above, tied = 0, 0, 0, 0
            copies, copies_above, copies_tied = 1, 0, 0  # of the last run, taken in part
            while count < k[b, p]:
                above, tied = above + copies_above, tied + copies_tied
                copies, copies_above, copies_tied = 0, 0, 0
                for place in range(bounds[run], bounds[run + 1]):
                    row = order[place]
                    copies += own[row]
                    if best_run[row] < cut[b, p]:
                        copies_above += own[row]
                    elif best_run[row] == cut[b, p]:
                        copies_tied += own[row]
                count, run = count + copies, run + 1
            drawn = copies - (count - k[b, p]) if k[b, p] > 0 else 0
            left = places[b, p] - tied
            hits = above + drawn * copies_above / copies + min(tied, places[b, p])
            if left > 0:
                hits += _expected_within(copies, copies_tied, drawn, left)
            found[p, b] = hits
    return found


@compiled
def _expected_within(copies: int, marked: int, drawn: int, limit: int) -> float:
    """E[min(X, limit)], X the marked ones among some copies drawn without replacement.

    X is hypergeometric; its probabilities are followed from the most likely one to both sides.
    """
    fewest, most = max(0, drawn - (copies - marked)), min(drawn, marked)
    if most <= limit:
        return drawn * marked / copies
    if fewest >= limit:
        return float(limit)
    mode = (drawn + 1) * (marked + 1) // (copies + 2)
    others = copies - marked - drawn
    total, mass = float(min(mode, limit)), 1.0
    chance, x = 1.0, mode
    while x < most and chance > SMALLEST_CHANCE:
        chance *= (marked - x) * (drawn - x) / ((x + 1.0) * (others + x + 1.0))
        x += 1
        total, mass = total + chance * min(x, limit), mass + chance
    chance, x = 1.0, mode
    while x > fewest and chance > SMALLEST_CHANCE:
        chance *= x * (others + x) / ((marked - x + 1.0) * (drawn - x + 1.0))
        x -= 1
        total, mass = total + chance * min(x, limit), mass + chance
    return total / mass


@compiled
def by_label(
    weights: AnyArray,
    order: PlaceArray,
    run: PlaceArray,
    label: IntArray,
    values: FloatArray,
    place: FloatArray,
    labels: int,
) -> FloatArray:
    found = np.zeros((place.size, 2, labels))
    for b in range(place.size):
        for i in range(order.size):
            share = min(place[b] - run[i], 1.0)
            if share <= 0:
                break
            row = order[i]
            taken = share * weights[b, row]
            found[b, 0, label[row]] += taken
            found[b, 1, label[row]] += taken * values[row]
    return found


@compiled
def by_label_within(
    weights: AnyArray,
    order: PlaceArray,
    label: IntArray,
    values: FloatArray,
    cost: FloatArray,
    limit: FloatArray,
    labels: int,
) -> FloatArray:
    found = np.zeros((limit.size, 2, labels))
    for b in range(limit.size):
        spent, share = 0.0, 1.0
        for i in range(order.size):
            row = order[i]
            asked = weights[b, row] * cost[row]
            if asked > 0 and spent + asked > limit[b]:
                share = max(limit[b] - spent, 0.0) / asked
            taken = share * weights[b, row]
            found[b, 0, label[row]] += taken
            found[b, 1, label[row]] += taken * values[row]
            spent += asked
            if share < 1.0:
                break
    return found


@compiled
def gain_ranks(
    weights: AnyArray, order: PlaceArray, bounds: PlaceArray
) -> tuple[FloatArray, FloatArray, FloatArray]:
    ranks, squares, alone = np.empty(weights.shape), np.empty(len(weights)), np.zeros(len(weights))
    for b in range(len(weights)):
        requests = 0
        for row in range(order.size):
            own = weights[b, row]
            requests += own
            alone[b] += own * own * own
        count, cubes = 0, 0.0
        for run in range(bounds.size - 1):
            copies = 0
            for place in range(bounds[run], bounds[run + 1]):
                copies += weights[b, order[place]]
            # The average rank of the run, less that of all: constants fall out of a covariance.
            centred = count + copies / 2 - requests / 2
            for place in range(bounds[run], bounds[run + 1]):
                ranks[b, order[place]] = weights[b, order[place]] * centred
            count += copies
            cubes += float(copies) * copies * copies
        squares[b] = (float(requests) * requests * requests - cubes) / 12
    return ranks, squares, alone


@compiled
def spearman(
    weights: AnyArray,
    order: PlaceArray,
    bounds: PlaceArray,
    gain_ranks: FloatArray,
    gain_squares: FloatArray,
    gain_cubes: FloatArray,
) -> FloatArray:
    found = np.full(len(weights), np.nan)
    tied = bounds.size <= order.size
    for b in range(len(weights)):
        own, ranks = weights[b], gain_ranks[b]
        count, cubes, covariance = 0, gain_cubes[b], 0.0
        if tied:
            cubes = 0.0
            for run in range(bounds.size - 1):
                copies, mass = 0, 0.0
                for place in range(bounds[run], bounds[run + 1]):
                    copies += own[order[place]]
                    mass += ranks[order[place]]
                covariance += mass * (2 * count + copies)
                count += copies
                cubes += float(copies) * copies * copies
        else:  # a run is a row, and there is time to be saved
            for place in range(order.size):
                row = order[place]
                covariance += ranks[row] * (2 * count + own[row])
                count += own[row]
        squares = (float(count) * count * count - cubes) / 12
        if squares > 0 and gain_squares[b] > 0:
            found[b] = covariance / 2 / np.sqrt(squares) / np.sqrt(gain_squares[b])
    return found


@compiled
def guarded_sums(
    weights: AnyArray,
    order: PlaceArray,
    guard_order: PlaceArray,
    eligible: IntArray,
    figures: FloatArray,
    k: IntArray,
) -> FloatArray:
    found = np.zeros((len(weights), figures.shape[1]))
    passed = np.empty(order.size, dtype=np.int64)
    for b in range(len(weights)):
        own, sums = weights[b], found[b]
        passed[:] = 0
        left = eligible[b]
        for i in range(guard_order.size):
            if left == 0:
                break
            row = guard_order[i]
            passed[row] = min(left, own[row])
            left -= passed[row]
        left = k[b]
        for others in (False, True):
            for place in range(order.size):
                if left == 0:
                    break
                row = order[place]
                taken = min(left, own[row] - passed[row] if others else passed[row])
                left -= taken
                for f in range(figures.shape[1] if taken > 0 else 0):
                    sums[f] += taken * figures[row, f]
    return found
