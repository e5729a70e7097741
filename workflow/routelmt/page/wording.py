"""What the page's answers are made of: rows of the tables at one budget, and how they are put."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from routelmt.roles import AVERAGE, ROUTER
from routelmt.views.layouts import interval, number
from routelmt.views.summary import ranked, turned

SIGNIFICANCE = 0.05
# Of more routers than this a sentence names the first ones and counts the others.
NAMED = 4
# Budgets of the tables are the same numbers up to this.
SAME = 1e-9

Row = dict[str, Any]
Tables = Mapping[str, pa.Table]


class Answer(NamedTuple):
    """A question, its answer in a few words and in sentences, and the tables these are from."""

    question: str
    headline: str
    sentences: tuple[str, ...]
    tables: tuple[str, ...]


class Case(NamedTuple):
    """What all answers at a budget are about."""

    tables: Tables
    budget: float
    best: str
    settings: Mapping[str, Any]

    def rows(self, table: str, **equal: Any) -> list[Row]:
        """Rows of the average over the directions with these values; none without the table."""
        return _rows(self.tables, table, direction=AVERAGE, **equal)

    def against(self) -> dict[str, Row]:
        """By router, what the best MeanΔ has over its own, from the table `comparisons`."""
        rows = self.rows("comparisons", metric="mean_delta", budget=self.budget)
        own = [row if row["router"] == self.best else turned(row) for row in rows
               if self.best in (row["router"], row["other"])]  # fmt: skip
        return {row["other"]: row for row in own}


def ranking(routers: pa.Table, budget: float) -> list[Row]:
    """MeanΔ rows of the deployable routers on average, the best first; undefined ones left out."""
    rows = _rows({"routers": routers}, "routers", direction=AVERAGE, budget=budget)
    return [r for r in ranked(rows) if r["role"] == ROUTER and not math.isnan(r["value"])]


def beats(row: Row) -> bool:
    """Whether a difference is above zero after Holm's correction."""
    return bool(row["p_holm"] < SIGNIFICANCE and row["difference"] > 0)


def listed(names: list[str]) -> str:
    """The names, or the first few of very many and how many others there are."""
    if len(names) <= NAMED + 1:
        return ", ".join(names)
    return f"{', '.join(names[:NAMED])} and {len(names) - NAMED} others"


def value(
    row: Row,
    name: str = "value",
    scale: float = 1,
    digits: int = 2,
    unit: str = "",
    ends: str = "",
    sign: str = "",
) -> str:
    """'1.23 [1.00, 1.50]' of a row; the interval is left out where it is undefined."""
    low, high = (row[f"{ends}{end}"] * scale for end in ("low", "high"))
    shown = row[name] * scale
    text = f"{shown:{sign}z.{digits}f}{unit}"
    return " ".join(part for part in (text, interval(low, high, digits)) if part)


def percent(share: float, digits: int | None = None) -> str:
    """'30 %', or with that many digits; by default as many as it takes, one at most."""
    if digits is None:
        digits = 0 if abs(100 * share - round(100 * share)) < SAME * 100 else 1
    return f"{number(100 * share, digits)} %"


def p_value(p: float) -> str:
    """'p = 0.012', never 'p = 0.000'."""
    if math.isnan(p):
        return "p undefined"
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}"


def points(within: float) -> str:
    return "1 point" if within == 1 else f"{within:g} points"


def _rows(tables: Tables, name: str, **equal: Any) -> list[Row]:
    """Rows of a table with these values; none if the table is not there."""
    if name not in tables:
        return []
    table = tables[name]
    for column, wanted in equal.items():
        held = table.column(column)
        if isinstance(wanted, float):
            table = table.filter(pc.less(pc.abs(pc.subtract(held, wanted)), SAME))
        else:
            table = table.filter(pc.equal(held, wanted))
    found: list[Row] = table.to_pylist()
    return found
