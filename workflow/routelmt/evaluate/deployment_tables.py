"""The tables of a deployment: what calibrated thresholds, budgets and drift come to."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pyarrow as pa

from routelmt.errors import UserError
from routelmt.evaluate import budgets, drift, smallest_budget, stream_tables
from routelmt.evaluate.deployment import Deployment

BUILDERS: dict[str, Callable[[dict[str, Any], Deployment], pa.Table]] = {
    "streaming": stream_tables.streaming_table,
    "calibration": stream_tables.calibration_table,
    "reliability": stream_tables.reliability,
    "drift": drift.drift,
    "drift_paths": drift.drift_paths,
    "budgets": budgets.budgets,
    "smallest_budget": smallest_budget.smallest_budget,
}


def build_deployment_table(name: str, settings: dict[str, Any], deployment: Deployment) -> pa.Table:
    """One of BUILDERS' tables, in the schema of that name.

    settings: budgets, bootstrap {replicates, seed, level}, oracles and random as for the other
    tables; gain_routers (those whose prediction is a gain in points); stream {seed, window,
    correction, false_alarms}, see `streaming.Settings`; drift {from, to}: names of test datasets,
    or null; within (points), confidence, and chosen_on_validation (routers of which validation rows
    have chosen something), of the smallest budget; bins, of the reliability.
    Raises UserError for names that are not there.
    """
    if name not in BUILDERS:
        raise ValueError(f"table {name!r} is unknown; known: {', '.join(BUILDERS)}")
    datasets = {dataset for column in deployment.datasets for dataset in column.tolist()}
    for side, asked in settings.get("drift", {}).items():
        strangers = sorted(set(asked or ()) - datasets)
        if strangers:
            raise UserError(
                f"config key 'drift.{side}': {', '.join(strangers)} is not among the test "
                f"datasets: {', '.join(sorted(datasets))}."
            )
    return BUILDERS[name](settings, deployment)
