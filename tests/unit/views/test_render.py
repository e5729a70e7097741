"""CSV, LaTeX, Markdown and the terminal summary say what the tables say."""

import csv
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from routelmt.evaluate.build import EVALUATIONS, build_table
from routelmt.views.layouts import Block, Cell, blocks, number
from routelmt.views.render import latex, markdown, write_renderings
from routelmt.views.summary import WIDTH, format_summary


@pytest.fixture(scope="module")
def built(
    settings: dict[str, Any],
    predictions: pa.Table,
    gains: pa.Table,
    segments: pa.Table,
    other_gains: dict[str, pa.Table],
) -> dict[str, pa.Table]:
    given = (settings, predictions, gains, segments, other_gains)
    return {name: build_table(name, *given) for name in EVALUATIONS}


@pytest.mark.parametrize("name", EVALUATIONS)
def test_three_files_stand_beside_the_parquet_and_are_the_same_every_time(
    built: dict[str, pa.Table], name: str, tmp_path: Path
) -> None:
    write_renderings(built[name], name, tmp_path / f"{name}.parquet")
    first = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert set(first) == {f"{name}.csv", f"{name}.tex", f"{name}.md"}
    write_renderings(built[name], name, tmp_path / f"{name}.parquet")
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == first


def test_the_csv_holds_every_value_exactly(built: dict[str, pa.Table], tmp_path: Path) -> None:
    write_renderings(built["routers"], "routers", tmp_path / "routers.parquet")
    with (tmp_path / "routers.csv").open(newline="") as handle:
        rows = list(csv.DictReader(handle))
    values = built["routers"].column("value").to_pylist()
    assert np.array_equal([float(row["value"]) for row in rows], values, equal_nan=True)
    assert [row["router"] for row in rows] == built["routers"].column("router").to_pylist()


def test_table_2_has_a_block_per_budget_and_every_router_in_it(
    built: dict[str, pa.Table],
) -> None:
    layout = blocks(built["routers"], "routers")
    assert [block.title for block in layout] == ["Routers at p = 0.3", "Routers at p = 0.1"]
    for block in layout:
        assert [names for names, _ in block.rows] == [
            ("random (expectation)",), ("length",), ("learned",), ("gain-oracle",),
        ]  # fmt: skip
        assert [group for group, _ in block.columns] == ["en-ru"] * 3 + ["ru-en"] * 3 + [
            "average"
        ] * 5
        assert block.columns[-1] == ("average", "of attainable %")
    alone = blocks(
        built["routers"].filter(
            pc.is_in(
                built["routers"].column("metric"),
                pa.array(["spearman", "hit_rate", "mean_delta", "headroom"]),
            )
        ),
        "routers",
    )
    assert [len(block.columns) for block in alone] == [10, 10]
    assert "attainable" not in alone[0].note


def test_a_printed_cell_is_the_tables_value_and_interval(built: dict[str, pa.Table]) -> None:
    row = next(
        r
        for r in built["routers"].to_pylist()
        if (r["router"], r["direction"], r["metric"], r["budget"])
        == ("learned", "average", "mean_delta", 0.3)
    )
    block = blocks(built["routers"], "routers")[0]
    cells = dict(block.rows)[("learned",)]
    cell = cells[block.columns.index(("average", "MeanΔ"))]
    assert cell == (f"{row['value']:.2f}", f"[{row['low']:.2f}, {row['high']:.2f}]")


@pytest.mark.parametrize("name", EVALUATIONS)
def test_rows_of_latex_and_markdown_have_as_many_cells_as_their_header(
    built: dict[str, pa.Table], name: str, tmp_path: Path
) -> None:
    write_renderings(built[name], name, tmp_path / f"{name}.parquet")
    latex = (tmp_path / f"{name}.tex").read_text()
    for block, text in zip(
        blocks(built[name], name), latex.split(r"\begin{table}")[1:], strict=True
    ):
        width = len(block.index) + len(block.columns)
        body = text.split(r"\midrule")[1].split(r"\bottomrule")[0]
        assert {line.count(" & ") + 1 for line in body.strip().splitlines()} == {width}
        assert text.count(r"\toprule") == text.count(r"\end{tabular}") == 1
    for block in (tmp_path / f"{name}.md").read_text().split("### ")[1:]:
        lines = [line for line in block.splitlines() if line.startswith("|")]
        assert len({line.count("|") for line in lines}) == 1


@pytest.mark.parametrize("name", EVALUATIONS)
def test_every_block_names_metric_and_models_and_encoders_that_are_none(
    built: dict[str, pa.Table], name: str, tmp_path: Path
) -> None:
    about = {"metric": "xcomet-xxl", "small": "s", "large": "l", "from_scratch": ["learned"]}
    write_renderings(built[name], name, tmp_path / f"{name}.parquet", about=about)
    said = "Gains of l over s in points of xcomet-xxl (0-100). Small encoders from scratch"
    captions = (tmp_path / f"{name}.tex").read_text().split(r"\caption{")[1:]
    assert all("(xcomet-xxl). " in caption and said in caption for caption in captions)
    assert len(captions) == len(blocks(built[name], name))
    text = (tmp_path / f"{name}.md").read_text()
    titles = [line for line in text.splitlines() if line.startswith("### ")]
    assert all(title.endswith(" (xcomet-xxl)") for title in titles)
    assert f"{said}, no pretrained ones such as XLM-R: learned." in text


def test_guards_say_who_ranks(built: dict[str, pa.Table]) -> None:
    (block, _) = blocks(built["guards"], "guards")
    assert block.index[0] == "Ranked by" and block.title == "Guards at p = 0.3"
    assert {names[0] for names, _ in block.rows} == {"learned"}


def test_names_are_escaped(built: dict[str, pa.Table], tmp_path: Path) -> None:
    router = pc.replace_substring(built["routers"].column("router"), "learned", "a_b|50%&c")
    table = built["routers"].set_column(0, built["routers"].schema.field(0), router)
    write_renderings(table, "routers", tmp_path / "routers.parquet")
    assert r"a\_b|50\%\&c" in (tmp_path / "routers.tex").read_text()
    assert r"a\_b\|50%&c" in (tmp_path / "routers.md").read_text()


def test_a_table_without_rows_is_rendered_with_a_reason(built: dict[str, pa.Table]) -> None:
    assert "No rows" in markdown(blocks(built["guards"].slice(0, 0), "guards"))


def test_numbers_have_no_negative_zero_and_a_dash_for_nothing() -> None:
    assert number(-0.001, 2) == "0.00"
    assert number(float("nan"), 2) == "–"


def test_the_summary_ranks_by_mean_delta_and_fits_a_terminal(built: dict[str, pa.Table]) -> None:
    text = format_summary(built["routers"], built["comparisons"], focus="length")
    assert max(map(len, text.splitlines())) <= WIDTH
    first = text.split("MeanΔ of length")[0]
    order = [first.index(f"\n{name}") for name in ("gain-oracle", "learned")]
    assert order == sorted(order)
    row = next(
        r
        for r in built["comparisons"].to_pylist()
        if (r["router"], r["other"], r["direction"], r["metric"], r["budget"])
        == ("length", "learned", "average", "mean_delta", 0.3)
    )
    line = next(x for x in text.splitlines() if x.startswith("  learned"))
    assert f"{row['difference']:+.2f} [{row['low']:.2f}, {row['high']:.2f}]" in line
    assert "(Holm)" in line
    # The pair stands the other way round in the table: its sign is turned.
    other = next(x for x in text.splitlines() if x.startswith("  random"))
    pair = next(
        r
        for r in built["comparisons"].to_pylist()
        if (r["router"], r["other"], r["direction"], r["metric"], r["budget"])
        == ("random", "length", "average", "mean_delta", 0.3)
    )
    assert f"{-pair['difference']:+.2f} [{-pair['high']:.2f}, {-pair['low']:.2f}]" in other


def test_the_summary_takes_the_best_deployable_router_by_itself(
    built: dict[str, pa.Table],
) -> None:
    assert "MeanΔ of learned minus" in format_summary(built["routers"], built["comparisons"])
    alone = format_summary(built["routers"], built["comparisons"].slice(0, 0))
    assert "minus" not in alone


def test_names_that_break_or_reorder_a_line_are_spelt_in_it() -> None:
    name = "two\nlines \x1b[31m \u202e \0"
    block = Block(name, ("name",), ((name, name),), (((name,), (Cell(name),)),), name)
    for text, spelt in (
        (markdown([block], [name]), r"two\\nlines \\x1b\[31m \\u202e \\x00"),
        (latex([block], [name]), r"two\textbackslash{}nlines \textbackslash{}x1b[31m"),
    ):
        assert not set(text) & set("\x1b\u202e\0") and "two\n" not in text
        assert text.count(spelt) >= 5


TEX = next(filter(shutil.which, ("lualatex", "pdflatex")), None)


@pytest.mark.skipif(TEX is None, reason="no TeX here")
def test_tex_sets_every_table_whatever_the_names(
    built: dict[str, pa.Table], tmp_path: Path
) -> None:
    lines = [r"\documentclass{article}", r"\usepackage{booktabs}", r"\begin{document}"]
    for name, table in built.items():
        at = table.schema.get_field_index("router")
        hostile = "\\input{x} 50%_&#$^~{} two\nlines \u202e\x1b[0m"
        if at >= 0:
            names = pc.replace_substring(table.column("router"), "learned", hostile)
            table = table.set_column(at, table.schema.field(at), names)
        write_renderings(table, name, tmp_path / f"{name}.parquet")
        lines += [rf"\input{{{name}}}", r"\clearpage"]
    (tmp_path / "all.tex").write_text("\n".join([*lines, r"\end{document}"]))
    done = subprocess.run(
        [str(TEX), "-interaction=nonstopmode", "-halt-on-error", "all.tex"],
        cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-2000:]
    assert (tmp_path / "all.pdf").stat().st_size > 10_000


def test_no_text_of_a_csv_is_run_by_a_spreadsheet(
    built: dict[str, pa.Table], tmp_path: Path
) -> None:
    table = built["routers"]
    at = table.schema.get_field_index("router")
    names = ["=1+1" if name == "length" else name for name in table.column("router").to_pylist()]
    table = table.set_column(at, table.schema.field(at), pa.array(names))
    write_renderings(table, "routers", tmp_path / "routers.parquet")
    with (tmp_path / "routers.csv").open(newline="") as handle:
        rows = list(csv.DictReader(handle))
    assert [row["router"] for row in rows] == [n.replace("=1+1", "'=1+1") for n in names]
    values = table.column("value").to_pylist()
    assert np.nanmin(values) < 0
    assert np.array_equal([float(row["value"]) for row in rows], values, equal_nan=True)
