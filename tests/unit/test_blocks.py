"""Blocks: a killed computation goes on where it was, and ends with the same result."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from routelmt.blocks import Blocks

Report = Callable[[int], object]


class Work:
    """Doubles items; counts them; can be killed at the n-th block."""

    def __init__(self, items: list[int], die_at: int | None = None) -> None:
        self.items, self.die_at, self.parts = items, die_at, 0
        self.seen: list[int] = []

    def __call__(self, part: list[int], report: Report) -> dict[str, list[int]]:
        if self.parts == self.die_at:
            raise KeyboardInterrupt
        self.parts += 1
        self.seen += part
        report(len(part))
        return {"double": [2 * self.items[i] for i in part]}


@given(st.lists(st.integers(0, 50), max_size=40), st.integers(1, 12))
def test_results_come_in_the_order_of_the_items(items: list[int], rows: int) -> None:
    work = Work(items)
    found = Blocks().compute(items, items, rows, work)
    assert found.get("double", []) == [2 * i for i in items]
    assert sorted(work.seen) == list(range(len(items)))
    assert [items[i] for i in work.seen] == sorted(items, reverse=True)  # long ones first


def test_a_killed_run_goes_on_after_its_last_block(tmp_path: Path) -> None:
    items = list(range(10))
    with pytest.raises(KeyboardInterrupt):
        Blocks(tmp_path / "x.parquet", {"a": 1}).compute(items, items, 3, Work(items, die_at=2))
    rest = Work(items)
    blocks = Blocks(tmp_path / "x.parquet", {"a": 1})
    assert blocks.compute(items, items, 3, rest)["double"] == [2 * i for i in items]
    assert rest.seen == [3, 2, 1, 0]
    blocks.done()
    assert list(tmp_path.iterdir()) == []


def test_blocks_of_other_settings_or_items_are_not_used(tmp_path: Path) -> None:
    items = list(range(4))
    Blocks(tmp_path / "x", {"a": 1}).compute(items, items, 2, Work(items))
    for identity, changed in (({"a": 2}, items), ({"a": 1}, [9, 8, 7, 6])):
        work = Work(changed)
        Blocks(tmp_path / "x", identity).compute(changed, changed, 2, work)
        assert len(work.seen) == 4


@pytest.mark.parametrize("damage", [b"", b"PAR1 nothing"])
def test_a_damaged_block_is_computed_again(
    tmp_path: Path, damage: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    items = list(range(4))
    blocks = Blocks(tmp_path / "x", {})
    blocks.compute(items, items, 2, Work(items))
    assert blocks.folder is not None
    next(blocks.folder.iterdir()).write_bytes(damage)
    work = Work(items)
    assert blocks.compute(items, items, 2, work)["double"] == [0, 2, 4, 6]
    assert len(work.seen) == 2
    assert "damaged, computed again" in capsys.readouterr().err
