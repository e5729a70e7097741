"""The metric types. One new metric: a file and a line here."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from routelmt import plugins

LARGE_FILE = 1_000_000  # bytes; of a command's interpreter or weights its `version` speaks


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
    "metricx": MetricType("routelmt.score.metricx"),
    "command": MetricType("routelmt.score.command_metric"),
}
METRICS = plugins.Registry("metrics", _BUILT_IN)


def command_files(settings: Mapping[str, Any]) -> list[Path]:
    """Local files that the words of a metric's command name; nothing for another metric."""
    named = filter(os.path.isfile, dict.fromkeys(settings.get("command", [])))
    return [Path(file) for file in named if Path(file).stat().st_size <= LARGE_FILE]
