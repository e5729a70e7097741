"""Headroom that trained routers recover on domains they were trained on, and on new ones."""

from __future__ import annotations

from math import ceil
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from routelmt.figures.panels import (
    add_legend,
    at_budgets,
    axis_titles,
    head_line_panel,
    legend_height,
    lines,
    routers,
)
from routelmt.figures.style import Look, applied, looks, new_figure
from routelmt.roles import AVERAGE

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

ROW_HEIGHT = 0.24
PANEL_ROOM = 0.65
# Inches for the routers' names, and that a panel needs at least.
NAMES, PANEL = 1.1, 0.95
# Space at either end of the axis, as a share of what it shows.
MARGIN = 0.06
# Where on a router's line: seen above, unseen below.
OFFSETS = {True: -0.17, False: 0.17}


def draw(tables: dict[str, pa.Table], style: dict[str, Any]) -> Figure:
    """A panel for the average and one per part of each split; two marks per trained router.

    tables: transfer. Filled: on the part it was trained on; open: trained on the other part. The
    dotted line is chance; the gain oracle would stand at 100.
    """
    headroom = tables["transfer"].filter(pc.equal(tables["transfer"].column("metric"), "headroom"))
    table = headroom.filter(pc.is_valid(headroom.column("seen")))
    look = looks(routers(table), style["palette"])
    keys, names = lines(table)
    shown = table.to_pylist()
    places = _places(shown)
    across = min(len(places), max(1, int((style["width"] - NAMES) / PANEL)))
    down = ceil(len(places) / across)
    with applied(style):
        handles = _handles()
        panels_height = down * (len(keys) * ROW_HEIGHT + PANEL_ROOM)
        figure = new_figure(style, panels_height + 0.2 + legend_height(style, handles))
        grid = figure.subplots(down, across, sharey=True, sharex=True, squeeze=False)
        panels = [*grid.flat]
        for at, (panel, place) in enumerate(zip(panels, places, strict=False)):
            here = [row for row in shown if (row["split"], row["part"]) == place]
            for row in here:
                _mark(panel, keys.index((row["router"], row["budget"])), row, look[row["router"]])
            panel.axvline(0, color="#999999", linewidth=0.7, linestyle=(0, (1, 2)))
            head_line_panel(panel, _title(place), first=at % across == 0)
        for panel in panels[len(places) :]:
            panel.axis("off")
        panels[0].set_yticks(range(len(keys)), names)
        panels[0].set_ylim(len(keys) - 0.5, -0.5)
        panels[0].set_xlim(*_limits(shown))
        label = f"headroom recovered (%, by {style['metric']}), {at_budgets(table)}"
        axis_titles(figure, style, label)
        add_legend(figure, style, handles)
    return figure


def _places(shown: list[dict[str, Any]]) -> list[tuple[str, str]]:
    """The average over everything, and then every part."""
    found = list(dict.fromkeys((row["split"], row["part"]) for row in shown))
    return [found[-1], *(place for place in found if place[1] != AVERAGE)]


def _title(place: tuple[str, str]) -> str:
    split, part = place
    return AVERAGE if part == AVERAGE else f"{split}:\n{part}"


def _limits(shown: list[dict[str, Any]]) -> tuple[float, float]:
    ends = [100 * row[end] for row in shown for end in ("value", "low", "high")]
    low, high = np.nanmin([*ends, 0.0]), np.nanmax([*ends, 1.0])
    room = MARGIN * (high - low)
    return float(low - room), float(high + room)


def _mark(panel: Axes, line: int, row: dict[str, Any], look: Look) -> None:
    at = line + OFFSETS[row["seen"]]
    panel.hlines(at, 100 * row["low"], 100 * row["high"], color=look.colour, linewidth=1.0)
    panel.plot(
        100 * row["value"], at, linestyle="", color=look.colour, marker=look.marker, markersize=4,
        markerfacecolor=look.colour if row["seen"] else "white", markeredgewidth=0.8, zorder=3,
    )  # fmt: skip


def _handles() -> list[Any]:
    from matplotlib.lines import Line2D

    same: dict[str, Any] = {"color": "#333333", "linestyle": "", "marker": "o", "markersize": 4}
    return [
        Line2D([], [], **same, label="domains seen"),
        Line2D([], [], **same, markerfacecolor="white", label="domains not seen"),
    ]
