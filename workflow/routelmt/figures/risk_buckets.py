"""What happens to the routed requests: losses to the left, gains to the right (RouteLMT §6.3)."""

from __future__ import annotations

from math import ceil
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from routelmt.figures.panels import (
    add_legend,
    at_budgets,
    average_first,
    axis_titles,
    columns_of,
    head_line_panel,
    legend_height,
    lines,
    rows,
)
from routelmt.figures.style import applied, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Bucket: label, colour by palette, hatch. From dark to light and hatched: legible without colour.
BUCKETS = {
    "severe_loss": ("severe loss", {"okabe-ito": "#D55E00", "tol-bright": "#EE6677"}, ""),
    "minor_loss": ("minor loss", {"okabe-ito": "#F7D2B5", "tol-bright": "#F9D3D8"}, "////"),
    "tie": ("tie", {"okabe-ito": "#EDEDED", "tol-bright": "#EDEDED"}, ""),
    "substantial_gain": (
        "substantial gain", {"okabe-ito": "#56B4E9", "tol-bright": "#66CCEE"}, "....",
    ),
}  # fmt: skip
ROW_HEIGHT = 0.19
PANEL_ROOM = 0.55
AXIS_ROOM = 0.35


def draw(tables: dict[str, pa.Table], style: dict[str, Any]) -> Figure:
    """A panel per direction after one for the average; a bar per router (and budget).

    Bars are centred on the ties; the whisker is the interval of the severe losses.
    """
    table = tables["risk_buckets"]
    keys, names = lines(table)
    columns = average_first(table)
    with applied(style):
        across = columns_of(style, len(columns))
        down = ceil(len(columns) / across)
        handles = _handles(style["palette"])
        height = down * (len(keys) * ROW_HEIGHT + PANEL_ROOM) + AXIS_ROOM
        height += legend_height(style, handles)
        figure = new_figure(style, height)
        panels = [*figure.subplots(down, across, sharex=True, sharey=True, squeeze=False).flat]
        for index, (panel, place) in enumerate(zip(panels, columns, strict=False)):
            shown = rows(table, direction=place)
            values = {(row["router"], row["budget"], row["bucket"]): row for row in shown}
            for at, key in enumerate(keys):
                bar = {bucket: values[(*key, bucket)] for bucket in BUCKETS}
                _bar(panel, at, bar, style["palette"])
            head_line_panel(panel, place, first=index % across == 0)
            _share_axis(panel)
        for panel in panels[len(columns) :]:
            panel.axis("off")
        panels[0].set_yticks(range(len(keys)), names)
        panels[0].set_ylim(len(keys) - 0.4, -0.6)
        axis_titles(
            figure, style,
            "share of the routed requests, from the middle of the ties "
            f"(by {style['metric']}, {at_budgets(table)})",
        )  # fmt: skip
        add_legend(figure, style, handles)
    return figure


def _share_axis(panel: Axes) -> None:
    from matplotlib.ticker import FuncFormatter, MultipleLocator

    panel.axvline(0, color="#333333", linewidth=0.5)
    panel.xaxis.set_major_locator(MultipleLocator(0.5))
    panel.xaxis.set_major_formatter(FuncFormatter(lambda share, _: f"{abs(share):.0%}"))
    panel.tick_params(labelbottom=True)


def _handles(palette: str) -> list[Any]:
    from matplotlib.patches import Patch

    return [
        Patch(
            facecolor=colours[palette], hatch=hatch, edgecolor="#555555", linewidth=0.4, label=name
        )
        for name, colours, hatch in BUCKETS.values()
    ]


def _bar(panel: Axes, at: int, bar: dict[str, dict[str, Any]], palette: str) -> None:
    left = -(bar["severe_loss"]["share"] + bar["minor_loss"]["share"] + bar["tie"]["share"] / 2)
    inner = left + bar["severe_loss"]["share"]
    for bucket, (_, colours, hatch) in BUCKETS.items():
        share = bar[bucket]["share"]
        panel.barh(
            at, share, left=left, height=0.72, color=colours[palette], hatch=hatch,
            edgecolor="#555555", linewidth=0.4,
        )  # fmt: skip
        left += share
    severe = bar["severe_loss"]
    panel.hlines(at, inner - severe["high"], inner - severe["low"], color="black", linewidth=0.9)
    for end in ("low", "high"):
        panel.vlines(inner - severe[end], at - 0.18, at + 0.18, color="black", linewidth=0.9)
