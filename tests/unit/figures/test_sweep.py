"""A sweep's figure puts values where they belong, with their intervals and reference lines."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from matplotlib.figure import Figure

from routelmt import tables
from routelmt.figures import style as figure_style
from routelmt.figures import sweep

PLACES = ("en-ru", "average")


def sweep_rows(values: list[str], budgets: tuple[float, ...] = (0.3,)) -> list[dict[str, Any]]:
    found = []
    routers = [(f"r.{i}", "router", value) for i, value in enumerate(values)]
    routers += [("random", "random", None), ("gain-oracle", "oracle", None)]
    for position, (router, role, value) in enumerate(routers):
        for place in PLACES:
            for budget in budgets:
                for metric in ("mean_delta", "spearman"):
                    estimate = {"router": 5.0 + position, "random": 3.0, "oracle": 40.0}[role]
                    estimate = estimate if metric == "mean_delta" else 0.1
                    found.append({
                        "sweep": "s", "setting": "train_rows", "value": value,
                        "position": position if value else None,
                        "number": sweep_number(value), "router": router, "role": role,
                        "direction": place, "budget": budget, "metric": metric,
                        "estimate": estimate, "low": estimate - 1, "high": estimate + 1.5,
                        "seeds": 1, "seed_spread": np.nan, "requests": 100, "reason": None,
                    })  # fmt: skip
    return found


def sweep_number(value: str | None) -> float:
    return float(value) if value and value.replace(".", "").isdigit() else math.nan


def table(rows: list[dict[str, Any]]) -> pa.Table:
    made = tables.from_rows("sweep", rows)
    tables.check(made, "sweep", "sweep")
    return made


def drawn(rows: list[dict[str, Any]], style: dict[str, Any]) -> Figure:
    return sweep.draw({"sweep": table(rows)}, style)


def points(figure: Figure, panel: int = 0) -> list[list[list[float]]]:
    return [
        line.get_xydata().tolist()
        for line in figure.axes[panel].lines
        if line.get_marker() not in ("", "None", None)
    ]


def test_numbers_that_double_are_on_a_logarithmic_axis(style: dict[str, Any]) -> None:
    figure = drawn(sweep_rows(["650", "1300", "2600", "10400"]), style)
    at = [math.log10(x) for x in (650, 1300, 2600, 10400)]
    assert points(figure)[0] == [[pytest.approx(x), 5.0 + i] for i, x in enumerate(at)]
    ticks = [tick.get_text() for tick in figure.axes[0].get_xticklabels()]
    assert ticks == ["650", "1.3k", "2.6k", "10.4k"]
    assert figure.get_supxlabel() == "train_rows"
    (intervals,) = figure.axes[0].collections
    ends = [segment[:, 1].tolist() for segment in intervals.get_segments()]
    assert ends == [[4.0 + i, 6.5 + i] for i in range(4)]


def test_even_numbers_are_on_a_linear_axis(style: dict[str, Any]) -> None:
    figure = drawn(sweep_rows(["1", "10", "20", "28"]), style)
    assert [x for x, _ in points(figure)[0]] == [1, 10, 20, 28]
    zero = drawn(sweep_rows(["0", "1", "100"]), style)  # no logarithm of 0
    assert [x for x, _ in points(zero)[0]] == [0, 1, 100]


def test_other_values_stand_side_by_side_and_unconnected(style: dict[str, Any]) -> None:
    figure = drawn(sweep_rows(["None", "news", "news + medical", "10"]), style)
    assert [x for x, _ in points(figure)[0]] == [0, 1, 2, 3]
    line = next(line for line in figure.axes[0].lines if line.get_marker() == "o")
    assert line.get_linestyle() == "None"
    ticks = [tick.get_text() for tick in figure.axes[0].get_xticklabels()]
    assert ticks == ["None", "news", "news + medical", "10"]


def test_an_oracle_beyond_the_axis_is_a_number(style: dict[str, Any]) -> None:
    figure = drawn(sweep_rows(["1", "2"]), style)
    assert figure.axes[0].get_ylim()[1] < 40
    assert [text.get_text() for text in figure.axes[0].texts] == ["gain-oracle 40.0 ▴"]
    heights = [line.get_ydata()[0] for line in figure.axes[0].lines if len(line.get_xdata()) == 2]
    assert 3.0 in heights  # random is a line
    near = sweep_rows(["1", "2"])
    for row in near:
        if row["role"] == "oracle":
            row["estimate"] = 6.5
    figure = drawn(near, style)
    assert not figure.axes[0].texts
    assert 6.5 in [line.get_ydata()[0] for line in figure.axes[0].lines]


def test_a_line_per_budget_and_no_two_on_one_place(style: dict[str, Any]) -> None:
    found = points(drawn(sweep_rows(["8", "16"], (0.1, 0.3)), style))
    assert len(found) == 2
    assert found[0][0][0] < 8 < found[1][0][0]


@pytest.mark.parametrize("values", [["8"], ["all"], ["0"]])
def test_one_point(values: list[str], style: dict[str, Any], tmp_path: Path) -> None:
    figure = drawn(sweep_rows(values), style)
    figure_style.save(figure, tmp_path / "s.pdf", tmp_path / "s.png", style["dpi"])
    assert len(points(figure)[0]) == 1


def test_undefined_estimates_leave_a_gap(style: dict[str, Any]) -> None:
    rows = sweep_rows(["1", "2", "3"])
    for row in rows:
        if row["router"] in ("r.1", "random"):
            row |= {"estimate": np.nan, "low": np.nan, "high": np.nan}
    figure = drawn(rows, style)
    figure.draw_without_rendering()
    assert np.isnan(points(figure)[0][1][1])
    for row in rows:
        row |= {"estimate": np.nan, "low": np.nan, "high": np.nan}
    drawn(rows, style).draw_without_rendering()


def test_it_is_the_same_every_time(style: dict[str, Any], tmp_path: Path) -> None:
    files = []
    for name in ("a", "b"):
        paths = tmp_path / f"{name}.pdf", tmp_path / f"{name}.png"
        figure_style.save(drawn(sweep_rows(["1", "2"]), style), *paths, style["dpi"])
        files.append([path.read_bytes() for path in paths])
    assert files[0] == files[1]
