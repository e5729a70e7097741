"""Segments that the user's scores leave out: dropped from the dataset where it says so."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from routelmt.data import published
from routelmt.data.complaints import say
from routelmt.data.parsers import Field
from routelmt.data.rows import read_rows
from routelmt.errors import UserError

# What a file of scores calls a translation that nobody has rated, beside an empty cell and null.
FIELD = Field("score", "number", empty=True)
KEY = ("dataset", "direction", "segment_id", "model")


def key_fields(names: Sequence[str] = KEY) -> list[Field]:
    """The columns that say what a row is of; without `dataset` a file serves every dataset."""
    return [Field(name, "id", required=name != "dataset") for name in names]


def scored_everywhere(
    ids: Sequence[str], scored: Mapping[str, Any], dataset: str, direction: str
) -> list[bool]:
    """For each segment whether every metric has scored every model's translation of it.

    scored: {metric: {path, quoting, models}} of the metrics that are files, or the settings of a
    published one with `systems` by model. How many segments each file leaves out is said on
    standard error; UserError if none is left.
    """
    kept = set(ids)
    for metric, spec in scored.items():
        own = (
            _published(spec, dataset, direction)
            if "systems" in spec
            else _scored(Path(spec["path"]), spec["quoting"], spec["models"], dataset, direction)
        )
        without = len(set(ids) - own)
        if without:
            say(
                f"dataset '{dataset}', direction {direction}: {without:,} of {len(ids):,} segments "
                f"dropped, {spec['path']} (metric '{metric}') lacks a score of "
                f"{' or '.join(spec['models'])}"
            )
        kept &= own
    if not kept:
        listed = ", ".join(spec["path"] for spec in scored.values())
        raise UserError(
            f"dataset '{dataset}', direction {direction}: no segment has a score of every model in "
            f"{listed}. The names of datasets, directions, segments and models must be those of "
            "the config."
        )
    return [identifier in kept for identifier in ids]


def _scored(
    path: Path, quoting: str | None, models: Sequence[str], dataset: str, direction: str
) -> set[str]:
    """Ids of the segments for which all these models have a score in the file."""
    columns = read_rows(path, [*key_fields(), FIELD], quoting=quoting).columns
    datasets = columns.get("dataset") or [dataset] * len(columns["score"])
    found: dict[str, set[str]] = {model: set() for model in models}
    for own, way, identifier, model, score in zip(
        datasets, *(columns[name] for name in KEY[1:]), columns["score"], strict=True
    ):
        if own == dataset and way == direction and model in found and score is not None:
            found[model].add(identifier)
    return set.intersection(*found.values())


def _published(spec: Mapping[str, Any], dataset: str, direction: str) -> set[str]:
    """The same of scores that a source publishes."""
    found = []
    for system in spec["systems"].values():
        wanted = {"dataset": dataset, "direction": direction}
        columns = published.rows_of("scores", {**spec, "system": system}, wanted).columns
        pairs = zip(columns["segment_id"], columns["score"], strict=True)
        found.append({identifier for identifier, score in pairs if score is not None})
    return set.intersection(*found)
