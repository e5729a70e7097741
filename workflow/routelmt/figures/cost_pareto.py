"""System quality against what it costs: the device's time as a share of all-large's."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from routelmt.figures.panels import (
    at_budgets,
    axis_titles,
    drawn,
    empty_figure,
    panel_grid,
    places,
    routers,
    rows,
    title,
    unit,
)
from routelmt.figures.style import Look, applied, looks
from routelmt.roles import ORACLE, RANDOM, ROUTER, labelled

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PANEL_HEIGHT = 2.15
_LAYER = {RANDOM: 2, ORACLE: 3, ROUTER: 4}
EMPTY = "No rates: measure them with `python -m routelmt rates`, or state them in the config."


def draw(tables: dict[str, pa.Table], style: dict[str, Any]) -> Figure:
    """A panel per direction and one for the average; a curve per router whose costs are known.

    tables: costs, and routers for the budgets, which are marked. The vertical line is what the
    large model alone costs: beyond it a router only loses.
    """
    table = tables["costs"]
    budgets = sorted(set(tables["routers"].column("budget").to_pylist()))
    look = looks(routers(table), style["palette"])
    known = {row["router"] for row in table.to_pylist() if not np.isnan(row["of_all_large"])}
    found = drawn([pair for pair in routers(table) if pair[0] in known], style)
    with applied(style):
        if not found:
            return empty_figure(style, EMPTY)
        headings = [title(place) for place in places(table)]
        figure, panels = panel_grid(style, headings, PANEL_HEIGHT, _handles(found, look))
        for panel, place in zip(panels, places(table), strict=True):
            panel.axvline(100, **_ALL_LARGE, zorder=1)
            for router, role in found:
                curve = rows(table, direction=place, router=router)
                _curve(panel, curve, look[router], budgets, _LAYER[role])
            panel.margins(0.03)
        marked = at_budgets(tables["routers"])
        axis_titles(
            figure, style,
            f"time, % of the large model's alone (markers: {marked})",
            f"system quality ({unit(style)})",
        )  # fmt: skip
    return figure


_ALL_LARGE: dict[str, Any] = {"color": "#333333", "linewidth": 0.8, "linestyle": (0, (1, 1.5))}


def _curve(
    panel: Axes, curve: list[dict[str, Any]], look: Look, budgets: list[float], layer: int
) -> None:
    panel.plot(
        [100 * row["of_all_large"] for row in curve], [row["quality"] for row in curve],
        color=look.colour, linestyle=look.dashes, linewidth=look.width, zorder=layer,
    )  # fmt: skip
    marked = [row for row in curve if row["budget"] in budgets]
    panel.plot(
        [100 * row["of_all_large"] for row in marked], [row["quality"] for row in marked],
        linestyle="", color=look.colour, marker=look.marker, markersize=4,
        markeredgecolor="white" if look.marker != "|" else look.colour, markeredgewidth=0.4,
        zorder=layer + 3,
    )  # fmt: skip


def _handles(found: list[tuple[str, str]], look: dict[str, Look]) -> list[Any]:
    from matplotlib.lines import Line2D

    handles = [
        Line2D([], [], color=look[router].colour, linestyle=look[router].dashes,
               linewidth=look[router].width, marker=look[router].marker, markersize=4,
               label=labelled(router, role))
        for router, role in found
    ]  # fmt: skip
    return [*handles, Line2D([], [], **_ALL_LARGE, label="large model alone")]
