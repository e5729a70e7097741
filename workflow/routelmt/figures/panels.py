"""What the figures share: rows of tables by place, grids of small panels, and their legend."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import ceil
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from routelmt.evaluate.roles import AVERAGE, labelled
from routelmt.figures.style import new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLUMNS = 3
# More entries than this do not fit beside the panels.
LEGEND_ROWS = 11


def places(table: pa.Table) -> list[str]:
    """The directions in table order, the average over them last."""
    found = pc.unique(table.column("direction")).to_pylist()
    return sorted(found, key=lambda place: place == AVERAGE)


def rows(table: pa.Table, **equal: Any) -> list[dict[str, Any]]:
    """Rows, as dicts, that have these values."""
    for column, value in equal.items():
        table = table.filter(pc.equal(table.column(column), value))
    found: list[dict[str, Any]] = table.to_pylist()
    return found


def routers(table: pa.Table) -> list[tuple[str, str]]:
    """(router, role) in table order."""
    names, roles = (table.column(c).to_pylist() for c in ("router", "role"))
    return list(dict.fromkeys(zip(names, roles, strict=True)))


def drawn(found: list[tuple[str, str]], style: dict[str, Any]) -> list[tuple[str, str]]:
    """Those of (router, role) that the style wants as curves; all if it names none of them."""
    chosen = [pair for pair in found if pair[0] in (style.get("curves") or ())]
    return chosen or found


def lines(table: pa.Table) -> tuple[list[tuple[str, float]], list[str]]:
    """(router, budget) of every line of a figure with one line each, and what it is called."""
    budgets = sorted(set(table.column("budget").to_pylist()))
    found = [(router, role, budget) for router, role in routers(table) for budget in budgets]
    names = [
        labelled(router, role) + (f", {budget:.0%}" if len(budgets) > 1 else "")
        for router, role, budget in found
    ]
    return [(router, budget) for router, _, budget in found], names


def average_first(table: pa.Table) -> list[str]:
    """The average, then the directions in table order."""
    return [AVERAGE, *(place for place in places(table) if place != AVERAGE)]


def head_line_panel(panel: Axes, place: str, first: bool) -> None:
    """Heading and ticks of a panel with a line per router; only the first names the routers."""
    panel.set_title(place, fontweight="bold" if place == AVERAGE else "normal")
    panel.grid(axis="y", visible=False)
    panel.tick_params(axis="y", left=first, labelleft=first)


def title(place: str) -> str:
    """The heading of a panel."""
    return "average over directions" if place == AVERAGE else place


def panel_grid(
    style: dict[str, Any], titles: Sequence[str], panel_height: float, legend_rows: int
) -> tuple[Figure, list[Axes], Axes | None]:
    """A figure with a panel per title, and the free cell if a legend of so many lines fits it."""
    columns = min(COLUMNS, len(titles))
    down = ceil(len(titles) / columns)
    spare = down * columns > len(titles) and legend_rows <= LEGEND_ROWS
    above = 0.0 if spare else 0.1 + ceil(legend_rows / COLUMNS) * style["font_size"] / 50
    figure = new_figure(style, down * panel_height + above)
    axes = [*figure.subplots(down, columns, squeeze=False).flat]
    for panel, heading in zip(axes, titles, strict=False):
        panel.set_title(heading)
    for panel in axes[len(titles) :]:
        panel.axis("off")
    return figure, axes[: len(titles)], axes[len(titles)] if spare else None


def add_legend(figure: Figure, cell: Axes | None, handles: Iterable[Any]) -> None:
    """The legend in the free cell, or above all panels."""
    if cell is None:
        figure.legend(handles=list(handles), loc="outside upper center", ncols=COLUMNS)
        return
    legend = cell.legend(handles=list(handles), loc="center left", borderaxespad=0)
    legend.set_in_layout(False)  # it may reach beyond its cell, but not squeeze the panels


def empty_figure(style: dict[str, Any], message: str) -> Figure:
    """A figure that says why there is nothing to see."""
    figure = new_figure(style, 1.0)
    figure.text(0.5, 0.5, message, ha="center", va="center")
    return figure
