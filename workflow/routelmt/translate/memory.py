"""Going on with smaller batches when a device's memory runs out."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from routelmt.errors import UserError

Item = TypeVar("Item")
# Tokens of a batch below which a smaller one is no help: the weights themselves do not fit.
SMALLEST_BUDGET = 64


def as_memory_allows(
    rows: Sequence[int],
    budget: int,
    run: Callable[[list[int], int], Iterator[tuple[Sequence[int], Item]]],
) -> Iterator[Item]:
    """Items of all rows; the token budget is halved, for good, whenever memory runs out.

    run: (rows, budget) -> (rows that an item is about, the item). Rows whose items are out are not
    run again. Raises UserError when the smallest budget is too large.
    """
    left = dict.fromkeys(rows)
    while left:
        try:
            for done, item in run(list(left), budget):
                for row in done:
                    del left[row]
                yield item
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            if budget <= SMALLEST_BUDGET:
                raise UserError(
                    f"memory ran out even with batches of {budget} tokens: {error}. Use a device "
                    "with more memory, a smaller dtype, or several GPUs (vllm: tensor_parallel)."
                ) from None
        else:
            return
        budget = max(SMALLEST_BUDGET, budget // 2)
        _free()
        print(f"memory ran out: going on with batches of {budget} tokens", file=sys.stderr)


def is_out_of_memory(error: RuntimeError) -> bool:
    """Whether an error says that a GPU's or the CPU's memory ran out."""
    import torch

    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)


def _free() -> None:
    import torch

    if torch.cuda.is_available():
        torch.cuda.empty_cache()
