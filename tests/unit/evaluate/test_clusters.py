"""What the bootstrap draws together: components of groups and documents, or what the config says."""

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from routelmt import tables
from routelmt.errors import UserError
from routelmt.evaluate.given import cluster_notes
from routelmt.evaluate.requests import cluster_ids, clusters_of, effective_counts
from routelmt.stats.bootstrap import DirectionData


def gains_of(rows: list[tuple[str, str | None, str | None]], dataset: str = "news") -> pa.Table:
    """rows: group, document and domain of each request."""
    groups, documents, domains = zip(*rows, strict=True)
    return tables.from_columns("gains", {
        "dataset": dataset, "direction": "en-ru", "segment_id": [str(i) for i in range(len(rows))],
        "group_id": groups, "doc_id": documents, "domain": domains,
        "quality_small": 50.0, "quality_large": 51.0, "gain": 1.0,
    })  # fmt: skip


def same(ids: np.ndarray) -> set[frozenset[int]]:
    """The rows of each cluster."""
    return {frozenset(np.flatnonzero(ids == own).tolist()) for own in set(ids.tolist())}


def merged(rows: list[tuple[str, str | None, str | None]]) -> set[frozenset[int]]:
    """Connected components by merging sets until nothing changes."""
    clusters = [{i} for i in range(len(rows))]
    for i, (group, document, _) in enumerate(rows):
        for j in range(i):
            if rows[j][0] == group or (document is not None and rows[j][1] == document):
                first, second = (next(c for c in clusters if k in c) for k in (i, j))
                if first is not second:
                    clusters.remove(second)
                    first |= second
    return {frozenset(c) for c in clusters}


ROWS = st.tuples(
    st.sampled_from("abcdef"),
    st.sampled_from([None, "x", "y", "z"]),
    st.sampled_from(["law", None]),
)


@given(rows=st.lists(ROWS, min_size=1, max_size=12), shuffle=st.randoms())
@settings(deadline=None)
def test_clusters_are_the_connected_components_in_any_order(rows: list[Any], shuffle: Any) -> None:
    found = cluster_ids(gains_of(rows), {})
    assert same(found) == merged(rows)
    order = list(range(len(rows)))
    shuffle.shuffle(order)
    turned = cluster_ids(gains_of([rows[i] for i in order]), {"clusters": "documents"})
    assert np.array_equal(turned, found[order])  # the same numbers: the same replicates


def test_files_of_strings_are_no_documents_and_ids_hold_within_a_dataset() -> None:
    rows = [("a", "x", "law"), ("b", "x", "law"), ("c", "x", "web"), ("a", None, None)]
    both = pa.concat_tables([gains_of(rows), gains_of(rows, "strings")])
    assert same(cluster_ids(both, {"strings": ["strings"]})) == {
        frozenset({0, 1, 2, 3}), frozenset({4, 7}), frozenset({5}), frozenset({6}),
    }  # fmt: skip
    by_group = cluster_ids(both, {"clusters": "groups"})
    assert len(same(by_group)) == 6
    assert same(cluster_ids(both, {"clusters": "domains"})) == {
        frozenset({0, 1, 4, 5}), frozenset({2, 6}), frozenset({3}), frozenset({7}),
    }  # fmt: skip


def test_domains_that_nobody_has_are_refused() -> None:
    with pytest.raises(UserError, match=r"bootstrap\.clusters"):
        cluster_ids(gains_of([("a", "x", None)]), {"clusters": "domains"})


def direction_of(name: str, ids: list[int]) -> DirectionData:
    n = len(ids)
    gain = np.zeros(n)
    keys = np.arange(n, dtype=np.uint64)
    return DirectionData(name, np.array(ids), keys, gain, gain, {"any": gain})


def test_counts_are_by_direction_and_of_the_union() -> None:
    pair = [direction_of("a-b", [0, 0, 1, 2]), direction_of("b-a", [2, 3])]
    assert clusters_of(pair).counts.tolist() == [3, 2, 4]


def test_effective_counts_are_the_requests_themselves_where_they_are_apart() -> None:
    pair = [direction_of("a-b", list(range(80))), direction_of("b-a", list(range(80, 160)))]
    assert effective_counts(pair, 0.3) == pytest.approx([24, 24, 48])
    together = [direction_of("a-b", [i // 4 for i in range(80)])] * 2
    # Clusters of 4 in a direction, of 8 in both.
    assert effective_counts(together, 0.3) == pytest.approx([6, 6, 6])


def test_too_few_clusters_are_a_remark() -> None:
    def table(clusters: list[int]) -> pa.Table:
        return pa.table({"clusters": clusters})

    (note,) = cluster_notes(table([900, 12, 40]))
    assert "12 clusters" in note
    assert cluster_notes(table([40, 900])) == [] == cluster_notes(pa.table({"rows": [1]}))
