"""The atlas's heatmaps: every pair where it belongs, at the sizes of a page and of a column."""

from __future__ import annotations

from itertools import permutations
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from routelmt import tables
from routelmt.figures import atlas

STYLE = {"width": 6.3, "font_size": 9, "metric": "xcomet", "palette": "okabe-ito", "dpi": 160}


def example(systems: int, metrics: tuple[str, ...] = ("metricx", "xcomet")) -> pa.Table:
    names = [f"System-{i}-{i}B" for i in range(systems)]
    rows = []
    for (small, large), metric, place in (
        (pair, m, p) for pair in permutations(range(systems), 2) for m in metrics
        for p in ("en-ru", "average")
    ):  # fmt: skip
        gain = (large - small) * (10 if metric == "xcomet" else 1) + 100 * (place != "average")
        alone = len(metrics) == 1
        row = {"small": names[small], "large": names[large], "direction": place, "metric": metric,
               "budget": 0.3, "mean_gain": gain, "losses": 0.2, "severe_losses": 0.1, "headroom": 30.0,
               "attainable_headroom": np.nan if alone else 20.0 + small, "reliability": 0.5,
               "cross_headroom": 10.0, "attainable_spearman": 0.7, "agreement_pearson": 0.5,
               "agreement_spearman": 0.5, "method": "one factor", "requests": 300, "directions": 1,
               "reason": None}  # fmt: skip
        unknown = {f"{name}_{end}": np.nan for name in ("mean_gain", "losses", "severe_losses",
                   "headroom", "attainable_headroom", "reliability") for end in ("low", "high")}  # fmt: skip
        rows.append(row | unknown)
    return tables.from_rows("atlas", rows)


def drawn(table: pa.Table, **style: Any) -> list[Any]:
    figure = atlas.draw({"atlas": table}, STYLE | style)
    figure.draw_without_rendering()
    return [axes for axes in figure.axes if axes.images]


@pytest.mark.parametrize(("systems", "width"), [(2, 6.3), (4, 3.3), (26, 6.3)])
def test_every_pair_has_its_cell_and_systems_are_ranked(systems: int, width: float) -> None:
    gain, headroom = drawn(example(systems), width=width)
    names = [label.get_text() for label in gain.get_yticklabels()]
    assert names == [f"System-{i}-{i}B" for i in reversed(range(systems))]
    assert names == [label.get_text() for label in headroom.get_xticklabels()]
    matrix, size = (panel.images[0].get_array() for panel in (gain, headroom))
    for y, x in permutations(range(systems), 2):
        assert matrix[y, x] == 10 * (y - x)  # the small system's row, the large one's column
        assert size[y, x] == 20 + systems - 1 - y
    assert matrix.mask.sum() == systems
    low, high = gain.images[0].get_clim()
    assert low == -high  # no gain is the middle of the two hues
    texts = [text.get_text() for text in gain.texts]
    assert not texts or len(texts) == systems * (systems - 1)
    box = gain.get_yticklabels()[0].get_window_extent()
    beside = gain.get_yticklabels()[1].get_window_extent()
    assert box.y0 >= beside.y1 - 1  # names do not run into each other
    assert box.x0 >= 0


def test_one_metric_has_the_raw_headroom_and_another_name_takes_the_first() -> None:
    gain, headroom = drawn(example(3, ("chrf",)))
    titles = [panel.figure.get_suptitle() for panel in (gain, headroom)]
    assert "chrf points" in titles[0] and titles[1].startswith("raw headroom")
    assert np.ma.max(headroom.images[0].get_array()) == 30
