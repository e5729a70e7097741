"""Figures of a deployment show what their tables say, and say what is not there."""

import importlib
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from matplotlib.figure import Figure

from routelmt import tables
from routelmt.figures.registry import FIGURES


def drawn(name: str, tables: dict[str, pa.Table], style: dict[str, Any]) -> Figure:
    read = {table: tables[table] for table in FIGURES[name].tables}
    return importlib.import_module(FIGURES[name].module).draw(read, style)


def texts(figure: Figure) -> str:
    from matplotlib.text import Text

    return "\n".join(text.get_text() for text in figure.findobj(Text))


def test_calibration_shows_the_distance_to_the_target(
    evaluation_tables: dict[str, pa.Table], style: dict[str, Any]
) -> None:
    figure = drawn("calibration", evaluation_tables, style)
    lines = [line.get_ydata() for line in figure.axes[0].lines]
    assert any(np.allclose(line, 0.2 * 3) for line in lines)  # the fourth router, 0.6 points off
    assert "oracle" not in texts(figure)
    for part in ("random", "a-learned-one", "average", "of validation data", "sent of test data"):
        assert part in texts(figure)


def test_reliability_has_a_point_per_bin_and_a_diagonal(
    evaluation_tables: dict[str, pa.Table], style: dict[str, Any]
) -> None:
    figure = drawn("reliability", evaluation_tables, style)
    points, diagonal = figure.axes[2].lines
    assert points.get_xydata().tolist() == [[10.0 * i, 9.0 * i] for i in range(5)]
    assert np.array_equal(diagonal.get_xdata(), diagonal.get_ydata())
    assert "all requests" in texts(figure)
    empty = evaluation_tables | {"reliability": evaluation_tables["reliability"].slice(0, 0)}
    assert "predicts gains" in texts(drawn("reliability", empty, style))


def test_drift_has_a_panel_per_scenario_and_direction_and_a_line_per_policy(
    evaluation_tables: dict[str, pa.Table], style: dict[str, Any]
) -> None:
    figure = drawn("drift", evaluation_tables, style)
    assert len(figure.axes) == 6
    shown = [line.get_ydata()[-1] for line in figure.axes[0].lines if len(line.get_ydata()) == 3]
    assert shown == pytest.approx([60, 40, 31])
    for part in (
        "sudden drift",
        "gradual drift",
        "entropy, p = 0.3",
        "controller",
        "without drift",
    ):
        assert part in texts(figure)
    empty = {"drift_paths": evaluation_tables["drift_paths"].slice(0, 0)}
    assert "no two datasets" in texts(drawn("drift", empty, style))


def test_the_cost_curves_leave_out_whose_cost_is_unknown(
    evaluation_tables: dict[str, pa.Table], style: dict[str, Any]
) -> None:
    figure = drawn("cost_pareto", evaluation_tables, style)
    shown = texts(figure)
    assert "length" not in shown and "large model alone" in shown and "entropy" in shown
    curves = [line.get_xydata().tolist() for line in figure.axes[0].lines]
    expected = [[pytest.approx(32 + 80 * b), 42 + 20 * b] for b in (0.0, 0.3, 0.6, 1.0)]
    assert expected in curves
    table = evaluation_tables["costs"]
    at = table.schema.get_field_index("of_all_large")
    unknown = table.set_column(at, "of_all_large", pa.array([float("nan")] * table.num_rows))
    none = drawn("cost_pareto", evaluation_tables | {"costs": unknown}, style)
    assert "No rates" in texts(none)


def test_routers_stand_where_their_costs_and_gains_are(
    evaluation_tables: dict[str, pa.Table], style: dict[str, Any]
) -> None:
    costs, quality = (evaluation_tables[name].to_pylist() for name in ("costs", "routers"))
    for row in costs:
        row["seconds"] = float("nan") if row["router"] == "length" else row["seconds"]
    table = tables.from_rows("costs", costs)
    figure = drawn("router_costs", evaluation_tables | {"costs": table}, style)
    budget = min(row["budget"] for row in quality)
    where = {
        (row["router"], "x"): row["seconds"]
        for row in costs
        if (row["direction"], row["budget"]) == ("average", budget)
    } | {
        (row["router"], "y"): row["value"]
        for row in quality
        if (row["direction"], row["budget"], row["metric"]) == ("average", budget, "mean_delta")
    }
    known = {r for r, axis in where if axis == "x" and where[r, "x"] == where[r, "x"]}
    expected = {(where[r, "x"], where[r, "y"]) for r in known if (r, "y") in where}
    points = {tuple(line.get_xydata()[0]) for line in figure.axes[0].lines}
    assert points == expected and len(points) > 1
    assert "length" not in texts(figure)  # its cost is unknown


def test_the_policies_of_a_drift_differ_without_colour() -> None:
    from routelmt.figures.drift import POLICIES

    assert len({str(dashes) for _, _, dashes, _ in POLICIES.values()}) == len(POLICIES)
