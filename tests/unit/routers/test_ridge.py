"""The ridge regression that crosses features with the direction, against plain linear algebra."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from routelmt.routers.training import ridge

ALPHAS = [0.01, 1.0, 100.0]


def spectrum(rng: np.random.Generator, size: int, rank: int, decades: float) -> np.ndarray:
    """A positive semi-definite matrix of some rank, its eigenvalues over some decades."""
    vectors = np.linalg.qr(rng.normal(size=(size, size)))[0][:, :rank]
    return (vectors * np.logspace(0, decades, rank)) @ vectors.T


@settings(deadline=None, max_examples=40)
@given(
    size=st.integers(1, 40),
    share=st.floats(0.1, 1),
    decades=st.floats(0, 8),
    seed=st.integers(0, 99),
)
def test_the_solutions_are_those_of_a_direct_solver(size, share, decades, seed):
    rng = np.random.default_rng(seed)
    gram = spectrum(rng, size, max(1, round(share * size)), decades)
    right = gram @ rng.normal(size=size)
    found = ridge.solve(lambda v: gram @ v, right, ALPHAS)
    assert found.residual <= ridge.TOLERANCE and found.steps <= size
    for alpha, values in zip(ALPHAS, found.values, strict=True):
        left = right - gram @ values - alpha * values
        assert np.linalg.norm(left) <= 2 * ridge.TOLERANCE * np.linalg.norm(right)


def test_a_right_hand_side_of_zeros_has_the_solution_zero():
    found = ridge.solve(lambda v: v, np.zeros(5), ALPHAS)
    assert found.values.shape == (3, 5) and not found.values.any() and found.residual == 0


def test_too_few_steps_are_told_and_give_what_a_smaller_basis_can(capsys):
    rng = np.random.default_rng(0)
    gram, right = spectrum(rng, 60, 60, 6), rng.normal(size=60)
    found = ridge.solve(lambda v: gram @ v, right, ALPHAS, most=5)
    assert found.steps == 5 and found.residual > ridge.TOLERANCE
    left = right - gram @ found.values[0] - ALPHAS[0] * found.values[0]
    assert found.residual == pytest.approx(np.linalg.norm(left) / np.linalg.norm(right), rel=1e-6)
    best, record = ridge.choose(ALPHAS, [3.0, 1.0, 2.0], found)
    assert best == 1 and record["alpha"] == 1.0 and record["residual"] == found.residual
    assert "stopped after 5 steps" in capsys.readouterr().err


def test_of_equal_errors_the_strongest_penalty_and_the_edge_is_told(capsys):
    done = ridge.Solutions(np.zeros((3, 1)), 1, 0.0)
    assert ridge.choose(ALPHAS, [1.0, 1.0, 2.0], done)[0] == 1
    assert capsys.readouterr().err == ""
    assert ridge.choose(ALPHAS, [1.0, 1.0, 1.0], done)[0] == 2
    assert "alpha 100 is at the edge of the list" in capsys.readouterr().err
    assert ridge.choose([1.0], [1.0], done)[0] == 0
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("count", [1, 2, 4, 7])
def test_mixing_stands_for_shared_and_crossed_features(count):
    """Features (x, 0, .., x, .., 0): inner products of M X, and w_0 + w_d from what is solved."""
    rng = np.random.default_rng(count)
    x, d = rng.normal(size=(50, 3)), rng.integers(0, count, 50)
    y = rng.normal(size=50)
    own = np.eye(count)[d][:, :, None] * x[:, None]  # (rows, directions, features)
    explicit = np.concatenate((x[:, None], own), axis=1).reshape(50, -1)
    mixed = np.stack([ridge.mixed(row) for row in own]).reshape(50, -1)
    np.testing.assert_allclose(mixed @ mixed.T, explicit @ explicit.T, atol=1e-12)
    w = np.linalg.solve(explicit.T @ explicit + 2 * np.eye(3 * count + 3), explicit.T @ y)
    v = np.linalg.solve(mixed.T @ mixed + 2 * np.eye(3 * count), mixed.T @ y)
    w = w.reshape(count + 1, 3)
    heads = ridge.with_shared(ridge.mixed(v.reshape(count, 3)))
    np.testing.assert_allclose(heads, np.concatenate((w[:1], w[:1] + w[1:])), atol=1e-10)


def test_an_unseen_direction_is_told_and_gets_what_all_share(capsys):
    found = ridge.places(["b-c", "x-y", "a-b", "x-z"], ["a-b", "b-c"])
    assert found.tolist() == [2, 0, 1, 0]
    assert "no training row of x-y, x-z" in capsys.readouterr().err
    scores = np.arange(12.0).reshape(4, 3)
    assert ridge.own_column(scores, found)[:, 0].tolist() == [2, 3, 7, 9]
    assert ridge.places([], ["a-b"]).tolist() == [] and capsys.readouterr().err == ""
