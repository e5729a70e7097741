"""How far the realised rate on test data is from the one calibrated for on validation data."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from routelmt.figures.panels import axis_titles, drawn, panel_grid, places, routers, rows, title
from routelmt.figures.style import applied, looks
from routelmt.roles import ORACLE, RANDOM, ROUTER

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PANEL_HEIGHT = 1.95
BAND_INK = 0.4
BAND_LAYERS = 3
_LAYER = {RANDOM: 2, ROUTER: 4}


def draw(tables: dict[str, pa.Table], style: dict[str, Any]) -> Figure:
    """A panel per direction and one for the average; a line per router that can be deployed.

    On the horizontal line the share that was asked for went to the large model; random routing
    shows what chance alone does.
    """
    from matplotlib.lines import Line2D

    table = tables["calibration"]
    look = looks(routers(table), style["palette"])
    found = [(router, role) for router, role in routers(table) if role != ORACLE]
    found = drawn(found, style)
    layers = max(BAND_LAYERS, sum(role == ROUTER for _, role in found))
    with applied(style):
        headings = [title(place) for place in places(table)]
        handles = [
            Line2D([], [], color=look[router].colour, linestyle=look[router].dashes,
                   linewidth=look[router].width, marker=look[router].marker, markersize=3.2,
                   label=router)
            for router, _ in found
        ]  # fmt: skip
        figure, panels = panel_grid(style, headings, PANEL_HEIGHT, handles)
        for panel, place in zip(panels, places(table), strict=True):
            panel.axhline(0, color="#333333", linewidth=0.8, zorder=1)
            for router, role in found:
                curve = rows(table, direction=place, router=router)
                target, rate, low, high = (
                    100 * np.array([row[column] for row in curve])
                    for column in ("target", "rate", "low", "high")
                )
                own = look[router]
                if role == ROUTER:
                    panel.fill_between(
                        target, low - target, high - target, color=own.colour,
                        alpha=BAND_INK / layers, linewidth=0, zorder=1,
                    )  # fmt: skip
                panel.plot(
                    target, rate - target, color=own.colour, linestyle=own.dashes,
                    linewidth=own.width, marker=own.marker, markersize=3.2, markevery=4,
                    zorder=_LAYER[role],
                )  # fmt: skip
            panel.set_xlim(0, 100)
            panel.set_xticks([0, 20, 40, 60, 80, 100])
        axis_titles(
            figure, style,
            "p that the threshold is calibrated for (% of validation data)",
            "sent of test data − p (points)",
        )  # fmt: skip
    return figure
