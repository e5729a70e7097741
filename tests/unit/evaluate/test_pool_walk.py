"""Allocations among several models against all assignments enumerated."""

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from routelmt.evaluate.pool_documents import coherent, switches
from routelmt.evaluate.pool_walk import allocation, assigned, cascade, walked
from routelmt.join import tie_keys
from routelmt.stats.bootstrap import DirectionData, bootstrap_pareto, replicate_weights


def keys_of(n):
    return tie_keys([f"s{i}" for i in range(n)])


def at(quality, models):
    return quality[np.arange(len(quality)), list(models)].sum()


def walk(steps, limits, models, weights=None):
    weights = np.ones((1, len(steps.start)), np.uint8) if weights is None else weights
    return walked(weights, steps, np.atleast_2d(np.asarray(limits, float)), models)


pools = st.integers(0, 10**6).map(np.random.default_rng)


@settings(max_examples=60, deadline=None)
@given(pools, st.integers(1, 5), st.integers(2, 4), st.booleans())
def test_every_vertex_is_the_best_of_all_assignments_of_its_cost(rng, n, models, coarse):
    value = rng.integers(-3, 4, (n, models)) if coarse else rng.normal(size=(n, models))
    value = value.astype(float)
    cost = rng.integers(1, 4, (n, models)).astype(float)  # equal costs and ties among them
    steps = allocation(value, cost, value, cost, keys_of(n))
    every = [(at(cost, m), at(value, m)) for m in product(range(models), repeat=n)]
    base = at(cost, steps.start), at(value, steps.start)
    assert base[0] == min(c for c, _ in every)
    ends = np.flatnonzero(steps.last)
    limits = np.sort(np.concatenate([[0.0], np.cumsum(steps.cost)[ends]]))
    gain, spent, requests = (part[..., 0] for part in walk(steps, limits, models))
    for p, limit in enumerate(limits):
        assert spent[p] == pytest.approx(limit)
        assert base[1] + gain[p] == pytest.approx(
            max(v for c, v in every if c == pytest.approx(base[0] + limit))
        )
        chosen = np.bincount(steps.start, minlength=models) + requests[p]
        assert np.allclose(chosen, np.bincount(assigned(steps, limit), minlength=models))


@settings(max_examples=60, deadline=None)
@given(pools, st.integers(1, 6), st.integers(2, 4), st.floats(0, 12))
def test_a_budget_is_never_exceeded_and_misses_less_than_a_step(rng, n, models, limit):
    value, cost = rng.normal(size=(n, models)), rng.uniform(1, 3, (n, models))
    steps = allocation(value, cost, value, cost, keys_of(n))
    _, spent, requests = walk(steps, [limit], models)
    assert spent[0, 0] <= limit * (1 + 1e-9)
    assert requests[0, :, 0].sum() == pytest.approx(0)
    if limit < steps.cost.sum():
        assert spent[0, 0] > limit - steps.cost.max() - 1e-9
    models_of = assigned(steps, limit)
    assert at(cost, models_of) - at(cost, steps.start) == pytest.approx(spent[0, 0])


@settings(max_examples=40, deadline=None)
@given(pools, st.integers(2, 8), st.integers(2, 4))
def test_weights_are_copies(rng, n, models):
    value = rng.integers(-2, 3, (n, models)).astype(float)
    cost = np.tile(np.sort(rng.uniform(1, 3, models)), (n, 1))
    weights = rng.integers(0, 4, (1, n)).astype(np.uint8)
    rows = np.repeat(np.arange(n), weights[0])
    steps = allocation(value, cost, value, cost, keys_of(n))
    copied = allocation(value[rows], cost[rows], value[rows], cost[rows], keys_of(len(rows)))
    limits = np.linspace(0, 2.0 * n, 5)
    for own, other in zip(
        walk(steps, limits, models, weights), walk(copied, limits, models), strict=True
    ):
        assert np.allclose(own, other)


@pytest.mark.parametrize("ties", [False, True])
def test_two_models_at_a_cost_of_0_and_1_are_top_k_number_for_number(ties):
    rng = np.random.default_rng(3)
    n, rates = 200, [0.0, 0.29, 0.3, 0.555, 1.0]
    small, gain = rng.normal(60, 9, n), rng.normal(1, 5, n)
    priority = rng.integers(-3, 4, n).astype(float) if ties else rng.normal(size=n)
    groups = rng.integers(0, 60, n)
    direction = DirectionData("en-zh", groups, keys_of(n), small, gain, {"r": priority})
    wanted = bootstrap_pareto([direction], rates, 100, 0)
    predicted = np.stack([np.zeros(n), priority], axis=1)
    quality, cost = np.stack([small, small + gain], axis=1), np.tile([0.0, 1.0], (n, 1))
    steps = allocation(predicted, cost, quality, cost, keys_of(n))
    found = []
    for weights in replicate_weights(groups, 100, 0):
        size = weights.sum(axis=1)
        added = walked(weights, steps, np.multiply.outer(size, rates), 2)[0]
        found.append((weights @ small + added) / size)
    assert np.allclose(np.concatenate(found, axis=1), wanted.samples[0, 0], rtol=0, atol=1e-11)


def test_negative_predictions_are_spent_on_as_pairs_do():
    value, cost = np.array([[0.0, -1.0], [0.0, -2.0]]), np.array([[0.0, 1.0]] * 2)
    gain, spent, _ = walk(allocation(value, cost, value, cost, keys_of(2)), [1, 2], 2)
    assert gain[:, 0].tolist() == [-1, -3] and spent[:, 0].tolist() == [1, 2]


def test_a_dominated_model_is_passed_over():
    value, cost = np.array([[0.0, -1.0, 2.0]]), np.array([[1.0, 2.0, 3.0]])
    steps = allocation(value, cost, value, cost, keys_of(1))
    assert steps.after.tolist() == [2]


def test_equal_costs_leave_the_better_predicted_for_free():
    value, cost = np.array([[0.0, 1.0, 1.0], [1.0, 0.0, 1.0]]), np.ones((2, 3))
    steps = allocation(value, cost, value, cost, keys_of(2))
    assert steps.start.tolist() == [1, 0] and steps.row.size == 0


def test_a_limit_below_nothing_is_undefined():
    value, cost = np.array([[0.0, 1.0]]), np.array([[1.0, 2.0]])
    gain, _, _ = walk(allocation(value, cost, value, cost, keys_of(1)), [-1, 0, 1], 2)
    assert np.isnan(gain[0, 0]) and gain[1:, 0].tolist() == [0, 1]


@settings(max_examples=40, deadline=None)
@given(pools, st.integers(1, 6), st.integers(2, 4))
def test_a_cascade_at_every_threshold(rng, n, models):
    estimates = rng.integers(0, 4, (n, models)).astype(float)
    quality, cost = rng.normal(size=(n, models)), rng.uniform(1, 3, (n, models))
    steps = cascade(estimates, quality, cost, keys_of(n))
    for threshold in (0.5, 1.5, 2.5, 3.5):
        stop = [
            next((m for m in range(models - 1) if e[m] >= threshold), models - 1) for e in estimates
        ]
        wanted = sum(cost[i, : m + 1].sum() for i, m in enumerate(stop)) - cost[:, 0].sum()
        gain, spent, _ = walk(steps, [wanted], models)
        assert spent[0, 0] == pytest.approx(wanted)
        assert gain[0, 0] == pytest.approx(at(quality, stop) - quality[:, 0].sum())


@settings(max_examples=40, deadline=None)
@given(pools, st.integers(2, 3), st.sampled_from([0.0, 0.3, 1.0, 50.0]))
def test_documents_at_every_multiplier(rng, models, charge):
    documents = [np.arange(3), np.arange(3, 7)]
    value = rng.normal(size=(7, models))
    cost = np.sort(rng.uniform(1, 3, models))[None] * rng.uniform(0.5, 2, (7, 1))
    steps = coherent(value, cost, value, cost, keys_of(7), documents, charge)
    # Every point of the walk between documents, as (cost, value less charges).
    ends = [0, *(np.flatnonzero(steps.last) + 1)]
    points = []
    for end in ends:
        chosen = assigned(steps, float(steps.cost[:end].sum()))
        flips = sum(np.count_nonzero(np.diff(chosen[rows])) for rows in documents)
        points.append((at(cost, chosen), at(value, chosen) - charge * flips))
    every = [
        (at(cost, m), at(value, m) - charge * sum(np.count_nonzero(np.diff(np.array(m)[rows]))
                                                  for rows in documents))
        for m in product(range(models), repeat=7)
    ]  # fmt: skip
    for slope in (-3.0, -0.5, 0.0, 0.2, 0.7, 2.0):
        best = max(v - slope * c for c, v in every)
        assert max(v - slope * c for c, v in points) == pytest.approx(best)


def test_never_is_one_model_a_document_and_no_charge_is_the_free_allocation():
    rng = np.random.default_rng(0)
    value, cost = rng.normal(size=(40, 3)), np.tile([1.0, 2.0, 4.0], (40, 1))
    documents = [np.arange(first, first + 8) for first in range(0, 40, 8)]
    apart = allocation(value, cost, value, cost, keys_of(40))
    free = coherent(value, cost, value, cost, keys_of(40), documents, 0.0)
    limits = np.cumsum(apart.cost)
    for own, other in zip(walk(free, limits, 3), walk(apart, limits, 3), strict=True):
        assert np.allclose(own, other)
    together = coherent(value, cost, value, cost, keys_of(40), documents, np.inf)
    ends = np.flatnonzero(together.last) + 1
    for end in ends:
        assert switches(assigned(together, float(together.cost[:end].sum())), documents) == 0
    assert switches(np.arange(3), [np.arange(1)] * 3) != switches(np.arange(3), [np.arange(3)])
