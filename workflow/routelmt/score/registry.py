"""The metric types. One new metric: a file and a line here."""

from __future__ import annotations

from typing import NamedTuple


class MetricType(NamedTuple):
    """A module with `score(triples, settings)`, or, if precomputed, `scores(hypotheses, ...)`."""

    module: str
    precomputed: bool = False


METRICS = {
    "chrf": MetricType("routelmt.score.chrf"),
    "xcomet": MetricType("routelmt.score.unavailable"),
    "precomputed": MetricType("routelmt.score.precomputed", precomputed=True),
}
