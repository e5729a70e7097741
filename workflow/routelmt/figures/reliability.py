"""Whether the gain that a router predicts is the gain that comes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

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

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PANEL_HEIGHT = 2.0
ALL = "all"
EMPTY = "No router of this experiment predicts gains in points."


def draw(tables: dict[str, pa.Table], style: dict[str, Any]) -> Figure:
    """A panel per direction and one for all requests together; a point per router and bin.

    tables: reliability, and routers for the routers' colours. On the diagonal predicted and
    observed mean gains agree.
    """
    from matplotlib.lines import Line2D

    table = tables["reliability"]
    look = looks(routers(tables["routers"]), style["palette"])
    spoken = pc.unique(table.column("router")).to_pylist()
    named = drawn([pair for pair in routers(tables["routers"]) if pair[0] in spoken], style)
    names = [name for name, _ in named]
    directions = pc.unique(table.column("direction")).to_pylist()
    with applied(style):
        if not names:
            return empty_figure(style, EMPTY)
        places = sorted(directions, key=lambda place: place == ALL)
        headings = ["all requests" if place == ALL else place for place in places]
        handles = [
            Line2D([], [], linestyle="", color=look[router].colour, marker=look[router].marker,
                   markersize=4, label=router)
            for router in names
        ]  # fmt: skip
        handles.append(Line2D([], [], **_DIAGONAL, label="as predicted"))
        figure, panels = panel_grid(style, headings, PANEL_HEIGHT, handles)
        for panel, place in zip(panels, places, strict=True):
            for router in names:
                _points(panel, rows(table, direction=place, router=router), look[router])
            _diagonal(panel)
        axis_titles(
            figure, style,
            f"mean predicted gain ({unit(style)})",
            f"mean observed gain ({unit(style)})",
        )  # fmt: skip
    return figure


_DIAGONAL: dict[str, Any] = {"color": "#333333", "linewidth": 0.8, "linestyle": (0, (1, 1.5))}


def _points(panel: Axes, bins: list[dict[str, Any]], look: Look) -> None:
    predicted, observed, low, high = (
        np.array([row[column] for row in bins])
        for column in ("predicted", "observed", "low", "high")
    )
    panel.vlines(predicted, low, high, color=look.colour, linewidth=1.0, zorder=3)
    panel.plot(
        predicted, observed, linestyle="", color=look.colour, marker=look.marker, markersize=3.6,
        zorder=4,
    )  # fmt: skip


def _diagonal(panel: Axes) -> None:
    """Over what both axes show."""
    ends = [f(panel.get_xlim()[i], panel.get_ylim()[i]) for i, f in ((0, max), (1, min))]
    panel.plot(ends, ends, **_DIAGONAL, zorder=2)
