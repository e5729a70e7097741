"""Tables for readers as CSV (every value), LaTeX with booktabs, and Markdown (rounded)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import groupby
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as csv

from routelmt.cells import neutral_column, visible
from routelmt.tables import atomic_path
from routelmt.views.layouts import Block, Cell, blocks

NOTE = (
    "In brackets: interval from a paired bootstrap over clusters of requests, and from the seeds; "
    "level, replicates and clusters are in the config."
)
LIST_SEPARATOR = "; "
EMPTY = "No rows: the experiment has nothing to show here."

_LATEX = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "Δ": r"$\Delta$",
    "–": "--",
}
_MARKDOWN = {character: f"\\{character}" for character in "\\|*_`<>[]"}


def write_renderings(
    table: pa.Table,
    name: str,
    path: str | Path,
    notes: Sequence[str] = (),
    about: Mapping[str, Any] | None = None,
) -> None:
    """Write X.csv, X.tex and X.md beside path, which is X.parquet; each is whole or absent.

    table: the table of that name, one with a layout; notes: what is said of it as a whole, such as
    why it has no rows. about: metric, small and large (names), from_scratch (routers), and router
    where the table is of one; every block then states them. The same table gives the same bytes.
    """
    path, layout = Path(path), blocks(table, name)
    if about is not None:
        layout = [stated(block, about) for block in layout]
    with atomic_path(path.with_suffix(".csv")) as temporary:
        csv.write_csv(_flat(table), temporary)
    for suffix, text in ((".tex", latex(layout, notes)), (".md", markdown(layout, notes))):
        with atomic_path(path.with_suffix(suffix)) as temporary:
            temporary.write_text(text, encoding="utf-8")


def stated(block: Block, about: Mapping[str, Any]) -> Block:
    """The block with its metric in the title, and whose gains they are in the note.

    about: see write_renderings.
    """
    said = (
        f"Gains of {about['large']} over {about['small']} in points of {about['metric']} (0-100)."
    )
    if about.get("router"):
        said += f" Router: {about['router']}."
    if about["from_scratch"]:
        said += f" {from_scratch(about['from_scratch'])}"
    note = " ".join(part for part in (said, block.note) if part)
    return replace(block, title=f"{block.title} ({about['metric']})", note=note)


def from_scratch(routers: Sequence[str]) -> str:
    """What a reader must know of routers whose encoder is not a pretrained one."""
    return f"Small encoders from scratch, no pretrained ones such as XLM-R: {', '.join(routers)}."


def latex(layout: Iterable[Block], notes: Sequence[str] = ()) -> str:
    """One table environment per block; needs booktabs. Intervals stand below the values.

    notes: as comments at the end.
    """
    comments = [f"% {visible(note)}\n" for note in notes]
    parts = [_latex_block(block) for block in layout] or [f"% {EMPTY}\n"]
    return "\n".join([*parts, *comments])


def markdown(layout: Iterable[Block], notes: Sequence[str] = ()) -> str:
    """One heading and pipe table per block, then their notes and the given ones."""
    shown = list(layout)
    parts = [_markdown_block(block) for block in shown] or [f"{EMPTY}\n"]
    said = dict.fromkeys([*(note for note in map(_note, shown) if note), *notes])
    return "\n".join([*parts, *(f"{_md(note)}\n" for note in said)])


def _flat(table: pa.Table) -> pa.Table:
    """The same for CSV: lists joined by LIST_SEPARATOR, no text that a spreadsheet would run."""
    for index, field in enumerate(table.schema):
        if pa.types.is_list(field.type):
            texts = pc.cast(table.column(index), pa.list_(pa.string()))
            joined = pc.binary_join(texts, LIST_SEPARATOR)
            table = table.set_column(index, field.name, joined)
        table = table.set_column(index, field.name, neutral_column(table.column(index)))
    return table


def _note(block: Block) -> str:
    """The block's own note, and what its brackets mean if it has any."""
    bracketed = any(cell.interval for _, cells in block.rows for cell in cells)
    return " ".join(note for note in (block.note, NOTE if bracketed else "") if note)


def _latex_block(block: Block) -> str:
    groups = _groups(block)
    index = len(block.index)
    rules, column = [], index + 1
    for _, span in groups:
        rules.append(rf"\cmidrule(lr){{{column}-{column + span - 1}}}")
        column += span
    top = ["" for _ in block.index]
    top += [rf"\multicolumn{{{span}}}{{c}}{{{tex(group)}}}" for group, span in groups]
    second = [tex(label) for label in (*block.index, *(label for _, label in block.columns))]
    lines = [
        r"\begin{table}",
        r"  \centering\small",
        rf"  \caption{{{tex(f'{block.title}. {_note(block)}'.rstrip())}}}",
        rf"  \begin{{tabular}}{{{'l' * index}{'r' * len(block.columns)}}}",
        r"    \toprule",
        f"    {' & '.join(top)} \\\\",
        f"    {' '.join(rules)}",
        f"    {' & '.join(second)} \\\\",
        r"    \midrule",
        *(line for names, cells in block.rows for line in _latex_row(names, cells)),
        r"    \bottomrule",
        r"  \end{tabular}",
        r"\end{table}",
    ]
    return "\n".join(lines) + "\n"


def _latex_row(names: tuple[str, ...], cells: tuple[Cell, ...]) -> Iterable[str]:
    yield f"    {' & '.join([tex(n) for n in names] + [tex(c.value) for c in cells])} \\\\"
    if any(cell.interval for cell in cells):
        below = [rf"{{\scriptsize {tex(c.interval)}}}" if c.interval else "" for c in cells]
        yield f"    {' & '.join([''] * len(names) + below)} \\\\[2pt]"


def _markdown_block(block: Block) -> str:
    head = [*block.index, *(f"{group} {label}" for group, label in block.columns)]
    rule = [*("---" for _ in block.index), *("---:" for _ in block.columns)]
    lines = [f"### {_md(block.title)}", "", _pipes(map(_md, head)), _pipes(rule)]
    for names, cells in block.rows:
        lines.append(_pipes([*map(_md, names), *map(_markdown_cell, cells)]))
    return "\n".join(lines) + "\n"


def _markdown_cell(cell: Cell) -> str:
    value = visible(cell.value)
    return f"{value}<br>{_md(cell.interval)}" if cell.interval else value


def _groups(block: Block) -> list[tuple[str, int]]:
    runs = groupby(block.columns, key=lambda column: column[0])
    return [(group, len(list(columns))) for group, columns in runs]


def _pipes(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def tex(text: str) -> str:
    """The text on one line, with what is a command in LaTeX escaped."""
    return "".join(_LATEX.get(character, character) for character in visible(text))


def _md(text: str) -> str:
    return "".join(_MARKDOWN.get(character, character) for character in visible(text))
