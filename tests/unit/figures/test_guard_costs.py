"""The figure of the guards' costs: curves, the points they start from, areas and labels."""

import importlib
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from routelmt.figures.guard_costs import EMPTY
from routelmt.figures.panels import routers
from routelmt.figures.registry import FIGURES
from routelmt.figures.style import looks
from routelmt.roles import AVERAGE


def drawn(tables: dict[str, pa.Table], style: dict[str, Any]) -> Figure:
    figure = FIGURES["guard_costs"]
    read = {name: tables[name] for name in figure.tables}
    return importlib.import_module(figure.module).draw(read, style)


def texts(figure: Figure) -> str:
    from matplotlib.text import Text

    return "\n".join(text.get_text() for text in figure.findobj(Text))


def test_a_curve_starts_at_the_unguarded_router_and_runs_to_the_smallest_quantile(
    evaluation_tables: dict[str, pa.Table], style: dict[str, Any]
) -> None:
    figure = drawn(evaluation_tables, style)
    curves = {
        to_hex(line.get_color()): line.get_xydata().tolist()
        for line in figure.axes[0].lines
        if len(line.get_xdata()) == 3
    }
    look = looks(routers(evaluation_tables["routers"]), style["palette"])
    for guard in ("entropy", "quality-oracle"):  # in the routers' own colours
        found = curves[to_hex(look[guard].colour)]
        assert np.allclose(found, [[4.0, 10.0], [4.4, 6.0], [4.7, 3.0]])
    assert len(curves) == 2


def test_areas_and_labels_are_seconds(
    evaluation_tables: dict[str, pa.Table], style: dict[str, Any]
) -> None:
    figure = drawn(evaluation_tables, style)
    areas = [float(c.get_sizes()[0]) for c in figure.axes[0].collections]
    assert max(areas) / min(areas) == pytest.approx(40 / 25)
    shown = texts(figure)
    for part in ("40.0 s", "30.0 s", "25.0 s", "random", "no guard", "quantile = budget",
                 "a-learned-one ranks, p = 0.3", "guard entropy"):  # fmt: skip
        assert part in shown
    assert shown.count(" s\n") + shown.endswith(" s") == 4  # both rings, unguarded, random


def test_no_loss_is_drawn_whole_and_unknown_costs_have_no_label(
    evaluation_tables: dict[str, pa.Table], style: dict[str, Any]
) -> None:
    table = evaluation_tables["guard_costs"]
    unknown = pa.array([float("nan")] * table.num_rows)
    zero = pa.array([0.0 if d == AVERAGE else s for d, s in zip(
        table["direction"].to_pylist(), table["severe_loss"].to_pylist(), strict=True
    )])  # fmt: skip
    for name, values in (("seconds", unknown), ("severe_loss", zero)):
        table = table.set_column(table.schema.get_field_index(name), name, values)
    figure = drawn(evaluation_tables | {"guard_costs": table}, style)
    assert "40.0 s" not in texts(figure)
    assert figure.axes[0].get_ylim()[0] < 0


def test_every_ranking_router_has_a_panel_and_without_guards_the_figure_says_so(
    evaluation_tables: dict[str, pa.Table], style: dict[str, Any]
) -> None:
    table = evaluation_tables["guard_costs"]
    own = table.filter(pc.equal(table["router"], "a-learned-one"))
    names = pa.array(["length"] * own.num_rows)
    both = pa.concat_tables([own.set_column(0, own.schema.field(0), names), table])
    figure = drawn(evaluation_tables | {"guard_costs": both}, style)
    assert [axis.get_title() for axis in figure.axes] == [
        "length ranks, p = 0.3", "a-learned-one ranks, p = 0.3"
    ]  # fmt: skip
    empty = drawn(evaluation_tables | {"guard_costs": table.slice(0, 0)}, style)
    assert EMPTY in texts(empty)
