"""Gain labels: what the large model adds to each segment (RouteLMT section 3)."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from routelmt import tables
from routelmt.join import align


def label_gains(segments: pa.Table, small: pa.Table, large: pa.Table) -> pa.Table:
    """The `gains` table, in the segments' order: gain = quality_large - quality_small.

    small, large: `scores` tables of the two models on these segments. Raises UserError if a
    segment lacks a score, or a score its segment.
    """
    quality = {
        name: align(segments, scores, "segments", f"scores of the {name} model")
        .column("score")
        .to_numpy()
        for name, scores in (("small", small), ("large", large))
    }
    return tables.from_columns(
        "gains",
        {
            **{k: segments.column(k) for k in (*tables.JOIN_KEY, "group_id", "doc_id", "domain")},
            "quality_small": quality["small"],
            "quality_large": quality["large"],
            "gain": np.subtract(quality["large"], quality["small"]),
        },
    )
