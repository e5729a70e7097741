"""Means over seeds, and the uncertainty that seeds add to that of the requests."""

import numpy as np
import pytest
from scipy import stats

from routelmt.stats.averages import RouterFigures, over_seeds, side_by_side
from routelmt.stats.bootstrap import Estimates
from routelmt.stats.inference import Clusters, SeedPart, reference

EXPERIMENTS = 4000
REPLICATES = 400
CLUSTERS = Clusters(np.array(10_000), np.array(10_000.0))


def equal(count: int) -> Clusters:
    """Clusters of one size, for one place."""
    return Clusters(np.array([count]), np.array([float(count)]))


def names_of(router: str, seeds: int) -> tuple[str, ...]:
    return tuple(f"{router}/seed{s}" for s in range(seeds))


def test_value_and_spread_are_over_the_seeds_in_any_order() -> None:
    point = np.array([[1.0, 3.0, 8.0], [2.0, 2.0, 2.0]])
    samples = np.repeat(point[..., None], 7, axis=2)
    names = names_of("a", 3)
    figures = over_seeds(Estimates(point, samples), names, {"a": names})
    assert figures.value[:, 0] == pytest.approx([4, 2])
    assert figures.spread[:, 0] == pytest.approx([np.std([1, 3, 8], ddof=1), 0])
    turned = over_seeds(Estimates(point, samples), names, {"a": names[::-1]})
    assert np.array_equal(turned.samples, figures.samples)
    alone = over_seeds(Estimates(point, samples), names, {"b": names[:1]})
    assert np.isnan(alone.spread).all()
    assert np.all(alone.reference(CLUSTERS).error == 0)  # nothing is known of other seeds


def test_the_interaction_is_what_requests_and_seeds_do_together() -> None:
    """Analysis of variance by hand, from replicates with known parts."""
    generator, seeds, common, apart = np.random.default_rng(1), 4, 3.0, 2.0
    shared = generator.normal(0, common, 200_000)
    samples = shared + generator.normal(0, apart, (seeds, 200_000))
    names = names_of("a", seeds)
    figures = over_seeds(Estimates(np.zeros((1, seeds)), samples[None]), names, {"a": names})
    assert figures.interaction[0, 0] == pytest.approx(apart**2 / seeds, rel=0.05)
    whole = figures.reference(CLUSTERS).error[0, 0] ** 2
    assert whole == pytest.approx(common**2, rel=0.05)  # seeds that agree on all requests


def test_parts_of_figures_keep_their_seeds() -> None:
    generator = np.random.default_rng(2)
    point, samples = generator.normal(size=(2, 5, 3)), generator.normal(size=(2, 5, 3, 20))
    names = (*names_of("a", 3), *names_of("b", 2))
    figures = over_seeds(Estimates(point, samples), names, {"a": names[:3], "b": names[3:]})
    part = figures.at((slice(1, 2), slice(None), 2))
    assert part.value == pytest.approx(figures.value[1:2, :, 2])
    own = Clusters(np.array([70, 80]), np.array([60.0, 80.0]))
    expected = figures.reference(own)
    assert part.reference(own[[1]]).error == pytest.approx(expected.error[1:2, :, 2])
    assert part.reference(own[[1]]).df == pytest.approx(expected.df[1:2, :, 2])
    split = [figures.at((slice(None), [r])) for r in (0, 1)]
    parts = [f._replace(seeds=f.seeds[[r]]) for r, f in enumerate(split)]
    joined = side_by_side(parts)
    for own, wanted in zip(joined, figures, strict=True):
        np.testing.assert_array_equal(own, wanted)


def test_a_difference_has_the_seeds_of_both_routers_and_the_replicates_they_share() -> None:
    generator = np.random.default_rng(3)
    point, samples = generator.normal(size=(1, 5)), generator.normal(size=(1, 5, 300))
    names = (*names_of("a", 3), *names_of("b", 2))
    figures = over_seeds(Estimates(point, samples), names, {"a": names[:3], "b": names[3:]})
    difference, own = figures.differences(np.array([0]), np.array([1]), equal(60))
    assert difference[0, 0] == pytest.approx(point[0, :3].mean() - point[0, 3:].mean())
    parts = []
    for side in (samples[0, :3], samples[0, 3:]):
        s = len(side)
        single, mean = side.var(axis=1, ddof=1).mean(), side.mean(axis=0).var(ddof=1)
        parts.append(max(0.0, (single - mean) / (s - 1)))
    requests = (samples[0, :3].mean(axis=0) - samples[0, 3:].mean(axis=0)).var(ddof=1) * 60 / 59
    seeds = point[0, :3].var(ddof=1) / 3 + point[0, 3:].var(ddof=1) / 2
    assert own.error[0, 0] ** 2 == pytest.approx(max(0.0, requests - sum(parts)) + seeds)


def sizes(
    seeds: int, others: int, between: float, together: float, requests: float = 1.0
) -> tuple[float, float]:
    """Rejections at 5 % of equal routers with these variances; the other of one seed is untrained.

    Parts that are known exactly, as with very many replicates: 4,000 experiments at a time.
    """
    generator = np.random.default_rng([seeds, others, int(10 * between), int(10 * together)])

    def router(count: int) -> tuple[np.ndarray, SeedPart]:
        if count == 1:
            nothing = np.zeros((EXPERIMENTS, 1))
            return nothing[:, 0], SeedPart(nothing, nothing, np.ones((EXPERIMENTS, 1), int))
        effects = generator.normal(0, np.sqrt(between + together), (EXPERIMENTS, count))
        spread = effects.var(axis=1, ddof=1)[:, None]
        own = np.full((EXPERIMENTS, 1), together / count)
        return effects.mean(axis=1), SeedPart(spread / count, own, np.full((EXPERIMENTS, 1), count))

    (first, own), (second, other) = router(seeds), router(others)
    difference = first - second + generator.normal(0, np.sqrt(requests), EXPERIMENTS)
    held = (
        requests + (together / seeds if seeds > 1 else 0) + (together / others if others > 1 else 0)
    )
    normal = stats.norm.ppf((np.arange(REPLICATES) + 0.5) / REPLICATES)
    replicates = np.sqrt(held) * normal / normal.std(ddof=1)
    samples = np.broadcast_to(replicates, (EXPERIMENTS, 1, REPLICATES))
    found = reference(samples, CLUSTERS, [own, other])
    p_values = found.p_values(difference[:, None])
    low, high = found.limits(difference[:, None], 0.95)
    assert np.array_equal(p_values < 0.05, (low > 0) | (high < 0))
    return float((p_values < 0.05).mean()), float(found.df.min())


@pytest.mark.parametrize("seeds", [2, 3, 5])
@pytest.mark.parametrize("trained", [True, False], ids=["both trained", "one trained"])
@pytest.mark.parametrize(
    ("between", "together"),
    [(0.0, 0.0), (1000.0, 0.0), (100.0, 1.0), (0.0, 100.0)],
    ids=["no seed noise", "seed noise alone", "seed noise dominant", "interaction dominant"],
)
def test_a_5_percent_test_rejects_3_to_7_percent_of_equal_routers(
    seeds: int, trained: bool, between: float, together: float
) -> None:
    # 4,000 experiments: a standard error of 0.35 points.
    size, df = sizes(seeds, seeds if trained else 1, between, together)
    assert 0.03 <= size <= 0.07
    assert df >= 1


@pytest.mark.parametrize("seeds", [2, 3, 5])
@pytest.mark.parametrize("trained", [True, False], ids=["both trained", "one trained"])
@pytest.mark.parametrize("between", [0.1, 0.5, 2.0, 10.0, 50.0])
def test_no_ratio_of_seeds_to_requests_makes_the_test_too_bold(
    seeds: int, trained: bool, between: float
) -> None:
    size, _ = sizes(seeds, seeds if trained else 1, between, 0.3)
    assert 0.01 <= size <= 0.07


@pytest.mark.parametrize("seeds", [2, 3, 5])
def test_real_replicates_of_requests_and_seeds_keep_the_size(seeds: int) -> None:
    """Rows with effects of requests, seeds and both, really redrawn; a crossed bootstrap would not."""
    generator, rejected, experiments, n = np.random.default_rng(seeds), 0, 600, 200
    for _ in range(experiments):
        requests = generator.normal(0, 1, n)
        rows = [
            requests + generator.normal(0, 0.15) + generator.normal(0, 1.5, n) for _ in range(seeds)
        ]
        rows.append(requests + generator.normal(0, 1.0, n))
        weights = generator.multinomial(n, np.full(n, 1 / n), size=200)
        values = np.array(rows)
        names = (*names_of("a", seeds), *names_of("b", 1))
        figures = over_seeds(
            Estimates(values.mean(axis=1)[None], (values @ weights.T / n)[None]),
            names, {"a": names[:-1], "b": names[-1:]},
        )  # fmt: skip
        difference, own = figures.differences(np.array([0]), np.array([1]), equal(n))
        rejected += int(own.p_values(difference)[0, 0] < 0.05)
    assert 0.02 <= rejected / experiments <= 0.08  # a standard error of 0.9 points


def test_drawn_replicates_hold_the_seeds_part_once() -> None:
    generator, seeds = np.random.default_rng(5), 3
    point = np.array([[1.0, 4.0, 7.0]])
    samples = (
        point[..., None] + generator.normal(0, 1, 40_000) + generator.normal(0, 2, (1, 3, 40_000))
    )
    names = names_of("a", seeds)
    figures: RouterFigures = over_seeds(Estimates(point, samples), names, {"a": names})
    drawn = figures.drawn(0)[0, 0]
    assert drawn.mean() == pytest.approx(4, abs=0.05)
    assert drawn.var() == pytest.approx(figures.reference(CLUSTERS).error[0, 0] ** 2, rel=0.03)
    assert np.array_equal(figures.drawn(0), figures.drawn(0))
    assert not np.array_equal(figures.drawn(1), figures.drawn(0))
