"""The rows of a step are spread over passes at the least cost."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

from routelmt.routers.training.micro_batches import micro_batches


def cost(lengths, passes, pass_cost):
    return sum(len(rows) * max(lengths[i] for i in rows) + pass_cost for rows in passes)


@pytest.mark.parametrize("seed", range(5))
def test_no_split_by_length_is_cheaper(seed):
    rng = np.random.default_rng(seed)
    lengths = rng.integers(1, 40, 9)
    found = micro_batches(lengths, budget=120, pass_cost=20)
    assert sorted(np.concatenate(found)) == list(range(9))
    assert all(len(r) * lengths[r].max() <= 120 for r in found)
    order = np.argsort(-lengths, kind="stable")
    splits = (
        np.split(order, cuts) for n in range(9) for cuts in combinations(range(1, 9), n)
    )  # fmt: skip
    allowed = (s for s in splits if all(len(r) * lengths[r].max() <= 120 for r in s))
    assert cost(lengths, found, 20) == min(cost(lengths, s, 20) for s in allowed)


def test_a_row_beyond_the_budget_goes_alone():
    assert micro_batches([50, 3, 4], 10, 1)[0].tolist() == [0]
