"""Which router beats which: differences in MeanΔ, and what Holm's correction leaves of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from routelmt.figures.panels import (
    CHARACTER,
    POINTS_PER_INCH,
    add_legend,
    empty_figure,
    legend_height,
    rows,
    unit,
)
from routelmt.figures.style import applied, new_figure
from routelmt.roles import AVERAGE, labelled

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

METRIC = "mean_delta"
SIGNIFICANT = 0.05
# A dark blue and a light orange: far apart in grey too, where the hatch tells them apart as well.
WIN, LOSS, OPEN = "#0B4F8A", "#F5C27D", "#FFFFFF"
HATCH = "////"
# Inches: rows may not be taller, and what a heading takes.
TALLEST_ROW = 0.4
TITLE_ROOM = 0.3
# Height of a name as a share of its row.
NAME_SHARE = 0.8
# Width of a number as a multiple of its size; cells too narrow for the smallest have none.
NUMBER_WIDTH = 3.3
SMALLEST_NUMBER = 4.5
EMPTY = "Fewer than two deployable routers: nobody to beat."

_Pairs = dict[tuple[str, str], tuple[float, float]]  # (row, column) -> difference, Holm's p


def draw(tables: dict[str, pa.Table], style: dict[str, Any]) -> Figure:
    """A matrix per budget, on the average over directions: the row's MeanΔ minus the column's.

    tables: comparisons; routers, for the order: best MeanΔ at the first budget on top. Coloured
    where Holm's p is below 0.05, dark for a win, hatched for a loss.
    """
    differences = rows(tables["comparisons"], direction=AVERAGE, metric=METRIC)
    with applied(style):
        if not differences:
            return empty_figure(style, EMPTY)
        budgets = list(dict.fromkeys(row["budget"] for row in differences))
        names = _ranked(tables["routers"], differences, budgets[0])
        cell, size = _sizes(style, list(names.values()))
        beside = CHARACTER * max(map(len, names.values())) * size / POINTS_PER_INCH
        height = len(budgets) * (len(names) * cell + beside + TITLE_ROOM)
        height += legend_height(style, _handles()) + TITLE_ROOM
        figure = new_figure(style, height)
        panels = figure.subplots(len(budgets), 1, squeeze=False)[:, 0]
        number = min(style["font_size"] - 1, cell * POINTS_PER_INCH / NUMBER_WIDTH)
        for panel, budget in zip(panels, budgets, strict=True):
            pairs = _pairs([row for row in differences if row["budget"] == budget])
            _matrix(panel, list(names), pairs, number if number > SMALLEST_NUMBER else None)
            _name_axes(panel, list(names.values()), size)
            panel.set_xlabel(f"p = {budget:g}")  # below, where no name is
        shown = f"MeanΔ of the row minus that of the column ({unit(style)})"
        add_legend(figure, style, _handles(), below=shown)
    return figure


def _sizes(style: dict[str, Any], names: Sequence[str]) -> tuple[float, float]:
    """Inches of a cell, and points of the names: what lets both fit the width."""
    ems = CHARACTER * max(map(len, names))
    largest = style["font_size"] - 1
    with_largest = (style["width"] - ems * largest / POINTS_PER_INCH) / len(names)
    with_its_own = style["width"] / (len(names) + ems * NAME_SHARE)
    cell = min(TALLEST_ROW, max(with_largest, with_its_own))
    return cell, min(largest, NAME_SHARE * cell * POINTS_PER_INCH)


def _ranked(routers: pa.Table, differences: list[dict[str, Any]], budget: float) -> dict[str, str]:
    """Router -> what it is called, from the highest MeanΔ to the lowest, the undefined last."""
    compared = {row[side] for row in differences for side in ("router", "other")}
    found = [
        row
        for row in rows(routers, direction=AVERAGE, metric=METRIC, budget=budget)
        if row["router"] in compared
    ]
    found.sort(key=lambda row: (np.isnan(row["value"]), -row["value"], row["router"]))
    return {row["router"]: labelled(row["router"], row["role"]) for row in found}


def _pairs(differences: list[dict[str, Any]]) -> _Pairs:
    pairs: _Pairs = {}
    for row in differences:
        pairs[row["router"], row["other"]] = row["difference"], row["p_holm"]
        pairs[row["other"], row["router"]] = -row["difference"], row["p_holm"]
    return pairs


def _matrix(panel: Axes, names: list[str], pairs: _Pairs, number_size: float | None) -> None:
    from matplotlib.patches import Rectangle

    for y, router in enumerate(names):
        for x, other in enumerate(names):
            if router == other:
                panel.add_patch(Rectangle((x - 0.5, y - 0.5), 1, 1, color="#D9D9D9", linewidth=0))
                continue
            difference, p_holm = pairs[router, other]
            patch = Rectangle((x - 0.5, y - 0.5), 1, 1, **_face(difference, p_holm))
            panel.add_patch(patch)
            if number_size is not None and not np.isnan(difference):
                dark = patch.get_facecolor()[0] < 0.5
                panel.text(
                    x, y, f"{difference:+z.1f}", ha="center", va="center_baseline",
                    fontsize=number_size, color="white" if dark else "black",
                    bbox=_under(difference, p_holm),
                )  # fmt: skip


def _face(difference: float, p_holm: float) -> dict[str, Any]:
    edge = {"edgecolor": "#BBBBBB", "linewidth": 0.4}
    if np.isnan(p_holm) or p_holm >= SIGNIFICANT:
        return {"facecolor": OPEN, **edge}
    if difference > 0:
        return {"facecolor": WIN, **edge}
    return {"facecolor": LOSS, "hatch": HATCH, **edge, "edgecolor": "#A9742C"}


def _under(difference: float, p_holm: float) -> dict[str, Any] | None:
    """What lifts a number off the hatch."""
    if _face(difference, p_holm).get("hatch") is None:
        return None
    return {"facecolor": LOSS, "linewidth": 0, "boxstyle": "square,pad=0.12"}


def _name_axes(panel: Axes, names: list[str], size: float) -> None:
    places = range(len(names))
    panel.set_xlim(-0.5, len(names) - 0.5)
    panel.set_ylim(len(names) - 0.5, -0.5)
    panel.set_aspect("equal")
    panel.grid(visible=False)
    panel.spines[:].set_visible(False)
    panel.set_yticks(places, names, fontsize=size)
    panel.set_xticks(places, names, fontsize=size, rotation=90)
    panel.tick_params(length=0, labeltop=True, labelbottom=False)


def _handles() -> list[Any]:
    from matplotlib.patches import Patch

    return [
        Patch(label="row beats column", **_face(1, 0)),
        Patch(label="row loses to column", **_face(-1, 0)),
        Patch(label=f"not told apart (Holm, {SIGNIFICANT:g})", **_face(0, 1)),
    ]
