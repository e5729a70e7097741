"""What the data looks like: how long the sources of every dataset and direction are."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from routelmt.figures.panels import axis_titles, rows
from routelmt.figures.style import applied, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

ROLES = {"train": "training", "valid": "validation", "test": "test"}
# Tints of no router's colour, dark enough for a black median to stand on.
FILL = {"okabe-ito": "#A9C8DB", "tol-bright": "#B4C4D6"}
ROW_HEIGHT = 0.19
# Room in rows: between datasets, and at either end of a panel.
GAP = 0.45
MARGIN = 0.65
# Heading of a panel, and the axis below the last one, in inches.
PANEL_ROOM = 0.26
AXIS_ROOM = 0.55
BOX = 0.5
CAP = 0.22
# From the end of the axis to the end of the numbers of segments, in points.
COUNT_WIDTH = 48
# From the axes to the base line of a heading, in points.
TITLE_PAD = 6
# Texts of no word (punctuation only) have no place on a log axis; they stand here.
SHORTEST = 0.7
LABEL = "words per source, a Chinese or Japanese character counting as one"
KEY = "(line: 5th to 95th percentile, box: the middle half, tick: median)"

_Row = dict[str, Any]


def draw(tables: dict[str, pa.Table], style: dict[str, Any]) -> Figure:
    """A panel per role; a line per dataset and direction, its number of segments at the right.

    tables: datasheet; of it, the rows of whole datasets. Lengths are on a logarithmic axis.
    """
    found = rows(tables["datasheet"], domain="all")
    shown = {role: own for role in ROLES if (own := [r for r in found if r["role"] == role])}
    places = {role: _places(own) for role, own in shown.items()}
    with applied(style):
        heights = [2 * MARGIN + at[-1] for at in places.values()]
        room = PANEL_ROOM * len(shown) + AXIS_ROOM
        figure = new_figure(style, ROW_HEIGHT * sum(heights) + room)
        panels = figure.subplots(
            len(shown), 1, sharex=True, squeeze=False, height_ratios=heights
        )[:, 0]  # fmt: skip
        panels[0].set_xscale("log")
        panels[0].set_xlim(*_limits(found))
        for panel, (role, own) in zip(panels, shown.items(), strict=True):
            panel.set_title(ROLES[role], loc="left", fontweight="bold", pad=TITLE_PAD)
            _name_lines(panel, own, places[role])
            for at, row in zip(places[role], own, strict=True):
                _glyph(panel, at, row, FILL[style["palette"]])
                _beside(panel, at, f"{row['segments']:,}")
        heading = {
            "xycoords": "axes fraction",
            "xytext": (COUNT_WIDTH, TITLE_PAD),
            "va": "baseline",
        }
        _beside(panels[0], 1.0, "segments", **heading)
        _number_axis(panels[-1])
        axis_titles(figure, style, f"{LABEL} {KEY}")
    return figure


def _places(own: list[_Row]) -> list[float]:
    """Height of each line in rows, downwards from 0, with a gap between datasets."""
    places = [0.0]
    for before, row in pairwise(own):
        places.append(places[-1] + 1 + (GAP if row["dataset"] != before["dataset"] else 0))
    return places


def _limits(found: list[_Row]) -> tuple[float, float]:
    low = min(max(row["source_words_p05"], SHORTEST) for row in found)
    high = max(max(row["source_words_p95"], SHORTEST) for row in found)
    return low / 1.25, max(high, 4 * low) * 1.25


def _name_lines(panel: Axes, own: list[_Row], places: list[float]) -> None:
    """The dataset before its first direction, the direction on every line."""
    names = []
    for i, row in enumerate(own):
        first = i == 0 or own[i - 1]["dataset"] != row["dataset"]
        names.append(f"{row['dataset']}   {row['direction']}" if first else row["direction"])
    panel.set_yticks(places, names)
    panel.set_ylim(places[-1] + MARGIN, -MARGIN)
    panel.grid(axis="y", visible=False)
    panel.tick_params(axis="y", left=False)
    panel.tick_params(axis="x", which="both", bottom=False, labelbottom=False)
    panel.spines[["left", "bottom"]].set_visible(False)


def _glyph(panel: Axes, at: float, row: _Row, fill: str) -> None:
    from matplotlib.patches import Rectangle

    low, left, middle, right, high = (
        max(row[f"source_words_p{percent}"], SHORTEST) for percent in ("05", "25", "50", "75", "95")
    )
    panel.hlines(at, low, high, color="#555555", linewidth=0.8, zorder=2)
    panel.vlines([low, high], at - CAP / 2, at + CAP / 2, color="#555555", linewidth=0.8, zorder=2)
    panel.add_patch(
        Rectangle(
            (left, at - BOX / 2), right - left, BOX, facecolor=fill, edgecolor="#555555",
            linewidth=0.6, zorder=3,
        )
    )  # fmt: skip
    panel.vlines(middle, at - BOX / 2, at + BOX / 2, color="black", linewidth=1.4, zorder=4)


def _beside(panel: Axes, at: float, text: str, **placed: Any) -> None:
    """Text at the right of the panel, ending where all of them end."""
    settings: dict[str, Any] = {
        "xycoords": ("axes fraction", "data"), "xytext": (COUNT_WIDTH, 0), "va": "center_baseline",
    }  # fmt: skip
    panel.annotate(
        text, (1, at), textcoords="offset points", ha="right", annotation_clip=False,
        fontsize="small", **(settings | placed),
    )  # fmt: skip


def _number_axis(panel: Axes) -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    panel.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    panel.xaxis.set_minor_locator(NullLocator())
    panel.xaxis.set_major_formatter(FuncFormatter(lambda words, _: f"{words:,g}"))
    panel.tick_params(axis="x", which="major", bottom=True, labelbottom=True)
    panel.spines["bottom"].set_visible(True)
