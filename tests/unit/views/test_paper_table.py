"""RouteLMT's Table 2 from the table of routers: marks, oracles, and whether TeX takes it."""

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from routelmt import provenance, tables
from routelmt.__main__ import main
from routelmt.evaluate.build import build_table
from routelmt.views.paper_table import paper_table

ABOUT = {"metric": "chr_f", "small": "s", "large": "l", "from_scratch": ["learned"]}
DOCUMENT = r"""\documentclass[twocolumn]{article}
\usepackage[margin=1in]{geometry}
\usepackage{booktabs}
\begin{document}
\input{table2}
\end{document}
"""


@pytest.fixture(scope="module")
def routers(settings: dict[str, Any], predictions: pa.Table, gains: pa.Table) -> pa.Table:
    return build_table("routers", settings, predictions, gains)


def lines_of(text: str) -> dict[str, list[str]]:
    """Cells by router, of the first environment."""
    first = text.split(r"\end{table*}")[0].split("Router &")[1]
    lines = [line.strip().removesuffix(r" \\").split(" & ") for line in first.splitlines()[1:]]
    return {name: cells for name, *cells in lines if cells}


def test_best_is_bold_and_second_underlined_among_what_is_no_oracle(routers: pa.Table) -> None:
    found = lines_of(paper_table(routers, ABOUT))
    assert next(iter(found)) == "gain-oracle"  # above the rule, and never marked
    assert not any("\\text" in cell or "\\under" in cell for cell in found["gain-oracle"])
    others = [cells for name, cells in found.items() if name != "gain-oracle"]
    assert len(others) == 3 and len(others[0]) == 9  # two directions and the average
    for column in zip(*others, strict=True):
        values = sorted({float(re.sub(r"[^-.\d]", "", cell)) for cell in column}, reverse=True)
        for cell in column:
            value = float(re.sub(r"[^-.\d]", "", cell))
            assert cell.startswith(r"\textbf") == (value == values[0])
            assert cell.startswith(r"\underline") == (value == values[1])


def test_the_caption_stands_alone(routers: pa.Table) -> None:
    text = paper_table(routers, ABOUT)
    assert text.count(r"\begin{table*}") == 2  # budgets
    for part in ("$p = 0.3$", r"chr\_f", "of l over s", "60 requests in each direction",
                 "oracles left out", "no pretrained ones such as XLM-R: learned."):  # fmt: skip
        assert part in text


def test_the_command_reads_the_record_and_says_what_is_missing(
    routers: pa.Table, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source, out = tmp_path / "source.txt", tmp_path / "table2.tex"
    source.write_text("predictions")
    command = ["paper-table", "--table", f"{tmp_path / 'routers.parquet'}", "--out", f"{out}"]
    for settings in ({"about": ABOUT}, {}):
        record = provenance.describe("tables", settings, [source])
        tables.write(routers, tmp_path / "routers.parquet", "routers", record)
        assert main(command) == (0 if settings else 1)
    assert out.read_text() == paper_table(routers, ABOUT)
    assert "does not say which metric" in capsys.readouterr().err


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="no pdflatex here")
def test_tex_sets_it_within_the_page(routers: pa.Table, tmp_path: Path) -> None:
    (tmp_path / "table2.tex").write_text(paper_table(routers, ABOUT))
    (tmp_path / "paper.tex").write_text(DOCUMENT)
    result = subprocess.run(
        ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "paper.tex"],
        cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert result.returncode == 0, result.stdout[-2000:]
    assert "Overfull" not in result.stdout and (tmp_path / "paper.pdf").exists()
