"""The attainable oracle against the true one, known because errors are added to given gains.

`python tests/unit/evaluate/test_attainable.py GAINS.parquet...` simulates with real gains, whose
shape (skew, ties at 0) is what could make it wrong.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from itertools import product
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pytest
from scipy.stats import pearsonr

from routelmt import tables
from routelmt.evaluate import label_noise
from routelmt.evaluate.build import build_table

FloatArray = npt.NDArray[np.float64]
BUDGET, METRICS = 0.3, 3


def headroom(rank: FloatArray, judge: FloatArray) -> float:
    first = np.argsort(-rank, kind="stable")[: int(BUDGET * len(judge))]
    return float(judge[first].mean() - judge.mean())


def errors(kind: str, true: FloatArray, deviation: float, rng: np.random.Generator) -> FloatArray:
    """Normal errors, errors as skewed as the gains, or larger ones of the larger gains."""
    if kind == "skewed":
        drawn = rng.permutation(true) - true.mean()
        return deviation * drawn / true.std()
    scale = np.ones(len(true))
    if kind == "larger":
        scale = 0.5 + np.abs(true - true.mean()) / true.std()
    return deviation * rng.normal(size=len(true)) * scale / np.sqrt(np.mean(scale**2))


def simulated(
    gains: FloatArray, reliability: float, kind: str, repeats: int, size: int = 300
) -> FloatArray:
    """Raw, attainable and cross-metric headroom on average, as multiples of the true one."""
    rng, rows = np.random.default_rng(0), []
    deviation = gains.std() * np.sqrt((1 - reliability) / reliability)
    for _ in range(repeats):
        true = rng.choice(gains, size)
        seen = [true + errors(kind, true, deviation, rng) for _ in range(METRICS)]
        r = label_noise.reliability(np.corrcoef(seen)[..., np.newaxis], label_noise.ONE_FACTOR)[0]
        raw, cross = headroom(seen[0], seen[0]), headroom(seen[1], seen[0])
        rows.append([raw, np.sqrt(r) * raw, cross, headroom(true, true)])
    *found, truth = np.nanmean(rows, axis=0)
    return np.array(found) / truth


def shapes() -> Iterator[FloatArray]:
    """Like chrF's gains (many ties at 0), and like a few blunders of the small model."""
    rng = np.random.default_rng(1)
    ties = np.where(rng.random(4000) < 0.4, 0.0, rng.normal(4, 15, 4000))
    yield ties
    yield rng.normal(1, 4, 4000) + np.where(rng.random(4000) < 0.1, rng.gamma(2, 12, 4000), 0.0)


@pytest.mark.parametrize("kind", ["normal", "skewed", "larger"])
def test_the_attainable_headroom_is_near_the_true_one(kind: str) -> None:
    """Where the raw one is far above it, and the cross-metric one below, as a bound must be.

    The worst are gains that a few blunders make, too high, and errors that grow with gains, too low.
    """
    for gains, r in product(shapes(), (0.35, 0.6)):
        raw, attainable, cross = simulated(gains, r, kind, repeats=60)
        assert 0.85 < attainable < 1.25, (kind, r)
        assert raw > max(1.14, attainable) and cross < 0.9
        assert abs(attainable - 1) < 0.8 * (raw - 1)


def test_of_normal_gains_it_has_no_bias() -> None:
    gains = np.random.default_rng(2).normal(3, 10, 20_000)
    raw, attainable, cross = simulated(gains, 0.5, "normal", repeats=150)
    assert attainable == pytest.approx(1, abs=0.02)
    assert (raw, cross) == (pytest.approx(np.sqrt(2), abs=0.03), pytest.approx(0.5**0.5, abs=0.03))


def test_the_table_has_both_headrooms(
    settings: dict[str, Any],
    predictions: pa.Table,
    gains: pa.Table,
    other_gains: dict[str, pa.Table],
) -> None:
    """By hand, for the middle one of three metrics; on the average from averages."""
    others = {"chrf": gains, "bleu": other_gains["bleu"]}
    given = settings | {"metric": "comet"}
    label = other_gains["comet"]
    table = build_table("routers", given, predictions, label, None, others)
    tables.check(table, "routers", "here")
    frame = table.to_pandas().set_index(["metric", "direction", "router", "budget"]).value
    direction = np.array(gains.column("direction").to_pylist())
    reached = []
    for place in ("en-ru", "ru-en"):
        here = direction == place
        a, b, c = (t.column("gain").to_numpy()[here] for t in (label, *others.values()))
        (ab, _), (ac, _), (bc, _) = (pearsonr(*pair) for pair in ((a, b), (a, c), (b, c)))
        reached.append(np.sqrt(ab * ac / bc) * headroom(a, a))
        own = frame["mean_delta", place, "learned", BUDGET] - a.mean()
        found = frame["headroom_attainable", place, "learned", BUDGET]
        assert found == pytest.approx(own / reached[-1], abs=1e-9)
        assert frame["headroom_attainable", place, "random", BUDGET] == 0
    delta = {
        router: frame["mean_delta", "average", router, BUDGET] for router in settings["oracles"]
    }
    mean = np.mean(
        [label.column("gain").to_numpy()[direction == p].mean() for p in ("en-ru", "ru-en")]
    )
    for router, value in delta.items():
        found = frame["headroom_attainable", "average", router, BUDGET]
        assert found == pytest.approx((value - mean) / np.mean(reached), abs=1e-9)
    alone = build_table("routers", given, predictions, label).to_pandas()
    assert "headroom_attainable" not in set(alone.metric)


def test_correlations_of_replicates_are_those_of_copied_rows() -> None:
    rng = np.random.default_rng(4)
    first, second = rng.normal(size=(2, 40)), rng.normal(size=(3, 40))
    second[2] = 7.0  # constant
    weights = rng.integers(0, 4, (6, 40))
    found = label_noise.weighted_correlations(
        weights,
        first - first.mean(axis=1, keepdims=True),
        second - second.mean(axis=1, keepdims=True),
    )
    for b, i, j in product(range(6), range(2), range(2)):
        copies = (np.repeat(side, weights[b]) for side in (first[i], second[j]))
        assert found[i, j, b] == pytest.approx(pearsonr(*copies).statistic, abs=1e-9)
    assert np.isnan(found[:, 2]).all()


def main(paths: list[str]) -> None:
    """Headrooms of every file's gains as multiples of the true one: mean, least and most."""
    found: dict[tuple[str, float], list[FloatArray]] = {}
    for path, kind, r in product(paths, ("normal", "skewed", "larger"), (0.3, 0.5, 0.7)):
        gains = tables.read(path, "gains").column("gain").to_numpy()
        found.setdefault((kind, r), []).append(simulated(gains, r, kind, repeats=100))
    for (kind, r), rows in found.items():
        each = [f"{m:.2f} [{low:.2f}, {high:.2f}]" for m, low, high in
                zip(np.mean(rows, 0), np.min(rows, 0), np.max(rows, 0), strict=True)]  # fmt: skip
        print(f"{kind:7} r = {r}: raw {each[0]}, attainable {each[1]}, cross-metric {each[2]}")


if __name__ == "__main__":
    main(sys.argv[1:])
