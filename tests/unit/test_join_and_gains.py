"""Rows meet by key; gains are differences, whatever the order of the scores."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from routelmt import tables
from routelmt.errors import UserError
from routelmt.gains import label_gains
from routelmt.join import align


def segments(ids: list[str]) -> pa.Table:
    return tables.from_columns(
        "segments",
        {
            "dataset": "d",
            "direction": "en-zh",
            "segment_id": ids,
            "group_id": ids,
            "doc_id": "",
            "domain": "",
            "split": "test",
            "source": "s",
            "reference": "r",
        },
    )


def scores(ids: list[str], values: list[float], model: str = "m") -> pa.Table:
    return tables.from_columns(
        "scores",
        {
            "dataset": "d",
            "direction": "en-zh",
            "segment_id": ids,
            "metric": "x",
            "model": model,
            "score": values,
            "truncated": False,
            "error_spans": [None] * len(ids),
        },
    )


@given(st.permutations(list(range(6))))
def test_gains_do_not_depend_on_the_order_of_the_scores(order: list[int]) -> None:
    ids = [f"s{i}" for i in range(6)]
    small, large = np.arange(6.0), np.arange(6.0) ** 2 - 4
    shuffled = scores([ids[i] for i in order], [large[i] for i in order])
    table = label_gains(segments(ids), scores(ids, list(small)), shuffled)
    assert table.column("segment_id").to_pylist() == ids
    np.testing.assert_array_equal(table.column("gain").to_numpy(), large - small)


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        (["a", "b"], r"lack rows \(1, first: d/en-zh/c\)"),
        (["a", "b", "c", "e"], r"have extra rows \(1, first: d/en-zh/e\)"),
        (["a", "b", "c", "b"], r"1 rows occur twice in the scores \(1, first: d/en-zh/b\)"),
    ],
)
def test_rows_that_do_not_match_are_counted_and_named(ids: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        align(segments(["a", "b", "c"]), scores(ids, [1.0] * len(ids)), "segments", "scores")
