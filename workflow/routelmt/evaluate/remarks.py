"""What is worth a second look in the data of an experiment: nothing is wrong for sure.

A remark is said in the log, kept in the record of the table, and carried on to the tables made of
it, which show it below them; the page has all of them in one place.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from routelmt import tables

KEY = "remarks"  # of a record
CARRIED = ("gains", "segments", "scores")  # tables whose remarks are about all that is made of them


def gain_remarks(gains: pa.Table, risk_edges: Sequence[float] | None) -> list[str]:
    """Remarks on the gains of all test sets: models that may be swapped, edges out of reach.

    risk_edges: in points of the metric; None where the table has no risk buckets.
    """
    small, large, gain = (
        gains.column(name).to_numpy() for name in ("quality_small", "quality_large", "gain")
    )
    found = []
    if gain.size and (mean := float(gain.mean())) < 0:
        found.append(
            f"The large model scores {-mean:.3g} points lower than the small one on average. If "
            "that is not so, their files are swapped, or the metric counts errors and lacks "
            "'higher_is_better: false'."
        )
    low, high = (float(f(np.concatenate([small, large]))) for f in (np.min, np.max))
    if risk_edges and high > low and -risk_edges[0] > high - low:
        found.append(
            f"No gain can be a severe loss: the scores lie between {low:.3g} and {high:.3g}, and "
            f"'risk_edges' are {list(risk_edges)}. Set them in points of this metric."
        )
    return found


def shared_sources(segments: pa.Table) -> list[str]:
    """A remark on segments of one dataset and direction that share their source text, if any do."""
    counts = pc.value_counts(segments.column("source")).field("counts").to_numpy()
    shared = int(counts[counts > 1].sum())
    if not shared:
        return []
    place = "dataset '{}', direction {}".format(
        *(segments.column(name)[0].as_py() for name in ("dataset", "direction"))
    )
    groups = pc.count_distinct(segments.column("group_id")).as_py()
    return [
        f"{place}: {shared:,} of {segments.num_rows:,} segments share their source text with "
        f"another; there are {groups:,} groups, which splits and the bootstrap keep together "
        "(group_id; without it equal sources are one group)."
    ]


def negated_twice(scores: pa.Table, settings: Mapping[str, Any]) -> list[str]:
    """A remark on scores of the user's that were below 0 before they were negated, if all were."""
    values = scores.column("score").to_numpy()  # negated
    if settings.get("higher_is_better") is not False or values.min() < 0 or values.max() == 0:
        return []
    metric, model = (scores.column(name)[0].as_py() for name in ("metric", "model"))
    return [
        f"metric '{metric}': all scores of model '{model}' in {settings['path']} are 0 or less, "
        "and 'higher_is_better: false' turns them round, so that more errors are better. Leave it "
        "out if errors are counted below 0."
    ]


def carried(parents: Iterable[Path]) -> list[str]:
    """Remarks in the records of those parents that are CARRIED, each once."""
    tabled = (tables.record_of(path) for path in parents if Path(path).suffix == ".parquet")
    found = (record.get(KEY, ()) for record in tabled if record["table"] in CARRIED)
    return list(dict.fromkeys(remark for remarks in found for remark in remarks))
