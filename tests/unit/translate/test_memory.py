"""When memory runs out the batches get smaller, and no row is lost or done twice."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch

from routelmt.errors import UserError
from routelmt.translate.memory import SMALLEST_BUDGET, as_memory_allows


def test_the_budget_is_halved_and_finished_rows_are_not_run_again(
    capsys: pytest.CaptureFixture[str],
) -> None:
    asked: list[tuple[int, int]] = []

    def run(rows: list[int], budget: int) -> Iterator[tuple[list[int], int]]:
        asked.append((len(rows), budget))
        for row in rows:
            if row == 3 and budget > 100:
                raise torch.OutOfMemoryError("CUDA out of memory")
            yield [row], row

    assert list(as_memory_allows(range(6), 400, run)) == [0, 1, 2, 3, 4, 5]
    assert asked == [(6, 400), (3, 200), (3, 100)]
    assert capsys.readouterr().err.count("going on with batches of") == 2


def test_what_never_fits_is_said() -> None:
    def run(rows: list[int], budget: int) -> Iterator[tuple[list[int], int]]:
        yield from ()
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried 9 bytes")

    with pytest.raises(UserError, match=f"memory ran out even with batches of {SMALLEST_BUDGET}"):
        list(as_memory_allows(range(3), 500, run))


def test_other_errors_pass() -> None:
    def run(rows: list[int], budget: int) -> Iterator[tuple[list[int], int]]:
        yield from ()
        raise RuntimeError("shapes cannot be multiplied")

    with pytest.raises(RuntimeError, match="shapes"):
        list(as_memory_allows(range(3), 500, run))


@pytest.mark.parametrize("beams", [1, 2])
def test_an_engine_short_of_memory_says_the_same(
    engine: Any, asked: list[list[int]], beams: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The model refuses batches of many positions, as a small device would."""
    engine.beams = beams
    expected = {row: output.ids for row, output in engine.decode(asked)}
    forward = engine.model.forward

    def small_device(*args: Any, **kwargs: Any) -> Any:
        ids = kwargs.get("input_ids", args[0] if args else None)
        if ids.numel() > 80 * beams and ids.shape[0] > beams:
            raise torch.OutOfMemoryError("out of memory")
        return forward(*args, **kwargs)

    monkeypatch.setattr(engine.model, "forward", small_device)
    engine.batch_tokens = 4000
    found = list(engine.decode(asked))
    assert {row: output.ids for row, output in found} == expected
    assert len(found) == len(asked)
    assert engine.batch_tokens < 4000  # and stays there
