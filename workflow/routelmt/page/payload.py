"""What the page knows: its tables as compact JSON, how routers look, and where all comes from."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from routelmt import tables
from routelmt.evaluate.remarks import KEY
from routelmt.figures.drift import POLICIES, SCENARIOS
from routelmt.figures.panels import routers
from routelmt.figures.risk_buckets import BUCKETS
from routelmt.figures.style import PALETTES, Look, looks
from routelmt.page.answers import answers, second_look
from routelmt.page.registry import PAGE_TABLES
from routelmt.page.selection import shown_first
from routelmt.roles import AVERAGE, RISK_BUCKETS, ROUTER
from routelmt.stats.arrays import BoolArray, IntArray
from routelmt.views.layouts import ALL_METRICS as METRICS

# More digits only make the file larger; with fewer, what is shown could round to another number.
SIGNIFICANT = 8
CURVE_POINTS = 300
# Of all curves together; ends and budgets come on top where there are very many.
ALL_POINTS = 20_000
PATH_POINTS = 24
TEXT_CHARACTERS = 1500
# A budget of 0.3 finds the call rate 0.3 in spite of both being binary fractions.
RATE_ROUNDING = 1e-9
# In the order of their codes, without those that JSON or as_script would write as several.
LETTERS = "".join(map(chr, (c for c in range(35, 127) if c not in map(ord, "<\\"))))
CASE_TEXTS = ("source", "reference", "hypothesis_small", "hypothesis_large")


class Source(NamedTuple):
    """A table, where it was read from, and its provenance record."""

    path: str
    table: pa.Table
    record: Mapping[str, Any]


def payload(sources: Mapping[str, Source], settings: Mapping[str, Any]) -> dict[str, Any]:
    """Everything that the page's script reads; JSON-ready, undefined numbers are None.

    sources: by name of the table, at least page.registry.REQUIRED. settings: experiment, metric,
    small, large (names), languages (names by code), palette, and curves if the figures name some.
    """
    data = {name: source.table for name, source in sources.items()}
    budgets = pc.unique(data["routers"].column("budget")).to_pylist()
    palette = settings["palette"]
    first = shown_first(data["routers"], budgets, settings.get("curves"))
    known = looks(_in_order(data["routers"], first), palette)
    shown = {
        name: _SHOWN.get(name, _all)(_of_first(name, table, first), budgets)
        for name, table in data.items()
    }
    remarked = second_look({name: source.record.get(KEY, ()) for name, source in sources.items()})
    return {
        "settings": dict(settings),
        "level": sources["routers"].record["settings"]["bootstrap"]["level"],
        "replicates": sources["routers"].record["settings"]["bootstrap"]["replicates"],
        "budgets": budgets,
        "answers": [
            [answer._asdict() for answer in [*answers(data, b, settings), *remarked]]
            for b in budgets
        ],
        "metrics": {m: [name, factor, digits] for m, (factor, digits, name) in METRICS.items()},
        "looks": {router: _look(look) for router, look in known.items()},
        "roles": dict(routers(data["routers"])),
        "first": first,
        "letters": LETTERS,
        "points": points_of(data["pareto"]),
        "policies": {
            name: [label, _look(Look(PALETTES[palette][colour], dashes, "", width))]
            for name, (label, colour, dashes, width) in POLICIES.items()
        },
        "scenarios": SCENARIOS,
        "buckets": {b: [BUCKETS[b][0], BUCKETS[b][1][palette]] for b in RISK_BUCKETS},
        "tables": {
            name: encoded(shown[name]) | {"of": data[name].num_rows}
            for name in PAGE_TABLES
            if name in data
        },
        "provenance": _provenance(sources),
    }  # fmt: skip


def as_script(found: Mapping[str, Any]) -> str:
    """JSON that cannot end the script element it stands in."""
    text = json.dumps(found, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c")


def encoded(table: pa.Table) -> dict[str, Any]:
    """Number of rows, and columns by name: a list, or where values recur {values, at: letters}."""
    columns = {name: _encoded(table.column(name)) for name in table.column_names}
    return {"rows": table.num_rows, "columns": columns}


def _encoded(column: pa.ChunkedArray) -> Any:
    """Each row's value as a place among the distinct ones, written with LETTERS in a fixed width.

    The shorter form wins, but texts are always named by their place.
    """
    values = column.to_pylist()
    if pa.types.is_floating(column.type):
        values = [rounded(value) for value in values]
    if pa.types.is_nested(column.type):
        return values
    places = {value: at for at, value in enumerate(dict.fromkeys(values))}
    width = 1 if len(places) <= len(LETTERS) else 2 if len(places) <= len(LETTERS) ** 2 else 3
    if not pa.types.is_string(column.type) and 2 * len(places) > len(values):
        return values
    return {
        "values": list(places),
        "width": width,
        "at": "".join(_letters(places[value], width) for value in values),
    }


def _letters(place: int, width: int) -> str:
    """The place in base len(LETTERS), the last letter for the smallest part."""
    base = len(LETTERS)
    return "".join(LETTERS[place // base**at % base] for at in reversed(range(width)))


def rounded(value: float | None) -> float | int | None:
    """The value to SIGNIFICANT digits; None for NaN."""
    if value is None or np.isnan(value):
        return None
    short = float(f"{value:.{SIGNIFICANT}g}")
    return int(short) if short.is_integer() else short


def points_of(table: pa.Table) -> int:
    """How many points a Pareto curve may have: CURVE_POINTS, or fewer where there are many."""
    curves = sum(1 for _ in _runs(table, ("router", "direction")))
    return min(CURVE_POINTS, max(2, ALL_POINTS // max(1, curves)))


def thinned(table: pa.Table, budgets: Sequence[float]) -> pa.Table:
    """Pareto curves of at most points_of points, with their ends and what stands at budgets."""
    rate = table.column("call_rate").to_numpy()
    keep = np.zeros(table.num_rows, dtype=bool)
    points = points_of(table)
    for rows in _runs(table, ("router", "direction")):
        rows = rows[np.argsort(rate[rows], kind="stable")]
        even = np.linspace(0, len(rows) - 1, max(2, points - len(budgets)))
        at = np.searchsorted(rate[rows], np.array(budgets) + RATE_ROUNDING) - 1
        keep[rows[np.rint(even).astype(int)]] = True
        keep[rows[np.maximum(at, 0)]] = True
    return table.filter(pa.array(keep))


def _all(table: pa.Table, budgets: Sequence[float]) -> pa.Table:
    return table


def _in_order(table: pa.Table, first: Sequence[str]) -> list[tuple[str, str]]:
    """(router, role), those shown at first before the others: colours are bright while they last.

    Of few routers all are shown, so that they look as in the printed figures.
    """
    return sorted(routers(table), key=lambda known: known[0] not in first)


def _of_first(name: str, table: pa.Table, first: Sequence[str]) -> pa.Table:
    """Of the tables with very many rows a router only those of the routers shown at first."""
    if name not in _OF_FIRST:
        return table
    return table.filter(pc.is_in(table.column("router"), pa.array(first, pa.string())))


def _paths(table: pa.Table, budgets: Sequence[float]) -> pa.Table:
    """Of the deployable routers, PATH_POINTS moments of every path with its first and last."""
    table = table.filter(pc.equal(table.column("role"), ROUTER)).drop_columns(
        ["role", "recent_rate"]
    )
    keep: BoolArray = np.zeros(table.num_rows, dtype=bool)
    for rows in _runs(table, ("scenario", "router", "direction", "budget", "policy")):
        keep[rows[np.rint(np.linspace(0, len(rows) - 1, PATH_POINTS)).astype(int)]] = True
    return table.filter(pa.array(keep))


def _whole_datasets(table: pa.Table, budgets: Sequence[float]) -> pa.Table:
    names = ["dataset", "role", "direction", "segments", "groups", "documents"]
    means = [
        f"{side}_{what}_mean" for side in ("source", "reference") for what in ("words", "chars")
    ]
    return table.filter(pc.equal(table.column("domain"), "all")).select([*names, *means])


def _kept_epochs(table: pa.Table, budgets: Sequence[float]) -> pa.Table:
    return table.filter(pc.and_(table.column("epoch_end"), table.column("kept")))


def _shares(table: pa.Table, budgets: Sequence[float]) -> pa.Table:
    return table.drop_columns([f"{what}_seconds" for what in ("router", "small", "large", "mean")])


def _to_seen_and_chance(table: pa.Table, budgets: Sequence[float]) -> pa.Table:
    """Each router's seen less unseen, and unseen less chance: not all pairs of routers."""
    return table.filter(pc.or_(table.column("seen"), pc.is_null(table.column("other_seen"))))


def _pairs(table: pa.Table, budgets: Sequence[float]) -> pa.Table:
    """Of a pool's pairs the average over the directions, and all directions of the chosen pairs."""
    average = pc.equal(table.column("direction"), AVERAGE)
    table = table.filter(pc.or_(average, pc.is_valid(table.column("clusters"))))
    return table.drop_columns(["attainable_spearman", "agreement_pearson", "method", "undefined",
                               *(f"severe_losses_{end}" for end in ("low", "high")),
                               *(f"reliability_{end}" for end in ("low", "high"))])  # fmt: skip


def _of_chosen_pairs(table: pa.Table, budgets: Sequence[float]) -> pa.Table:
    average = pc.equal(table.column("direction"), AVERAGE)
    return table.filter(pc.and_(average, pc.is_valid(table.column("clusters"))))


def _cut_texts(table: pa.Table, budgets: Sequence[float]) -> pa.Table:
    for name in CASE_TEXTS:
        column = table.column(name)
        cut = pc.utf8_slice_codeunits(column, 0, TEXT_CHARACTERS)
        marked = pc.binary_join_element_wise(cut, "…", "")
        longer = pc.greater(pc.utf8_length(column), TEXT_CHARACTERS)
        at = table.schema.get_field_index(name)
        table = table.set_column(at, name, pc.if_else(longer, marked, column))
    return table


_OF_FIRST = ("breakdown", "drift_paths")
_SHOWN: dict[str, Callable[[pa.Table, Sequence[float]], pa.Table]] = {
    "pareto": thinned,
    "drift_paths": _paths,
    "datasheet": _whole_datasets,
    "training": _kept_epochs,
    "cases": _cut_texts,
    "costs": _shares,
    "transfer_comparisons": _to_seen_and_chance,
    "atlas": _pairs,
    "atlas_signals": _of_chosen_pairs,
}


def _runs(table: pa.Table, names: Iterable[str]) -> Iterator[IntArray]:
    """Rows that have the same values of these columns, each group in the table's order."""
    codes = np.zeros(table.num_rows, dtype=np.int64)
    for name in names:
        _, own = np.unique(table.column(name).to_numpy(), return_inverse=True)
        _, codes = np.unique(codes * (own.max(initial=0) + 1) + own, return_inverse=True)
    order = np.argsort(codes, kind="stable")
    yield from np.split(order, np.flatnonzero(np.diff(codes[order])) + 1) if len(order) else ()


def _look(look: Look) -> dict[str, Any]:
    dashes = [] if look.dashes == "-" else list(look.dashes[1])
    return {"colour": look.colour, "dashes": dashes, "marker": look.marker, "width": look.width}


def _provenance(sources: Mapping[str, Source]) -> dict[str, Any]:
    """Of every table its path, record and parents; a parent is listed once, by its place there."""
    listed: dict[tuple[str, str], int] = {}
    found = {}
    for name in PAGE_TABLES:
        if name not in sources:
            continue
        record = sources[name].record
        parents = [(parent["path"], parent["content"]) for parent in record["parents"]]
        for parent in parents:
            listed.setdefault(parent, len(listed))
        found[name] = {
            "path": sources[name].path,
            "about": tables.TABLES[name].about,
            **{key: record[key] for key in ("rows", "content", "stage", "code", "packages")},
            "notes": list(record.get("notes", ())),
            "settings": json.dumps(record["settings"], ensure_ascii=False),
            "parents": [listed[parent] for parent in parents],
        }
    return {"tables": found, "parents": [list(parent) for parent in listed]}
