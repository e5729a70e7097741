"""The figure of the data shows the lengths of the table, grouped by role."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text

from routelmt import tables
from routelmt.figures import style as figure_style
from routelmt.figures.datasheet import FILL, draw

PERCENTILES = ("p05", "p25", "p50", "p75", "p95")
LENGTHS = (3.0, 9.0, 15.0, 24.0, 60.0)
MANY = {
    "big-train": "train",
    "valid": "valid",
    "news": "test",
    "talks": "test",
    "a-long-name": "test",
}


def row(dataset: str, role: str, direction: str, segments: int, lengths: Any = LENGTHS) -> dict:
    percentiles = {
        f"{side}_words_{name}": value
        for side in ("source", "reference")
        for name, value in zip(PERCENTILES, lengths, strict=True)
    }
    means = {name: 20.0 for name in tables.TABLES["datasheet"].columns if name.endswith("_mean")}
    return {"dataset": dataset, "role": role, "direction": direction, "domain": "all",
            "segments": segments, "groups": segments, "documents": 0} | means | percentiles  # fmt: skip


def sheet(rows: list[dict]) -> dict[str, pa.Table]:
    made = tables.from_columns("datasheet", {c: [r[c] for r in rows] for c in rows[0]})
    tables.check(made, "datasheet", "datasheet")
    return {"datasheet": made}


@pytest.fixture
def large() -> dict[str, pa.Table]:
    rows = [
        row(dataset, role, direction, 1000 + i, [x * (1 + i % 3) for x in LENGTHS])
        for dataset, role in MANY.items()
        for i, direction in enumerate(["en-zh", "zh-en", "en-ru", "ru-en"])
    ]
    return sheet([*rows, row("news", "test", "en-zh", 7) | {"domain": "sport"}])


@pytest.fixture
def small() -> dict[str, pa.Table]:
    return sheet([row("mine", "test", "en-de", 57)])


def texts(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.findobj(Text) if text.get_text()]


def test_every_role_dataset_direction_and_count_is_named(
    large: dict[str, pa.Table], style: dict[str, Any]
) -> None:
    figure = draw(large, style)
    assert [panel.get_title(loc="left") for panel in figure.axes] == [
        "training", "validation", "test",
    ]  # fmt: skip
    names = [label.get_text() for panel in figure.axes for label in panel.get_yticklabels()]
    assert len(names) == 20
    for dataset in MANY:
        assert sum(dataset in name for name in names) == 1
    shown = texts(figure)
    for count in ("1,000", "1,001", "1,002", "1,003"):
        assert shown.count(count) == len(MANY)
    assert "sport" not in " ".join(shown)
    assert shown.count("segments") == 1


def test_a_glyph_has_the_tables_percentiles(
    small: dict[str, pa.Table], style: dict[str, Any]
) -> None:
    [panel] = draw(small, style).axes
    [box] = panel.patches
    assert (box.get_x(), box.get_x() + box.get_width()) == (9, 24)
    ends = {tuple(path[:, 0]) for lines in panel.collections for path in lines.get_segments()}
    assert ends == {(3, 60), (3, 3), (60, 60), (15, 15)}
    low, high = panel.get_xlim()
    assert low < 3 and high > 60
    assert panel.get_xscale() == "log"


def test_texts_without_words_and_of_one_length_can_be_drawn(style: dict[str, Any]) -> None:
    rows = [row("a", "test", "en-de", 3, [0.0] * 5), row("a", "test", "de-en", 3, [1.0] * 5)]
    figure = draw(sheet(rows), style)
    figure.draw_without_rendering()
    low, high = figure.axes[0].get_xlim()
    assert 0 < low < 0.7 and high > 1


@pytest.mark.parametrize("which", ["small", "large"])
def test_nothing_overlaps_or_leaves_the_page(
    which: str, style: dict[str, Any], request: pytest.FixtureRequest
) -> None:
    figure = draw(request.getfixturevalue(which), style)
    figure.draw_without_rendering()
    page = figure.bbox
    # Matplotlib keeps labels of ticks beyond the ends of an axis, and does not draw them.
    ticks = {label for panel in figure.axes for label in panel.get_xticklabels()}
    boxes = [
        text.get_window_extent()
        for text in figure.findobj(Text)
        if text.get_text() and text.get_visible() and text not in ticks
    ]
    shown = [box for box in boxes if box.width and box.height]
    for box in shown:
        assert page.x0 - 1 <= box.x0 and box.x1 <= page.x1 + 1
        assert page.y0 - 1 <= box.y0 and box.y1 <= page.y1 + 1
    for panel in figure.axes:
        labels = [label.get_window_extent() for label in panel.get_yticklabels()]
        for above, below in pairwise(labels):
            assert above.y0 >= below.y1 - 0.5


def test_files_are_the_same_every_time_and_the_palette_shows(
    large: dict[str, pa.Table], style: dict[str, Any], tmp_path: Path
) -> None:
    def saved(name: str, look: dict[str, Any]) -> list[bytes]:
        paths = tmp_path / f"{name}.pdf", tmp_path / f"{name}.png"
        figure_style.save(draw(large, look), *paths, look["dpi"])
        return [path.read_bytes() for path in paths]

    first = saved("first", style)
    assert saved("second", style) == first
    assert saved("other", style | {"palette": "tol-bright"}) != first
    assert set(FILL) == set(figure_style.PALETTES)
