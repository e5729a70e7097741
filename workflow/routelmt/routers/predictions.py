"""The predictions table from what a router said."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from routelmt import tables

Values = npt.NDArray[np.float64]


def predictions(
    segments: pa.Table, router: str, seed: int, prediction: Values, priority: Values
) -> pa.Table:
    """Table `predictions` of one router and seed; prediction and priority have shape (rows,)."""
    return tables.from_columns(
        "predictions",
        {
            **{key: segments.column(key) for key in tables.JOIN_KEY},
            "router": router,
            "seed": seed,
            "prediction": prediction,
            "priority": priority,
        },
    )
