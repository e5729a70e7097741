"""Every figure is drawn from its tables, names every router, and is the same every time."""

import importlib
import io
import itertools
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from matplotlib.figure import Figure
from PIL import Image

from routelmt.figures import style as figure_style
from routelmt.figures.registry import FIGURES


def drawn(name: str, tables: dict[str, pa.Table], style: dict[str, Any]) -> Figure:
    figure = FIGURES[name]
    read = {table: tables[table] for table in figure.tables}  # nothing else is there to read
    return importlib.import_module(figure.module).draw(read, style)


def saved(
    name: str, tables: dict[str, pa.Table], style: dict[str, Any], folder: Path
) -> list[bytes]:
    paths = folder / f"{name}.pdf", folder / f"{name}.png"
    figure_style.save(drawn(name, tables, style), *paths, style["dpi"])
    return [path.read_bytes() for path in paths]


def texts(figure: Figure) -> str:
    from matplotlib.text import Text

    return "\n".join(text.get_text() for text in figure.findobj(Text))


@pytest.fixture(scope="module")
def files(
    evaluation_tables: dict[str, pa.Table], style: dict[str, Any], tmp_path_factory: Any
) -> dict[str, list[bytes]]:
    """PDF and PNG of every figure."""
    folder = tmp_path_factory.mktemp("figures")
    return {name: saved(name, evaluation_tables, style, folder) for name in FIGURES}


@pytest.mark.parametrize("name", FIGURES)
def test_files_are_valid_sized_and_the_same_on_a_second_draw(
    name: str, files: dict[str, list[bytes]], evaluation_tables: dict[str, pa.Table],
    style: dict[str, Any], tmp_path: Path,
) -> None:  # fmt: skip
    pdf, png = files[name]
    assert pdf.startswith(b"%PDF-")
    assert pdf.rstrip().endswith(b"%%EOF")
    assert b"CreationDate" not in pdf
    assert b"/Type3" not in pdf
    with Image.open(io.BytesIO(png)) as image:
        image.verify()
        assert image.width == pytest.approx(style["width"] * style["dpi"], abs=1)
    assert saved(name, evaluation_tables, style, tmp_path) == [pdf, png]
    assert sorted(path.suffix for path in tmp_path.iterdir()) == [".pdf", ".png"]


# Their colours stand for values, none for routers.
MATRICES = {"who_beats_whom", "atlas"}


@pytest.mark.parametrize(
    ("name", "key", "value"),
    [
        ("guards", "width", 5.0),
        ("guards", "font_size", 7),
        *((name, "palette", "tol-bright") for name in FIGURES if name not in MATRICES),
    ],
)
def test_every_style_setting_changes_the_figure(
    name: str, key: str, value: Any, files: dict[str, list[bytes]],
    evaluation_tables: dict[str, pa.Table], style: dict[str, Any], tmp_path: Path,
) -> None:  # fmt: skip
    pdf, png = saved(name, evaluation_tables, style | {key: value}, tmp_path)
    assert pdf != files[name][0]
    assert png != files[name][1]


@pytest.mark.parametrize("name", ["pareto", "comparison", "risk_buckets"])
def test_every_router_and_place_is_named(
    name: str, evaluation_tables: dict[str, pa.Table], style: dict[str, Any]
) -> None:
    shown = texts(drawn(name, evaluation_tables, style))
    for table in FIGURES[name].tables:
        for router in set(evaluation_tables[table].column("router").to_pylist()):
            assert router in shown
    for place in ("en-zh", "ru-en", "average"):
        assert place in shown


BY_METRIC = ("pareto", "comparison", "risk_buckets", "guards", "who_beats_whom", "reliability",
             "cost_pareto", "router_costs", "guard_costs")  # fmt: skip
AT_A_BUDGET = {*BY_METRIC, "drift"} - {"reliability"}


@pytest.mark.parametrize("name", sorted({*BY_METRIC, *AT_A_BUDGET}))
def test_metric_p_and_the_ranking_router_are_named(
    name: str, evaluation_tables: dict[str, pa.Table], style: dict[str, Any]
) -> None:
    figure = drawn(name, evaluation_tables, style | {"metric": "xcomet-xxl"})
    shown = texts(figure).replace("\u00a0", " ")
    assert ("xcomet-xxl" in shown) == (name in BY_METRIC)
    assert ("p = 0.3" in shown) == (name in AT_A_BUDGET)
    if name in ("guards", "guard_costs"):
        assert "a-learned-one ranks" in shown


def test_the_guards_figure_names_guards_and_marks_the_degenerate_point(
    evaluation_tables: dict[str, pa.Table], style: dict[str, Any]
) -> None:
    figure = drawn("guards", evaluation_tables, style)
    shown = texts(figure)
    for part in ("guard entropy", "guard quality-oracle", "no guard", "quantile = budget"):
        assert part in shown
    rings = [line for line in figure.axes[0].lines if line.get_markersize() == 9]
    assert len(rings) == 2  # one per guard
    assert rings[0].get_xydata().tolist() == [[pytest.approx(3.0), pytest.approx(4.7)]]


def test_without_guards_the_figure_says_so(
    evaluation_tables: dict[str, pa.Table], style: dict[str, Any]
) -> None:
    empty = {"guards": evaluation_tables["guards"].slice(0, 0)}
    assert "no guards" in texts(drawn("guards", empty, style))


def test_a_pareto_curve_has_the_tables_values(
    evaluation_tables: dict[str, pa.Table], style: dict[str, Any]
) -> None:
    panel = drawn("pareto", evaluation_tables, style).axes[0]
    rows = [
        row
        for row in evaluation_tables["pareto"].to_pylist()
        if (row["direction"], row["router"]) == ("en-zh", "length")
    ]
    expected = [[row["call_rate"], row["quality"]] for row in rows]
    assert expected in [line.get_xydata().tolist() for line in panel.lines]


def test_no_two_of_thirty_routers_look_the_same() -> None:
    for palette in figure_style.PALETTES:
        routers = [(f"r{i}", "router") for i in range(30)]
        routers += [(f"o{i}", "oracle") for i in range(4)] + [("random", "random")]
        found = figure_style.looks(routers, palette)
        assert len({(look.dashes, look.marker) for look in found.values()}) >= len(found) - 1
        assert len(set(found.values())) == len(found)


def luminance(colour: str) -> float:
    """Relative luminance (WCAG 2) of #RRGGBB."""
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("palette", figure_style.PALETTES)
def test_every_colour_stands_out_from_white_paper(palette: str) -> None:
    for colour in figure_style.PALETTES[palette]:
        assert 1.05 / (luminance(colour) + 0.05) > 1.6, colour


@pytest.mark.parametrize("palette", figure_style.PALETTES)
def test_losses_and_gains_differ_in_grey_or_hatch(palette: str) -> None:
    from routelmt.figures.risk_buckets import BUCKETS

    looks = [(luminance(colours[palette]), hatch) for _, colours, hatch in BUCKETS.values()]
    for (grey, hatch), (next_grey, next_hatch) in itertools.pairwise(looks):
        assert hatch != next_hatch
        assert abs(grey - next_grey) > 0.05


def test_the_registry_is_cheap_to_import() -> None:
    heavy = "{'numpy', 'pyarrow', 'pandas', 'matplotlib'}"
    code = f"import sys, routelmt.figures.registry; assert not {heavy} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_users_matplotlib_settings_change_nothing(
    files: dict[str, list[bytes]], evaluation_tables: dict[str, pa.Table],
    style: dict[str, Any], tmp_path: Path,
) -> None:  # fmt: skip
    import matplotlib as mpl

    with mpl.rc_context({"lines.linewidth": 9, "font.size": 20, "pdf.fonttype": 3}):
        assert saved("guards", evaluation_tables, style, tmp_path) == files["guards"]
