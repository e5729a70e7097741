"""What each router finds against what the system costs with it, at the experiment's budgets."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from routelmt.figures.panels import (
    axis_titles,
    drawn,
    empty_figure,
    panel_grid,
    routers,
    rows,
    unit,
)
from routelmt.figures.style import Look, applied, looks
from routelmt.roles import AVERAGE, ORACLE, labelled

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PANEL_HEIGHT = 2.6
EMPTY = "No rates: measure them with `python -m routelmt rates`, or state them in the config."
_Point = tuple[dict[str, Any], dict[str, Any]]  # rows of the tables costs and routers


def draw(tables: dict[str, pa.Table], style: dict[str, Any]) -> Figure:
    """A panel per budget, a point per router: MeanΔ over seconds, averages over the directions.

    tables: costs and routers. Up and to the left is better. Lines are intervals.
    """
    from matplotlib.lines import Line2D

    costs, quality = tables["costs"], tables["routers"]
    look = looks(routers(quality), style["palette"])
    budgets = sorted(set(quality.column("budget").to_pylist()))
    points = {budget: _points(costs, quality, budget) for budget in budgets}
    known = {router for found in points.values() for router in found}
    found = drawn([pair for pair in routers(quality) if pair[0] in known], style)
    with applied(style):
        if not found:
            return empty_figure(style, EMPTY)
        titles = [f"p = {budget:g}" for budget in budgets]
        handles = [
            Line2D([], [], linestyle="", color=look[router].colour, marker=look[router].marker,
                   markerfacecolor=_fill(look[router], role), markersize=4,
                   label=labelled(router, role))
            for router, role in found
        ]  # fmt: skip
        figure, panels = panel_grid(style, titles, PANEL_HEIGHT, handles)
        for panel, budget in zip(panels, budgets, strict=True):
            for router, role in found:
                if router in points[budget]:
                    _dot(panel, points[budget][router], look[router], role)
            panel.margins(0.06)
        axis_titles(figure, style, "seconds for 1,000 requests", f"MeanΔ ({unit(style)})")
    return figure


def _points(costs: pa.Table, quality: pa.Table, budget: float) -> dict[str, _Point]:
    """By router, its rows at a budget; only of those whose costs and MeanΔ are known."""
    spent = {row["router"]: row for row in rows(costs, direction=AVERAGE, budget=budget)}
    gained = rows(quality, direction=AVERAGE, budget=budget, metric="mean_delta")
    pairs = ((spent[row["router"]], row) for row in gained if row["router"] in spent)
    return {
        cost["router"]: (cost, gain)
        for cost, gain in pairs
        if not np.isnan(cost["seconds"]) and not np.isnan(gain["value"])
    }


def _dot(panel: Axes, point: _Point, look: Look, role: str) -> None:
    cost, gain = point
    at, height = cost["seconds"], gain["value"]
    thin: dict[str, Any] = {"color": look.colour, "linewidth": 0.7, "alpha": 0.6}
    panel.hlines(height, cost["seconds_low"], cost["seconds_high"], **thin)
    panel.vlines(at, gain["low"], gain["high"], **thin)
    panel.plot(
        at, height, linestyle="", color=look.colour, marker=look.marker, markersize=4.5,
        markerfacecolor=_fill(look, role), markeredgewidth=0.8, zorder=3,
    )  # fmt: skip


def _fill(look: Look, role: str) -> str:
    return "white" if role == ORACLE else look.colour
