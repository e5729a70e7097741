"""What a router is given: the segments, and what is known of each of them."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from routelmt.errors import UserError
from routelmt.join import align, row_keys

Priorities = tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]  # prediction, priority


@dataclass(frozen=True)
class RouterInputs:
    """Segments with their signals and gains: the same rows in the same order.

    Build it with `aligned`, which makes sure of that.
    """

    segments: pa.Table
    signals: pa.Table | None = None
    gains: pa.Table | None = None

    @classmethod
    def aligned(
        cls, segments: pa.Table, signals: pa.Table | None = None, gains: pa.Table | None = None
    ) -> RouterInputs:
        """Signals and gains in the row order of the segments, by (dataset, direction, segment_id).

        Raises UserError with counts and the first ids where keys are missing, extra or there twice.
        """
        if signals is not None:
            signals = align(segments, signals, "segments", "signals")
        if gains is not None:
            gains = align(segments, gains, "segments", "gains")
        return cls(segments, signals, gains)

    def without(self, overlaps: pa.Table, role: str) -> RouterInputs:
        """These rows without those of an `overlaps` table; said on standard error, with counts.

        Raises UserError, naming the role (training, validation), if no row is left.
        """
        drop = pc.is_in(row_keys(self.segments), value_set=row_keys(overlaps).combine_chunks())
        keep, rows = pc.invert(drop), self.segments.num_rows
        dropped = pc.sum(drop).as_py() or 0
        print(
            f"{role}: {dropped:,} of {rows:,} rows left out, their text is in held-out data",
            file=sys.stderr,
        )
        if dropped == rows:
            raise UserError(
                f"every one of the {rows:,} {role} rows has its text in held-out data; see the "
                "experiment's contamination table, and 'contamination' in the config."
            )
        parts = (None if t is None else t.filter(keep) for t in (self.signals, self.gains))
        return RouterInputs(self.segments.filter(keep), *parts)

    @property
    def directions(self) -> list[str]:
        """Direction of each row."""
        values: list[str] = self.segments.column("direction").to_pylist()
        return values

    @property
    def sources(self) -> list[str]:
        """Source text of each row."""
        values: list[str] = self.segments.column("source").to_pylist()
        return values

    @property
    def source_languages(self) -> list[str]:
        """Code of the source language of each row."""
        return [direction.partition("-")[0] for direction in self.directions]

    def signal(self, column: str, router: str) -> npt.NDArray[np.float64]:
        """A column of the signals, shape (rows,); UserError if `router` was not given any."""
        return _column(self.signals, column, router, "signals")

    def gain(self, column: str, router: str) -> npt.NDArray[np.float64]:
        """A column of the gains, shape (rows,); UserError if `router` was not given any."""
        return _column(self.gains, column, router, "gains")


def _column(table: pa.Table | None, column: str, router: str, name: str) -> npt.NDArray[np.float64]:
    if table is None:
        raise UserError(f"router '{router}' reads '{column}' of the {name}: give it --{name}.")
    values: npt.NDArray[np.float64] = table.column(column).to_numpy().astype(np.float64)
    return values


@dataclass(frozen=True)
class TrainingContext:
    """What a trained router needs beside rows: the small model and how to run it.

    model: identity of the small model (path, revision, prompt, ...), as in the config.
    languages: language names by code. speed: batch_tokens, device, threads. seed: of the training.
    """

    model: Mapping[str, Any]
    languages: Mapping[str, str]
    speed: Mapping[str, Any]
    seed: int
