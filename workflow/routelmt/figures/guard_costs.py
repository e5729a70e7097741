"""What an eligibility guard buys and what it costs: severe loss against MeanΔ, areas are time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from routelmt.figures.panels import (
    add_legend,
    axis_titles,
    columns_of,
    empty_figure,
    legend_height,
    routers,
    rows,
    unit,
)
from routelmt.figures.style import RANDOM_COLOUR, Look, applied, looks, new_figure
from routelmt.roles import AVERAGE, ORACLE, RANDOM, labelled

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

UNGUARDED = "none"
COLUMNS = 2
PANEL_HEIGHT = 3.1
# Square points of the dearest marker's area; all others are in proportion to their seconds.
LARGEST_AREA = 75.0
UNKNOWN_AREA = 20.0
# Room for a marker at no severe loss, as a share of the axis.
BELOW_ZERO = 0.06
# Of a panel, in multiples of its largest share; intervals that go on beyond it are cut. Few seeds
# can leave them ten times as wide as what there is to see.
TALLEST = 4.0
EMPTY = "This experiment has no guards (config key experiments.<name>.guards)."

Row = dict[str, Any]


def draw(tables: dict[str, pa.Table], style: dict[str, Any]) -> Figure:
    """A panel per ranking router and budget, on the average over the directions; a curve per guard.

    tables: guard_costs, and routers for the routers' colours. A curve runs over the quantile, from
    the router without a guard to the smallest; the area of a marker is the seconds for 1,000
    requests where all are asked, which stand beside both ends and the ringed point, where the guard
    routes alone.
    """
    table = tables["guard_costs"]
    with applied(style):
        if not table.num_rows:
            return empty_figure(style, EMPTY)
        shown = rows(table, direction=AVERAGE)
        guarded = [row for row in shown if row["role"] != RANDOM]
        panels_of = list(dict.fromkeys((row["router"], row["budget"]) for row in guarded))
        guards = list(
            dict.fromkeys((r["guard"], r["role"]) for r in guarded if r["guard"] != UNGUARDED)
        )
        known = dict(routers(tables["routers"]))
        others = [(guard, role) for guard, role in guards if guard not in known]
        look = looks([*known.items(), *others], style["palette"])
        dearest = np.nanmax([0.0, *(row["seconds"] for row in shown)]) or np.nan
        handles = _handles(guards, look)
        columns = columns_of(style, len(panels_of), COLUMNS)
        down = -(-len(panels_of) // columns)
        height = down * PANEL_HEIGHT + legend_height(style, handles)
        figure = new_figure(style, height)
        axes = [*figure.subplots(down, columns, squeeze=False, sharex=True, sharey=True).flat]
        for panel in axes[len(panels_of) :]:
            panel.axis("off")
        for panel, (router, budget) in zip(axes, panels_of, strict=False):
            own = [row for row in shown if row["budget"] == budget]
            _panel(panel, own, router, look, dearest)
            panel.set_title(f"{router} ranks, p = {budget:g}")
        axis_titles(
            figure, style,
            f"MeanΔ of the routed requests ({unit(style)})",
            "severe losses (% of the routed)",
        )  # fmt: skip
        add_legend(figure, style, handles)
    return figure


def _panel(
    panel: Axes, shown: list[Row], router: str, look: dict[str, Look], dearest: float
) -> None:
    own = [row for row in shown if row["router"] == router]
    start = [row for row in own if row["guard"] == UNGUARDED]
    for guard in dict.fromkeys(row["guard"] for row in own if row["guard"] != UNGUARDED):
        points = sorted(
            (row for row in own if row["guard"] == guard and row["quantile"] < 1),
            key=lambda row: -row["quantile"],
        )
        _curve(panel, [*start, *points], look[guard], dearest)
    for row in start:
        panel.scatter(*_at(row), **_UNGUARDED, s=_area(row, dearest))
        _label(panel, row, above=False)
    for row in shown:
        if row["role"] == RANDOM:
            _intervals(panel, row, RANDOM_COLOUR)
            panel.scatter(*_at(row), **_RANDOM, s=_area(row, dearest))
            _label(panel, row, above=True)
    panel.margins(0.12)
    highest = min(panel.get_ylim()[1], TALLEST * max(_at(row)[1] for row in own) or np.inf)
    panel.set_ylim(-BELOW_ZERO * highest, highest)


def _curve(panel: Axes, points: list[Row], look: Look, dearest: float) -> None:
    x, y = zip(*map(_at, points), strict=True)
    panel.plot(x, y, color=look.colour, linestyle=look.dashes, linewidth=look.width, zorder=3)
    for row in points:
        _intervals(panel, row, look.colour)
    for row in points[1:]:
        panel.scatter(
            *_at(row), s=_area(row, dearest), color=look.colour, marker=look.marker,
            edgecolors="white", linewidths=0.5, zorder=4,
        )  # fmt: skip
        if row["degenerate"]:
            panel.plot(*_at(row), **_DEGENERATE)
            _label(panel, row, above=True)


def _at(row: Row) -> tuple[float, float]:
    return row["mean_delta"], 100 * row["severe_loss"]


def _area(row: Row, dearest: float) -> float:
    """In proportion to the seconds, so that twice the ink is twice the time."""
    share = row["seconds"] / dearest
    return UNKNOWN_AREA if np.isnan(share) else LARGEST_AREA * share


def _intervals(panel: Axes, row: Row, colour: str) -> None:
    x, y = _at(row)
    faint: dict[str, Any] = {"color": colour, "linewidth": 0.5, "alpha": 0.3, "zorder": 1}
    panel.plot([row["mean_delta_low"], row["mean_delta_high"]], [y, y], **faint)
    panel.plot([x, x], [100 * row["severe_loss_low"], 100 * row["severe_loss_high"]], **faint)


def _label(panel: Axes, row: Row, above: bool) -> None:
    """The seconds for 1,000 requests, beside the point."""
    from matplotlib.patheffects import withStroke

    if np.isnan(row["seconds"]):
        return
    panel.annotate(
        f"{row['seconds']:.1f} s", _at(row), xytext=(7, 5 if above else -5),
        textcoords="offset points", va="bottom" if above else "top", fontsize="small", zorder=6,
        path_effects=[withStroke(linewidth=1.8, foreground="white")],
    )  # fmt: skip


_UNGUARDED: dict[str, Any] = {
    "marker": "s", "facecolors": "white", "edgecolors": "black", "linewidths": 0.9, "zorder": 5,
}  # fmt: skip
_RANDOM: dict[str, Any] = {
    "marker": "o", "facecolors": "white", "edgecolors": RANDOM_COLOUR, "linewidths": 0.9,
    "zorder": 5,
}  # fmt: skip
_DEGENERATE: dict[str, Any] = {
    "marker": "o", "markersize": 12, "markerfacecolor": "none", "markeredgecolor": "black",
    "markeredgewidth": 0.8, "linestyle": "", "zorder": 5,
}  # fmt: skip


def _handles(guards: list[tuple[str, str]], look: dict[str, Look]) -> list[Any]:
    from matplotlib.lines import Line2D

    handles = [
        Line2D([], [], color=look[guard].colour, linestyle=look[guard].dashes,
               linewidth=look[guard].width, marker=look[guard].marker, markersize=5,
               label=f"guard {labelled(guard, role)}")
        for guard, role in sorted(guards, key=lambda guard: guard[1] == ORACLE)
    ]  # fmt: skip
    marks = (("no guard", "s", "black", 5), ("random", "o", RANDOM_COLOUR, 5),
             ("quantile = budget", "o", "black", 10),
             ("area, label: s for 1,000 requests", "", "black", 0))  # fmt: skip
    interval = Line2D([], [], color="black", linewidth=0.5, label="interval, cut at the edge")
    return handles + [interval] + [
        Line2D([], [], linestyle="", marker=marker, markersize=size, markeredgecolor=colour,
               markerfacecolor="white", markeredgewidth=0.8, label=label)
        for label, marker, colour, size in marks
    ]  # fmt: skip
