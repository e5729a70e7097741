"""The difference of two runs for readers, at most WIDTH columns wide where names allow."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

from routelmt.roles import AVERAGE
from routelmt.trail.diff import Diff, brief
from routelmt.trail.explanation_text import WIDTH, wrapped
from routelmt.trail.numbers import Change, TableDiff
from routelmt.trail.tree import folded

MOST = 8  # changes of a table that are shown, and names of a list
FEW = 4  # reasons of one difference
_UNDEFINED = "undefined"


def diff_lines(found: Diff, everything: bool = False) -> Iterator[str]:
    """Where the chains part first; then settings, versions, artifacts of one side, numbers.

    everything: all changes of all tables and all names, instead of the first MOST of each.
    """
    most = None if everything else MOST
    yield f"A  {found.a}"
    yield f"B  {found.b}"
    yield ""
    yield from _first(found)
    yield from _settings(found)
    yield from _versions(found)
    yield from _only(found, most)
    yield from _numbers(found, most)
    for note in found.notes[:most]:
        yield from _indented(f"note: {note}", "")


def _first(found: Diff) -> Iterator[str]:
    if not found.partings:
        same = "everything that both were made from is the same" if found.same else "nothing shared"
        yield f"first difference: none; {same} ({found.same:,} artifacts)."
        return
    for number, parting in enumerate(found.partings):
        a, b = parting.names[0]
        where = a if a == b else f"{a} -> {b}"
        more = f" and {len(parting.names) - 1:,} more" if len(parting.names) > 1 else ""
        head = "first difference" if not number else "and"
        yield from _indented(f"{head}: {parting.stage}, {_reasons(parting.reasons)}", "")
        yield from _indented(f"in {where}{more}", "  ")
    yield f"same content: {found.same:,} artifacts of the chains"


def _reasons(reasons: Sequence[str]) -> str:
    more = [f"and {len(reasons) - FEW:,} more"] if len(reasons) > FEW else []
    return "; ".join([*reasons[:FEW], *more])


def _settings(found: Diff) -> Iterator[str]:
    if not found.settings:
        yield from ("", "settings: the same")
        return
    yield from ("", "settings that differ")
    for s in found.settings:
        count = f" ({s.artifacts:,} artifacts)" if s.artifacts > 1 else ""
        yield from _indented(f"{s.stage}: {s.key}  {brief(s.a)} -> {brief(s.b)}{count}", "  ")


def _versions(found: Diff) -> Iterator[str]:
    if not found.packages and not found.code:
        yield from ("", "versions: the same packages and code")
        return
    yield from ("", "versions that differ")
    for package, (a, b) in found.packages.items():
        yield from _indented(f"{package}  {', '.join(a)} -> {', '.join(b)}", "  ")
    if found.code:
        stages = [f"{stage} ({count:,})" for stage, count in found.code.items()]
        yield from (f"  {line}" for line in folded("code of", stages))


def _only(found: Diff, most: int | None) -> Iterator[str]:
    for side, names in zip("AB", found.only, strict=True):
        if names:
            yield from ("", f"only in {side}: {len(names):,} artifacts")
            yield from (f"  {name}" for name in names[:most])
            if len(names) > len(names[:most]):
                yield "  ..."


def _numbers(found: Diff, most: int | None) -> Iterator[str]:
    same = [table.name for table in found.numbers if table.identical]
    if same:
        yield ""
        yield from folded("identical", same)
    for table in found.numbers:
        if not table.identical:
            yield ""
            yield from _table(table, most)


def _table(table: TableDiff, most: int | None) -> Iterator[str]:
    a, b = table.rows
    rows = f"{a:,} rows" if a == b else f"{a:,} -> {b:,} rows"
    outside = sum(bool(change.outside) for change in table.changes)
    judged = sum(change.outside is not None for change in table.changes)
    beyond = f", {outside:,} of {judged:,} outside A's interval" if judged else ""
    yield f"{table.name}: {rows}, {len(table.changes):,} numbers differ{beyond}"
    for side, keys in zip("AB", table.only, strict=True):
        if keys:
            yield from _indented(f"{len(keys):,} rows only in {side}, first: {_key(keys[0])}", "  ")
    for column, count in table.others.items():
        yield f"  {column} differs in {count:,} rows"
    first = [change for change in table.changes if _headline(table, change)]
    rest = [change for change in table.changes if not _headline(table, change)]
    shown = first + (rest if most is None else rest[: max(0, most - len(first))])
    for change in shown:
        yield from _change(change)
    if len(shown) < len(table.changes):
        yield f"  ... {len(table.changes) - len(shown):,} more (--all)"


def _headline(table: TableDiff, change: Change) -> bool:
    """What a reader of the run's main table looks for first: MeanΔ on the average."""
    key = change.key
    return (
        table.what == "routers"
        and key.get("metric") == "mean_delta"
        and key.get("direction") == AVERAGE
    )


def _change(change: Change) -> Iterator[str]:
    name = _key(change.key)
    column = "" if change.column == "value" else f" {change.column}"
    mark = {True: "  OUTSIDE", False: "", None: ""}[change.outside]
    a = _value(change.a, change.a_low, change.a_high)
    b = _value(change.b, change.b_low, change.b_high)
    line = f"{name}{column}"
    values = f"{a} -> {b}{mark}"
    if len(line) + len(values) + 4 <= WIDTH:
        yield f"  {line:<{WIDTH - len(values) - 4}}  {values}"
        return
    yield from _indented(line, "  ")
    yield f"{values:>{WIDTH}}"


def _key(key: Any) -> str:
    return " ".join(f"{v:g}" if isinstance(v, float) else str(v) for v in key.values() if v != "")


def _value(value: float, low: float, high: float) -> str:
    if math.isnan(value):
        return _UNDEFINED
    ends = "" if math.isnan(low) or math.isnan(high) else f" [{low:.4g}, {high:.4g}]"
    return f"{value:.4g}{ends}"


def _indented(text: str, indent: str) -> Iterator[str]:
    for number, line in enumerate(wrapped(text, WIDTH - len(indent) - 2)):
        yield f"{indent}{'  ' if number else ''}{line}"


def as_json(found: Diff) -> dict[str, Any]:
    """The difference for machines, every change included."""
    result = asdict(found)
    for table, own in zip(result["numbers"], found.numbers, strict=True):
        table["identical"] = own.identical
    result["first_difference"] = result["partings"][0] if found.partings else None
    return result
