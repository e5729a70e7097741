"""The metric types. One new metric: a file and a line here."""

from __future__ import annotations

from typing import NamedTuple

from routelmt import plugins


class MetricType(NamedTuple):
    """A module with `open_scorer(settings, speed)`, or, if precomputed, `scores(hypotheses, ...)`.

    composite: made of other metrics' scores by `mean-scores`, instead of `score`.
    environment: what it runs in, see routelmt.environments; the core one if empty.
    """

    module: str
    precomputed: bool = False
    environment: str = ""
    composite: bool = False


_BUILT_IN: dict[str, MetricType] = {
    "chrf": MetricType("routelmt.score.sacrebleu_metrics"),
    "bleu": MetricType("routelmt.score.sacrebleu_metrics"),
    "ter": MetricType("routelmt.score.sacrebleu_metrics"),
    "comet": MetricType("routelmt.score.comet_metric", environment="comet"),
    "precomputed": MetricType("routelmt.score.precomputed", precomputed=True),
    "published": MetricType("routelmt.score.precomputed", precomputed=True),
    "mean": MetricType("routelmt.score.mean_metric", composite=True),
}
METRICS = plugins.Registry("metrics", _BUILT_IN)
