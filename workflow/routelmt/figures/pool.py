"""A pool of models: quality at cost against the static mixture, and who gets how many requests."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pyarrow as pa

from routelmt.evaluate.roles import AVERAGE
from routelmt.figures.panels import add_legend, legend_height, rows, unit, wrapped
from routelmt.figures.style import PALETTES, Look, applied, looks, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PANEL_HEIGHT = 2.9
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
    with applied(style):
        from matplotlib.lines import Line2D

        handles = [
            Line2D([], [], color=look[name].colour, linestyle=_CURVES[policy][0],
                   linewidth=_CURVES[policy][1], label=_label(policy, name))
            for policy, name in known
        ]  # fmt: skip
        figure = new_figure(style, PANEL_HEIGHT + legend_height(style, handles))
        left, right = figure.subplots(1, 2)
        for policy, name in known:
            curve = [row for row in own if (row["policy"], row["name"]) == (policy, name)]
            left.plot(
                [row["cost"] for row in curve], [row["quality"] for row in curve],
                color=look[name].colour, linestyle=_CURVES[policy][0],
                linewidth=_CURVES[policy][1], zorder=3,
            )  # fmt: skip
        _models(left, [row for row in own if row["policy"] == "single"])
        left.set_xlabel(f"mean cost of a request ({own[0]['unit']})")
        left.set_ylabel(f"system quality ({unit(style)})")
        _shares(right, tables["pool_shares"], _best(own), style)
        add_legend(figure, style, handles)
    return figure


def _label(policy: str, name: str) -> str:
    return name if policy in ("allocated", "mixture", "oracle") else f"{name} ({policy})"


def _models(panel: Axes, alone: list[dict[str, Any]]) -> None:
    for row in alone:
        panel.plot(row["cost"], row["quality"], "kX", markersize=5, zorder=5)
        panel.annotate(
            row["name"], (row["cost"], row["quality"]), textcoords="offset points", xytext=(4, -9),
            fontsize="small",
        )  # fmt: skip
    panel.margins(0.12)


def _best(own: list[dict[str, Any]]) -> tuple[str, str]:
    """Policy and name of the allocation with the largest area above the mixture."""
    kinds = [row for row in own if row["policy"] == "allocated"] or [
        row for row in own if row["policy"] == "oracle"
    ]
    best = max(kinds, key=lambda row: float(row["area"]))
    return best["policy"], best["name"]


def _shares(panel: Axes, table: pa.Table, of: tuple[str, str], style: dict[str, Any]) -> None:
    policy, name = of
    own = rows(table, direction=AVERAGE, policy=policy, name=name)
    models = list(dict.fromkeys(row["model"] for row in own))
    budgets = [row["budget"] for row in own if row["model"] == models[0]]
    shares = [[100 * row["share"] for row in own if row["model"] == model] for model in models]
    palette = PALETTES[style["palette"]]
    colours = [palette[m % len(palette)] for m in range(len(models))]
    panel.stackplot(budgets, shares, colors=colours, labels=models, alpha=0.75)
    panel.set(xlim=(0, 1), ylim=(0, 100), xlabel="budget (share of the cost range)")
    panel.set_ylabel(wrapped(f"% of the requests, {name}", PANEL_HEIGHT, style))
    panel.legend(loc="upper right", frameon=True, framealpha=0.85)
