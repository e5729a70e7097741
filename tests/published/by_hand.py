"""What routing could gain between two systems of WMT25, from upstream's files alone, with pandas.

    python tests/published/by_hand.py FOLDER SMALL LARGE

prints, for each pair, the mean gain in points of XCOMET-XL and what the gain oracle, the quality
oracle and deferral by CometKiwi-XL gain on the 30 % that they send. It shares no code with the
package, whose tables the tests compare with it.
"""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path

import numpy as np
import pandas as pd

METRIC, QE, SHARE = "XCOMET-XL", "CometKiwi-XL", 0.3


def scores(folder: Path, system: str) -> pd.DataFrame:
    """A row a segment that is no speech: pair, document, place, and every metric."""
    rows = []
    path = folder / "data" / "automatic_scores" / f"{system}.jsonl"
    for line in path.read_text().splitlines():
        found = json.loads(line)
        place = {"pair": found["language_pair"], "document": found["document_id"]}
        for i in range(len(found["metric_scores"][METRIC])):
            values = {m: found["metric_scores"][m][i] for m in (METRIC, QE)}
            rows.append({**place, "domain": found["domain"], "i": i, **values})
    table = pd.DataFrame(rows)
    return table[table.domain != "speech"].set_index(["pair", "domain", "document", "i"])


def mean_of_sent(gain: pd.Series, priority: pd.Series) -> float:
    """Mean gain of the floor(0.3 n) with the highest priority, on average over ties."""
    count = math.floor(SHARE * len(gain))
    edge = np.sort(priority)[-count]
    above, at = gain[priority > edge], gain[priority == edge]
    return float((above.sum() + (count - len(above)) * at.mean()) / count)


def ladder(small: pd.Series, large: pd.Series, estimate: pd.Series) -> dict[str, float]:
    gain = large - small
    return {
        "mean": float(gain.mean()),
        "gain-oracle": mean_of_sent(gain, gain),
        "quality-oracle": mean_of_sent(gain, -small),
        "qe-deferral": mean_of_sent(gain, -estimate),
    }


def by_pair(folder: Path, small: str, large: str) -> pd.DataFrame:
    one, other = (scores(folder, system) for system in (small, large))
    found = {
        pair: ladder(100 * own[METRIC], 100 * other.loc[own.index, METRIC], own[QE])
        for pair, own in one.groupby(level="pair")
    }
    return pd.DataFrame(found).T


if __name__ == "__main__":
    print(by_pair(Path(sys.argv[1]), *sys.argv[2:4]).round(2))
