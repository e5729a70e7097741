"""What an eligibility guard buys: severe loss against MeanΔ (RouteLMT §6.4)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from routelmt.figures.panels import (
    axis_titles,
    empty_figure,
    panel_grid,
    places,
    rows,
    title,
    unit,
)
from routelmt.figures.style import Look, applied, looks
from routelmt.roles import ORACLE, ROUTER, UNGUARDED, labelled

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PANEL_HEIGHT = 2.15
EMPTY = "This experiment has no guards (config key experiments.<name>.guards)."

_Curve = tuple[str, str, bool, float]  # router, guard, oracle, budget


def draw(tables: dict[str, pa.Table], style: dict[str, Any]) -> Figure:
    """A panel per direction and one for the average; a curve per ranking router and guard.

    A curve runs over the quantile from 1 (no guard) to the smallest; the ring marks quantile =
    budget, where the guard routes alone.
    """
    table = tables["guards"]
    with applied(style):
        if not table.num_rows:
            return empty_figure(style, EMPTY)
        curves = _curves(table)
        look = dict(zip(curves, _looks(curves, style["palette"]), strict=True))
        headings = [title(place) for place in places(table)]
        figure, panels = panel_grid(style, headings, PANEL_HEIGHT, _handles(look))
        for panel, place in zip(panels, places(table), strict=True):
            for curve in curves:
                _draw_curve(panel, _points(table, place, curve), look[curve], curve[3])
            panel.margins(0.09)
        axis_titles(
            figure, style,
            f"severe losses (% of the routed requests){_of_all(curves)}",
            f"MeanΔ ({unit(style)})",
        )  # fmt: skip
    return figure


def _curves(table: pa.Table) -> list[_Curve]:
    keys = zip(*(table.column(c).to_pylist() for c in ("router", "guard", "oracle", "budget")),
               strict=True)  # fmt: skip
    return [key for key in dict.fromkeys(keys) if key[1] != UNGUARDED]


def _looks(curves: list[_Curve], palette: str) -> list[Look]:
    names = [(str(curve), ORACLE if curve[2] else ROUTER) for curve in curves]
    return list(looks(names, palette).values())


def _points(table: pa.Table, place: str, curve: _Curve) -> list[dict[str, Any]]:
    router, guard, _, budget = curve
    here = rows(table, direction=place, router=router, budget=budget)
    own = [row for row in here if row["guard"] == guard and row["quantile"] < 1]
    unguarded = [row for row in here if row["guard"] == UNGUARDED]
    return sorted(own, key=lambda row: row["quantile"]) + unguarded


def _draw_curve(panel: Axes, points: list[dict[str, Any]], look: Look, budget: float) -> None:
    severe = [100 * row["severe_loss"] for row in points]
    delta = [row["mean_delta"] for row in points]
    for x, y, row in zip(severe, delta, points, strict=True):
        ends = [100 * row["severe_loss_low"], 100 * row["severe_loss_high"]]
        faint: dict[str, Any] = {"color": look.colour, "linewidth": 0.5, "alpha": 0.35, "zorder": 1}
        panel.plot(ends, [y, y], **faint)
        panel.plot([x, x], [row["mean_delta_low"], row["mean_delta_high"]], **faint)
    panel.plot(
        severe, delta, color=look.colour, linestyle=look.dashes, linewidth=look.width,
        marker=look.marker, markersize=3.5, zorder=3,
    )  # fmt: skip
    panel.plot(severe[-1], delta[-1], **_UNGUARDED)
    for x, y, row in zip(severe, delta, points, strict=True):
        if row["quantile"] == budget:
            panel.plot(x, y, **_DEGENERATE)


_UNGUARDED: dict[str, Any] = {
    "marker": "s", "markersize": 6, "markerfacecolor": "white", "markeredgecolor": "black",
    "linestyle": "", "zorder": 5,
}  # fmt: skip
_DEGENERATE: dict[str, Any] = {
    "marker": "o", "markersize": 9, "markerfacecolor": "none", "markeredgecolor": "black",
    "markeredgewidth": 0.8, "linestyle": "", "zorder": 5,
}  # fmt: skip


def _of_all(curves: Sequence[_Curve]) -> str:
    """The ranking router and p, where all curves share them; else the legend names them."""
    shared = {(router, budget) for router, _, _, budget in curves}
    if len(shared) > 1:
        return ""
    ((router, budget),) = shared
    return f"; {router} ranks, p\u00a0=\u00a0{budget:g}"


def _handles(look: dict[_Curve, Look]) -> list[Any]:
    from matplotlib.lines import Line2D

    several = len({(curve[0], curve[3]) for curve in look}) > 1
    handles = []
    for (router, guard, oracle, budget), own in look.items():
        name = f"guard {labelled(guard, ORACLE if oracle else ROUTER)}"
        name += f"\n{router} ranks, p = {budget:g}" if several else ""
        handles.append(
            Line2D([], [], color=own.colour, linestyle=own.dashes, linewidth=own.width,
                   marker=own.marker, markersize=3.5, label=name)
        )  # fmt: skip
    handles.append(Line2D([], [], **_UNGUARDED, label="no guard"))
    handles.append(Line2D([], [], **_DEGENERATE, label="quantile = budget:\nguard routes alone"))
    return handles
