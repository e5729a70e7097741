"""What the figures share: rows of tables by place, grids of small panels, and their legend."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import ceil
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from routelmt.figures.style import new_figure
from routelmt.roles import AVERAGE, labelled

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure

COLUMNS = 3
# Inches: panels narrower than this cannot be read.
NARROWEST_PANEL = 1.5
# More entries than this do not fit beside the panels.
LEGEND_ROWS = 11
# Of a legend, as multiples of the font size: a line of text, its widest average character, and
# what stands before and after the text of an entry.
LINE, CHARACTER, HANDLE = 1.45, 0.62, 5.6
POINTS_PER_INCH = 72


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


def unit(style: dict[str, Any]) -> str:
    """Of gains and qualities."""
    return f"{style['metric']} points"


def at_budgets(table: pa.Table) -> str:
    """'p = 0.3', or 'p = 0.3, 0.5' where a table has both; no line ends within it."""
    budgets = sorted(set(table.column("budget").to_pylist()))
    return f"p = {', '.join(f'{budget:g}' for budget in budgets)}".replace(" ", "\u00a0")


def lines(table: pa.Table) -> tuple[list[tuple[str, float]], list[str]]:
    """(router, budget) of every line of a figure with one line each, and what it is called."""
    budgets = sorted(set(table.column("budget").to_pylist()))
    found = [(router, role, budget) for router, role in routers(table) for budget in budgets]
    names = [
        labelled(router, role) + (f", p = {budget:g}" if len(budgets) > 1 else "")
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
    return "average" if place == AVERAGE else place


def columns_of(style: dict[str, Any], panels: int, most: int = COLUMNS) -> int:
    """How many panels fit beside each other."""
    fitting = style["width"] // NARROWEST_PANEL
    return int(max(1, min(most, panels, fitting)))


def panel_grid(
    style: dict[str, Any], titles: Sequence[str], panel_height: float, handles: Sequence[Any]
) -> tuple[Figure, list[Axes]]:
    """A figure with a panel per title and the legend of the handles.

    The legend stands in the free cell of the grid if there is one and it fits, else above.
    """
    across = columns_of(style, len(titles))
    down = ceil(len(titles) / across)
    spare = down * across > len(titles) and _fits(style, handles, style["width"] / across)
    above = 0.0 if spare else legend_height(style, handles)
    figure = new_figure(style, down * panel_height + above)
    axes = [*figure.subplots(down, across, squeeze=False).flat]
    for panel, heading in zip(axes, titles, strict=False):
        panel.set_title(heading)
    for panel in axes[len(titles) :]:
        panel.axis("off")
    if spare:
        legend = axes[len(titles)].legend(handles=[*handles], loc="center left", borderaxespad=0)
        legend.set_in_layout(False)  # it may reach beyond its cell, but not squeeze the panels
    else:
        add_legend(figure, style, handles)
    return figure, axes[: len(titles)]


def add_legend(
    figure: Figure, style: dict[str, Any], handles: Iterable[Any], below: str = ""
) -> None:
    """The legend above all panels, in as many columns as fit; or below, headed by this text."""
    given = list(handles)
    figure.legend(
        handles=given, loc=f"outside {'lower' if below else 'upper'} center",
        ncols=_columns(style, given), title=wrapped(below, style["width"], style),
        title_fontsize=style["font_size"],
    )  # fmt: skip


def legend_height(style: dict[str, Any], handles: Sequence[Any]) -> float:
    """Inches that add_legend's legend takes."""
    deep = ceil(len(handles) / _columns(style, handles)) * max(map(_lines, handles), default=0)
    return 0.1 + float(deep * LINE * style["font_size"] / POINTS_PER_INCH)


def _columns(style: dict[str, Any], handles: Sequence[Any]) -> int:
    fitting = style["width"] // _entry_width(style, handles)
    return int(max(1, min(len(handles), fitting)))


def _fits(style: dict[str, Any], handles: Sequence[Any], width: float) -> bool:
    return sum(map(_lines, handles)) <= LEGEND_ROWS and _entry_width(style, handles) <= width


def _entry_width(style: dict[str, Any], handles: Sequence[Any]) -> float:
    """Inches of the widest entry of a legend."""
    texts = [line for handle in handles for line in handle.get_label().split("\n")]
    ems = HANDLE + CHARACTER * max(map(len, texts), default=0)
    return float(ems * (style["font_size"] - 1) / POINTS_PER_INCH)


def _lines(handle: Any) -> int:
    label: str = handle.get_label()
    return 1 + label.count("\n")


def axis_titles(
    figure: Figure | SubFigure, style: dict[str, Any], x: str, y: str | None = None
) -> None:
    """What all panels show, below and left of them, broken where the figure is too narrow."""
    figure.supxlabel(wrapped(x, style["width"], style), fontsize=style["font_size"])
    if y is not None:
        height = figure.get_figure(root=True).get_size_inches()[1]
        figure.supylabel(wrapped(y, height - 0.6, style), fontsize=style["font_size"])


def wrapped(text: str, width: float, style: dict[str, Any]) -> str:
    """The text in lines of at most so many inches."""
    from textwrap import fill

    characters = int(width * POINTS_PER_INCH / (CHARACTER * style["font_size"]))
    return fill(text, max(12, characters), break_on_hyphens=False)


def empty_figure(style: dict[str, Any], message: str) -> Figure:
    """A figure that says why there is nothing to see."""
    figure = new_figure(style, 1.0)
    text = wrapped(message, style["width"], style)
    figure.text(0.5, 0.5, text, ha="center", va="center")
    return figure
