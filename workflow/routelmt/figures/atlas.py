"""A pool of systems, each against each: what the large one gains, and what routing could add."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from routelmt.figures.panels import CHARACTER, POINTS_PER_INCH, rows, wrapped
from routelmt.figures.style import applied, new_figure
from routelmt.roles import AVERAGE

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from routelmt.stats.arrays import FloatArray

# Perceptually even and safe for the colour-blind: two hues for a sign, dark to light for a size.
SIGNED, SIZED = "PuOr", "viridis"
NOTHING = "#D9D9D9"
# Inches: cells may not be larger; what headings and the colour bar take; of a name, at its size.
LARGEST_CELL, HEAD, BAR = 0.34, 0.35, 0.75
NAME_SHARE, NUMBER_WIDTH, SMALLEST_NUMBER = 0.8, 2.9, 4.0


def draw(tables: dict[str, pa.Table], style: dict[str, Any]) -> Figure:
    """Two matrices on the average over directions: rows the small system, columns the large one.

    tables: atlas. The mean gain, and the attainable headroom (the raw one where one metric alone
    judges), by the experiment's metric or else the first, at the first budget. Systems from the
    one that gains most over the others to the one that gains least.
    """
    table = tables["atlas"]
    metric = style["metric"]
    if metric not in (known := table.column("metric").unique().to_pylist()):
        metric = known[0]
    budget = table.column("budget")[0].as_py()
    here = rows(table, direction=AVERAGE, metric=metric, budget=budget)
    names = _ranked(here)
    attainable = any(not np.isnan(row["attainable_headroom"]) for row in here)
    size = "attainable_headroom" if attainable else "headroom"
    label = "attainable headroom" if attainable else "raw headroom"
    shown = {
        "mean_gain": (f"mean gain of the large system ({metric} points)", SIGNED),
        size: (f"{label} over a random choice at p = {budget:g} ({metric} points)", SIZED),
    }
    ems = CHARACTER * max(map(len, names))
    cell = min(LARGEST_CELL, (style["width"] - BAR) / (len(names) + ems * NAME_SHARE))
    points = min(style["font_size"] - 1, NAME_SHARE * cell * POINTS_PER_INCH)
    beside = ems * points / POINTS_PER_INCH
    with applied(style):
        figure = new_figure(style, len(shown) * (len(names) * cell + beside + HEAD))
        for part, (figure_of, (title, colours)) in zip(
            figure.subfigures(len(shown), 1, squeeze=False)[:, 0], shown.items(), strict=True
        ):
            matrix = _matrix(here, names, figure_of)
            _panel(part.subplots(), matrix, names, points, colours, cell)
            # Over the whole width: a matrix of few systems is narrower than its title.
            part.suptitle(wrapped(title, style["width"], style), fontsize=style["font_size"])
    return figure


def _ranked(here: list[dict[str, Any]]) -> list[str]:
    gains: dict[str, list[float]] = {}
    for row in here:
        gains.setdefault(row["large"], []).append(row["mean_gain"])
    return sorted(gains, key=lambda name: (-np.mean(gains[name]), name))


def _matrix(here: list[dict[str, Any]], names: list[str], column: str) -> FloatArray:
    found = np.full((len(names), len(names)), np.nan)
    for row in here:
        if row["small"] in names:
            found[names.index(row["small"]), names.index(row["large"])] = row[column]
    return found


def _panel(
    panel: Axes, matrix: FloatArray, names: list[str], size: float, colours: str, cell: float
) -> None:
    from matplotlib import colormaps

    most = np.nanmax(np.abs(matrix), initial=1e-9)
    drawn = panel.imshow(
        matrix, cmap=colormaps[colours].with_extremes(bad=NOTHING), aspect="equal",
        vmin=-most if colours == SIGNED else 0, vmax=most,
    )  # fmt: skip
    panel.figure.colorbar(drawn, ax=panel, shrink=0.8)
    number = cell * POINTS_PER_INCH / NUMBER_WIDTH
    if number >= SMALLEST_NUMBER:
        for (y, x), value in np.ndenumerate(matrix):
            if not np.isnan(value):
                red, green, blue, _ = drawn.to_rgba(np.array([value]))[0]
                dark = 0.299 * red + 0.587 * green + 0.114 * blue < 0.5
                panel.text(x, y, f"{value:z.0f}", ha="center", va="center", fontsize=number,
                           color="white" if dark else "black")  # fmt: skip
    places = range(len(names))
    panel.grid(visible=False)
    panel.set_yticks(places, names, fontsize=size)
    panel.set_xticks(places, names, fontsize=size, rotation=90)
    panel.tick_params(length=0)
    panel.spines[:].set_visible(False)
    panel.set_ylabel("small", fontsize=size + 1)
    panel.set_xlabel("large", fontsize=size + 1)
