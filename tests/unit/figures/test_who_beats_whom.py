"""The matrix says what table comparisons says, for two routers and for forty."""

from itertools import combinations, pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from matplotlib.colors import to_rgba

from routelmt import tables
from routelmt.figures import who_beats_whom
from routelmt.figures.style import save


def made(quality: dict[str, float], budgets: tuple[float, ...] = (0.3,)) -> dict[str, pa.Table]:
    """Differences above 1 are significant; places beside the average must not be read."""
    routers, comparisons = [], []
    for budget in budgets:
        for place, factor in (("en-ru", -9.0), ("average", 1.0)):
            same = {"direction": place, "budget": budget, "metric": "mean_delta"}
            for name, value in quality.items():
                routers.append(
                    {"router": name, **same, "role": "router", "value": factor * value, "low": 0.0,
                     "high": 0.0, "seeds": 1, "seed_spread": np.nan, "requests": 9, "reason": None}
                )  # fmt: skip
            for first, second in combinations(quality, 2):
                difference = factor * (quality[first] - quality[second])
                p = np.nan if np.isnan(difference) else 0.01 if abs(difference) > 1 else 0.5
                comparisons.append(
                    {"router": first, "other": second, **same, "difference": difference,
                     "low": difference, "high": difference, "p_value": p, "p_holm": p,
                     "detectable": 1.0}
                )  # fmt: skip
    return {
        name: tables.from_columns(name, {c: [row[c] for row in rows] for c in rows[0]})
        for name, rows in (("routers", routers), ("comparisons", comparisons))
        if rows
    }


def faces(panel: Any) -> dict[tuple[int, int], Any]:
    """(row, column) -> patch."""
    return {(round(p.get_y() + 0.5), round(p.get_x() + 0.5)): p for p in panel.patches}


def test_rows_are_ranked_and_colours_tell_sign_and_significance(style: dict[str, Any]) -> None:
    figure = who_beats_whom.draw(made({"low": 1.0, "best": 5.0, "near": 4.5}), style)
    (panel,) = figure.axes
    assert [text.get_text() for text in panel.get_yticklabels()] == ["best", "near", "low"]
    cells = faces(panel)
    assert cells[0, 2].get_facecolor() == to_rgba(who_beats_whom.WIN)
    assert cells[2, 0].get_facecolor() == to_rgba(who_beats_whom.LOSS)
    assert cells[2, 0].get_hatch()
    assert cells[0, 1].get_facecolor() == to_rgba(who_beats_whom.OPEN)
    assert {text.get_text() for text in panel.texts} == {
        "+0.5", "+4.0", "-0.5", "+3.5", "-4.0", "-3.5",
    }  # fmt: skip


def test_wins_and_losses_differ_in_grey() -> None:
    grey = {
        name: np.dot(to_rgba(colour)[:3], [0.299, 0.587, 0.114])
        for name, colour in (("win", who_beats_whom.WIN), ("loss", who_beats_whom.LOSS))
    }
    assert grey["loss"] - grey["win"] > 0.4


def test_a_router_without_a_value_stands_last_and_open(style: dict[str, Any]) -> None:
    figure = who_beats_whom.draw(made({"none": np.nan, "some": 2.0}), style)
    names = [text.get_text() for text in figure.axes[0].get_yticklabels()]
    assert names == ["some", "none"]
    assert faces(figure.axes[0])[0, 1].get_facecolor() == to_rgba(who_beats_whom.OPEN)


def test_forty_routers_and_two_budgets_fit(style: dict[str, Any], tmp_path: Path) -> None:
    quality = {f"a-router-{i}": float(i) for i in range(40)}
    figure = who_beats_whom.draw(made(quality, (0.1, 0.3)), style)
    assert len(figure.axes) == 2
    assert not figure.axes[0].texts  # no room for numbers
    save(figure, tmp_path / "x.pdf", tmp_path / "x.png", 60)
    renderer = figure.canvas.get_renderer()
    for panel in figure.axes:
        labels = [t.get_window_extent(renderer) for t in panel.get_yticklabels()]
        assert all(box.x0 >= 0 for box in labels)
        assert all(a.y0 >= b.y1 - 1 for a, b in pairwise(labels))


@pytest.mark.parametrize("routers", [1])
def test_one_router_has_nobody_to_beat(routers: int, style: dict[str, Any]) -> None:
    given = made({"alone": 1.0}) | {"comparisons": tables.arrow_schema("comparisons").empty_table()}
    figure = who_beats_whom.draw(given, style)
    assert who_beats_whom.EMPTY in {text.get_text() for text in figure.texts}
