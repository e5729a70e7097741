"""Requests whose numbers are doubtful: a metric saw part of a text, a translation is no text.

They are kept by default and counted in table `flags`; an experiment's `leave_out` takes those with
a flag of either model out of everything that is evaluated.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from routelmt import tables
from routelmt.evaluate.arrays import AnyArray, BoolArray
from routelmt.join import align, row_keys

if TYPE_CHECKING:
    from routelmt.evaluate.given import Given

# Column of the table of flagged requests, and what it says of one.
FLAGS = {
    "truncated": "the metric saw only part of its texts",
    "degenerate": "a translation is blank, runaway, or one piece repeated",
}
LENGTH = "length"  # the finish_reason of a translation that the limit of new tokens cut
HYPOTHESIS_COLUMNS = [*tables.JOIN_KEY, "model", "finish_reason", "degenerate"]
SCORE_COLUMNS = [*tables.JOIN_KEY, "model", "truncated"]


def flagged_requests(hypotheses: pa.Table, scores: pa.Table) -> pa.Table:
    """Table `flagged`: the requests that have a flag from any model, with all their flags.

    hypotheses, scores: of all models and sets, the same translations on both sides; with at least
    HYPOTHESIS_COLUMNS and SCORE_COLUMNS. Raises UserError where they do not match.
    """
    pairs = [_flags_of_model(*pair) for pair in _by_model(hypotheses, scores)]
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


def flags_table(settings: Mapping[str, Any], given: Given) -> pa.Table:
    """The counts of a table's inputs (see registry), told on standard error too."""
    hypotheses = given.read("hypotheses", HYPOTHESIS_COLUMNS)
    counts = flag_counts(hypotheses, given.read("scores", SCORE_COLUMNS), settings["leave_out"])
    for row in counts.to_pylist():
        print(
            "{model}, {dataset}, {direction}: of {requests:,} translations {truncated:,} "
            "truncated, {degenerate:,} degenerate ({length:,} by length); requests left out: "
            "{left_out:,}".format(**row),
            file=sys.stderr,
        )
    return counts


def flag_counts(hypotheses: pa.Table, scores: pa.Table, leave_out: Sequence[str]) -> pa.Table:
    """Table `flags`: how many translations of a model, dataset and direction have each flag.

    left_out: requests of the dataset and direction that leave_out, names of FLAGS, takes out, for a
    flag of either model. Raises UserError where hypotheses and scores do not match.
    """
    out = left_out(flagged_requests(hypotheses, scores), leave_out)
    rows: list[dict[str, Any]] = []
    for own, marks in (_flags_of_model(*pair) for pair in _by_model(hypotheses, scores)):
        place = [own.column(name).to_numpy() for name in ("dataset", "direction")]
        cut = pc.fill_null(pc.equal(own.column("finish_reason"), LENGTH), False).to_numpy()
        dropped = ~_kept(own, out)
        for dataset, direction in dict.fromkeys(zip(*place, strict=True)):
            here = (place[0] == dataset) & (place[1] == direction)
            rows.append(
                {"model": own.column("model")[0].as_py(), "dataset": dataset,
                 "direction": direction, "requests": int(here.sum()),
                 **{flag: int(marks[here, i].sum()) for i, flag in enumerate(FLAGS)},
                 "length": int(cut[here].sum()), "left_out": int(dropped[here].sum())}
            )  # fmt: skip
    return tables.from_rows("flags", rows)


def left_out(flagged: pa.Table, leave_out: Sequence[str]) -> pa.Table:
    """The flagged requests that are left out: those with one of these flags."""
    dropped = np.zeros(flagged.num_rows, np.bool_)
    for flag in leave_out:
        dropped |= flagged.column(flag).to_numpy()
    return flagged.filter(pa.array(dropped))


def without(table: pa.Table, out: pa.Table) -> pa.Table:
    """The rows of a table with JOIN_KEY whose request is not among those left out."""
    return table.filter(pa.array(_kept(table, out)))


def _kept(table: pa.Table, out: pa.Table) -> BoolArray:
    kept: BoolArray = ~np.asarray(pc.is_in(row_keys(table), row_keys(out).combine_chunks()))
    return kept


def _by_model(hypotheses: pa.Table, scores: pa.Table) -> Iterator[tuple[pa.Table, pa.Table]]:
    for model in pc.unique(hypotheses.column("model")).to_pylist():
        own, scored = (t.filter(pc.equal(t.column("model"), model)) for t in (hypotheses, scores))
        name = f"of model '{model}'"
        yield own, align(own, scored, f"hypotheses {name}", f"scores {name}")


def _flags_of_model(hypotheses: pa.Table, scores: pa.Table) -> tuple[pa.Table, BoolArray]:
    """The hypotheses, and whether each has each of FLAGS, (n, flags)."""
    marks = [scores.column("truncated").to_numpy(), hypotheses.column("degenerate").to_numpy()]
    return hypotheses, np.stack(marks, axis=1)


def _names(table: pa.Table) -> AnyArray:
    names: AnyArray = np.asarray(row_keys(table).to_pylist(), dtype=object)
    return names
