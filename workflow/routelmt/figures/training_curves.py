"""Training and validation loss of every trained router over its optimiser steps."""

from __future__ import annotations

import math
from math import ceil
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from routelmt.figures.panels import (
    add_legend,
    axis_titles,
    columns_of,
    empty_figure,
    legend_height,
    rows,
)
from routelmt.figures.style import PALETTES, applied, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

EMPTY = "No router of this experiment was trained step by step."
# Panels beside each other: as many as leave a heading room for a router's name.
COLUMNS = 4
PANEL_HEIGHT = 1.35
AXIS_ROOM = 0.3
# Learning rates that were tried and not kept.
PALE = 0.3
# Room above and below the curves of the kept learning rate, as a share of what they span.
MARGIN = 0.12
TITLE_LENGTH = 22
# Of fewer epochs than this, the training loss within them is shown; their means are a short line.
FEW_EPOCHS = 5
TRAINING, VALIDATION = 1, 0  # places in the palette

_Row = dict[str, Any]


def draw(tables: dict[str, pa.Table], style: dict[str, Any]) -> Figure:
    """A panel per router with the curves of all its seeds; the dot is the epoch that was kept.

    tables: training. Losses of different routers are in different units, so no axis is shared. An
    axis fits the learning rate that was kept; pale curves of the others may leave it.
    """
    table = tables["training"]
    names = list(dict.fromkeys(table.column("router").to_pylist()))
    with applied(style):
        if not names:
            return empty_figure(style, EMPTY)
        across = columns_of(style, len(names), COLUMNS)
        down = ceil(len(names) / across)
        others = len(set(map(_run, table.to_pylist()))) > len(set(map(_run, _kept_runs(table))))
        handles = _handles(PALETTES[style["palette"]], others)
        height = down * PANEL_HEIGHT + legend_height(style, handles) + AXIS_ROOM
        figure = new_figure(style, height)
        panels = [*figure.subplots(down, across, squeeze=False).flat]
        for panel, name in zip(panels, names, strict=False):
            _router(panel, rows(table, router=name), PALETTES[style["palette"]])
            panel.set_title(_short(name), fontsize=style["font_size"] - 2, pad=3)
        for panel in panels[len(names) :]:
            panel.axis("off")
        axis_titles(figure, style, "optimiser steps", "loss")
        add_legend(figure, style, handles)
    return figure


def _run(row: _Row) -> tuple[str, int, float]:
    return row["router"], row["seed"], row["learning_rate"]


def _kept_runs(table: pa.Table) -> list[_Row]:
    return [row for row in table.to_pylist() if row["kept"]]


def _router(panel: Axes, own: list[_Row], palette: tuple[str, ...]) -> None:
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    kept = {_run(row) for row in own if row["kept"]}
    shown: list[float] = []
    for run in dict.fromkeys(map(_run, own)):
        history = [row for row in own if _run(row) == run]
        training, validation = _training(history), _validation(history)
        faded: dict[str, Any] = {
            "alpha": 1.0 if run in kept else PALE,
            "zorder": 3 if run in kept else 2,
        }
        panel.plot(*training, color=palette[TRAINING], linewidth=0.7, **_dots(training, 2), **faded)
        panel.plot(
            *validation, color=palette[VALIDATION], linewidth=1.6, **_dots(validation, 3), **faded
        )
        if run in kept:
            shown += [*training[1], *validation[1]]
    for row in own:
        if row["kept"]:
            panel.plot(row["step"], row["validation_loss"], **_kept_mark(palette))
    _fit(panel, shown)
    panel.set_xlim(left=0)
    panel.xaxis.set_major_locator(MaxNLocator(3, integer=True))
    panel.xaxis.set_major_formatter(FuncFormatter(_steps))
    panel.yaxis.set_major_locator(MaxNLocator(4))
    panel.tick_params(labelsize="x-small", pad=2)


def _training(history: list[_Row]) -> tuple[list[int], list[float]]:
    """The means of the epochs; of few epochs the running loss, if the table has it."""
    ends = [row for row in history if row["epoch_end"]]
    within = [row for row in history if not row["epoch_end"]] if len(ends) < FEW_EPOCHS else []
    shown = sorted(within or ends, key=lambda row: row["step"])
    return [row["step"] for row in shown], [row["train_loss"] for row in shown]


def _validation(history: list[_Row]) -> tuple[list[int], list[float]]:
    ends = sorted((row for row in history if row["epoch_end"]), key=lambda row: row["step"])
    return [row["step"] for row in ends], [row["validation_loss"] for row in ends]


def _dots(curve: tuple[list[int], list[float]], size: float) -> dict[str, Any]:
    """A marker for what is no line: a single point."""
    return {"marker": "o", "markersize": size} if len(curve[0]) == 1 else {}


def _kept_mark(palette: tuple[str, ...]) -> dict[str, Any]:
    return {
        "marker": "o", "markersize": 4.5, "markerfacecolor": "white", "linestyle": "",
        "markeredgecolor": palette[VALIDATION], "markeredgewidth": 1.3, "zorder": 5,
    }  # fmt: skip


def _fit(panel: Axes, values: list[float]) -> None:
    finite = np.array([value for value in values if math.isfinite(value)])
    if finite.size:
        room = MARGIN * float(np.ptp(finite)) or 0.1 * abs(float(finite[0])) or 1.0
        panel.set_ylim(float(finite.min()) - room, float(finite.max()) + room)


def _steps(steps: float, _: int) -> str:
    return f"{steps / 1000:g}k" if steps >= 10_000 else f"{steps:g}"


def _short(name: str) -> str:
    """The name within a panel's width; points of a sweep end in what tells them apart."""
    return name if len(name) <= TITLE_LENGTH else f"…{name[1 - TITLE_LENGTH :]}"


def _handles(palette: tuple[str, ...], others: bool) -> list[Any]:
    from matplotlib.lines import Line2D

    handles = [
        Line2D([], [], color=palette[TRAINING], linewidth=0.7, label="training"),
        Line2D([], [], color=palette[VALIDATION], linewidth=1.6, label="validation"),
        Line2D([], [], **_kept_mark(palette), label="epoch that was kept"),
    ]
    if others:
        label = "other learning rates"
        handles.append(
            Line2D([], [], color=palette[VALIDATION], linewidth=1.6, alpha=PALE, label=label)
        )
    return handles
