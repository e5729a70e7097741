"""Means over seeds, and the uncertainty that seeds add to that of the requests."""

import numpy as np
import pytest

from routelmt.evaluate.averages import over_seeds, seed_weights
from routelmt.evaluate.bootstrap import Estimates


@pytest.mark.parametrize("seeds", [2, 3, 5])
def test_drawn_seeds_give_the_mean_its_standard_error(seeds: int) -> None:
    values = np.random.default_rng(seeds).normal(size=seeds)
    weights = seed_weights("learned", seeds, 40_000)
    assert weights.sum(axis=0) == pytest.approx(1)
    means = values @ weights
    # 40,000 replicates: a standard deviation is known to 0.4 %.
    assert means.std() == pytest.approx(values.std(ddof=1) / np.sqrt(seeds), rel=0.02)
    assert means.mean() == pytest.approx(values.mean(), abs=0.02)


def test_one_seed_has_nothing_to_draw_and_routers_draw_for_themselves() -> None:
    assert np.all(seed_weights("learned", 1, 10) == 1)
    assert np.array_equal(seed_weights("a", 3, 50), seed_weights("a", 3, 50))
    assert not np.array_equal(seed_weights("a", 3, 50), seed_weights("b", 3, 50))
    assert not np.array_equal(seed_weights("a", 3, 50), seed_weights("a", 3, 50, seed=1))


def test_the_interval_of_a_mean_over_seeds_covers_requests_and_seeds() -> None:
    """Effects of seeds of variance 4 and of requests of variance 1: their sum is covered."""
    generator, covered, narrow = np.random.default_rng(0), 0, 0
    experiments, seeds, replicates = 300, 5, 400
    for experiment in range(experiments):
        effects = generator.normal(0, 2, seeds)
        point = generator.normal(0, 1) + effects
        samples = point[:, None] + generator.normal(0, 1, replicates)
        columns = {"learned": tuple(f"learned/seed{s}" for s in range(seeds))}
        figures = over_seeds(
            Estimates(point[None], samples[None]), columns["learned"], columns, seed=experiment
        )
        low, high = np.quantile(figures.samples[0, 0], [0.025, 0.975])
        covered += bool(low <= 0 <= high)
        low, high = np.quantile(samples.mean(axis=0), [0.025, 0.975])
        narrow += bool(low <= 0 <= high)
    # 95 % nominal; 5 seeds cost some points, and 300 experiments have an error of 1.5 points.
    assert covered / experiments > 0.88
    assert narrow / experiments < 0.88  # requests only


def test_value_and_spread_are_over_the_seeds_in_any_order() -> None:
    point = np.array([[1.0, 3.0, 8.0], [2.0, 2.0, 2.0]])
    samples = np.repeat(point[..., None], 7, axis=2)
    names = ("a/seed0", "a/seed1", "a/seed2")
    figures = over_seeds(Estimates(point, samples), names, {"a": names})
    assert figures.value[:, 0] == pytest.approx([4, 2])
    assert figures.spread[:, 0] == pytest.approx([np.std([1, 3, 8], ddof=1), 0])
    turned = over_seeds(Estimates(point, samples), names, {"a": names[::-1]})
    assert np.array_equal(turned.samples, figures.samples)
    assert np.isnan(over_seeds(Estimates(point, samples), names, {"b": names[:1]}).spread).all()
