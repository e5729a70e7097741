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
from routelmt.join import align, align_samples


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


def samples(ids: list[str], count: int) -> pa.Table:
    rows = len(ids) * count
    return pa.table(
        {
            "dataset": ["d"] * rows,
            "direction": ["en-zh"] * rows,
            "segment_id": [i for i in ids for _ in range(count)],
            "sample": list(range(count)) * len(ids),
            "score": np.arange(rows, dtype=float),
        }
    )


@given(st.permutations(list(range(12))))
def test_samples_follow_their_segments_in_order(order: list[int]) -> None:
    ids = ["b", "a", "d", "c"]
    table = samples(ids, 3)
    aligned = align_samples(segments(ids), table.take(order), "samples")
    assert aligned.equals(table)


@pytest.mark.parametrize("lost", [0, 5, 11])
def test_a_missing_sample_is_an_error(lost: int) -> None:
    ids = ["b", "a", "d", "c"]
    keep = [i for i in range(12) if i != lost]
    with pytest.raises(UserError, match="samples: 11 rows for 4 segments with up to 3 samples"):
        align_samples(segments(ids), samples(ids, 3).take(keep), "samples")


def test_a_sample_twice_is_an_error() -> None:
    ids = ["b", "a"]
    with pytest.raises(UserError, match="do not match"):
        align_samples(segments(ids), samples(ids, 2).take([0, 0, 1, 3]), "samples")
