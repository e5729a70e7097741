"""What routers learn to predict, against plain loops over pairs."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from router_toys import gains, sampled, segments

from routelmt.errors import UserError
from routelmt.routers.inputs import RouterInputs
from routelmt.routers.objective.targets import best_margin, labels, mean_difference, win_rates

RNG = np.random.default_rng(4)


def rows(gain, small=None):
    table = segments([("en-zh", f"text {i}") for i in range(len(gain))])
    return RouterInputs.aligned(table, gains=gains(table, np.asarray(gain, float), small))


@pytest.mark.parametrize(("k_small", "k_large"), [(1, 1), (5, 5), (2, 7)])
@pytest.mark.parametrize("margin", [-3.0, 0.0, 2.0])
def test_win_rates_count_all_pairs(k_small, k_large, margin):
    small = RNG.integers(0, 8, (40, k_small)).astype(float)  # whole numbers: many ties
    large = RNG.integers(0, 8, (40, k_large)).astype(float)
    expected = [np.mean([s >= q - margin for s in small[i] for q in large[i]]) for i in range(40)]
    assert win_rates(small, large, margin) == pytest.approx(expected, abs=1e-15)


@pytest.mark.parametrize("n", [1, 2, 9, 50])
def test_the_mean_difference_is_that_of_all_pairs(n):
    values = RNG.integers(0, 5, n) / 4
    pairs = np.abs(values[:, None] - values[None, :])
    assert mean_difference(values) == pytest.approx(pairs.mean(), abs=1e-14)


def test_with_one_translation_each_the_best_margin_is_the_median_gain():
    gain = RNG.normal(4, 20, 301)
    small = RNG.uniform(20, 60, 301)
    margin = best_margin(small[:, None], (small + gain)[:, None])
    # 150 and 151 of 301 rows split alike.
    assert np.sort(gain)[149] - 1e-9 <= margin <= np.sort(gain)[151] + 1e-9
    found = labels_of("small-within", gain, small)
    assert found.validation.sum() in (150, 151)


def labels_of(target, gain, small, **spec):
    data = rows(gain, small)
    return labels({"type": "lora", "target": target, **spec}, data, data)


def test_no_margin_tells_sampled_rows_apart_better():
    small, large = RNG.normal(50, 10, (60, 4)), RNG.normal(55, 10, (60, 4))
    found = best_margin(small, large)

    def spread(t):
        y = np.array([np.mean(small[i][:, None] >= large[i][None, :] - t) for i in range(60)])
        return np.abs(y[:, None] - y[None, :]).mean()

    grid = np.linspace(-60, 60, 2001)
    best = max(spread(t) for t in grid)
    assert spread(found) >= 0.98 * best  # 201 quantiles against a grid ten times as fine


def test_gain_and_quality_are_the_tables_columns():
    gain, small = np.array([3.0, -1.0, 0.0]), np.array([50.0, 60.0, 70.0])
    assert labels_of("gain", gain, small).training.tolist() == gain.tolist()
    assert labels_of("quality_small", gain, small).training.tolist() == small.tolist()
    assert labels_of("small-wins", gain, small).training.tolist() == [0, 1, 1]


def test_margin_comes_from_validation_rows_alone():
    training, validation = rows(RNG.normal(30, 20, 80)), rows(RNG.normal(0, 5, 81))
    found = labels({"type": "lora", "target": "small-within"}, training, validation)
    assert abs(found.margin) < 3
    assert 0 < found.training.mean() < 0.25
    assert found.record() == {"margin": found.margin, "samples": [1, 1]}


def test_sampled_targets_read_the_samples():
    small, large = RNG.normal(50, 9, (30, 5)), RNG.normal(52, 9, (30, 5))
    data = sampled(rows(np.zeros(30)), small, large)
    spec = {"type": "lora", "target": "small-wins-sampled"}
    expected = (small[:, :, None] >= large[:, None, :]).mean(axis=(1, 2))
    assert labels(spec, data, data).training == pytest.approx(expected, abs=1e-15)
    found = labels({**spec, "target": "small-within", "samples": True}, data, data)
    assert found.samples == (5, 5)
    assert found.margin == best_margin(small, large)
    with pytest.raises(UserError, match=r"Set 'samples' of both models.*'small-wins'"):
        labels(spec, rows(np.zeros(30)), rows(np.zeros(30)))


@pytest.mark.parametrize("role", ["training", "validation"])
def test_a_label_that_is_no_number_names_its_rows(role):
    gain = np.arange(9.0)
    good, bad = rows(gain), rows(gain)
    broken = bad.gains.set_column(
        bad.gains.schema.get_field_index("gain"), "gain",
        [[np.nan if i in (2, 5) else v for i, v in enumerate(gain)]],
    )  # fmt: skip
    bad = replace(bad, gains=broken)
    pair = (bad, good) if role == "training" else (good, bad)
    with pytest.raises(UserError, match=rf"2 of the 9 {role} rows: toy/en-zh/s2, toy/en-zh/s5\."):
        labels({"type": "lora", "target": "gain"}, *pair)


def test_labels_that_are_all_equal_and_no_rows_are_refused():
    varied, none = rows(np.arange(4.0)), rows(np.arange(0.0))
    with pytest.raises(UserError, match="small-wins of all 3 training rows is 0: there is nothing"):
        labels({"type": "lora", "target": "small-wins"}, rows(np.array([1.0, 2.0, 3.0])), varied)
    for pair, role in (((none, varied), "training"), ((varied, none), "validation")):
        with pytest.raises(UserError, match=f"no {role} rows"):
            labels({"type": "lora", "target": "gain"}, *pair)
