"""Tables from tables in memory, as the command `table` makes them of files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from routelmt.evaluate.deployment import Deployment, check_drift
from routelmt.evaluate.registry import EVALUATION, TABLES, builder
from routelmt.evaluate.requests import evaluation_of

# The tables that build_table makes, and those that build_deployment_table makes.
EVALUATIONS = tuple(n for n, k in TABLES.items() if k.subject == EVALUATION)
DEPLOYMENTS = tuple(n for n, k in TABLES.items() if "calibration_gains" in k.reads)


def build_table(
    name: str,
    settings: dict[str, Any],
    predictions: pa.Table,
    gains: pa.Table,
    segments: pa.Table | None = None,
    other_gains: Mapping[str, pa.Table] | None = None,
) -> pa.Table:
    """A table of what routers come to on the test sets, in the schema of that name.

    predictions: every router, seed, test dataset and direction; gains: the same datasets and
    directions. segments: of the test sets, for `breakdown`, `domains` and `transfer`; other_gains:
    of the same requests by other metrics, by name, for `noise` and `cross_metric`. settings: as
    `requests.evaluation_of` and the table's builder have them; oracles and random are the routers
    that need the reference and those that draw by chance.
    Raises UserError if predictions and gains do not match, or a budget chooses no request.
    """
    _check(name, EVALUATIONS)
    evaluation = evaluation_of(settings, predictions, gains, segments, other_gains)
    table: pa.Table = builder(name)(settings, evaluation)
    return table


def build_deployment_table(name: str, settings: dict[str, Any], deployment: Deployment) -> pa.Table:
    """A table of what calibrated thresholds, budgets and drift come to, in the schema of that name.

    settings: budgets, bootstrap {replicates, seed, level}, oracles and random as for the other
    tables; gain_routers (those whose prediction is a gain in points); stream {seed, window,
    correction, false_alarms}, see `streaming.Settings`; drift {from, to}: names of test datasets,
    or null; within (points), confidence, and chosen_on_validation (routers of which validation rows
    have chosen something), of the smallest budget; bins, of the reliability.
    Raises UserError for names that are not there.
    """
    _check(name, DEPLOYMENTS)
    check_drift(settings, deployment)
    table: pa.Table = builder(name)(settings, deployment)
    return table


def _check(name: str, known: Sequence[str]) -> None:
    if name not in known:
        raise ValueError(f"table {name!r} is unknown; known: {', '.join(known)}")
