"""Bootstrap replicates as weights must equal the same metrics on rows that are really copied."""

import dataclasses
from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import hypergeom, spearmanr

from routelmt.join import tie_keys
from routelmt.stats import bootstrap, metrics, selection, weighted
from routelmt.stats.bootstrap import DirectionData, Policy

# The same sums in another order, of values up to 100.
ROUNDING = 1e-9
REPLICATES = 40


def make_direction(name: str, groups: list[str], seed: int, levels: int = 4) -> DirectionData:
    """A direction whose gain, priorities and guard signal have many ties (few levels each)."""
    generator = np.random.default_rng(seed)
    n = len(groups)

    def column(low: int, high: int) -> np.ndarray:
        return generator.integers(low, high, size=n).astype(float)

    gain = 3.0 * column(-levels // 2, levels)
    return DirectionData(
        name=name,
        group_ids=np.array(groups),
        tie_keys=tie_keys(f"{name}:{row}" for row in range(n)),
        quality_small=column(40, 90),
        gain=gain,
        priorities={
            "noisy": gain + generator.normal(0, 4, size=n),
            "tied": column(0, levels),
            "oracle": gain,
        },
        guard_signals={"quality": column(0, levels), "fine": generator.normal(size=n)},
    )


@pytest.fixture(scope="module")
def directions() -> list[DirectionData]:
    """Texts in two directions, one text in one direction only, three sentences of one document."""
    shared = [f"text-{row}" for row in range(30)]
    return [
        make_direction("eng-zho", shared, seed=1),
        make_direction("zho-eng", [*shared[10:], "alone", "doc", "doc", "doc"], seed=2),
    ]


def weights_by_direction(directions: list[DirectionData], seed: int) -> list[np.ndarray]:
    group_ids = np.concatenate([d.group_ids for d in directions])
    blocks = bootstrap.replicate_weights(group_ids, REPLICATES, seed)
    ends = np.cumsum([len(d.gain) for d in directions])
    return np.split(np.concatenate(list(blocks)), ends[:-1], axis=1)


def copied_rows(weights: np.ndarray) -> np.ndarray:
    """Row numbers as a replicate really holds them, in a shuffled order."""
    return np.random.default_rng(9).permutation(np.repeat(np.arange(len(weights)), weights))


def share_of(values: np.ndarray, k: int) -> np.ndarray:
    """How likely each row is among the k highest if ties are broken at random, one at a time."""
    share, left = np.zeros(len(values)), float(k)
    for value in sorted(set(values.tolist()), reverse=True):
        tied = [row for row in range(len(values)) if values[row] == value]
        for row in tied:
            share[row] = min(1.0, max(0.0, left / len(tied)))
        left -= len(tied)
    return share


@given(
    priority=st.lists(st.integers(0, 2), min_size=1, max_size=6),
    gain=st.lists(st.integers(-2, 2), min_size=6, max_size=6),
    data=st.data(),
)
@settings(deadline=None, max_examples=40)
def test_figures_are_means_over_all_ways_to_break_the_ties(
    priority: list[int], gain: list[int], data: st.DataObject
) -> None:
    n = len(priority)
    k, gain = data.draw(st.integers(1, n)), gain[:n]
    deltas, severe = [], []
    for order in permutations(range(n)):
        routed = sorted(order, key=lambda row: -priority[row])[:k]
        deltas.append(np.mean([gain[row] for row in routed]))
        severe.append(np.mean([gain[row] <= -1.5 for row in routed]))
    direction = DirectionData(
        "any", np.arange(n), np.arange(n, dtype=np.uint64), np.zeros(n), np.array(gain, float),
        {"tied": np.array(priority, float)},
    )  # fmt: skip
    table = bootstrap.bootstrap_table([direction], [k / n], 1, seed=0)
    assert table.mean_delta.point[0, 0, 0] == pytest.approx(np.mean(deltas), abs=ROUNDING)
    hits = hits_over_tie_breaks(priority, gain, k)
    assert table.hit_rate.point[0, 0, 0] == pytest.approx(hits / k, abs=ROUNDING)
    chance = hits_over_tie_breaks([0] * n, gain, k)
    assert table.random_hit_rate.point[0, 0] == pytest.approx(chance / k, abs=ROUNDING)
    found = bootstrap.bootstrap_policies(
        [direction], [Policy("tied")], k / n, 1, seed=0, edges=(-1.5, -0.5, 0.5)
    )
    assert found.risk.point[0, 0, 0] == pytest.approx(np.mean(severe), abs=ROUNDING)
    curve = bootstrap.bootstrap_pareto([direction], [k / n], 1, seed=0)
    assert curve.point[0, 0, 0] == pytest.approx(np.mean(deltas) * k / n, abs=ROUNDING)


def hits_over_tie_breaks(priority: list[int], gain: list[int], k: int) -> float:
    """Over the router's tie-breaks, the mean of the largest overlap with any best set."""

    def sets_of(values: list[int]) -> list[frozenset[int]]:
        orders = permutations(range(len(values)))
        return [frozenset(sorted(rows, key=lambda row: -values[row])[:k]) for rows in orders]

    best = set(sets_of(gain))
    return float(np.mean([max(len(routed & one) for one in best) for routed in sets_of(priority)]))


def test_weights_are_a_draw_of_whole_groups_with_replacement() -> None:
    groups = np.array(["b", "a", "b", "c", "a", "b"])
    weights = np.concatenate(list(bootstrap.replicate_weights(groups, 500, seed=4)))
    assert weights.shape == (500, 6)
    assert np.issubdtype(weights.dtype, np.integer)
    assert np.array_equal(weights[:, 0], weights[:, 2])
    assert np.array_equal(weights[:, 1], weights[:, 4])
    assert np.all(weights[:, [0, 1, 3]].sum(axis=1) == 3)
    # A group's weight is binomial(3, 1/3): mean 1, variance 2/3, standard error 0.037.
    assert weights[:, 3].mean() == pytest.approx(1, abs=0.15)
    assert weights[:, 3].var() == pytest.approx(2 / 3, abs=0.15)


@given(block=st.integers(1, 30), seed=st.integers(0, 5))
@settings(deadline=None)
def test_weights_do_not_depend_on_the_block_size_or_the_row_order(block: int, seed: int) -> None:
    groups = np.array([f"g{row // 2}" for row in range(11)])
    shuffle = np.random.default_rng(0).permutation(11)
    whole = np.concatenate(list(bootstrap.replicate_weights(groups, 25, seed)))
    blocks = list(bootstrap.replicate_weights(groups[shuffle], 25, seed, block=block))
    assert max(map(len, blocks)) <= block
    assert np.array_equal(np.concatenate(blocks), whole[:, shuffle])


def hits_of(priority: np.ndarray, gain: np.ndarray, k: int) -> float:
    """Expected hits among the k highest priorities, their ties broken at random (SciPy)."""
    best, last = np.sort(gain)[-k], np.sort(priority)[-k]
    sure, drawn_from = priority > last, priority == last
    drawn = k - sure.sum()
    places = k - (gain > best).sum()
    tied = (gain[drawn_from] == best).sum()
    x = np.arange(tied + 1)
    chance = hypergeom.pmf(x, drawn_from.sum(), tied, drawn)
    found = np.minimum((gain[sure] == best).sum() + x, places) @ chance
    return float((gain[sure] > best).sum() + drawn * (gain[drawn_from] > best).mean() + found)


def test_another_seed_gives_other_weights() -> None:
    groups = np.arange(20)
    first, second = (next(bootstrap.replicate_weights(groups, 5, seed)) for seed in (0, 1))
    assert not np.array_equal(first, second)


@pytest.mark.parametrize(("groups", "replicates"), [([], 5), (["a"], 0)])
def test_nothing_to_resample_is_refused(groups: list[str], replicates: int) -> None:
    with pytest.raises(ValueError, match=r"resample|positive"):
        next(bootstrap.replicate_weights(groups, replicates, seed=0))


@pytest.mark.parametrize("seed", [0, 1])
def test_the_table_of_every_replicate_is_that_of_the_copied_rows(
    directions: list[DirectionData], seed: int
) -> None:
    budgets = (0.1, 0.3, 0.55, 1.0)
    table = bootstrap.bootstrap_table(directions, budgets, REPLICATES, seed)
    for d, all_weights in enumerate(weights_by_direction(directions, seed)):
        for b, weights in enumerate(all_weights):
            direction, rows = directions[d], copied_rows(weights)
            gain = direction.gain[rows]
            assert table.random_mean_delta.samples[d, b] == pytest.approx(gain.mean())
            for p, budget in enumerate(budgets):
                k = selection.budget_count(budget, len(rows))
                chance = hits_of(np.zeros(len(rows)), gain, k) / k
                assert table.random_hit_rate.samples[d, p, b] == pytest.approx(chance, abs=ROUNDING)
            for r, router in enumerate(table.routers):
                rho = spearmanr(direction.priorities[router][rows], gain).statistic
                assert table.spearman.samples[d, r, b] == pytest.approx(rho, abs=ROUNDING)
                for p, budget in enumerate(budgets):
                    k = selection.budget_count(budget, len(rows))
                    share = share_of(direction.priorities[router][rows], k)
                    hits = hits_of(direction.priorities[router][rows], gain, k) / k
                    delta = share @ gain / k
                    assert table.hit_rate.samples[d, r, p, b] == pytest.approx(hits, abs=ROUNDING)
                    assert table.mean_delta.samples[d, r, p, b] == pytest.approx(
                        delta, abs=ROUNDING
                    )


def test_the_table_of_the_requests_as_they_are_is_that_of_the_metrics(
    directions: list[DirectionData],
) -> None:
    table = bootstrap.bootstrap_table(directions, [0.3], REPLICATES, seed=0)
    assert table.directions == ("eng-zho", "zho-eng")
    assert table.routers == ("noisy", "tied", "oracle")
    for d, direction in enumerate(directions):
        gain, k = direction.gain, selection.budget_count(0.3, len(direction.gain))
        for r, router in enumerate(table.routers):
            share = share_of(direction.priorities[router], k)
            found = (table.hit_rate.point[d, r, 0], table.mean_delta.point[d, r, 0])
            expected = (hits_of(direction.priorities[router], gain, k) / k, share @ gain / k)
            if router == "noisy":  # without ties
                order = selection.ranking(direction.priorities[router], direction.tie_keys)
                by_order = (metrics.hit_rate(order, gain, k), metrics.mean_delta(order, gain, k))
                assert by_order == pytest.approx(expected, abs=1e-12)
            assert found == pytest.approx(expected, abs=ROUNDING)
            rho = metrics.spearman(direction.priorities[router], gain)
            assert table.spearman.point[d, r] == pytest.approx(rho, abs=ROUNDING)
        assert table.random_mean_delta.point[d] == pytest.approx(gain.mean())
        assert table.oracle_mean_delta.point[d, 0] == pytest.approx(np.sort(gain)[-k:].mean())


def test_the_gain_oracle_hits_everything_in_every_replicate(
    directions: list[DirectionData],
) -> None:
    table = bootstrap.bootstrap_table(directions, (0.1, 0.3, 0.55, 1.0), REPLICATES, seed=2)
    oracle = table.routers.index("oracle")
    assert np.all(table.hit_rate.samples[:, oracle] == 1)
    assert np.all(table.hit_rate.point[:, oracle] == 1)
    assert np.all(table.hit_rate.samples <= 1 + ROUNDING)


def test_over_directions_is_the_mean_of_the_same_replicate(
    directions: list[DirectionData],
) -> None:
    delta = bootstrap.bootstrap_table(directions, [0.3], REPLICATES, seed=0).mean_delta
    averaged = delta.over_directions()
    assert averaged.point == pytest.approx((delta.point[0] + delta.point[1]) / 2)
    assert averaged.samples == pytest.approx((delta.samples[0] + delta.samples[1]) / 2)


def test_a_text_moves_together_in_all_its_directions() -> None:
    groups = [f"text-{row}" for row in range(25)]
    one = make_direction("eng-zho", groups, seed=5)
    twin = dataclasses.replace(one, name="zho-eng", gain=-one.gain)
    mean = bootstrap.bootstrap_table([one, twin], [0.5], REPLICATES, seed=0).random_mean_delta
    assert np.ptp(mean.samples[0]) > 1
    assert mean.over_directions().samples == pytest.approx(0, abs=ROUNDING)


def test_replicates_do_not_depend_on_the_row_order(directions: list[DirectionData]) -> None:
    before = bootstrap.bootstrap_table(directions, [0.3], REPLICATES, seed=0)
    shuffle = np.random.default_rng(1).permutation(len(directions[0].gain))
    first = directions[0]
    shuffled = DirectionData(
        first.name,
        first.group_ids[shuffle],
        first.tie_keys[shuffle],
        first.quality_small[shuffle],
        first.gain[shuffle],
        {name: values[shuffle] for name, values in first.priorities.items()},
    )
    after = bootstrap.bootstrap_table([shuffled, directions[1]], [0.3], REPLICATES, seed=0)
    for figure in ("hit_rate", "mean_delta", "spearman"):
        assert getattr(after, figure).samples == pytest.approx(
            getattr(before, figure).samples, abs=ROUNDING
        )


def test_the_pareto_band_of_every_replicate_is_the_exact_curve_of_the_copied_rows(
    directions: list[DirectionData],
) -> None:
    call_rates = np.linspace(0, 1, 7)
    band = bootstrap.bootstrap_pareto(directions, call_rates, REPLICATES, seed=0)
    assert band.point.shape == (2, 3, 7)
    for d, all_weights in enumerate(weights_by_direction(directions, 0)):
        for b, weights in enumerate(all_weights):
            direction, rows = directions[d], copied_rows(weights)
            at = [selection.budget_count(rate, len(rows)) for rate in call_rates]
            for r, router in enumerate(direction.priorities):
                priority, gain = direction.priorities[router][rows], direction.gain[rows]
                won = np.array([share_of(priority, k) @ gain for k in at]) / len(rows)
                quality = direction.quality_small[rows].mean() + won
                assert band.samples[d, r, :, b] == pytest.approx(quality, abs=ROUNDING)


POLICIES = [
    Policy("noisy"),
    Policy("tied"),
    Policy("tied", "fine", 1.0),
    Policy("noisy", "quality", 0.3),
    Policy("tied", "quality", 0.1),
    Policy("tied", "fine", 0.6),
]


@pytest.mark.parametrize("budget", [0.1, 0.3, 0.9])
def test_the_policies_of_every_replicate_route_what_the_copied_rows_would(
    directions: list[DirectionData], budget: float
) -> None:
    found = bootstrap.bootstrap_policies(directions, POLICIES, budget, REPLICATES, seed=0)
    for d, all_weights in enumerate(weights_by_direction(directions, 0)):
        for b, weights in enumerate(all_weights):
            direction, rows = directions[d], copied_rows(weights)
            gain, keys = direction.gain[rows], direction.tie_keys[rows]
            k = selection.budget_count(budget, len(rows))
            for p, policy in enumerate(POLICIES):
                priority = direction.priorities[policy.router][rows]
                signal = direction.guard_signals[policy.guard or "quality"][rows]
                if policy.quantile < 1:  # a guard decides in two steps and breaks ties by key
                    order = selection.guarded_ranking(priority, signal, keys, policy.quantile)
                    share = np.isin(np.arange(len(order)), order[:k]).astype(float)
                else:
                    share = share_of(priority, k)
                assert found.mean_delta.samples[d, p, b] == pytest.approx(
                    share @ gain / k, abs=ROUNDING
                )
                bucket = metrics.risk_bucket_of(gain)
                assert found.risk.samples[d, p, :, b] == pytest.approx(
                    np.bincount(bucket, share, minlength=4) / k, abs=ROUNDING
                )


def test_unguarded_policies_agree_with_the_table_and_other_edges_move_the_buckets(
    directions: list[DirectionData],
) -> None:
    table = bootstrap.bootstrap_table(directions, [0.3], REPLICATES, seed=0)
    found = bootstrap.bootstrap_policies(directions, [Policy("noisy")], 0.3, REPLICATES, seed=0)
    assert found.mean_delta.samples[:, 0] == pytest.approx(table.mean_delta.samples[:, 0, 0])
    everything_severe = bootstrap.bootstrap_policies(
        directions, [Policy("noisy")], 0.3, REPLICATES, seed=0, edges=(50, 60, 70)
    )
    assert np.all(everything_severe.risk.samples[:, 0] == [[1], [0], [0], [0]])


@given(data=st.data())
@settings(deadline=None)
def test_weights_of_any_kind_give_the_metrics_of_copied_rows(data: st.DataObject) -> None:
    n = data.draw(st.integers(1, 8))

    def integers(low: int, high: int) -> np.ndarray:
        return np.array(data.draw(st.lists(st.integers(low, high), min_size=n, max_size=n)))

    gain, priority = integers(-2, 2).astype(float), integers(0, 2).astype(float)
    weights = integers(0, 3)
    rows = np.repeat(np.arange(n), weights)
    keys = tie_keys(map(str, range(n)))
    by_gain = weighted.sorted_column(gain, selection.ranking(gain, keys))
    by_priority = weighted.sorted_column(priority, selection.ranking(priority, keys))
    block = weights[np.newaxis]
    rho = weighted.spearman(block, by_priority, weighted.gain_ranks(block, by_gain))[0]
    if len(rows) == 0 or np.ptp(gain[rows]) == 0 or np.ptp(priority[rows]) == 0:
        assert np.isnan(rho)
    else:
        assert rho == pytest.approx(spearmanr(priority[rows], gain[rows]).statistic, abs=ROUNDING)
    label = np.arange(n) % 2
    for k in range(len(rows) + 1):
        count = np.array([[k]])
        share = share_of(priority[rows], k)
        cuts = weighted.cuts_of(block, by_gain, count)
        hits = weighted.hits_of_first(block, by_priority, by_gain.run_of_row(), cuts, count)
        expected = hits_of(priority[rows], gain[rows], k) if k else 0
        assert hits[0, 0] == pytest.approx(expected, abs=ROUNDING)
        won = weighted.sums_of_first(block, by_priority, gain, count)
        assert won[0, 0] == pytest.approx(share @ gain[rows], abs=ROUNDING)
        parts = weighted.first_by_label(block, by_priority, label, gain, count[0], 2)[0]
        for side in (0, 1):
            inside = share * (label[rows] == side)
            assert parts[:, side] == pytest.approx([inside.sum(), inside @ gain[rows]], abs=1e-9)


def test_budgets_may_come_in_any_order(directions: list[DirectionData]) -> None:
    table = bootstrap.bootstrap_table(directions, (0.5, 0.1, 0.3), REPLICATES, 0)
    ascending = bootstrap.bootstrap_table(directions, (0.1, 0.3, 0.5), REPLICATES, 0)
    for figure in ("hit_rate", "mean_delta"):
        samples = getattr(table, figure).samples[:, :, [1, 2, 0]]
        np.testing.assert_array_equal(samples, getattr(ascending, figure).samples)


@pytest.mark.filterwarnings("error")
def test_a_replicate_without_a_direction_leaves_its_figures_undefined() -> None:
    pair = [make_direction("eng-rus", ["a", "a"], 1), make_direction("rus-eng", ["b", "b"], 2)]
    table = bootstrap.bootstrap_table(pair, [0.5], REPLICATES, seed=0)
    curve = bootstrap.bootstrap_pareto(pair, [0.0, 0.5], REPLICATES, seed=0)
    absent = weights_by_direction(pair, 0)[0].sum(axis=1) == 0
    assert absent.any()
    assert not absent.all()
    for samples in (table.hit_rate.samples[0], table.mean_delta.samples[0], curve.samples[0]):
        assert np.array_equal(np.isnan(samples), np.broadcast_to(absent, samples.shape))
    averaged = table.mean_delta.over_directions()
    assert np.all(np.isnan(averaged.samples[..., absent]))
    assert np.all(np.isfinite(averaged.point))


def coverage(cluster: list[str], experiments: int) -> float:
    """How often the 95 % interval of the mean gain holds the truth, 0, for clustered gains."""
    generator = np.random.default_rng(12)
    covered = 0
    for experiment in range(experiments):
        effect = dict.fromkeys(f"doc-{row // 4}" for row in range(160))
        gain = np.repeat(generator.normal(0, 3, size=len(effect)), 4)
        gain = gain + generator.normal(0, 1, size=160)
        direction = DirectionData(
            "eng-zho",
            np.array(cluster),
            np.arange(160, dtype=np.uint64),
            np.full(160, 50.0),
            gain,
            {"any": gain},
        )
        table = bootstrap.bootstrap_table([direction], [1.0], 200, seed=experiment)
        low, high = np.quantile(table.mean_delta.samples[0, 0, 0], [0.025, 0.975])
        covered += bool(low <= 0 <= high)
    return covered / experiments


def test_the_interval_covers_the_truth_when_clusters_are_known_and_not_otherwise() -> None:
    documents = [f"doc-{row // 4}" for row in range(160)]
    # 95 % nominal; 150 experiments have a standard error of 1.8 points, 40 clusters cost 1 or 2.
    assert 0.88 <= coverage(documents, 150) <= 0.99
    # Sentences taken as independent: the interval is half as wide as it should be (about 68 %).
    assert coverage([f"row-{row}" for row in range(160)], 150) < 0.8


def test_a_direction_names_the_column_that_cannot_be_evaluated() -> None:
    good = make_direction("eng-zho", ["a", "b", "c"], 1)
    nan = np.array([np.nan, 1.0, np.nan])
    with pytest.raises(ValueError, match="direction eng-zho: gain: 2 of 3 values are NaN"):
        dataclasses.replace(good, gain=nan)
    with pytest.raises(ValueError, match="direction eng-zho: router length: 2 of 3 values are NaN"):
        dataclasses.replace(good, priorities={"length": nan})
    with pytest.raises(ValueError, match="direction eng-zho: guard qe: 2 of 3 values are NaN"):
        dataclasses.replace(good, guard_signals={"qe": nan})
    with pytest.raises(ValueError, match="eng-zho router length 2"):
        dataclasses.replace(good, priorities={"length": nan[1:2].repeat(2)})
    with pytest.raises(ValueError, match="1 tie keys are repeated"):
        dataclasses.replace(good, tie_keys=np.array([1, 1, 2], dtype=np.uint64))
    with pytest.raises(ValueError, match="expected a non-empty column"):
        make_direction("empty", [], 1)


def test_requests_that_make_no_table_are_refused(directions: list[DirectionData]) -> None:
    other = dataclasses.replace(directions[1], priorities={"else": directions[1].gain})
    with pytest.raises(ValueError, match=r"direction zho-eng: routers .* differ"):
        bootstrap.bootstrap_table([directions[0], other], [0.3])
    with pytest.raises(ValueError, match="directions: none given"):
        bootstrap.bootstrap_table([], [0.3])
    with pytest.raises(ValueError, match="budgets: none given"):
        bootstrap.bootstrap_table(directions, [])
    with pytest.raises(ValueError, match=r"budget 0\.01 chooses none of its 30 requests"):
        bootstrap.bootstrap_table(directions, [0.3, 0.01])


def test_policies_name_what_a_direction_does_not_have(directions: list[DirectionData]) -> None:
    for policy, missing in ((Policy("lost"), "router lost"), (Policy("tied", "qe"), "guard qe")):
        with pytest.raises(ValueError, match=missing):
            bootstrap.bootstrap_policies(directions, [policy], 0.3)
    with pytest.raises(ValueError, match="without a guard"):
        Policy("tied", quantile=0.5)
    with pytest.raises(ValueError, match="is not in"):
        Policy("tied", "quality", 0.0)
