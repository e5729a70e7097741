"""The files that a table is made of, read as it asks for them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from routelmt import tables
from routelmt.errors import UserError
from routelmt.evaluate.flags import left_out, without
from routelmt.evaluate.registry import FLAGGED, INPUTS
from routelmt.stats.inference import FEW_CLUSTERS, few_clusters


class Made(NamedTuple):
    """A table, and what a reader must know of it as a whole."""

    table: pa.Table
    notes: tuple[str, ...] = ()


class Given:
    """Files by input (see registry.INPUTS), without the requests that `leave_out` takes out.

    notes: what is to be said of these, if any. Raises UserError if leave_out has nothing to go by.
    """

    def __init__(self, paths: Mapping[str, Sequence[Path]], leave_out: Sequence[str] = ()) -> None:
        self.paths = paths
        self.notes: tuple[str, ...] = ()
        self._kept: Callable[[pa.Table], pa.Table] = lambda table: table
        if leave_out and FLAGGED in paths:
            self._leave_out(leave_out)

    def read(self, name: str, columns: list[str] | None = None) -> pa.Table:
        """The tables of an input as one. Raises UserError if there is none."""
        if not self.paths[name]:
            _, about = INPUTS[name]
            raise UserError(f"--{name.replace('_', '-')}: the table is made of these ({about}).")
        return self._kept(tables.read_all(self.paths[name], INPUTS[name][0], columns))

    def read_if(self, name: str, columns: list[str] | None = None) -> pa.Table | None:
        """The same, None where there is none."""
        return self.read(name, columns) if self.paths.get(name) else None

    def parts(self, name: str, count: int) -> list[list[pa.Table]]:
        """Every table of an input, whole, in `count` parts of as many files each.

        Raises UserError if the files cannot be shared out evenly.
        """
        return [[tables.read(p, INPUTS[name][0]) for p in own] for own in self._parts(name, count)]

    def read_parts(self, name: str, count: int, columns: list[str] | None = None) -> list[pa.Table]:
        """The tables of an input as `count` tables, from as many files each."""
        return [
            self._kept(tables.read_all(own, INPUTS[name][0], columns))
            for own in self._parts(name, count)
        ]

    def _parts(self, name: str, count: int) -> list[Sequence[Path]]:
        paths = self.paths[name]
        each, left = divmod(len(paths), count)
        if left or not each:
            raise UserError(
                f"--{name.replace('_', '-')}: found {len(paths)} files, to be shared out evenly "
                f"among {count} ({INPUTS[name][1]})."
            )
        return [paths[each * at : each * (at + 1)] for at in range(count)]

    def each(self, name: str) -> list[pa.Table]:
        """Every table of an input, whole: nothing is left out."""
        return [tables.read(path, INPUTS[name][0]) for path in self.paths.get(name, ())]

    def _leave_out(self, flags: Sequence[str]) -> None:
        if not self.paths[FLAGGED]:
            raise UserError(
                "--settings: leave_out needs --flagged FILE, which `routelmt flagged` writes."
            )
        out = left_out(tables.read_all(self.paths[FLAGGED], FLAGGED), flags)
        self._kept = lambda table: without(table, out)
        self.notes = (
            f"Left out: {out.num_rows:,} requests of the experiment's sets whose translations are "
            f"{' or '.join(flags)} (leave_out); table flags counts them.",
        )


def cluster_notes(table: pa.Table) -> list[str]:
    """What is to be said of a table with intervals from too few clusters, if any."""
    fewest = pc.min(table.column("clusters")).as_py() if "clusters" in table.column_names else None
    return [] if fewest is None or fewest >= FEW_CLUSTERS else [few_clusters(fewest)]
