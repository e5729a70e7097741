"""MeanΔ and HitRate of every router with their intervals (RouteLMT Table 2 as a picture)."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from routelmt.figures.panels import (
    CHARACTER,
    POINTS_PER_INCH,
    at_budgets,
    average_first,
    axis_titles,
    head_line_panel,
    lines,
    routers,
    rows,
    unit,
)
from routelmt.figures.style import Look, applied, looks, new_figure
from routelmt.roles import ORACLE, RANDOM

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

METRICS = {"mean_delta": ("MeanΔ", "{:.1f}"), "hit_rate": ("HitRate", "{:.0f}")}
ROW_HEIGHT = 0.17
PANEL_ROOM = 0.4
AXIS_ROOM = 0.3
# Inches: a narrower panel has no room for its numbers.
NARROWEST = 0.75
# Space at either end of an axis, as a share of what it shows.
MARGIN = 0.08

_Values = dict[tuple[str, float], dict[str, Any]]


def draw(tables: dict[str, pa.Table], style: dict[str, Any]) -> Figure:
    """A row of panels per metric: the average first, then the directions.

    Where there are several budgets, every router has a line per budget. The dotted line is what
    random routing expects. The axis fits what can be deployed; an oracle beyond it is a number.
    """
    table = tables["routers"]
    look = looks(routers(table), style["palette"])
    keys, names = lines(table)
    columns = average_first(table)
    across = _across(style, names, len(columns))
    deep = ceil(len(columns) / across)
    with applied(style):
        panel_height = len(keys) * ROW_HEIGHT + PANEL_ROOM
        figure = new_figure(style, len(METRICS) * (deep * panel_height + AXIS_ROOM))
        parts = figure.subfigures(len(METRICS), 1, squeeze=False)[:, 0]
        for (metric, (name, number)), part in zip(METRICS.items(), parts, strict=True):
            shown = rows(table, metric=metric)
            panels = part.subplots(deep, across, sharex=True, sharey=True, squeeze=False)
            for index, (panel, place) in enumerate(zip(panels.flat, columns, strict=False)):
                panel.set_xlim(*_limits(shown))
                values = {(r["router"], r["budget"]): r for r in shown if r["direction"] == place}
                for at, key in enumerate(keys):
                    _dot(panel, at, values[key], look[key[0]], number)
                _random_lines(panel, values)
                head_line_panel(panel, place, first=index % across == 0)
            for panel in panels.flat[len(columns) :]:
                panel.axis("off")
            panels[0][0].set_yticks(range(len(keys)), names)
            panels[0][0].set_ylim(len(keys) - 0.4, -0.6)
            of = unit(style) if metric == "mean_delta" else f"%, by {style['metric']}"
            axis_titles(part, style, f"{name} ({of}), {at_budgets(table)}")
    return figure


def _across(style: dict[str, Any], names: Sequence[str], panels: int) -> int:
    """How many panels fit beside the names."""
    beside = CHARACTER * max(map(len, names)) * (style["font_size"] - 1) / POINTS_PER_INCH
    return max(1, min(panels, int((style["width"] - beside) / NARROWEST)))


def _limits(shown: list[dict[str, Any]]) -> tuple[float, float]:
    deployable = [row for row in shown if row["role"] != ORACLE] or shown
    ends = np.array([[row[end] for end in ("value", "low", "high")] for row in deployable])
    low, high = np.nanmin(ends), np.nanmax(ends)
    room = MARGIN * (high - low) or 1.0
    return float(low - room), float(high + room)


def _dot(panel: Axes, at: int, row: dict[str, Any], look: Look, number: str) -> None:
    low, high = panel.get_xlim()
    if row["value"] > high or row["value"] < low:
        beyond = row["value"] > high
        text = f"{number} ▸" if beyond else f"◂ {number}"
        panel.annotate(
            text.format(row["value"]), (1 if beyond else 0, at), ha="right" if beyond else "left",
            xycoords=("axes fraction", "data"), va="center_baseline", fontsize="x-small",
            color=look.colour,
        )  # fmt: skip
        return
    # The interval of a percentile bootstrap need not hold the value: draw it as it is.
    panel.hlines(at, row["low"], row["high"], color=look.colour, linewidth=1.2)
    panel.plot(
        row["value"], at, linestyle="", color=look.colour, marker=look.marker, markersize=4,
        markerfacecolor="white" if row["role"] == ORACLE else look.colour, markeredgewidth=0.8,
        zorder=3,
    )  # fmt: skip


def _random_lines(panel: Axes, values: _Values) -> None:
    for row in values.values():
        if row["role"] == RANDOM and not np.isnan(row["value"]):
            panel.axvline(row["value"], color="#999999", linewidth=0.7, linestyle=(0, (1, 2)))
