"""The training curves show what the table has, and what was kept."""

from typing import Any

import numpy as np
import pyarrow as pa
from matplotlib.figure import Figure

from routelmt import tables
from routelmt.figures import training_curves
from routelmt.figures.style import PALETTES

VALIDATION, TRAINING = PALETTES["okabe-ito"][:2]


def row(router: str, epoch: int, loss: float, **other: Any) -> dict[str, Any]:
    return {
        "router": router, "seed": 0, "learning_rate": 0.1, "epoch": epoch, "step": 100 * epoch,
        "train_loss": loss / 2, "validation_loss": loss, "validation_spearman": np.nan,
        "epoch_end": True, "kept": False,
    } | other  # fmt: skip


def table(rows: list[dict[str, Any]]) -> pa.Table:
    names = tables.arrow_schema("training").names
    made = tables.from_columns("training", {n: [r[n] for r in rows] for n in names})
    tables.check(made, "training", "training")
    return made


def drawn(rows: list[dict[str, Any]], style: dict[str, Any]) -> Figure:
    return training_curves.draw({"training": table(rows)}, style)


def curves(figure: Figure, colour: str, panel: int = 0) -> list[list[list[float]]]:
    return [
        line.get_xydata().tolist()
        for line in figure.axes[panel].lines
        if line.get_color() == colour
    ]


def marks(figure: Figure, panel: int = 0) -> list[list[list[float]]]:
    lines = figure.axes[panel].lines
    return [line.get_xydata().tolist() for line in lines if line.get_markeredgewidth() == 1.3]


def test_curves_are_the_tables_and_the_kept_epoch_is_marked(
    evaluation_tables: dict[str, pa.Table], style: dict[str, Any]
) -> None:
    figure = training_curves.draw({"training": evaluation_tables["training"]}, style)
    assert [panel.get_title() for panel in figure.axes] == ["a-learned-one", "another"]
    expected = [[40, 1.1], [80, 0.6], [120, 1 / 3 + 0.1]]
    assert curves(figure, VALIDATION).count(expected) == 2  # seeds
    assert curves(figure, TRAINING).count([[40, 1], [80, 0.5], [120, 1 / 3]]) == 4
    assert marks(figure) == [[[120, 1 / 3 + 0.1]]] * 2
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert labels == ["training", "validation", "epoch that was kept", "other learning rates"]


def test_training_is_thin_and_validation_is_thick(style: dict[str, Any]) -> None:
    figure = drawn([row("r", 1, 2.0), row("r", 2, 1.0, kept=True)], style)
    widths = {line.get_color(): line.get_linewidth() for line in figure.axes[0].lines[:2]}
    assert widths[TRAINING] < widths[VALIDATION]


def test_of_few_epochs_the_running_loss_is_shown(style: dict[str, Any]) -> None:
    running = [
        row("r", 1, np.nan, step=step, train_loss=step / 10, epoch_end=False) for step in (50, 25)
    ]
    figure = drawn([row("r", 1, 3.0, kept=True), *running], style)
    assert curves(figure, TRAINING) == [[[25, 2.5], [50, 5.0]]]
    assert marks(figure) == [[[100, 3.0]]]
    many = [row("r", epoch, 3.0, kept=epoch == 1) for epoch in range(1, 7)]
    assert len(curves(drawn([*many, *running], style), TRAINING)[0]) == 6


def test_a_diverged_learning_rate_does_not_stretch_the_axis(style: dict[str, Any]) -> None:
    rows = [
        row("r", 1, 2.0), row("r", 2, 1.0, kept=True),
        row("r", 1, 1e9, learning_rate=9.0), row("r", 2, np.nan, learning_rate=9.0),
    ]  # fmt: skip
    low, high = drawn(rows, style).axes[0].get_ylim()
    assert 0 < low < 0.5 and 2.0 < high < 2.5  # 0.5: half of the kept epoch's loss


def test_one_point_and_undefined_losses_are_drawn(style: dict[str, Any]) -> None:
    figure = drawn([row("r", 1, 0.0, kept=True), row("s", 1, np.inf, kept=True)], style)
    figure.draw_without_rendering()
    low, high = figure.axes[0].get_ylim()
    assert low < 0 < high


def test_twenty_routers_have_a_panel_each_and_readable_names(style: dict[str, Any]) -> None:
    names = [f"a-router-with-quite-a-long-name-{i:02d}" for i in range(20)]
    figure = drawn([row(name, 1, 1.0, kept=True) for name in names], style)
    titles = [panel.get_title() for panel in figure.axes]
    assert len(set(titles)) == 20
    assert figure.get_size_inches()[1] < 9  # a page
    figure.draw_without_rendering()
    renderer = figure._get_renderer()
    boxes = [panel.title.get_window_extent(renderer) for panel in figure.axes]
    for i, box in enumerate(boxes):
        assert not any(box.overlaps(other) for other in boxes[i + 1 :])


def test_without_trained_routers_the_figure_says_so(
    evaluation_tables: dict[str, pa.Table], style: dict[str, Any]
) -> None:
    empty = {"training": evaluation_tables["training"].slice(0, 0)}
    assert "No router" in training_curves.draw(empty, style).texts[0].get_text()
