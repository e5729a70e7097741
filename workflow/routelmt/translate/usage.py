"""What a table of translations or samples took: tokens, and their cost where there is a price."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from routelmt.join import row_keys


def usage(
    segments: pa.Table, outputs: pa.Table, price: Sequence[float] = (0, 0)
) -> dict[str, float]:
    """prompt_tokens, output_tokens and, if there is a price, cost.

    price: [input, output] of a million tokens; the cost is in its currency. Every distinct prompt
    counts once, with all its samples: what the whole table takes in one go, whatever was tried
    again. Counts that are unknown are 0.
    """
    prompts = pa.table(
        {"key": row_keys(segments), **{n: segments.column(n) for n in ("direction", "source")}}
    )
    distinct = prompts.group_by(["direction", "source"]).aggregate([("key", "min")])
    keep = pc.is_in(row_keys(outputs), value_set=distinct.column("key_min").combine_chunks())
    once = outputs.filter(keep).filter(pc.field("output_tokens") > 0)  # else it was never sent
    asked = (
        once.filter(pc.equal(once.column("sample"), 0)) if "sample" in once.schema.names else once
    )
    found: dict[str, float] = {
        "prompt_tokens": pc.sum(asked.column("prompt_tokens")).as_py() or 0,
        "output_tokens": pc.sum(once.column("output_tokens")).as_py() or 0,
    }
    if any(price):
        cost = found["prompt_tokens"] * price[0] + found["output_tokens"] * price[1]
        found["cost"] = round(cost / 1e6, 6)
    return found


def total(parts: Sequence[dict[str, Any]]) -> dict[str, float]:
    """The sum of several, such as those of a table's shards."""
    names = dict.fromkeys(name for part in parts for name in part)
    return {name: sum(part.get(name, 0) for part in parts) for name in names}
