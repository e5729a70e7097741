"""What a router is given: the segments, and what is known of each of them."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from routelmt.errors import UserError
from routelmt.join import align, align_samples, row_keys

Priorities = tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]  # prediction, priority


@dataclass(frozen=True)
class RouterInputs:
    """Segments and what is known of each: row i of every part is about row i of the segments.

    Build it with `aligned`, which makes sure of that.

    signals, gains, hypotheses (of the small model), estimates (scores of a reference-free metric
    for them): tables with one row a segment. samples, sample_scores (small, large): tables in which
    the k samples of row i are the rows i k to (i + 1) k - 1. states: of every layer.
    """

    segments: pa.Table
    signals: pa.Table | None = None
    gains: pa.Table | None = None
    hypotheses: pa.Table | None = None
    estimates: pa.Table | None = None
    samples: pa.Table | None = None
    sample_scores: tuple[pa.Table, pa.Table] | None = None
    states: Any = None  # routelmt.states.States; importing it would make it code of every router

    @classmethod
    def aligned(
        cls,
        segments: pa.Table,
        *,
        samples: pa.Table | None = None,
        sample_scores: tuple[pa.Table, pa.Table] | None = None,
        states: Any = None,
        **tables: pa.Table | None,
    ) -> RouterInputs:
        """Every table in the row order of the segments, by (dataset, direction, segment_id).

        Raises UserError with counts and the first ids where keys are missing, extra or there twice.
        """
        found: dict[str, Any] = {
            name: align(segments, table, "segments", name)
            for name, table in tables.items()
            if table is not None
        }
        if samples is not None:
            found["samples"] = align_samples(segments, samples, "samples")
        if sample_scores is not None:
            small, large = (align_samples(segments, t, "sample scores") for t in sample_scores)
            found["sample_scores"] = small, large
        return cls(segments, states=states, **found)

    @property
    def rows(self) -> int:
        """How many segments."""
        return int(self.segments.num_rows)

    def filter(self, keep: npt.NDArray[np.bool_]) -> RouterInputs:
        """The rows where `keep` (rows,) is true."""
        mask = pa.array(keep)

        def part(table: pa.Table | None) -> pa.Table | None:
            return None if table is None else table.filter(mask)

        def sampled(table: pa.Table) -> pa.Table:
            return table.filter(pa.array(np.repeat(keep, table.num_rows // max(1, len(keep)))))

        scores = self.sample_scores
        return RouterInputs(
            self.segments.filter(mask),
            signals=part(self.signals),
            gains=part(self.gains),
            hypotheses=part(self.hypotheses),
            estimates=part(self.estimates),
            samples=None if self.samples is None else sampled(self.samples),
            sample_scores=None if scores is None else (sampled(scores[0]), sampled(scores[1])),
            states=None if self.states is None else self.states.filter(keep),
        )

    def without(self, rows: pa.Table, role: str, why: str) -> RouterInputs:
        """These rows without those of a table with JOIN_KEY; said on standard error, with counts.

        Raises UserError, naming the role (training, validation), if no row is left.
        """
        drop = pc.is_in(row_keys(self.segments), value_set=row_keys(rows).combine_chunks())
        keep = pc.invert(drop).to_numpy(zero_copy_only=False)
        dropped = self.rows - int(keep.sum())
        print(
            f"{role}: {dropped:,} of {self.rows:,} rows left out, {why}",
            file=sys.stderr,
        )
        if dropped == self.rows:
            raise UserError(f"all {self.rows:,} {role} rows are left out, {why}.")
        return self.filter(keep) if dropped else self

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

    def estimate(self, metric: str, router: str) -> npt.NDArray[np.float64]:
        """Scores of the small model's hypotheses by a metric, (rows,); UserError without them."""
        values = _column(self.estimates, "score", router, "estimates")
        found = set(self.estimates.column("metric").to_pylist()) if self.estimates else set()
        if found - {metric}:
            raise UserError(
                f"router '{router}': estimates by {sorted(found)}, but its setting 'metric' is "
                f"'{metric}'."
            )
        return values


def _column(table: pa.Table | None, column: str, router: str, name: str) -> npt.NDArray[np.float64]:
    if table is None:
        raise UserError(f"router '{router}' reads '{column}' of the {name}: give it --{name}.")
    values: npt.NDArray[np.float64] = table.column(column).to_numpy().astype(np.float64)
    return values


@dataclass(frozen=True)
class RouterContext:
    """What a router needs beside rows: the small model, if it reads it, and how to run it.

    model: identity of the small model (path, revision, prompt, ...), as in the config.
    languages: language names by code. speed: batch_tokens, device, threads. seed: of what chance
    decides. notes: what a router has to say about its work, for the record of its predictions.
    provenance: of the rows that a router is trained on, for its own record.
    """

    model: Mapping[str, Any]
    languages: Mapping[str, str]
    speed: Mapping[str, Any]
    seed: int
    notes: dict[str, Any] = field(default_factory=dict)
    provenance: Mapping[str, Any] = field(default_factory=dict)
