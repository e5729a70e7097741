"""A pool of models: quality at cost against the static mixture, and who gets how many requests."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from routelmt.figures.panels import add_legend, legend_height, rows, unit, wrapped
from routelmt.figures.style import PALETTES, Look, applied, looks, new_figure
from routelmt.roles import AVERAGE

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PANEL_HEIGHT = 2.7
# Inches: in a narrower figure the panels stand below each other.
NARROW = 5.0
_MARKER: dict[str, Any] = {"markersize": 6, "markeredgecolor": "white", "markeredgewidth": 0.5,
                           "zorder": 5}  # fmt: skip
# Dashes and width of each policy that has a curve; the colour is the router's.
_CURVES: dict[str, tuple[Any, float]] = {
    "mixture": ("-", 0.9),
    "allocated": ("-", 1.4),
    "coherent": ((0, (4, 1.2)), 1.2),
    "pair": ((0, (1, 1)), 1.2),
    "cascade": ((0, (5, 1, 1, 1)), 1.2),
    "oracle": ((0, (2.5, 2.0)), 1.0),
}


def draw(tables: dict[str, pa.Table], style: dict[str, Any]) -> Figure:
    """On average over the directions: curves of all policies beside the models alone, and shares.

    tables: pool and pool_shares. The shares are those of the allocation that is most above the
    mixture over all budgets.
    """
    own = rows(tables["pool"], direction=AVERAGE)
    named = dict.fromkeys((row["name"], row["role"]) for row in own if row["policy"] != "single")
    look = looks(list(named), style["palette"])
    look["static mixture"] = Look("#333333", "-", "", 0.9)
    known = dict.fromkeys((row["policy"], row["name"]) for row in own if row["policy"] in _CURVES)
    palette = PALETTES[style["palette"]]
    models = [row["name"] for row in own if row["policy"] == "single"]
    colours = {model: palette[m % len(palette)] for m, model in enumerate(models)}
    with applied(style):
        handles = _handles(known, look, colours)
        across = 2 if style["width"] > NARROW else 1
        above = legend_height(style, handles)
        figure = new_figure(style, (3 - across) * PANEL_HEIGHT + above)
        curves, shares = figure.subplots(3 - across, across).flat
        for policy, name in known:
            curve = [row for row in own if (row["policy"], row["name"]) == (policy, name)]
            curves.plot(
                [row["cost"] for row in curve], [row["quality"] for row in curve],
                color=look[name].colour, linestyle=_CURVES[policy][0],
                linewidth=_CURVES[policy][1], zorder=3,
            )  # fmt: skip
        for row in own:
            if row["policy"] == "single":
                colour = colours[row["name"]]
                curves.plot(row["cost"], row["quality"], "X", color=colour, **_MARKER)
        width = style["width"] / across - 0.6
        curves.set_xlabel(wrapped(f"mean cost of a request ({own[0]['unit']})", width, style))
        curves.set_ylabel(wrapped(f"system quality ({unit(style)})", PANEL_HEIGHT - 0.6, style))
        _shares(shares, tables["pool_shares"], _best(own), colours)
        shares.set_xlabel(wrapped("budget (share of the cost range)", width, style))
        name = _best(own)[1]
        shares.set_ylabel(wrapped(f"% of the requests ({name})", PANEL_HEIGHT - 0.6, style))
        add_legend(figure, style, handles)
    return figure


def _handles(
    known: Iterable[tuple[str, str]], look: dict[str, Look], colours: dict[str, str]
) -> list[Any]:
    from matplotlib.lines import Line2D

    lines = [
        Line2D([], [], color=look[name].colour, linestyle=_CURVES[policy][0],
               linewidth=_CURVES[policy][1], label=_label(policy, name))
        for policy, name in known
    ]  # fmt: skip
    alone = [
        Line2D([], [], linestyle="", marker="X", color=colour, label=model, **_MARKER)
        for model, colour in colours.items()
    ]
    return [*lines, *alone]


def _label(policy: str, name: str) -> str:
    return name if policy in ("allocated", "mixture", "oracle") else f"{name} ({policy})"


def _best(own: list[dict[str, Any]]) -> tuple[str, str]:
    """Policy and name of the allocation with the largest area above the mixture."""
    kinds = [row for row in own if row["policy"] == "allocated"] or [
        row for row in own if row["policy"] == "oracle"
    ]
    best = max(kinds, key=lambda row: float(row["area"]))
    return best["policy"], best["name"]


def _shares(panel: Axes, table: pa.Table, of: tuple[str, str], colours: dict[str, str]) -> None:
    policy, name = of
    own = rows(table, direction=AVERAGE, policy=policy, name=name)
    budgets = sorted({row["budget"] for row in own})
    shares = [[100 * row["share"] for row in own if row["model"] == model] for model in colours]
    panel.stackplot(budgets, shares, colors=list(colours.values()), alpha=0.75)
    panel.set(xlim=(0, 1), ylim=(0, 100))
