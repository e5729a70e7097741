"""Where the small model's samples disagree, first (ProbeDirichlet's SemanticEntropy, for MT).

Samples of a request are clustered by chrF similarity (Popovic 2015, as sacreBLEU computes it), and
the entropy of the clusters' sizes ranks. It costs the small model's samples for every request.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

import numpy as np
import numpy.typing as npt

from routelmt.errors import UserError
from routelmt.routers.inputs import Priorities, RouterContext, RouterInputs
from routelmt.routers.registry import RouterType

ROUTER = RouterType(needs=frozenset({"samples"}), costs=("samples",))
# What unrelated texts do not reach: of WMT24 outputs of different segments, less than one pair in a
# thousand has 0.3 (en-ru; en-zh 0.14). Of outputs of the same segment by two of the good systems,
# 95 % (en-ru) and 75 % (en-zh) do.
THRESHOLD = 0.3
ORDERS = 6  # character n-grams up to this length
BETA = 2.0  # weight of the recall
# Requests whose n-grams are in memory at a time.
_REQUESTS = 1024
_CODE_POINT_BITS = 21

Texts = Sequence[Sequence[str]]


def predict(spec: Mapping[str, Any], inputs: RouterInputs, context: RouterContext) -> Priorities:
    """Entropy (nats) of the sizes of the clusters of each request's k samples, 0 to log k.

    A cluster is all samples that are linked by similarities of at least the setting `threshold`
    (single linkage, so that the samples' order does not matter). Ties are many: k = 5 has 7 values.
    """
    if inputs.samples is None:
        raise UserError(f"router '{spec['type']}' compares samples: give it --samples.")
    texts = inputs.samples.column("hypothesis").to_pylist()
    count = len(texts) // max(1, inputs.rows)
    rows = [texts[i : i + count] for i in range(0, len(texts), max(1, count))]
    values = entropies(rows, spec.get("threshold", THRESHOLD))
    return values, values


def entropies(samples: Texts, threshold: float) -> npt.NDArray[np.float64]:
    """Entropy (nats) of the cluster sizes of each row of `samples` (rows, k), shape (rows,)."""
    found = np.zeros(len(samples))
    differ = [i for i, row in enumerate(samples) if len(set(row)) > 1]
    for start in range(0, len(differ), _REQUESTS):
        part = differ[start : start + _REQUESTS]
        linked = similarities([samples[i] for i in part]) >= threshold
        found[part] = size_entropies(linked)
    return found


def size_entropies(linked: npt.NDArray[np.bool_]) -> npt.NDArray[np.float64]:
    """Entropy (nats) of the sizes of the connected components of graphs, shape (graphs,).

    linked: symmetric adjacency (graphs, k, k), true on the diagonal.
    """
    count = linked.shape[1]
    reached = linked
    for _ in range(max(1, count - 1).bit_length()):  # paths twice as long each time
        reached = reached @ reached
    sizes = reached.sum(axis=2)  # of the component that each node is in
    # Each of a component's s nodes brings 1/s of its -(s/k) log(s/k).
    found: npt.NDArray[np.float64] = np.log(count / sizes).mean(axis=1)
    return found


def similarities(samples: Texts) -> npt.NDArray[np.float64]:
    """Symmetric chrF, 0 to 1, of every two samples of each row, shape (rows, k, k).

    The mean of sentence chrF in both directions; two texts without characters are equal.
    """
    texts = [["".join(text.split()) for text in row] for row in samples]
    rows, count = len(texts), len(texts[0])
    found = np.ones((rows, count, count))
    lengths = np.array([[len(text) for text in row] for row in texts])
    matches = _matches(texts, lengths)  # (orders, pairs, rows)
    totals = np.stack([np.maximum(lengths - n, 0) for n in range(ORDERS)])  # n-grams of n + 1
    for pair, (i, j) in enumerate(combinations(range(count), 2)):
        both = _chrf(matches[:, pair], totals[:, :, i], totals[:, :, j])
        both[(lengths[:, i] == 0) & (lengths[:, j] == 0)] = 1.0
        found[:, i, j] = found[:, j, i] = both
    return found


def _chrf(
    matches: npt.NDArray[np.int64], one: npt.NDArray[np.int64], other: npt.NDArray[np.int64]
) -> npt.NDArray[np.float64]:
    """Mean of chrF in both directions, shape (rows,), from counts of n-grams (orders, rows).

    Precision and recall are means over the orders that both texts have n-grams of.
    """
    used = (one > 0) & (other > 0)
    orders = np.maximum(used.sum(axis=0), 1)
    # One text's precision is the other's recall: they swap roles between the directions.
    first, second = (
        np.where(used, matches / np.maximum(total, 1), 0.0).sum(axis=0) / orders
        for total in (one, other)
    )
    weight = BETA**2
    parts = [
        np.divide(
            (1 + weight) * first * second,
            weight * precision + recall,
            out=np.zeros_like(first),
            where=first * second > 0,
        )
        for precision, recall in ((first, second), (second, first))
    ]
    found: npt.NDArray[np.float64] = (parts[0] + parts[1]) / 2
    return found


def _matches(texts: Texts, lengths: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """n-grams that two samples of a row share, with multiplicity: (orders, pairs, rows).

    An n-gram has a number within its row: that of its first n - 1 characters with the last one.
    """
    rows, count = lengths.shape
    joined = "".join(text for row in texts for text in row)
    characters = np.frombuffer(joined.encode("utf-32-le", "surrogatepass"), np.uint32)
    characters = characters.astype(np.int64)
    text_of = np.repeat(np.arange(rows * count), lengths.reshape(-1))
    ends = np.cumsum(lengths.reshape(-1))[text_of]  # where the text of each character ends
    at = np.arange(len(characters))  # where n-grams begin
    number = text_of // count
    pairs = list(combinations(range(count), 2))
    found = np.zeros((ORDERS, len(pairs), rows), np.int64)
    for n in range(ORDERS):
        fits = at + n < ends[at]
        at, number = at[fits], number[fits]
        if not len(at):
            break
        _, first, number = np.unique(
            (number << _CODE_POINT_BITS) | characters[at + n],
            return_index=True,
            return_inverse=True,
        )
        sample = text_of[at] % count
        counts = np.bincount(number * count + sample, minlength=len(first) * count)
        counts = counts.reshape(-1, count)
        row = text_of[at[first]] // count
        for pair, (i, j) in enumerate(pairs):
            shared = np.minimum(counts[:, i], counts[:, j])
            found[n, pair] = np.bincount(row, weights=shared, minlength=rows)
    return found
