"""Which of the training rows a router learns from: the points of learning curves and of mixes."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from hashlib import blake2b
from typing import Any

import numpy as np
import numpy.typing as npt

from routelmt.errors import UserError
from routelmt.join import row_keys
from routelmt.routers.inputs import RouterInputs

COLUMNS = {"train_directions": "direction", "train_domains": "domain"}


def training_rows(spec: Mapping[str, Any], inputs: RouterInputs) -> RouterInputs:
    """The rows that `train_directions`, `train_domains` and `train_rows` of a router leave.

    train_rows takes the rows with the lowest hash of their key: the same in any order, and a larger
    number contains a smaller one. Raises UserError for a value that no row has, and for more rows
    than there are.
    """
    keep = np.ones(inputs.rows, dtype=np.bool_)
    for setting, column in COLUMNS.items():
        wanted = spec.get(setting)
        if wanted is not None:
            keep &= _having(inputs, setting, column, wanted)
    count = spec.get("train_rows")
    if count is not None:
        keep &= _lowest(inputs, keep, count)
    if not keep.any():
        raise UserError(f"router '{spec['type']}': its settings leave no training row.")
    if keep.all():
        return inputs
    print(f"training: {keep.sum():,} of {inputs.rows:,} rows, as the router asks", file=sys.stderr)
    return inputs.filter(keep)


def validation_rows(spec: Mapping[str, Any], inputs: RouterInputs) -> RouterInputs:
    """The rows that a router is chosen on: of its own directions and domains.

    Else what is left out of its training would choose the epoch. All rows where none is of those.
    """
    keep = np.ones(inputs.rows, dtype=np.bool_)
    for setting, column in COLUMNS.items():
        if spec.get(setting) is not None:
            values = np.array(inputs.segments.column(column).to_pylist(), dtype=object)
            keep &= np.isin(values, spec[setting])
    if keep.all() or not keep.any():
        return inputs
    print(f"validation: {keep.sum():,} of {inputs.rows:,} rows, of its own kind", file=sys.stderr)
    return inputs.filter(keep)


def _having(
    inputs: RouterInputs, setting: str, column: str, wanted: list[str]
) -> npt.NDArray[np.bool_]:
    values = inputs.segments.column(column).to_pylist()
    missing = sorted(set(wanted) - set(values))
    if missing:
        there = ", ".join(sorted({str(v) for v in values}))
        raise UserError(f"{setting}: no training row has {', '.join(missing)}; there: {there}.")
    return np.isin(np.array(values, dtype=object), wanted)


def _lowest(
    inputs: RouterInputs, among: npt.NDArray[np.bool_], count: int
) -> npt.NDArray[np.bool_]:
    rows = np.flatnonzero(among)
    if count > len(rows):
        raise UserError(f"train_rows: found {count:,}, there are {len(rows):,} training rows.")
    keys = row_keys(inputs.segments).to_pylist()
    digests = [blake2b(keys[i].encode(), digest_size=8).digest() for i in rows]
    chosen = np.zeros(inputs.rows, dtype=np.bool_)
    chosen[rows[np.argsort(np.array(digests), kind="stable")[:count]]] = True
    return chosen
