"""Shards take every row once, and gathering finds what is missing, twice or too much."""

from __future__ import annotations

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from routelmt.errors import UserError
from routelmt.shards import gather, rows_of, shard_of


def rows(n: int) -> pa.Table:
    return pa.table(
        {
            "dataset": ["d"] * n,
            "direction": ["en-de"] * n,
            "segment_id": [f"s{i}" for i in range(n)],
        }
    )


@given(st.data(), st.integers(1, 40))
def test_shards_gathered_are_the_whole(data: st.DataObject, n: int) -> None:
    count = data.draw(st.integers(1, n))
    shards = [shard_of(rows(n), f"{i}/{count}") for i in range(1, count + 1)]
    sizes = [s.num_rows for s in shards]
    assert sum(sizes) == n and max(sizes) - min(sizes) <= 1
    assert gather(rows(n), data.draw(st.permutations(shards))).equals(rows(n))


@pytest.mark.parametrize("shard", ["0/3", "4/3", "1", "a/b", "1/0", "-1/3", ""])
def test_what_is_no_shard_is_refused(shard: str) -> None:
    with pytest.raises(UserError, match="expected I/N"):
        shard_of(rows(5), shard)


def test_more_shards_than_rows_are_refused() -> None:
    with pytest.raises(UserError, match="6 shards of 5 segments: lower 'shards'"):
        shard_of(rows(5), "1/6")


def test_missing_and_repeated_shards_are_found() -> None:
    first, second = shard_of(rows(4), "1/2"), shard_of(rows(4), "2/2")
    with pytest.raises(UserError, match=r"lack rows \(2, first: d/en-de/s1"):
        gather(rows(4), [first])
    with pytest.raises(UserError, match="2 rows occur twice"):
        gather(rows(4), [first, second, first])


def test_rows_of_other_segments_are_left_out() -> None:
    assert rows_of(rows(9), rows(3)).equals(rows(3))
