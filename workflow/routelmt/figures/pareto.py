"""System quality against the share of requests that the large model gets (RouteLMT Figure 3)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from routelmt.figures.panels import (
    at_budgets,
    axis_titles,
    drawn,
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
# Opacity of all bands on top of one another, roughly.
BAND_INK = 0.4
# Fewer bands than this do not get darker.
BAND_LAYERS = 3
# Above the straight line are routers that are worth having, so they are drawn over it.
_LAYER = {RANDOM: 2, ORACLE: 3, ROUTER: 4}


def draw(tables: dict[str, pa.Table], style: dict[str, Any]) -> Figure:
    """A panel per direction and one for the average.

    tables: pareto, and routers for the budgets, which are marked on every curve.
    """
    from matplotlib.lines import Line2D

    table = tables["pareto"]
    budgets = sorted(set(tables["routers"].column("budget").to_pylist()))
    found = routers(table)
    look = looks(found, style["palette"])
    found = drawn(found, style)
    deployable = sum(role == ROUTER for _, role in found)
    band = BAND_INK / max(BAND_LAYERS, deployable)
    with applied(style):
        headings = [title(place) for place in places(table)]
        handles = [
            Line2D([], [], **_line(look[router]), marker=look[router].marker, markersize=4,
                   label=labelled(router, role))
            for router, role in found
        ]  # fmt: skip
        figure, panels = panel_grid(style, headings, PANEL_HEIGHT, handles)
        for panel, place in zip(panels, places(table), strict=True):
            for router, role in found:
                curve = rows(table, direction=place, router=router)
                alpha = band if role == ROUTER else 0.0  # other bands would bury these
                _curve(panel, curve, look[router], budgets, _LAYER[role], alpha)
            panel.set_xlim(0, 1)
            panel.set_xticks([0, 0.2, 0.4, 0.6, 0.8, 1])
            panel.margins(y=0.03)
        axis_titles(
            figure, style,
            f"share of requests to the large model (markers: {at_budgets(tables['routers'])})",
            f"system quality ({unit(style)})",
        )  # fmt: skip
    return figure


def _curve(
    panel: Axes,
    curve: list[dict[str, Any]],
    look: Look,
    budgets: list[float],
    layer: int,
    band: float,
) -> None:
    rate, quality, low, high = (
        np.array([row[column] for row in curve])
        for column in ("call_rate", "quality", "low", "high")
    )
    if band:
        panel.fill_between(rate, low, high, color=look.colour, alpha=band, linewidth=0, zorder=1)
    panel.plot(rate, quality, **_line(look), zorder=layer)
    marked = np.interp(budgets, rate, quality)
    panel.plot(
        budgets, marked, linestyle="", color=look.colour, marker=look.marker, markersize=4,
        markeredgecolor="white" if look.marker != "|" else look.colour, markeredgewidth=0.4,
        zorder=layer + 3,
    )  # fmt: skip


def _line(look: Look) -> dict[str, Any]:
    return {"color": look.colour, "linestyle": look.dashes, "linewidth": look.width}
