r"""The table of routers in the layout of RouteLMT's Table 2: directions side by side, no intervals.

Best in bold, second underlined, among what can be deployed. Needs booktabs.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pyarrow as pa

from routelmt.roles import AVERAGE, ORACLE
from routelmt.views.layouts import Row, number, router_name, scale_of
from routelmt.views.render import from_scratch, tex

METRICS = {"spearman": r"$\rho$", "hit_rate": "Hit", "mean_delta": r"$\Delta$"}
CAPTION = (
    "Routers at $p = {budget}$: Spearman's $\\rho$ of priority and gain, share of the requests of "
    "highest gain that are sent (Hit, \\%), and mean gain of the requests sent ($\\Delta$, points "
    "of {metric}, 0--100), of {large} over {small}; {requests} requests in each direction. Bold: "
    "best, underlined: second, oracles left out; neither says that a difference is significant."
)

_Cells = Mapping[tuple[str, str, str], float]  # router, direction, metric


def paper_table(table: pa.Table, about: Mapping[str, Any]) -> str:
    """LaTeX of table `routers`, one table* per budget.

    about: metric, small and large (names), from_scratch (routers), as in the table's record.
    """
    rows: list[Row] = [row for row in table.to_pylist() if row["metric"] in METRICS]
    budgets = dict.fromkeys(row["budget"] for row in rows)
    parts = [_environment([r for r in rows if r["budget"] == b], b, about) for b in budgets]
    return "\n".join(parts)


def _environment(rows: list[Row], budget: float, about: Mapping[str, Any]) -> str:
    found = dict.fromkeys(row["direction"] for row in rows)
    directions = sorted(found, key=lambda direction: direction == AVERAGE)
    cells = {(r["router"], r["direction"], r["metric"]): r["value"] for r in rows}
    routers = {row["router"]: row for row in rows}
    oracles = [router for router, row in routers.items() if row["role"] == ORACLE]
    others = [router for router in routers if router not in oracles]
    columns = [(direction, metric) for direction in directions for metric in METRICS]
    marks = {column: _marks(cells, others, column) for column in columns}
    wide = len(METRICS)
    rules = [
        rf"\cmidrule(lr){{{2 + wide * at}-{1 + wide * (at + 1)}}}" for at in range(len(directions))
    ]
    heads = [rf"\multicolumn{{{wide}}}{{c}}{{{tex(direction)}}}" for direction in directions]
    lines = [
        r"\begin{table*}",
        r"  \centering\scriptsize\setlength{\tabcolsep}{3pt}",
        rf"  \caption{{{_caption(rows, budget, about)}}}",
        rf"  \begin{{tabular}}{{l{'r' * len(columns)}}}",
        r"    \toprule",
        f"    & {' & '.join(heads)} \\\\",
        f"    {' '.join(rules)}",
        f"    Router & {' & '.join(METRICS[metric] for _, metric in columns)} \\\\",
        r"    \midrule",
        *_lines(oracles, routers, cells, columns, {}),
        *([r"    \midrule"] if oracles and others else []),
        *_lines(others, routers, cells, columns, marks),
        r"    \bottomrule",
        r"  \end{tabular}",
        r"\end{table*}",
    ]
    return "\n".join(lines) + "\n"


def _caption(rows: list[Row], budget: float, about: Mapping[str, Any]) -> str:
    counts = sorted({row["requests"] for row in rows if row["direction"] != AVERAGE})
    requests = f"{counts[0]:,}" if len(counts) == 1 else f"{counts[0]:,} to {counts[-1]:,}"
    names = {name: tex(about[name]) for name in ("metric", "small", "large")}
    said = CAPTION.format(budget=f"{budget:g}", requests=requests, **names)
    scratch = about["from_scratch"]
    return f"{said} {tex(from_scratch(scratch))}" if scratch else said


def _printed(cells: _Cells, router: str, column: tuple[str, str]) -> str:
    factor, digits = scale_of(column[1])
    return number(cells[router, *column] * factor, digits)


def _marks(cells: _Cells, routers: Sequence[str], column: tuple[str, str]) -> dict[str, str]:
    """Command by printed number: equal numbers are marked alike, undefined ones never."""
    values = {_printed(cells, router, column) for router in routers
              if cells[router, *column] == cells[router, *column]}  # fmt: skip
    ordered = sorted(values, key=float, reverse=True)
    return dict(zip(ordered, (r"\textbf", r"\underline"), strict=False))


def _lines(
    names: Iterable[str],
    routers: Mapping[str, Row],
    cells: _Cells,
    columns: Sequence[tuple[str, str]],
    marks: Mapping[tuple[str, str], Mapping[str, str]],
) -> Iterable[str]:
    for router in names:
        shown = []
        for column in columns:
            text = _printed(cells, router, column)
            command = marks.get(column, {}).get(text)
            shown.append(f"{command}{{{tex(text)}}}" if command else tex(text))
        yield f"    {tex(router_name(routers[router]))} & {' & '.join(shown)} \\\\"
