"""MeanΔ of a router at several values of one of its settings."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from routelmt.figures.panels import axis_titles, panel_grid, places, rows, title, unit
from routelmt.figures.style import Look, applied, looks
from routelmt.roles import ORACLE, RANDOM, ROUTER, labelled

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

METRIC = "mean_delta"
PANEL_HEIGHT = 2.0
# Room at either end of an axis, as a share of what it shows.
MARGIN = 0.1
# Budgets are drawn beside one another: distance as a share of the distance of two values.
SHIFT = 0.12
# Names of values that do not fit side by side are turned; characters that fit.
LABELS = 32

_Row = dict[str, Any]


def draw(tables: dict[str, pa.Table], style: dict[str, Any]) -> Figure:
    """A panel per direction and one for the average; a line per budget, with its intervals.

    tables: sweep. Numbers stand where they belong, on a logarithmic axis if that spaces them more
    evenly; other values stand side by side, unconnected. Dotted: random, dashed: an oracle, which
    is a number at the upper edge where it would squeeze the points.
    """
    table = tables["sweep"]
    points = [row for row in rows(table, metric=METRIC) if row["role"] == ROUTER]
    axis = _Axis(points)
    budgets = sorted({row["budget"] for row in points})
    look = dict(zip(budgets, looks([(f"{b}", ROUTER) for b in budgets], style["palette"]).values(),
                    strict=True))  # fmt: skip
    shown = {place: rows(table, direction=place, metric=METRIC) for place in places(table)}
    tops = {place: _limits(here)[1] for place, here in shown.items()}
    with applied(style):
        handles = _handles(look, _lines_within(shown, tops))
        headings = [title(place) for place in shown]
        figure, panels = panel_grid(style, headings, PANEL_HEIGHT, handles)
        for panel, (place, here) in zip(panels, shown.items(), strict=True):
            own = sorted((r for r in here if r["role"] == ROUTER), key=lambda r: r["position"])
            for at, budget in enumerate(budgets):
                line = [row for row in own if row["budget"] == budget]
                _line(panel, axis, line, look[budget], at - (len(budgets) - 1) / 2)
            panel.set_ylim(*_limits(here))
            _references(panel, [row for row in here if row["role"] != ROUTER], tops[place])
            axis.apply(panel)
        axis_titles(figure, style, points[0]["setting"], f"MeanΔ ({unit(style)})")
    return figure


class _Axis:
    """Where the values of the setting stand: `at` by position, the same in every panel."""

    def __init__(self, points: Sequence[_Row]) -> None:
        values = {row["position"]: (row["number"], row["value"]) for row in points}
        self.texts = {position: text for position, (_, text) in values.items()}
        numbers = [number for number, _ in values.values()]
        self.numeric = not any(map(math.isnan, numbers))
        self.log = self.numeric and _is_even_on_log(numbers)
        scale = math.log10 if self.log else float
        self.at = {
            position: scale(number) if self.numeric else float(position)
            for position, (number, _) in values.items()
        }
        ordered = sorted(self.at.values())
        self.step = min((b - a for a, b in pairwise(ordered) if b > a), default=1.0)
        self.ends = ordered[0], ordered[-1]

    def apply(self, panel: Axes) -> None:
        """Ticks at the values."""
        room = max(MARGIN * (self.ends[1] - self.ends[0]), 0.4 * self.step)
        panel.set_xlim(self.ends[0] - room, self.ends[1] + room)
        texts = [_tick(self.texts[position]) for position in self.at]
        crowded = sum(len(text) + 1 for text in texts) > LABELS
        turned: dict[str, Any] = (
            {"rotation": 30, "ha": "right", "rotation_mode": "anchor"} if crowded else {}
        )
        panel.set_xticks(list(self.at.values()), texts, **turned)


def _is_even_on_log(numbers: Sequence[float]) -> bool:
    ordered = sorted(numbers)
    if ordered[0] <= 0 or ordered[-1] < 4 * ordered[0]:
        return False
    return _unevenness(np.log(ordered)) < _unevenness(np.array(ordered)) or len(ordered) == 2


def _unevenness(ordered: np.ndarray[Any, np.dtype[np.float64]]) -> float:
    steps = np.diff(ordered)
    return float(steps.max() / steps.min())


def _tick(text: str) -> str:
    """A value as a tick: thousands are 'k'."""
    try:
        number = float(text)
    except ValueError:
        return text
    if number >= 1000 and number % 10 == 0:
        return f"{number / 1000:g}k"
    return text


def _line(panel: Axes, axis: _Axis, line: Sequence[_Row], look: Look, place: float) -> None:
    shift = place * SHIFT * axis.step
    at = [axis.at[row["position"]] + shift for row in line]
    panel.vlines(
        at, [row["low"] for row in line], [row["high"] for row in line], color=look.colour,
        linewidth=1.1, zorder=3,
    )  # fmt: skip
    panel.plot(
        at, [row["estimate"] for row in line], color=look.colour, marker=look.marker,
        markersize=4.5, linewidth=look.width, linestyle=look.dashes if axis.numeric else "",
        zorder=4,
    )  # fmt: skip


def _limits(here: Sequence[_Row]) -> tuple[float, float]:
    """Of an axis that has room for the points and for chance, not for an oracle far above."""
    fitted = [row for row in here if row["role"] != ORACLE]
    ends = np.array([[row[end] for end in ("estimate", "low", "high")] for row in fitted])
    finite = ends[np.isfinite(ends)]
    if not finite.size:
        return 0.0, 1.0
    room = MARGIN * float(np.ptp(finite)) or 1.0
    return float(finite.min()) - room, float(finite.max()) + 2 * room


def _lines_within(
    shown: Mapping[str, Sequence[_Row]], tops: Mapping[str, float]
) -> list[tuple[str, str]]:
    """(router, role) of the references that are a line in at least one panel."""
    return list(
        dict.fromkeys(
            (row["router"], row["role"])
            for place, here in shown.items()
            for row in here
            if row["role"] != ROUTER and row["estimate"] <= tops[place]
        )
    )


def _references(panel: Axes, references: Sequence[_Row], top: float) -> None:
    """Lines across the panel, or numbers at its upper edge, beyond which they are."""
    beyond = [row for row in references if row["estimate"] > top]
    within = [row for row in references if row["estimate"] <= top]
    for row in within:
        panel.axhline(row["estimate"], **_REFERENCE[row["role"]])
    if beyond:
        names = dict.fromkeys(row["router"] for row in beyond)
        text = "\n".join(
            f"{name} " + ", ".join(f"{r['estimate']:.1f}" for r in beyond if r["router"] == name)
            for name in names
        )
        panel.annotate(
            f"{text} ▴", (0.98, 0.98), xycoords="axes fraction", ha="right", va="top",
            fontsize="x-small", zorder=6,
        )  # fmt: skip


_REFERENCE: dict[str, dict[str, Any]] = {
    RANDOM: {"color": "#777777", "linewidth": 0.9, "linestyle": (0, (1, 2)), "zorder": 2},
    ORACLE: {"color": "#000000", "linewidth": 1.0, "linestyle": (0, (2.5, 2.0)), "zorder": 2},
}


def _handles(look: dict[float, Look], references: Sequence[tuple[str, str]]) -> list[Any]:
    from matplotlib.lines import Line2D

    handles = [
        Line2D([], [], color=own.colour, linestyle=own.dashes, linewidth=own.width,
               marker=own.marker, markersize=4.5, label=f"p = {budget:g}")
        for budget, own in look.items()
    ]  # fmt: skip
    return handles + [
        Line2D([], [], **_REFERENCE[role], label=labelled(router, role))
        for router, role in references
    ]
