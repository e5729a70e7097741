"""How the tables of data and evaluation are laid out: blocks of rows, columns and cells.

A layout is text without markup; render.py turns it into LaTeX and Markdown.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from routelmt.evaluate.roles import AVERAGE, ORACLE, RISK_BUCKETS, ROUTER, labelled

MISSING = "–"
METRIC_NAMES = {
    "spearman": "Spearman",
    "hit_rate": "HitRate",
    "mean_delta": "MeanΔ",
    "headroom": "Headroom %",
}
_SCALES = {"spearman": (1, 2), "hit_rate": (1, 1), "mean_delta": (1, 2), "headroom": (100, 1)}

Row = dict[str, Any]


class Cell(NamedTuple):
    """A value, and its interval ('' for none)."""

    value: str
    interval: str = ""


@dataclass(frozen=True)
class Block:
    """One table: labels of the leading columns, (group, label) of the others, and the rows."""

    title: str
    index: tuple[str, ...]
    columns: tuple[tuple[str, str], ...]
    rows: tuple[tuple[tuple[str, ...], tuple[Cell, ...]], ...]
    note: str = ""  # what a reader must know of this table in particular


def blocks(table: pa.Table, name: str) -> list[Block]:
    """The layout of the table of that name; no block for a table without rows."""
    rows: list[Row] = table.to_pylist()
    return _LAYOUTS[name](rows) if rows else []


def number(value: float, digits: int) -> str:
    """The value with a fixed number of digits and no negative zero; MISSING for NaN."""
    return MISSING if np.isnan(value) else f"{value:z.{digits}f}"


def interval(low: float, high: float, digits: int) -> str:
    """'[low, high]', or nothing where it is undefined."""
    if np.isnan(low) or np.isnan(high):
        return ""
    return f"[{number(low, digits)}, {number(high, digits)}]"


def scale_of(metric: str) -> tuple[float, int]:
    """The factor and the digits with which a metric is printed."""
    return _SCALES[metric]


def router_name(row: Row) -> str:
    """The router with what a reader must know of its role."""
    return labelled(row["router"], row["role"])


def _cell(row: Row, value: str, factor: float = 1, digits: int = 2, ends: str = "") -> Cell:
    low, high = (row[f"{ends}{end}"] * factor for end in ("low", "high"))
    return Cell(number(row[value] * factor, digits), interval(low, high, digits))


def _distinct(rows: Iterable[Row], *columns: str) -> list[Any]:
    """Distinct values, or tuples of values, in the order of their first occurrence."""
    if len(columns) == 1:
        return list(dict.fromkeys(row[columns[0]] for row in rows))
    return list(dict.fromkeys(tuple(row[c] for c in columns) for row in rows))


def _average_last(rows: list[Row]) -> list[str]:
    return sorted(_distinct(rows, "direction"), key=lambda direction: direction == AVERAGE)


def _routers(rows: list[Row]) -> list[Block]:
    """The paper's Table 2 once per budget; headroom stands with the average only."""
    found = {(r["budget"], r["router"], r["direction"], r["metric"]): r for r in rows}
    columns = [
        (direction, metric)
        for direction in _average_last(rows)
        for metric in METRIC_NAMES
        if metric != "headroom" or direction == AVERAGE
    ]
    labels = {row["router"]: router_name(row) for row in rows}
    return [
        Block(
            f"Routers at budget {budget:g}",
            ("Router",),
            tuple((direction, METRIC_NAMES[metric]) for direction, metric in columns),
            tuple(
                (
                    (label,),
                    tuple(
                        _cell(found[budget, router, *column], "value", *scale_of(column[1]))
                        for column in columns
                    ),
                )
                for router, label in labels.items()
            ),
        )
        for budget in _distinct(rows, "budget")
    ]


def _comparisons(rows: list[Row]) -> list[Block]:
    """Once per budget and metric: differences by direction; tests on the average."""
    found = {(r["budget"], r["metric"], r["router"], r["other"], r["direction"]): r for r in rows}
    places = _average_last(rows)
    tests = (("p", "p_value", 3), ("p (Holm)", "p_holm", 3), ("detectable", "detectable", 2))
    result = []
    for budget, metric in _distinct(rows, "budget", "metric"):
        scale = scale_of(metric)
        lines = []
        for pair in _distinct(rows, "router", "other"):
            on_average = found[budget, metric, *pair, AVERAGE]
            cells = [_cell(found[budget, metric, *pair, p], "difference", *scale) for p in places]
            cells += [Cell(number(on_average[column], digits)) for _, column, digits in tests]
            lines.append((pair, tuple(cells)))
        columns = [("difference", place) for place in places]
        columns += [("test on the average", label) for label, _, _ in tests]
        title = f"Differences in {METRIC_NAMES[metric]} at budget {budget:g}"
        result.append(Block(title, ("Router", "minus"), tuple(columns), tuple(lines)))
    return result


def _pareto(rows: list[Row]) -> list[Block]:
    """Once per direction: quality at every tenth of the call rate, by router."""
    rows = [r for r in rows if abs(10 * r["call_rate"] - round(10 * r["call_rate"])) < 1e-9]
    found = {(r["direction"], r["router"], r["call_rate"]): r for r in rows}
    labels = {row["router"]: router_name(row) for row in rows}
    rates = _distinct(rows, "call_rate")
    return [
        Block(
            f"System quality, {place}",
            ("Router",),
            tuple(("share of requests to the large model", f"{rate:g}") for rate in rates),
            tuple(
                ((label,), tuple(_cell(found[place, router, rate], "quality") for rate in rates))
                for router, label in labels.items()
            ),
        )
        for place in _average_last(rows)
    ]


def _risk_buckets(rows: list[Row]) -> list[Block]:
    """Once per budget and direction: percent of the routed requests, by router and bucket."""
    found = {(r["budget"], r["direction"], r["router"], r["bucket"]): r for r in rows}
    labels = {row["router"]: router_name(row) for row in rows}
    return [
        Block(
            f"Routed requests at budget {budget:g}, {place}",
            ("Router",),
            tuple(("% of the routed requests", b.replace("_", " ")) for b in RISK_BUCKETS),
            tuple(
                (
                    (label,),
                    tuple(
                        _cell(found[budget, place, router, b], "share", 100, 1)
                        for b in RISK_BUCKETS
                    ),
                )
                for router, label in labels.items()
            ),
        )
        for budget in _distinct(rows, "budget")
        for place in _average_last(rows)
    ]


def _guards(rows: list[Row]) -> list[Block]:
    """Once per budget: severe loss and MeanΔ by direction, for every guard and quantile."""
    found = {(r["budget"], r["router"], r["guard"], r["quantile"], r["direction"]): r for r in rows}
    places = _average_last(rows)
    result = []
    for budget in _distinct(rows, "budget"):
        lines = []
        here = [row for row in rows if row["budget"] == budget]
        for key in _distinct(here, "router", "guard", "quantile"):
            router, guard, quantile = key
            own = [found[budget, *key, place] for place in places]
            guarded_by = labelled(guard, ORACLE if own[0]["oracle"] else ROUTER)
            cells = [_cell(r, "severe_loss", 100, 1, "severe_loss_") for r in own]
            cells += [_cell(r, "mean_delta", 1, 2, "mean_delta_") for r in own]
            lines.append(((router, guarded_by, f"{quantile:g}"), tuple(cells)))
        columns = [("severe loss %", p) for p in places] + [("MeanΔ", p) for p in places]
        index = ("Router", "Guard", "Quantile")
        result.append(Block(f"Guards at budget {budget:g}", index, tuple(columns), tuple(lines)))
    return result


_DATASHEET = (
    ("number of", "segments", "segments", 0),
    ("number of", "texts", "groups", 0),
    ("number of", "documents", "documents", 0),
    *(
        (f"words per {side}", label, f"{side}_words_{column}", digits)
        for side in ("source", "reference")
        for label, column, digits in (("mean", "mean", 1), ("median", "p50", 1), ("95 %", "p95", 0))
    ),
    ("characters (mean)", "source", "source_chars_mean", 1),
    ("characters (mean)", "reference", "reference_chars_mean", 1),
)
_DATASHEET_NOTE = (
    "Texts: distinct ones, as tied across directions. A word is a run of letters and digits, or "
    "one Chinese or Japanese character. 95 %: the 95th percentile."
)


def _datasheet(rows: list[Row]) -> list[Block]:
    """Datasets and directions, then their domains, if any has one."""
    columns = tuple((group, label) for group, label, _, _ in _DATASHEET)
    whole = [row for row in rows if row["domain"] == "all"]
    domains = [row for row in rows if row["domain"] != "all"]
    index = {"Dataset": "dataset", "Role": "role", "Direction": "direction"}
    found = [
        ("The data", index, whole),
        ("The data by domain", index | {"Domain": "domain"}, domains),
    ]
    return [
        Block(
            title,
            tuple(names),
            columns,
            tuple(
                (
                    tuple(row[column] for column in names.values()),
                    tuple(Cell(_grouped(row[c], digits)) for _, _, c, digits in _DATASHEET),
                )
                for row in shown
            ),
            _DATASHEET_NOTE,
        )
        for title, names, shown in found
        if shown
    ]


def _grouped(value: float, digits: int) -> str:
    return f"{value:,.{digits}f}"


_OVERLAPS = ("exact", "near", "group", "removed")
_CONTAMINATION_NOTE = (
    "Exact: a text of the row, normalised, is in the held-out set. Near: one reaches the threshold "
    "of similarity. Group: the row shares its text with such a row in another direction. A row "
    "counts once, under the first of these that it meets; removed rows are kept away from the "
    "routers."
)


def _contamination(rows: list[Row]) -> list[Block]:
    """All directions together, then each of several."""
    index = {"Dataset": "dataset", "Role": "role", "Held-out": "held_out"}
    whole = [row for row in rows if row["direction"] == "all"]
    single = [row for row in rows if row["direction"] != "all"]
    found = [("Overlap with held-out data", index, whole)]
    if len(_distinct(single, "direction")) > 1:
        by_direction = index | {"Direction": "direction"}
        found.append(("Overlap with held-out data by direction", by_direction, single))
    columns = [("rows", label) for label in ("all", *_OVERLAPS)]
    columns += [("% of the rows", label) for label in _OVERLAPS]
    return [
        Block(
            title,
            tuple(names),
            tuple(columns),
            tuple((tuple(row[c] for c in names.values()), _overlap_cells(row)) for row in shown),
            _CONTAMINATION_NOTE,
        )
        for title, names, shown in found
    ]


def _overlap_cells(row: Row) -> tuple[Cell, ...]:
    counts = [Cell(f"{row[column]:,}") for column in ("rows", *_OVERLAPS)]
    shares = [Cell(number(100 * row[column] / row["rows"], 2)) for column in _OVERLAPS]
    return (*counts, *shares)


_LAYOUTS: dict[str, Callable[[list[Row]], list[Block]]] = {
    "routers": _routers,
    "comparisons": _comparisons,
    "pareto": _pareto,
    "risk_buckets": _risk_buckets,
    "guards": _guards,
    "datasheet": _datasheet,
    "contamination": _contamination,
}
