"""No figure loses anything at the edge of the page, in a column or across both."""

import importlib
import warnings
from collections.abc import Iterator
from itertools import combinations
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from routelmt.figures.registry import FIGURES

# Names as long as the demo's longest, and as many directions.
LONG = {"a-learned-one": "scratch-hybridllm-trans", "length": "routelmt-two-quality"}
TURNED = {"en-zh": "zh-en", "ru-en": "en-ru"}
PIXEL = 1.0  # of rounding, at an edge and between two texts
# Numbers in cells and beside points may touch where points do.
FREE = ("who_beats_whom", "guard_costs")


def replaced(table: pa.Table, column: str, names: dict[str, str]) -> pa.Table:
    at = table.schema.get_field_index(column)
    values = [names.get(value, value) for value in table.column(column).to_pylist()]
    return table.set_column(at, table.schema.field(at), pa.array(values, pa.string()))


def crowded(table: pa.Table) -> pa.Table:
    for column in {"router", "other", "guard"} & set(table.column_names):
        table = replaced(table, column, LONG)
    if "direction" not in table.column_names:
        return table
    turned = pc.is_in(table.column("direction"), pa.array([*TURNED]))
    return pa.concat_tables([table, replaced(table.filter(turned), "direction", TURNED)])


def texts(figure: Figure) -> Iterator[Any]:
    """Those that are drawn: no ticks beyond the limits of an axis."""
    for part in (figure, *figure.subfigs):
        yield from (*part.texts, part._supxlabel, part._supylabel)
    legends = [*figure.legends, *(panel.get_legend() for panel in figure.axes)]
    for legend in filter(None, legends):
        yield from (*legend.get_texts(), legend.get_title())
    for panel in figure.axes:
        if panel.axison:
            yield from panel_texts(panel)


def panel_texts(panel: Axes) -> Iterator[Any]:
    yield from (panel.title, panel._left_title, *panel.texts)  # type: ignore[attr-defined]
    for axis in (panel.xaxis, panel.yaxis):
        yield axis.label
        for tick in axis._update_ticks():  # type: ignore[attr-defined]
            yield from (tick.label1, tick.label2)


@pytest.mark.parametrize("width", [3.3, 6.3])
@pytest.mark.parametrize("name", FIGURES)
def test_nothing_is_clipped_and_no_text_covers_another(
    name: str, width: float, evaluation_tables: dict[str, pa.Table], style: dict[str, Any]
) -> None:
    kind = FIGURES[name]
    tables = {table: crowded(evaluation_tables[table]) for table in kind.tables}
    figure = importlib.import_module(kind.module).draw(tables, style | {"width": width})
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # a layout that leaves nothing of a panel warns
        figure.draw_without_rendering()
    renderer = figure.canvas.get_renderer()
    drawn = [text for text in dict.fromkeys(filter(None, texts(figure)))
             if text.get_visible() and text.get_text().strip()]  # fmt: skip
    boxes = {text: text.get_window_extent(renderer) for text in drawn}
    artists = [*figure.axes, *figure.legends]
    ends = [*boxes.values(), *(artist.get_tightbbox(renderer) for artist in artists)]
    for box in filter(None, ends):
        assert min(box.x0, box.y0) >= -PIXEL
        assert box.x1 <= figure.bbox.width + PIXEL and box.y1 <= figure.bbox.height + PIXEL
    covered = [
        (a.get_text(), b.get_text())
        for (a, x), (b, y) in combinations(boxes.items(), 2)
        if min(x.x1, y.x1) - max(x.x0, y.x0) > PIXEL and min(x.y1, y.y1) - max(x.y0, y.y0) > PIXEL
    ]
    assert not covered or name in FREE
