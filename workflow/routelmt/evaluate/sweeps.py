"""The table of a sweep: one setting of one router at several values, on the same replicates."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from routelmt import tables
from routelmt.errors import UserError
from routelmt.evaluate import quality_tables
from routelmt.evaluate.given import Given
from routelmt.evaluate.requests import evaluation_of
from routelmt.roles import ROUTER


def sweep(settings: Mapping[str, Any], given: Given) -> pa.Table:
    """The sweep of a table's inputs (see registry)."""
    return sweep_table(settings, given.read("predictions"), given.read("gains"))


def sweep_table(settings: Mapping[str, Any], predictions: pa.Table, gains: pa.Table) -> pa.Table:
    """Table `sweep`: every metric at every value of the setting, and of the reference lines.

    settings: sweep and setting (names), points {router: value}, routers (the points and the
    references; by default the points and all oracles and random routers that have predictions),
    and budgets, bootstrap, oracles, random as for the table `routers`: its rows are these, from the
    same replicates, so points differ by the setting alone. Points keep the order of `points`.
    Raises UserError for points without predictions, two points of one value, no point at all, and
    for what table `routers` refuses.
    """
    labels, asked = _labels_and_routers(settings, predictions)
    own = {**settings, "routers": asked}
    found = quality_tables.routers(own, evaluation_of(own, predictions, gains))
    routers: list[str] = found.column("router").to_pylist()
    strangers = sorted({r for r, role in zip(routers, found.column("role").to_pylist(), strict=True)
                        if role == ROUTER and r not in labels})  # fmt: skip
    if strangers:
        raise UserError(
            f"sweep '{settings['sweep']}': router {', '.join(strangers)} is neither one of its "
            "points nor a reference (random or an oracle)."
        )
    position = {router: index for index, router in enumerate(labels)}
    columns = {name: found.column(name) for name in found.column_names if name != "value"}
    values = {
        "sweep": settings["sweep"],
        "setting": settings["setting"],
        "value": [labels.get(router) for router in routers],
        "position": [position.get(router) for router in routers],
        "number": np.array([number_of(labels.get(router)) for router in routers]),
        "estimate": found.column("value"),
    }
    return tables.from_columns("sweep", columns | values)


def _labels_and_routers(
    settings: Mapping[str, Any], predictions: pa.Table
) -> tuple[dict[str, str], list[str]]:
    """The text of every point's value, and the routers of the table: points and references."""
    labels = {router: text_of(value) for router, value in settings["points"].items()}
    _check_points(settings["sweep"], labels, predictions)
    return labels, settings.get("routers") or [*labels, *_references(settings, predictions)]


def text_of(value: Any) -> str:
    """How a value of a setting is written: lists with ' + ', numbers as short as they are."""
    if isinstance(value, list | tuple):
        return " + ".join(map(text_of, value))
    return f"{value:g}" if isinstance(value, float) else str(value)


def number_of(text: str | None) -> float:
    """The finite number that a value is; NaN for any other text."""
    try:
        number = float(text or "")
    except ValueError:
        return math.nan
    return number if math.isfinite(number) else math.nan


def _check_points(sweep: str, labels: Mapping[str, str], predictions: pa.Table) -> None:
    if not labels:
        raise UserError(f"sweep '{sweep}': it has no points; give 'values' at least one.")
    twice = sorted({text for text in labels.values() if list(labels.values()).count(text) > 1})
    if twice:
        raise UserError(f"sweep '{sweep}': value {', '.join(twice)} occurs more than once.")
    missing = [router for router in labels if router not in _routers(predictions)]
    if missing:
        raise UserError(
            f"sweep '{sweep}': no predictions of {', '.join(missing)}; make them first, or leave "
            f"value {', '.join(labels[router] for router in missing)} out."
        )


def _references(settings: Mapping[str, Any], predictions: pa.Table) -> list[str]:
    known = [*settings["random"], *settings["oracles"]]
    return [router for router in known if router in _routers(predictions)]


def _routers(predictions: pa.Table) -> Sequence[str]:
    found: list[str] = predictions.column("router").unique().to_pylist()
    return found
