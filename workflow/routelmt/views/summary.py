"""What a terminal shows of an experiment: the averages, and how one router stands to the others."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import Any

import pyarrow as pa

from routelmt.roles import AVERAGE, ROUTER
from routelmt.views.layouts import (
    METRIC_NAMES,
    interval,
    number,
    router_name,
    scale_of,
)

WIDTH = 100
MISSING_P = "undefined"
_NAME_WIDTH = 30
_VALUE_WIDTHS = {"mean_delta": 6, "hit_rate": 6, "spearman": 6, "headroom": 6}
_INTERVAL_WIDTHS = {"mean_delta": 15, "hit_rate": 14}

Row = dict[str, Any]


def format_summary(routers: pa.Table, comparisons: pa.Table, focus: str | None = None) -> str:
    """Averages over the directions, best MeanΔ first, then `focus` against every other router.

    routers, comparisons: the tables of those names. focus: a deployable router; by default the
    best of them at each budget. At most WIDTH columns wide; a block per budget.
    """
    averages = [row for row in routers.to_pylist() if row["direction"] == AVERAGE]
    pairs = [
        row
        for row in comparisons.to_pylist()
        if row["direction"] == AVERAGE and row["metric"] == "mean_delta"
    ]
    parts = []
    for budget in dict.fromkeys(row["budget"] for row in averages):
        here = [row for row in averages if row["budget"] == budget]
        parts.append("\n".join(_averages(here, budget)))
        names = [r["router"] for r in ranked(here) if r["role"] == ROUTER]
        chosen = focus if focus in names else next(iter(names), None)
        lines = _differences(chosen, [row for row in pairs if row["budget"] == budget])
        parts.append("\n".join(lines))
    return "\n\n".join(part for part in parts if part)


def ranked(rows: Iterable[Row]) -> list[Row]:
    """MeanΔ rows of one budget of the table `routers`, the best first and the undefined last."""
    found = [row for row in rows if row["metric"] == "mean_delta"]
    return sorted(found, key=lambda r: (math.isnan(r["value"]), -r["value"], r["router"]))


def _averages(rows: list[Row], budget: float) -> Iterator[str]:
    found = {(row["router"], row["metric"]): row for row in rows}
    requests = rows[0]["requests"]
    yield f"{budget:.0%} of {requests:,} requests to the large model; mean over the directions"
    head = [f"{'router':<{_NAME_WIDTH}}"]
    for metric, width in _VALUE_WIDTHS.items():
        label = {"spearman": "rho", "headroom": "room %"}.get(metric, METRIC_NAMES[metric])
        head.append(f"{label:>{width + 1}}")
        if metric in _INTERVAL_WIDTHS:
            head.append(f"{'interval':<{_INTERVAL_WIDTHS[metric]}}")
    yield " ".join(head).rstrip()
    for best in ranked(rows):
        yield " ".join([_clipped(router_name(best)), *_values(found, best["router"])]).rstrip()


def _values(found: dict[tuple[str, str], Row], router: str) -> Iterator[str]:
    for metric, width in _VALUE_WIDTHS.items():
        row, (factor, digits) = found[router, metric], scale_of(metric)
        yield f"{number(row['value'] * factor, digits):>{width + 1}}"
        if metric in _INTERVAL_WIDTHS:
            ends = interval(row["low"] * factor, row["high"] * factor, digits)
            yield f"{ends:<{_INTERVAL_WIDTHS[metric]}}"


def _differences(chosen: str | None, rows: list[Row]) -> Iterator[str]:
    own = [row if row["router"] == chosen else turned(row) for row in rows
           if chosen in (row["router"], row["other"])]  # fmt: skip
    if not own:
        return
    yield f"MeanΔ of {chosen} minus that of"
    for row in sorted(own, key=lambda r: -r["difference"]):
        ends = interval(row["low"], row["high"], 2)
        yield (
            f"{_clipped('  ' + row['other'])} {row['difference']:>+z7.2f} {ends:<17}"
            f" {_p_value(row['p_holm'])}"
        )


def _p_value(p: float) -> str:
    verdict = "" if math.isnan(p) or p < 0.05 else ", no difference shown"
    shown = MISSING_P if math.isnan(p) else "< 0.001" if p < 0.001 else f"= {p:.3f}"
    return f"p {shown} (Holm){verdict}"


def turned(row: Row) -> Row:
    """A comparison seen from the other router."""
    return row | {
        "router": row["other"],
        "other": row["router"],
        "difference": -row["difference"],
        "low": -row["high"],
        "high": -row["low"],
    }


def _clipped(name: str) -> str:
    short = name if len(name) <= _NAME_WIDTH else f"{name[: _NAME_WIDTH - 1]}…"
    return f"{short:<{_NAME_WIDTH}}"
