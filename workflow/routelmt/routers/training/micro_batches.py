"""How the rows of one optimiser step are spread over forward passes. Speed, never the answer."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

# What one more pass costs, in padded tokens. CPU: near the least time of a step of a 3 M-parameter
# decoder in float32 (best at 100) and in bfloat16 (best above 400: its kernels are compiled for
# every new shape). GPU, by estimate: a small pass leaves it idle.
PASS_COST = {"cpu": 256, "cuda": 2048}


def micro_batches(
    lengths: Sequence[int] | npt.NDArray[np.int64], budget: int, pass_cost: int
) -> list[npt.NDArray[np.int64]]:
    """Row indices of each pass: the split by length that costs least.

    The cost of a pass is rows x longest row + pass_cost; a pass holds at most `budget` padded
    tokens, or one row. Every row is in exactly one pass. O(rows^2).
    """
    sizes = np.asarray(lengths, dtype=np.int64)
    order = np.argsort(-sizes, kind="stable")
    count = len(order)
    best = np.full(count + 1, np.inf)  # best[i]: least cost of the rows order[i:]
    best[count] = 0
    end = np.zeros(count, dtype=np.int64)
    for start in range(count - 1, -1, -1):
        width = max(1, int(sizes[order[start]]))
        stops = np.arange(start + 1, min(count, start + max(1, budget // width)) + 1)
        costs = (stops - start) * width + pass_cost + best[stops]
        chosen = int(np.argmin(costs))
        best[start], end[start] = costs[chosen], stops[chosen]
    passes, start = [], 0
    while start < count:
        passes.append(order[start : end[start]])
        start = int(end[start])
    return passes
