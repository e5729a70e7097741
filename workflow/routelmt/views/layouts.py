"""How the tables of data and evaluation are laid out: blocks of rows, columns and cells.

A layout is text without markup; render.py turns it into LaTeX and Markdown.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from importlib import import_module
from typing import Any, NamedTuple
from unicodedata import east_asian_width

import numpy as np
import pyarrow as pa

from routelmt import plugins
from routelmt.roles import AVERAGE, ORACLE, RANDOM, RISK_BUCKETS, ROUTER, labelled

MISSING = "–"
METRIC_NAMES = {
    "spearman": "Spearman",
    "hit_rate": "HitRate",
    "mean_delta": "MeanΔ",
    "headroom": "Headroom %",
}
# Beside the raw headroom where other gains tell how noisy the label is.
ATTAINABLE = "headroom_attainable"
_SCALES = {"spearman": (1, 2), "hit_rate": (1, 1), "mean_delta": (1, 2), "headroom": (100, 1),
           ATTAINABLE: (100, 1)}  # fmt: skip

Row = dict[str, Any]


class Cell(NamedTuple):
    """A value, and its interval ('' for none)."""

    value: str
    interval: str = ""


@dataclass(frozen=True)
class Block:
    """One table: labels of the leading columns, (group, label) of the others, and the rows."""

    title: str
    index: tuple[str, ...]
    columns: tuple[tuple[str, str], ...]
    rows: tuple[tuple[tuple[str, ...], tuple[Cell, ...]], ...]
    note: str = ""  # what a reader must know of this table in particular


def blocks(table: pa.Table, name: str) -> list[Block]:
    """The layout of the table of that name; no block for a table without rows."""
    rows: list[Row] = table.to_pylist()
    found = _LAYOUTS.get(name, _plain(name))(rows) if rows else []
    said = _clusters(rows)
    return [replace(block, note=f"{block.note} {said}".strip()) for block in found]


def _plain(name: str) -> Callable[[list[Row]], list[Block]]:
    """The layout of a plug-in's table: `layout(rows)` of its module, else all as it stands."""
    module = plugins.modules("tables").get(name)
    own: Callable[[list[Row]], list[Block]] | None = (
        getattr(import_module(module), "layout", None) if module else None
    )
    return own or (lambda rows: [_as_it_stands(name, rows)])


def _as_it_stands(name: str, rows: list[Row]) -> Block:
    columns = tuple(("", column) for column in rows[0])
    cells = (tuple(Cell(_shown(value)) for value in row.values()) for row in rows)
    return Block(name, (), columns, tuple(((), row) for row in cells))


def _shown(value: Any) -> str:
    if isinstance(value, float):
        return number(value, 3)
    return MISSING if value is None else str(value)


def _clusters(rows: list[Row]) -> str:
    """How many clusters the intervals of a table are from, if it says so."""
    counts = [row["clusters"] for row in rows if row.get("clusters") is not None]
    if not counts:
        return ""
    few, many = min(counts), max(counts)
    return f"Clusters of requests: {few:,}{'' if few == many else f' to {many:,}'}."


def number(value: float, digits: int) -> str:
    """The value with a fixed number of digits and no negative zero; MISSING for NaN."""
    return MISSING if np.isnan(value) else f"{value:z.{digits}f}"


def interval(low: float, high: float, digits: int) -> str:
    """'[low, high]', or nothing where it is undefined."""
    if np.isnan(low) or np.isnan(high):
        return ""
    return f"[{number(low, digits)}, {number(high, digits)}]"


def scale_of(metric: str) -> tuple[float, int]:
    """The factor and the digits with which a metric is printed."""
    return _SCALES[metric]


def router_name(row: Row) -> str:
    """The router with what a reader must know of its role."""
    return labelled(row["router"], row["role"])


def _cell(row: Row, value: str, factor: float = 1, digits: int = 2, ends: str = "") -> Cell:
    low, high = (row[f"{ends}{end}"] * factor for end in ("low", "high"))
    return Cell(number(row[value] * factor, digits), interval(low, high, digits))


def _distinct(rows: Iterable[Row], *columns: str) -> list[Any]:
    """Distinct values, or tuples of values, in the order of their first occurrence."""
    if len(columns) == 1:
        return list(dict.fromkeys(row[columns[0]] for row in rows))
    return list(dict.fromkeys(tuple(row[c] for c in columns) for row in rows))


def _average_last(rows: list[Row]) -> list[str]:
    return sorted(_distinct(rows, "direction"), key=lambda direction: direction == AVERAGE)


def _routers(rows: list[Row]) -> list[Block]:
    """The paper's Table 2 once per budget; headroom stands with the average only."""
    found = {(r["budget"], r["router"], r["direction"], r["metric"]): r for r in rows}
    names = METRIC_NAMES | {ATTAINABLE: "of attainable %"}
    noisy = any(row["metric"] == ATTAINABLE for row in rows)
    columns = [
        (direction, metric)
        for direction in _average_last(rows)
        for metric in (names if noisy else METRIC_NAMES)
        if metric not in ("headroom", ATTAINABLE) or direction == AVERAGE
    ]
    labels = {row["router"]: router_name(row) for row in rows}
    return [
        Block(
            f"Routers at p = {budget:g}",
            ("Router",),
            tuple((direction, names[metric]) for direction, metric in columns),
            tuple(
                (
                    (label,),
                    tuple(
                        _cell(found[budget, router, *column], "value", *scale_of(column[1]))
                        for column in columns
                    ),
                )
                for router, label in labels.items()
            ),
            _ATTAINABLE_NOTE if noisy else "",
        )
        for budget in _distinct(rows, "budget")
    ]


_ATTAINABLE_NOTE = (
    "Headroom: of the gain oracle's, which picks by the very noise it is judged by. Of attainable: "
    "of what a perfect predictor of the true gain would reach, by the reliability of the gains "
    "(table noise), if true gains and errors are jointly normal and errors independent."
)


def _comparisons(rows: list[Row]) -> list[Block]:
    """Once per budget and metric: differences by direction; tests on the average."""
    found = {(r["budget"], r["metric"], r["router"], r["other"], r["direction"]): r for r in rows}
    places = _average_last(rows)
    tests = (("p", "p_value", 3), ("p (Holm)", "p_holm", 3), ("detectable", "detectable", 2))
    result = []
    for budget, metric in _distinct(rows, "budget", "metric"):
        scale = scale_of(metric)
        lines = []
        for pair in _distinct(rows, "router", "other"):
            on_average = found[budget, metric, *pair, AVERAGE]
            cells = [_cell(found[budget, metric, *pair, p], "difference", *scale) for p in places]
            cells += [Cell(number(on_average[column], digits)) for _, column, digits in tests]
            lines.append((pair, tuple(cells)))
        columns = [("difference", place) for place in places]
        columns += [("test on the average", label) for label, _, _ in tests]
        title = f"Differences in {METRIC_NAMES[metric]} at p = {budget:g}"
        result.append(Block(title, ("Router", "minus"), tuple(columns), tuple(lines)))
    return result


def _pareto(rows: list[Row]) -> list[Block]:
    """Once per direction: quality at every tenth of the call rate, by router."""
    rows = [r for r in rows if abs(10 * r["call_rate"] - round(10 * r["call_rate"])) < 1e-9]
    found = {(r["direction"], r["router"], r["call_rate"]): r for r in rows}
    labels = {row["router"]: router_name(row) for row in rows}
    rates = _distinct(rows, "call_rate")
    return [
        Block(
            f"System quality, {place}",
            ("Router",),
            tuple(("share of requests to the large model", f"{rate:g}") for rate in rates),
            tuple(
                ((label,), tuple(_cell(found[place, router, rate], "quality") for rate in rates))
                for router, label in labels.items()
            ),
        )
        for place in _average_last(rows)
    ]


def _risk_buckets(rows: list[Row]) -> list[Block]:
    """Once per budget and direction: percent of the routed requests, by router and bucket."""
    found = {(r["budget"], r["direction"], r["router"], r["bucket"]): r for r in rows}
    labels = {row["router"]: router_name(row) for row in rows}
    return [
        Block(
            f"Routed requests at p = {budget:g}, {place}",
            ("Router",),
            tuple(("% of the routed requests", b.replace("_", " ")) for b in RISK_BUCKETS),
            tuple(
                (
                    (label,),
                    tuple(
                        _cell(found[budget, place, router, b], "share", 100, 1)
                        for b in RISK_BUCKETS
                    ),
                )
                for router, label in labels.items()
            ),
        )
        for budget in _distinct(rows, "budget")
        for place in _average_last(rows)
    ]


def _guards(rows: list[Row]) -> list[Block]:
    """Once per budget: severe loss and MeanΔ by direction, for every guard and quantile."""
    found = {(r["budget"], r["router"], r["guard"], r["quantile"], r["direction"]): r for r in rows}
    places = _average_last(rows)
    result = []
    for budget in _distinct(rows, "budget"):
        lines = []
        here = [row for row in rows if row["budget"] == budget]
        for key in _distinct(here, "router", "guard", "quantile"):
            router, guard, quantile = key
            own = [found[budget, *key, place] for place in places]
            guarded_by = labelled(guard, ORACLE if own[0]["oracle"] else ROUTER)
            cells = [_cell(r, "severe_loss", 100, 1, "severe_loss_") for r in own]
            cells += [_cell(r, "mean_delta", 1, 2, "mean_delta_") for r in own]
            lines.append(((router, guarded_by, f"{quantile:g}"), tuple(cells)))
        columns = [("severe loss %", p) for p in places] + [("MeanΔ", p) for p in places]
        index = ("Ranked by", "Guard", "Quantile")
        result.append(Block(f"Guards at p = {budget:g}", index, tuple(columns), tuple(lines)))
    return result


_DATASHEET = (
    ("number of", "segments", "segments", 0),
    ("number of", "texts", "groups", 0),
    ("number of", "documents", "documents", 0),
    *(
        (f"words per {side}", label, f"{side}_words_{column}", digits)
        for side in ("source", "reference")
        for label, column, digits in (("mean", "mean", 1), ("median", "p50", 1), ("95 %", "p95", 0))
    ),
    ("characters (mean)", "source", "source_chars_mean", 1),
    ("characters (mean)", "reference", "reference_chars_mean", 1),
)
_DATASHEET_NOTE = (
    "Texts: distinct ones, as tied across directions. A word is a run of letters and digits, or "
    "one Chinese or Japanese character. 95 %: the 95th percentile."
)


def _datasheet(rows: list[Row]) -> list[Block]:
    """Datasets and directions, then their domains, if any has one."""
    columns = tuple((group, label) for group, label, _, _ in _DATASHEET)
    whole = [row for row in rows if row["domain"] == "all"]
    domains = [row for row in rows if row["domain"] != "all"]
    index = {"Dataset": "dataset", "Role": "role", "Direction": "direction"}
    found = [
        ("The data", index, whole),
        ("The data by domain", index | {"Domain": "domain"}, domains),
    ]
    return [
        Block(
            title,
            tuple(names),
            columns,
            tuple(
                (
                    tuple(row[column] for column in names.values()),
                    tuple(Cell(_grouped(row[c], digits)) for _, _, c, digits in _DATASHEET),
                )
                for row in shown
            ),
            _DATASHEET_NOTE,
        )
        for title, names, shown in found
        if shown
    ]


def _grouped(value: float, digits: int) -> str:
    return f"{value:,.{digits}f}"


_OVERLAPS = ("exact", "near", "group", "removed")
_CONTAMINATION_NOTE = (
    "Exact: a text of the row, normalised, is in the held-out set. Near: one reaches the threshold "
    "of similarity. Group: the row shares its text with such a row in another direction. A row "
    "counts once, under the first of these that it meets; removed rows are kept away from the "
    "routers."
)


def _contamination(rows: list[Row]) -> list[Block]:
    """All directions together, then each of several."""
    index = {"Dataset": "dataset", "Role": "role", "Held-out": "held_out"}
    whole = [row for row in rows if row["direction"] == "all"]
    single = [row for row in rows if row["direction"] != "all"]
    found = [("Overlap with held-out data", index, whole)]
    if len(_distinct(single, "direction")) > 1:
        by_direction = index | {"Direction": "direction"}
        found.append(("Overlap with held-out data by direction", by_direction, single))
    columns = [("rows", label) for label in ("all", *_OVERLAPS)]
    columns += [("% of the rows", label) for label in _OVERLAPS]
    return [
        Block(
            title,
            tuple(names),
            tuple(columns),
            tuple((tuple(row[c] for c in names.values()), _overlap_cells(row)) for row in shown),
            _CONTAMINATION_NOTE,
        )
        for title, names, shown in found
    ]


def _overlap_cells(row: Row) -> tuple[Cell, ...]:
    counts = [Cell(f"{row[column]:,}") for column in ("rows", *_OVERLAPS)]
    shares = [Cell(number(100 * row[column] / row["rows"], 2)) for column in _OVERLAPS]
    return (*counts, *shares)


_FLAGS = ("requests", "truncated", "degenerate", "length", "left_out")
_FLAGS_NOTE = (
    "Truncated: the metric saw only part of the texts. Degenerate: blank, runaway, or one piece "
    "repeated; length: those that the limit of new tokens cut. Left out: requests that are not "
    "evaluated for a flag of either model (leave_out in the config)."
)


def _flags(rows: list[Row]) -> list[Block]:
    """A row per model, dataset and direction."""
    lines = tuple(
        ((row["model"], row["dataset"], row["direction"]),
         tuple(Cell(f"{row[column]:,}") for column in _FLAGS))
        for row in rows
    )  # fmt: skip
    columns = tuple(("translations", name.replace("_", " ")) for name in _FLAGS)
    index = ("Model", "Dataset", "Direction")
    return [Block("Flags of the translations", index, columns, lines, _FLAGS_NOTE)]


_TRAINING_NOTE = (
    "Losses are in the unit that the router trains in; only those of one router compare. Epoch: "
    "with the lowest validation loss; of: epochs trained. Kept: the router has these weights."
)


def _training(rows: list[Row]) -> list[Block]:
    """The best epoch of every router, seed and learning rate."""
    epochs = [row for row in rows if row["epoch_end"]]
    if not epochs:
        return []
    lines = []
    for router, seed, rate in _distinct(epochs, "router", "seed", "learning_rate"):
        own = [r for r in epochs if (r["router"], r["seed"], r["learning_rate"])
               == (router, seed, rate)]  # fmt: skip
        best = next((row for row in own if row["kept"]), None) or min(own, key=_validation_loss)
        cells = [Cell(f"{best['epoch']}"), Cell(f"{max(r['epoch'] for r in own)}")]
        losses = (best["train_loss"], best["validation_loss"])
        cells += [Cell(MISSING if np.isnan(loss) else f"{loss:.4g}") for loss in losses]
        cells += [Cell(number(best["validation_spearman"], 3)), Cell("yes" if best["kept"] else "")]
        lines.append(((router, f"{seed}", f"{rate:g}"), tuple(cells)))
    columns = [("", label) for label in ("epoch", "of")]
    columns += [("loss", "training"), ("loss", "validation"), ("validation", "Spearman")]
    columns += [("", "kept")]
    index = ("Router", "Seed", "Learning rate")
    return [Block("Training", index, tuple(columns), tuple(lines), _TRAINING_NOTE)]


def _validation_loss(row: Row) -> float:
    loss: float = row["validation_loss"]
    return np.inf if np.isnan(loss) else loss


def _sweep(rows: list[Row]) -> list[Block]:
    """As the routers' table, a line per value of the setting and then the reference lines."""
    shown = [
        row | {"value": row["estimate"], "router": row["value"] or row["router"]} for row in rows
    ]
    name, setting = rows[0]["sweep"], rows[0]["setting"]
    return [
        replace(block, title=f"Sweep {name} at p = {budget:g}", index=(setting,))
        for block, budget in zip(_routers(shown), _distinct(rows, "budget"), strict=True)
    ]


# Factor, digits and name of every metric that table `router_metrics` has.
ALL_METRICS = {
    "spearman": (1, 2, "Spearman"),
    "hit_rate": (1, 1, "HitRate"),
    "mean_delta": (1, 2, "MeanΔ"),
    "headroom": (100, 1, "Headroom %"),
    ATTAINABLE: (100, 1, "Headroom, % of attainable"),
    "pgr": (100, 1, "PGR %"),
    "apgr": (1, 3, "APGR"),
    "cpt_50": (100, 1, "CPT(50 %) %"),
    "cpt_80": (100, 1, "CPT(80 %) %"),
    "aiq": (1, 2, "AIQ (call rate)"),
    "auroc": (1, 3, "AUROC"),
    "lpm": (1, 2, "LPM"),
    "lpm_25_30": (1, 2, "LPM [0.25, 0.30]"),
    "mpm": (1, 2, "MPM"),
    "hcr": (1, 3, "HCR"),
    "rank": (1, 1, "rank"),
    "kendall_tau": (1, 2, "Kendall's tau"),
}
_METRICS_NOTE = (
    "A dash: undefined, the reason is in the Parquet and CSV files. CPT: share of the requests at "
    "which a share of Q_L - Q_S is reached. AIQ: over the call rate; table costs has it "
    "over seconds and money. LPM: over call rates 0 to 0.30, and over 0.25 to 0.30. Pooled: all "
    "directions under one budget."
)


def _metric_cell(row: Row) -> Cell:
    factor, digits, _ = ALL_METRICS[row["metric"]]
    return _cell(row, "value", factor, digits)


def _metric_column(row: Row) -> tuple[str, str]:
    """Group and label of a metric's column."""
    group = "whole curve" if row["budget"] is None else f"p = {row['budget']:g}"
    return group, ALL_METRICS[row["metric"]][2]


def _router_metrics(rows: list[Row]) -> list[Block]:
    """Once per place: every metric, those of a budget together."""
    labels = {row["router"]: router_name(row) for row in rows}
    result = []
    for place in _distinct(rows, "direction"):
        here = [row for row in rows if row["direction"] == place]
        metrics = _distinct(here, "budget", "metric")
        metrics.sort(key=lambda metric: (metric[0] is not None, metric[0] or 0.0))
        found = {(r["router"], r["budget"], r["metric"]): r for r in here}
        first = next(iter(labels))
        result.append(
            Block(
                f"All metrics, {place}",
                ("Router",),
                tuple(_metric_column(found[first, *metric]) for metric in metrics),
                tuple(
                    ((label,), tuple(_metric_cell(found[router, *metric]) for metric in metrics))
                    for router, label in labels.items()
                ),
                _METRICS_NOTE,
            )
        )
    return result


def _breakdown(rows: list[Row]) -> list[Block]:
    """Once per place, kind of group, metric and budget: a column per group."""
    labels = {row["router"]: router_name(row) for row in rows}
    result = []
    for place in _average_last(rows):
        own = [row for row in rows if row["direction"] == place]
        for by, metric, budget in _distinct(own, "by", "metric", "budget"):
            here = [r for r in own if (r["by"], r["metric"], r["budget"]) == (by, metric, budget)]
            shown = {r["group"] for r in here if not np.isnan(r["value"])}
            here = [row for row in here if row["group"] in shown]
            found = {(r["router"], r["group"]): r for r in here}
            columns = {r["group"]: (r["group"], r["detail"] or "all lengths") for r in here}
            if by == "domain":
                columns = {r["group"]: ("domain", r["group"]) for r in here}
            if not shown:
                continue
            name = ALL_METRICS[metric][2] + ("" if budget is None else f" at p = {budget:g}")
            result.append(
                Block(
                    f"{name} by {by}, {place}",
                    ("Router",),
                    tuple(columns.values()),
                    tuple(
                        ((label,), tuple(_metric_cell(found[router, g]) for g in columns))
                        for router, label in labels.items()
                    ),
                    "Left out: groups of too few requests, see the reasons in the other files.",
                )
            )
    return result


_NOISE_MEASURES = {
    "reliability": ("Reliability", 1, 2),
    "attainable_spearman": ("attainable Spearman", 1, 2),
    "spearman": ("Spearman", 1, 2),
    "noise_share": ("% of 1 - Spearman that could be noise", 100, 0),
}


def _noise(rows: list[Row]) -> list[Block]:
    """The labels, then every router's Spearman and how much of its gap they could explain."""
    places = _average_last(rows)
    note = (
        f"Reliability by the method '{rows[0]['method']}', from gains by {rows[0]['metrics']}; it "
        "takes their errors to be independent: shared errors make it too high, metrics "
        "of different qualities too low. What could be noise need not be."
    )
    result = []
    for title, own in (
        ("Noise of the labels", [row for row in rows if row["router"] is None]),
        ("Noise and routers", [row for row in rows if row["router"] is not None]),
    ):
        found = {(r["router"], r["measure"], r["direction"]): r for r in own}
        columns = [(m, p) for m in _distinct(own, "measure") for p in places]
        lines = [
            (
                (router or "the labels",),
                tuple(
                    _cell(found[router, m, p], "value", *_NOISE_MEASURES[m][1:]) for m, p in columns
                ),
            )
            for router in _distinct(own, "router")
        ]
        heads = tuple((_NOISE_MEASURES[m][0], p) for m, p in columns)
        if lines:
            result.append(Block(title, ("Gains",), heads, tuple(lines), note))
    return result


def _cross_metric(rows: list[Row]) -> list[Block]:
    """Once per budget on the average: figures by judge; then how alike the rankings are."""
    average = [row for row in rows if row["direction"] == AVERAGE and row["router"]]
    labels = {row["router"]: router_name(row) for row in average}
    found = {(r["judge"], r["router"], r["metric"], r["budget"]): r for r in average}
    judges, result = _distinct(rows, "judge"), []
    for budget in [b for b in _distinct(average, "budget") if b is not None]:
        metrics = [("mean_delta", budget), ("rank", budget), ("hit_rate", budget)]
        columns = [
            (judge, *metric) for judge in judges for metric in (*metrics, ("spearman", None))
        ]
        lines = [
            (
                (label,),
                tuple(_metric_cell(found[judge, router, *key]) for judge, *key in columns),
            )
            for router, label in labels.items()
        ]
        heads = tuple((f"judged by {judge}", ALL_METRICS[m][2]) for judge, m, _ in columns)
        title = f"Routers judged by several metrics at p = {budget:g}"
        result.append(Block(title, ("Router",), heads, tuple(lines)))
    tau = [row for row in rows if row["router"] is None]
    if tau:
        by_cell = {(r["judge"], r["budget"], r["direction"]): r for r in tau}
        places = _average_last(tau)
        agreement: list[tuple[tuple[str, ...], tuple[Cell, ...]]] = [
            ((judge, f"{budget:g}"), tuple(_metric_cell(by_cell[judge, budget, p]) for p in places))
            for judge, budget in _distinct(tau, "judge", "budget")
        ]
        heads = tuple(("Kendall's tau with the own metric's ranking", p) for p in places)
        result.append(Block("Agreement of rankings", ("Judge", "p"), heads, tuple(agreement)))
    return result


_HUMAN_NOTE = (
    "Expected: the metric's difference in deviations of people's gains. Detectable: a difference "
    "that people's test finds in 80 of 100 such test sets; where the expected one is smaller and "
    "none is found, there are too few requests to tell."
)


def _human(rows: list[Row]) -> list[Block]:
    """Once per judge, budget and direction: a line per pair of routers."""
    columns = (("by the metric", "MeanΔ"), ("by the metric", "p (Holm)"), ("by people", "expected"),
               ("by people", "MeanΔ"), ("by people", "p (Holm)"), ("by people", "detectable"),
               ("the order", "verdict"))  # fmt: skip
    places = _average_last(rows)
    return [
        Block(
            f"The order of routers judged by {judge}, p = {budget:g}, {place}",
            ("Router", "minus"),
            columns,
            tuple(
                ((row["router"], row["other"]), _human_cells(row))
                for row in rows
                if (row["judge"], row["budget"], row["direction"]) == (judge, budget, place)
            ),
            f"{_HUMAN_NOTE} Requests that people scored: {_requests_of(rows, place):,}.",
        )
        for judge, budget in _distinct(rows, "judge", "budget")
        for place in places
    ]


def _requests_of(rows: list[Row], place: str) -> int:
    return next(int(row["requests"]) for row in rows if row["direction"] == place)


def _human_cells(row: Row) -> tuple[Cell, ...]:
    def plain(name: str, digits: int) -> Cell:
        return Cell(number(row[name], digits))

    return (
        plain("metric_difference", 2), plain("metric_p_holm", 3), plain("expected", 2),
        _cell(row, "difference"), plain("p_holm", 3), plain("detectable", 2), Cell(row["verdict"]),
    )  # fmt: skip


_ATLAS_PAIRS = 30  # with the largest headroom, where no pairs were chosen; the CSV has all
_ATLAS = (
    ("mean_gain", "mean gain", 1, 2),
    ("losses", "losses %", 100, 1),
    ("severe_losses", "severe losses %", 100, 1),
    ("headroom", "raw", 1, 2),
    ("attainable_headroom", "attainable", 1, 2),
    ("cross_headroom", "other metrics'", 1, 2),
    ("reliability", "reliability", 1, 2),
)
_ATLAS_NOTE = (
    "Headroom: MeanΔ at p less the mean gain. Raw: of the gain oracle, which picks by the noise it "
    "is judged by. Attainable: of a perfect predictor of the true gain, if gains and errors are "
    "jointly normal and metrics err independently; shared references and training data make it "
    "too high. Other metrics': of their gain oracles, judged by this one; a bound below that needs "
    "independent errors alone. Shown: the chosen pairs, or else those of the largest raw headroom."
)


def _pairs_shown(rows: list[Row], size: str) -> list[Row]:
    """Rows on the average: of the pairs with intervals, or of those that come first by size."""
    average = [row for row in rows if row["direction"] == AVERAGE]
    chosen = [row for row in average if row["clusters"] is not None]
    if chosen:
        return chosen
    first: dict[tuple[str, str], float] = {}
    for row in average:
        pair, value = (row["small"], row["large"]), np.nan_to_num(row[size])
        first[pair] = max(first.get(pair, -np.inf), value)
    kept = sorted(first, key=lambda pair: -first[pair])[:_ATLAS_PAIRS]
    return [row for row in average if (row["small"], row["large"]) in kept]


def _atlas(rows: list[Row]) -> list[Block]:
    """Once per metric and budget: a line per pair, on the average over directions."""
    shown = _pairs_shown(rows, "headroom")
    heads = tuple(("headroom" if "headroom" in name else "", label) for name, label, _, _ in _ATLAS)
    return [
        Block(
            f"Routing between systems, judged by {metric}, p = {budget:g}",
            ("Small", "Large"),
            heads,
            tuple(
                ((row["small"], row["large"]), tuple(_atlas_cell(row, *c) for c in _ATLAS))
                for row in shown
                if (row["metric"], row["budget"]) == (metric, budget)
            ),
            _ATLAS_NOTE,
        )
        for metric, budget in _distinct(shown, "metric", "budget")
    ]


def _atlas_cell(row: Row, name: str, _: str, factor: float, digits: int) -> Cell:
    if f"{name}_low" in row:
        return _cell(row, name, factor, digits, f"{name}_")
    return Cell(number(factor * row[name], digits))


_SIGNALS_NOTE = (
    "Of the raw headroom. †: by the judge, or a metric that shares raters with it: it knows of the "
    "judge's noise."
)
_SIGNAL_NAMES = {
    "gain": "gain by {}",
    "quality": "quality of small by {}",
    "router": "{}",
}


def _atlas_signals(rows: list[Row]) -> list[Block]:
    """Once per metric and budget: a line per pair, a column per signal."""
    shown = _pairs_shown(rows, "recovered")
    result = []
    for metric, budget in _distinct(shown, "metric", "budget"):
        here = [row for row in shown if (row["metric"], row["budget"]) == (metric, budget)]
        found = {(r["small"], r["large"], r["kind"], r["signal"]): r for r in here}
        signals = _distinct(here, "kind", "signal", "shares_rater")
        heads = tuple(
            ("% of the headroom", _SIGNAL_NAMES[kind].format(signal) + (" †" if shares else ""))
            for kind, signal, shares in signals
        )
        lines = []
        for pair in _distinct(here, "small", "large"):
            cells = (found.get((*pair, kind, signal)) for kind, signal, _ in signals)
            shares = (
                _cell(r, "recovered", 100, 1, "recovered_") if r else Cell(MISSING) for r in cells
            )
            lines.append((pair, tuple(shares)))
        title = f"Headroom that signals recover, judged by {metric}, p = {budget:g}"
        result.append(Block(title, ("Small", "Large"), heads, tuple(lines), _SIGNALS_NOTE))
    return result


_STREAM_NOTE = (
    "Thresholds are from the calibration data; requests are decided one at a time, in the order of "
    "arrival. Intervals hold both: other calibration data, other traffic. Offline, chance: with as "
    "many requests as were really sent, those of highest priority, or any. Alarms: after how many "
    "requests of its own a stream's rate left its band (rate), or would have with the fixed "
    "threshold (traffic), the first of the streams of all seeds and, on the average, directions. "
    "Where calibration data and traffic are exchangeable, requests of the same kind in random "
    "order and not alike in clusters, a line has a false alarm with at most the probability "
    "`false_alarms`, over all its streams together."
)
_STREAM_FIGURES = (("rate", "rate %", 100, 1), ("mean_delta", "MeanΔ", 1, 2),
                   ("quality", "quality", 1, 2))  # fmt: skip


def _stream_cells(row: Row) -> tuple[Cell, ...]:
    cells = [_cell(row, name, factor, digits, f"{name}_")
             for name, _, factor, digits in _STREAM_FIGURES]  # fmt: skip
    cells += [Cell(number(row[f"{name}_quality"], 2)) for name in ("offline", "random")]
    alarms = (row["rate_alarm"], row["traffic_alarm"])
    return (*cells, *(Cell(MISSING if alarm is None else f"{alarm:,}") for alarm in alarms))


def _stream_blocks(rows: list[Row], title: str) -> list[Block]:
    """Once per budget and direction: a line per router and policy."""
    columns = [("realised", label) for _, label, _, _ in _STREAM_FIGURES]
    columns += [("offline", "quality"), ("chance", "quality")]
    columns += [("alarm after", "rate"), ("alarm after", "traffic")]
    return [
        Block(
            f"{title} at p = {budget:g}, {place}",
            ("Router", "Threshold"),
            tuple(columns),
            tuple(
                ((row["router"], row["policy"]), _stream_cells(row))
                for row in rows
                if (row["budget"], row["direction"]) == (budget, place)
            ),
            _STREAM_NOTE,
        )
        for budget in _distinct(rows, "budget")
        for place in _average_last(rows)
    ]


def _streaming(rows: list[Row]) -> list[Block]:
    return _stream_blocks(rows, "Streams")


def _drift(rows: list[Row]) -> list[Block]:
    """Once per scenario, as the streams."""
    titles = {"same": "No drift", "shift": "Sudden drift", "gradual": "Gradual drift"}
    return [
        block
        for scenario in _distinct(rows, "scenario")
        for block in _stream_blocks(
            [row for row in rows if row["scenario"] == scenario], titles[scenario]
        )
    ]


def _drift_paths(rows: list[Row]) -> list[Block]:
    """The end of every stream; the way there is in the CSV and in the figure."""
    last = {
        tuple(row[c] for c in ("scenario", "router", "policy", "budget", "direction")): row
        for row in rows
    }
    index = ("Scenario", "Router", "Threshold", "p", "Direction")
    columns = (("at the end", "requests"), ("at the end", "rate %"))
    lines = tuple(
        ((*map(str, key),), (Cell(f"{row['request']:,}"), _cell(row, "rate", 100, 1)))
        for key, row in last.items()
    )
    note = "In brackets beside a rate: the band that it stays in without drift."
    return [Block("Rates under drift", index, columns, lines, note)]


def _calibration(rows: list[Row]) -> list[Block]:
    """Once per direction: realised rate by router and target."""
    found = {(r["direction"], r["router"], r["target"]): r for r in rows}
    targets = [t for t in _distinct(rows, "target") if abs(10 * t - round(10 * t)) < 1e-9]
    return [
        Block(
            f"Calibration, {place}",
            ("Router",),
            tuple(("realised rate % for a target of", f"{100 * t:.0f}") for t in targets),
            tuple(
                ((router,), tuple(_cell(found[place, router, t], "rate", 100, 1) for t in targets))
                for router in _distinct(rows, "router")
            ),
        )
        for place in _average_last(rows)
    ]


def _reliability(rows: list[Row]) -> list[Block]:
    """Once per direction: predicted and observed gain by router and bin."""
    return [
        Block(
            f"Reliability of the predicted gain, {place}",
            ("Router", "Bin"),
            (("mean gain", "predicted"), ("mean gain", "observed"), ("", "requests")),
            tuple(
                (
                    (row["router"], f"{row['bin'] + 1}"),
                    (Cell(number(row["predicted"], 2)), _cell(row, "observed"),
                     Cell(f"{row['requests']:,}")),
                )
                for row in rows
                if row["direction"] == place
            ),
        )
        for place in _distinct(rows, "direction")
    ]  # fmt: skip


def _budgets(rows: list[Row]) -> list[Block]:
    """Once per budget: what every allocation gives over all requests, and to each direction."""
    found = {(r["budget"], r["router"], r["allocation"], r["direction"]): r for r in rows}
    places = _distinct(rows, "direction")
    columns = [("all requests", label) for label in ("MeanΔ", "quality", "behind the oracle")]
    columns += [("% to the large model", place) for place in places if place != "all"]
    result = []
    for budget in _distinct(rows, "budget"):
        lines = []
        here = [row for row in rows if row["budget"] == budget]
        for key in _distinct(here, "router", "allocation"):
            whole = found[budget, *key, "all"]
            cells = [_cell(whole, name, ends=f"{name}_")
                     for name in ("mean_delta", "quality", "behind_oracle")]  # fmt: skip
            shares = [found[budget, *key, place]["rate"] for place in places if place != "all"]
            cells += [Cell(number(100 * share, 1)) for share in shares]
            lines.append(((key[0], key[1].replace("_", " ")), tuple(cells)))
        index = ("Router", "Allocation")
        result.append(Block(f"One budget of p = {budget:g}", index, tuple(columns), tuple(lines)))
    return result


def _smallest_budget(rows: list[Row]) -> list[Block]:
    """Once per tolerance: the budget chosen, and what it came to on the test sets."""
    note = (
        "Chosen on the validation sets as the smallest budget, going down from 1, whose quality is "
        f"within the tolerance with {100 * rows[0]['confidence']:.0f} % confidence, for one router "
        "chosen without these data; in brackets the budget that holds for all deployable routers "
        "at once. Tried on the test sets, where the difference to all-large is shown. ‡: the same "
        "validation rows have also chosen the router's epoch, rate or strength, which flatters it."
    )
    found = {(r["within"], r["router"], r["direction"]): r for r in rows}
    places = _average_last(rows)
    result = []
    for within in _distinct(rows, "within"):
        lines = []
        for router in _distinct(rows, "router"):
            own = [found[within, router, place] for place in places]
            cells = [Cell(f"{100 * row['budget']:.0f} [{100 * row['simultaneous']:.0f}]")
                     for row in own]  # fmt: skip
            cells += [_cell(row, "test_difference") for row in own]
            held = [row["direction"] for row in own if not row["held"]]
            mark = " ‡" if own[0]["chosen_on_validation"] else ""
            lines.append(((router + mark,), (*cells, Cell(", ".join(held) or "none"))))
        columns = [("p %", place) for place in places]
        columns += [("test quality - all-large", place) for place in places]
        columns.append(("beyond the tolerance", "in"))
        title = f"Smallest budget within {within:g} points of all-large"
        result.append(Block(title, ("Router",), tuple(columns), tuple(lines), note))
    return result


_COSTS_NOTE = (
    "For 1000 requests, at the rates of the rates table. Mean: were the routed requests as long as "
    "all. Break-even: the p at which the large model alone costs the same. AIQ: mean quality "
    "under the hull over all budgets, from the small model's cost to the large one's; no router: "
    "of the two models alone, mixed by chance."
)


def _costs(rows: list[Row]) -> list[Block]:
    """Once per direction, at every tenth of the budget and the experiment's own."""
    columns = [("seconds", label) for label in ("all", "router", "small", "large", "mean")]
    columns += [("% of all-large", "seconds"), ("router", "% of seconds")]
    columns += [("break-even", "p %"), ("", "money"), ("", "quality")]
    columns += [("AIQ over", label) for label in ("seconds", "money", "no router")]
    shown = [r for r in rows if abs(10 * r["budget"] - round(10 * r["budget"])) < 1e-9]
    return [
        Block(
            f"Costs, {place}",
            ("Router", "p"),
            tuple(columns),
            tuple(
                ((router_name(row), f"{row['budget']:g}"), _cost_cells(row))
                for row in shown
                if row["direction"] == place
            ),
            _with_remarks(_COSTS_NOTE, rows),
        )
        for place in _average_last(rows)
    ]


def _with_remarks(note: str, rows: list[Row]) -> str:
    """A note with what is said of the rates that rows rest on, each once."""
    return " ".join([note, *(f"Seconds {r}." for r in _distinct(rows, "remark") if r)])


def _cost_cells(row: Row) -> tuple[Cell, ...]:
    names = ("router_seconds", "small_seconds", "large_seconds", "mean_seconds")
    shares = ("of_all_large", "router_share", "break_even")
    return (
        _cell(row, "seconds", 1, 2, "seconds_"),
        *(Cell(number(row[name], 2)) for name in names),
        *(Cell(number(100 * row[name], 1)) for name in shares),
        Cell(number(row["money"], 4) + (f" {row['currency']}" if row["currency"] else "")),
        Cell(number(row["quality"], 2)),
        *(_cell(row, name, ends=f"{name}_") for name in ("aiq_seconds", "aiq_money")),
        Cell(number(row["aiq_zero"], 2)),
    )


_CASES = {
    "severe_loss": "Severe losses",
    "largest_gain": "Largest gains",
    "worst_regression": "Worst regressions",
}
# Severe losses of a direction that are shown, and the width of a shown text in columns of a
# terminal: what fits a page. The CSV has all.
_SHOWN_CASES = 10
_TEXT_WIDTH = 64
_CASES_NOTE = (
    "Texts are cut; the CSV has them whole. Sent by: deployable routers that send the request to "
    "the large model at the budget, with the share of their seeds."
)


def _cases(rows: list[Row]) -> list[Block]:
    """Once per budget, kind and direction: a few lines for every case."""
    result = []
    for budget, kind, place in _distinct(rows, "budget", "kind", "direction"):
        own = [r for r in rows if (r["budget"], r["kind"], r["direction"]) == (budget, kind, place)]
        shown = own[:_SHOWN_CASES] if kind == "severe_loss" else own
        count = f"{len(shown)} of {own[0]['found']:,}"
        result.append(
            Block(
                f"{_CASES[kind]}, {place}, p = {budget:g} ({count})",
                ("Case", "Gain", "", "Text"),
                (("", "score"),),
                tuple(line for row in shown for line in _case_lines(row)),
                _CASES_NOTE,
            )
        )
    return result


def _case_lines(row: Row) -> list[tuple[tuple[str, ...], tuple[Cell, ...]]]:
    lines = [("source", row["source"], ""), ("reference", row["reference"], "")]
    for size in ("small", "large"):
        flags = [flag for flag in ("truncated", "degenerate") if row[f"{flag}_{size}"]]
        label = ", ".join([size, *flags])
        text = row[f"hypothesis_{size}"]
        said = "(not published)" if text is None else text
        lines.append((label, said, number(row[f"quality_{size}"], 1)))
        if errors := _errors(row[f"error_spans_{size}"]):
            lines.append(("errors", errors, ""))
    senders = [
        router if share == 1 else f"{router} ({share:.0%})"
        for router, share in zip(row["routed_by"], row["seed_shares"], strict=True)
    ]
    by = ", ".join([*senders, *(labelled(oracle, ORACLE) for oracle in row["oracles"])])
    lines.append(("sent by", by or "none", ""))
    heads = [(f"{row['rank']}", f"{row['gain']:+z.1f}"), *(("", "") for _ in lines[1:])]
    return [
        ((*head, what, _cut(text)), (Cell(score),))
        for head, (what, text, score) in zip(heads, lines, strict=True)
    ]


def _errors(spans: str | None) -> str:
    """The errors that a metric marks, each with its severity."""
    found = json.loads(spans) if spans else []
    return "; ".join(f"{span['text'].strip()} ({span['severity']})" for span in found)


def _cut(text: str) -> str:
    """The text on one line, with an ellipsis where it is too wide."""
    line, width = " ".join(text.split()), 0
    for at, character in enumerate(line):
        width += 2 if east_asian_width(character) in "WF" else 1
        if width > _TEXT_WIDTH:
            return f"{line[: at - 1]}…"
    return line


_GUARD_COSTS_NOTE = (
    "Seconds for 1000 requests, at the rates of the rates table. All asked: the guard's signal is "
    "made for every request; of these, guard: what it adds for the same routed requests. "
    "Calibrated: a threshold tells who is eligible, so only the best by rank are asked until the "
    "budget is spent; asked: which share that is."
)


def _guard_costs(rows: list[Row]) -> list[Block]:
    """Once per budget and direction: a line per ranking router, guard and quantile."""
    columns = [("routed requests", "severe loss %"), ("routed requests", "MeanΔ")]
    columns += [("seconds, all asked", "all"), ("seconds, all asked", "guard")]
    columns += [("calibrated", "seconds"), ("calibrated", "asked %")]
    return [
        Block(
            f"Guards and their costs at p = {budget:g}, {place}",
            ("Ranked by", "Guard", "Quantile"),
            tuple(columns),
            tuple(
                (_guard_names(row), _guard_cells(row))
                for row in rows
                if (row["budget"], row["direction"]) == (budget, place)
            ),
            _with_remarks(_GUARD_COSTS_NOTE, rows),
        )
        for budget in _distinct(rows, "budget")
        for place in _average_last(rows)
    ]


def _guard_names(row: Row) -> tuple[str, ...]:
    if row["role"] == RANDOM:
        return labelled(row["router"], RANDOM), row["guard"], ""
    return row["router"], labelled(row["guard"], row["role"]), f"{row['quantile']:g}"


def _guard_cells(row: Row) -> tuple[Cell, ...]:
    return (
        _cell(row, "severe_loss", 100, 1, "severe_loss_"),
        _cell(row, "mean_delta", 1, 2, "mean_delta_"),
        _cell(row, "seconds", 1, 2, "seconds_"),
        Cell(number(row["guard_seconds"], 2)),
        Cell(number(row["calibrated_seconds"], 2)),
        Cell(number(100 * row["asked"], 1)),
    )


_DOMAINS_NOTE = (
    "Each domain has the budget of its own requests; the average is over the directions that have "
    "it. Small groups are left undefined, see the reasons in the other files."
)


def _domains(rows: list[Row]) -> list[Block]:
    """Once per budget and direction: figures by router and domain; then differences to the rest."""
    return [
        block
        for budget in _distinct(rows, "budget")
        for place in _average_last(rows)
        for block in _domain_blocks(
            [r for r in rows if (r["budget"], r["direction"]) == (budget, place)],
            f"at p = {budget:g}, {place}",
            ("value", "difference"),
            ("Routers by domain", "Differences to in-domain"),
        )
    ]


def _domain_blocks(
    rows: list[Row], where: str, columns: tuple[str, str], titles: tuple[str, str]
) -> list[Block]:
    """A block per column: a line per router, its metrics within every domain that has a value."""
    labels = {row["router"]: router_name(row) for row in rows}
    found = {(r["router"], r["domain"], r["metric"]): r for r in rows}
    blocks_ = []
    for column, title in zip(columns, titles, strict=True):
        defined = [row for row in rows if not np.isnan(row[column])]
        shown = [(d, m) for d in _distinct(defined, "domain") for m in METRIC_NAMES]
        ends = "difference_" if column == "difference" else ""
        if shown:
            blocks_.append(
                Block(
                    f"{title} {where}",
                    ("Router",),
                    tuple((domain, METRIC_NAMES[metric]) for domain, metric in shown),
                    tuple(
                        (
                            (label,),
                            tuple(
                                _cell(found[router, *key], column, *scale_of(key[1]), ends)
                                for key in shown
                            ),
                        )
                        for router, label in labels.items()
                    ),
                    _DOMAINS_NOTE,
                )
            )
    return blocks_


def _transfer(rows: list[Row]) -> list[Block]:
    """Once per budget and metric: a line per router, on seen and on unseen domains by part."""
    result = []
    for budget, metric in _distinct(rows, "budget", "metric"):
        here = [row for row in rows if (row["budget"], row["metric"]) == (budget, metric)]
        found = {(r["router"], r["seen"], r["split"], r["part"]): r for r in here}
        places = _distinct(here, "split", "part")
        columns = [(place, seen) for place in places for seen in (True, False)]
        lines = [
            (
                (router_name(row),),
                tuple(
                    _cell(
                        found[row["router"], None if row["seen"] is None else seen, *place],
                        "value",
                        *scale_of(metric),
                    )
                    for place, seen in columns
                ),
            )
            for row in {row["router"]: row for row in here}.values()
        ]
        result.append(
            Block(
                f"{METRIC_NAMES[metric]} on seen and unseen domains at p = {budget:g}",
                ("Router",),
                tuple((_place(p), "seen" if seen else "unseen") for p, seen in columns),
                tuple(lines),
                _transfer_note(here),
            )
        )
    return result


def _transfer_comparisons(rows: list[Row]) -> list[Block]:
    """As the comparisons: every router's seen less its unseen, and the routers on unseen."""
    widest = (rows[-1]["split"], rows[-1]["part"])
    shown = [
        row | {"direction": AVERAGE if place == widest else _place(place)}
        for row in rows
        for place in [(row["split"], row["part"])]
    ]
    moved = [row | {"other": "on unseen"} for row in shown if row["seen"]]
    unseen = [row for row in shown if not row["seen"]]
    return [
        replace(block, title=f"{block.title}, {what}", note=_transfer_note(rows))
        for what, of in (("seen less unseen domains", moved), ("on unseen domains", unseen))
        if of
        for block in _comparisons(of)
    ]


def _place(place: tuple[str, str]) -> str:
    split, part = place
    return part if split == AVERAGE else f"{split}: {part}"


def _transfer_note(rows: list[Row]) -> str:
    domains = max(row["clusters"] or 0 for row in rows)
    left_out = max(row["left_out"] for row in rows)
    return (
        "Seen: by the router that was trained on the part it is tested on; unseen: by that of the "
        f"other part. The clusters of the intervals are domains, {domains} in all."
        + (f" {left_out:,} requests are of domains in no part, and left out." if left_out else "")
    )


_POOL_NOTE = (
    "Budgets are mean costs, as shares of the range from the cheapest model's to the dearest "
    "one's; what deciding costs is paid from them. Mixture: of models by chance, the best for the "
    "cost. Best pair: the two models that a router makes the most of at this budget, found on "
    "these requests. Area: the mean of the first difference over all budgets. Switches: neighbours "
    "within a document with different models."
)
_POLICIES = {
    "single": "alone: ",
    "mixture": "",
    "allocated": "",
    "coherent": "coherent: ",
    "pair": "best pair: ",
    "cascade": "cascade: ",
    "oracle": "",
}


def _pool(rows: list[Row]) -> list[Block]:
    """Once per direction; at every tenth of the cost range and the experiment's own budgets."""
    columns = [(rows[0]["unit"], "cost"), ("", "quality")]
    columns += [("quality less", label) for label in ("mixture", "best pair")]
    columns += [("less mixture", "area"), ("", "switches %")]
    shown = [r for r in rows if r["policy"] == "single" or _at_tenths(r["budget"])]
    return [
        Block(
            f"Pool, {place}",
            ("Policy", "budget"),
            tuple(columns),
            tuple(
                ((_policy_name(row), number(row["budget"], 2)), _pool_cells(row))
                for row in shown
                if row["direction"] == place
            ),
            _POOL_NOTE,
        )
        for place in _average_last(rows)
    ]


def _at_tenths(budget: float) -> bool:
    return abs(10 * budget - round(10 * budget)) < 1e-9


def _policy_name(row: Row) -> str:
    return f"{_POLICIES[row['policy']]}{row['name']}"


def _pool_cells(row: Row) -> tuple[Cell, ...]:
    return (
        _cell(row, "cost", 1, 4, "cost_"),
        *(
            _cell(row, name, ends=f"{name}_")
            for name in ("quality", "to_mixture", "to_pair", "area")
        ),
        Cell(number(100 * row["switches"], 1)),
    )


def _pool_shares(rows: list[Row]) -> list[Block]:
    """Once per direction: shares of the models in percent."""
    models = _distinct(rows, "model")
    result = []
    for place in _average_last(rows):
        here = [r for r in rows if r["direction"] == place and _at_tenths(r["budget"])]
        lines: dict[tuple[str, ...], list[Cell]] = {}
        for row in here:
            index = (_policy_name(row), number(row["budget"], 2))
            lines.setdefault(index, []).append(_cell(row, "share", 100, 1))
        columns = tuple(("% of the requests", model) for model in models)
        body = tuple((index, tuple(cells)) for index, cells in lines.items())
        result.append(Block(f"Shares of the models, {place}", ("Policy", "budget"), columns, body))
    return result


_CHOICE_NOTE = (
    "The best subset of each size was chosen on one half of the clusters; quality is that of the "
    "other half. Same: the other half would have chosen it too."
)


def _pool_choice(rows: list[Row]) -> list[Block]:
    columns = [("", "models"), ("", "same"), ("quality", "where chosen"), ("quality", "elsewhere")]
    columns.append(("quality elsewhere", "less a size smaller"))
    lines = [
        (
            (row["name"], number(row["budget"], 2), str(row["size"])),
            (
                Cell(row["models"]),
                Cell("yes" if row["same"] else "no"),
                Cell(number(row["chosen_at"], 2)),
                _cell(row, "quality", ends="quality_"),
                _cell(row, "to_smaller", ends="to_smaller_"),
            ),
        )
        for row in rows
    ]
    index = ("Router", "budget", "size")
    return [Block("Which models are worth it", index, tuple(columns), tuple(lines), _CHOICE_NOTE)]


_LAYOUTS: dict[str, Callable[[list[Row]], list[Block]]] = {
    "routers": _routers,
    "comparisons": _comparisons,
    "pareto": _pareto,
    "risk_buckets": _risk_buckets,
    "guards": _guards,
    "router_metrics": _router_metrics,
    "breakdown": _breakdown,
    "noise": _noise,
    "cross_metric": _cross_metric,
    "human": _human,
    "atlas": _atlas,
    "atlas_signals": _atlas_signals,
    "streaming": _streaming,
    "calibration": _calibration,
    "reliability": _reliability,
    "drift": _drift,
    "drift_paths": _drift_paths,
    "budgets": _budgets,
    "smallest_budget": _smallest_budget,
    "costs": _costs,
    "guard_costs": _guard_costs,
    "datasheet": _datasheet,
    "contamination": _contamination,
    "flags": _flags,
    "training": _training,
    "cases": _cases,
    "sweep": _sweep,
    "domains": _domains,
    "transfer": _transfer,
    "transfer_comparisons": _transfer_comparisons,
    "pool": _pool,
    "pool_shares": _pool_shares,
    "pool_choice": _pool_choice,
}
