"""Which routers a page shows at first: all of a few, and the ones to look for among many."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import pyarrow as pa

from routelmt.figures.panels import routers
from routelmt.page.wording import ranking
from routelmt.roles import ROUTER

# More curves than this cannot be told apart in a chart.
FEW = 12
# Of many, so many of the best that can be deployed are shown.
BEST = 5
# Routers of RouteLMT's Table 2, as the configurations call them.
PAPER = ("length", "rarity", "entropy", "sentinel-src-24", "sentinel-src-25", "xlmr-gain",
         "xlmr-quality", "routelmt-q", "routelmt")  # fmt: skip


def shown_first(
    table: pa.Table, budgets: Sequence[float], curves: Collection[str] | None = None
) -> list[str]:
    """Names in the order of the table `routers`: all up to FEW, or the paper's and the best.

    curves: those that the figures draw, which are taken instead if the table has any of them.

    The best BEST are those with the largest MeanΔ on average at the first budget; what cannot be
    deployed (oracles and random) is always shown.
    """
    known = routers(table)
    if len(known) <= FEW:
        return [name for name, _ in known]
    named = [name for name, _ in known if name in (curves or ())]
    if named:
        return named
    best = {row["router"] for row in ranking(table, budgets[0])[:BEST]}
    return [n for n, role in known if role != ROUTER or n in best or n in PAPER]
