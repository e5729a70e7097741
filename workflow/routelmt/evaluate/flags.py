"""Requests whose numbers are doubtful: a metric saw part of a text, a translation is no text.

They are kept by default and counted in table `flags`; an experiment's `leave_out` takes those with
a flag of either model out of everything that is learned from or evaluated.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from routelmt import tables
from routelmt.join import align, row_keys
from routelmt.stats.arrays import AnyArray, BoolArray

# Column of the table of flagged requests, and what it says of one.
FLAGS = {
    "truncated": "the metric saw only part of its texts",
    "degenerate": "a translation is blank, runaway, or one piece repeated",
}
HYPOTHESIS_COLUMNS = [*tables.JOIN_KEY, "model", "finish_reason", "degenerate"]
SCORE_COLUMNS = [*tables.JOIN_KEY, "model", "truncated"]


def flagged_requests(hypotheses: pa.Table, scores: pa.Table) -> pa.Table:
    """Table `flagged`: the requests that have a flag from any model, with all their flags.

    hypotheses, scores: of all models and sets, the same translations on both sides; with at least
    HYPOTHESIS_COLUMNS and SCORE_COLUMNS. Raises UserError where they do not match.
    """
    pairs = [flags_of_model(*pair) for pair in by_model(hypotheses, scores)]
    keys = pa.concat_tables([own.select(list(tables.JOIN_KEY)) for own, _ in pairs])
    marks = np.concatenate([marks for _, marks in pairs])
    _, first, request = np.unique(_names(keys), return_index=True, return_inverse=True)
    either = np.zeros((first.size, len(FLAGS)), np.bool_)
    np.logical_or.at(either, request, marks)
    rows = np.flatnonzero(either.any(axis=1))
    rows = rows[np.argsort(first[rows])]
    found = keys.take(pa.array(first[rows]))
    columns = {name: either[rows, i] for i, name in enumerate(FLAGS)}
    return tables.from_columns(
        "flagged", {name: found.column(name) for name in tables.JOIN_KEY} | columns
    )


def left_out(flagged: pa.Table, leave_out: Sequence[str]) -> pa.Table:
    """The flagged requests that are left out: those with one of these flags."""
    dropped = np.zeros(flagged.num_rows, np.bool_)
    for flag in leave_out:
        dropped |= flagged.column(flag).to_numpy()
    return flagged.filter(pa.array(dropped))


def without(table: pa.Table, out: pa.Table) -> pa.Table:
    """The rows of a table with JOIN_KEY whose request is not among those left out."""
    return table.filter(pa.array(kept(table, out)))


def kept(table: pa.Table, out: pa.Table) -> BoolArray:
    """Which rows' requests are not among those left out, (n,)."""
    mask: BoolArray = ~np.asarray(pc.is_in(row_keys(table), row_keys(out).combine_chunks()))
    return mask


def by_model(hypotheses: pa.Table, scores: pa.Table) -> Iterator[tuple[pa.Table, pa.Table]]:
    """Each model's hypotheses, and their scores in the same order."""
    for model in pc.unique(hypotheses.column("model")).to_pylist():
        own, scored = (t.filter(pc.equal(t.column("model"), model)) for t in (hypotheses, scores))
        name = f"of model '{model}'"
        yield own, align(own, scored, f"hypotheses {name}", f"scores {name}")


def flags_of_model(hypotheses: pa.Table, scores: pa.Table) -> tuple[pa.Table, BoolArray]:
    """The hypotheses, and whether each has each of FLAGS, (n, flags)."""
    marks = [scores.column("truncated").to_numpy(), hypotheses.column("degenerate").to_numpy()]
    return hypotheses, np.stack(marks, axis=1)


def _names(table: pa.Table) -> AnyArray:
    names: AnyArray = np.asarray(row_keys(table).to_pylist(), dtype=object)
    return names
