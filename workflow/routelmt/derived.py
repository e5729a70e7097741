"""What a config makes of others: routers of sweeps and transfer splits, slices of datasets."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NamedTuple


class TransferPoint(NamedTuple):
    """A router trained on one part of a split, and the name of the router it derives from."""

    router: str
    split: str
    part: str
    domains: list[str]


def sweep_points(sweep: str, spec: Mapping[str, Any]) -> dict[str, tuple[str, Any]]:
    """(label, value) of each point of a sweep by the name of its router, ROUTER.SWEEP.LABEL."""
    values = spec["values"]
    pairs = values.items() if isinstance(values, dict) else [(_label(v), v) for v in values]
    return {derived_name(spec["router"], sweep, label): (label, value) for label, value in pairs}


def transfer_points(transfer: Mapping[str, Any]) -> dict[str, TransferPoint]:
    """Each router trained on each part of each split, by its name ROUTER.SPLIT.PART."""
    return {
        derived_name(router, split, part): TransferPoint(router, split, part, domains)
        for router in transfer["routers"]
        for split, parts in transfer["splits"].items()
        for part, domains in parts.items()
    }


def derived_name(router: str, of: str, label: str) -> str:
    """Name of a derived router: `of` is the sweep or split, label its value or part."""
    slug = re.sub(r"[^a-z0-9._]+", ".", label.lower()).strip(".")
    return f"{router}.{of.replace('-', '.')}.{slug}"


def slice_name(dataset: str, limit: int) -> str:
    """Name of the dataset that has so many texts of another; see `limit` of an experiment."""
    return f"{dataset}.first{limit}"


def sliced(dataset: Mapping[str, Any], limit: int) -> dict[str, Any]:
    """The entry of such a dataset: its rows are not known beforehand, and it needs no shards."""
    kept = {key: value for key, value in dataset.items() if key != "rows"}
    return kept | {"shards": 1, "limit": limit}


def _label(value: Any) -> str:
    if value is None:
        return "all"  # a setting that is not set leaves nothing out
    return " + ".join(map(str, value)) if isinstance(value, list) else str(value)
