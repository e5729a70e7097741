"""The evaluation tables of an experiment, from what its routers said and what the gains were."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pyarrow as pa

from routelmt.errors import UserError
from routelmt.evaluate import policy_tables, quality_tables
from routelmt.evaluate.requests import Evaluation, evaluated_requests
from routelmt.evaluate.selection import budget_count

Builder = Callable[[dict[str, Any], Evaluation], pa.Table]

BUILDERS: dict[str, Builder] = {
    "routers": quality_tables.routers,
    "comparisons": quality_tables.comparisons,
    "pareto": quality_tables.pareto,
    "risk_buckets": policy_tables.risk_buckets,
    "guards": policy_tables.guards,
}


def build_table(
    name: str, settings: dict[str, Any], predictions: pa.Table, gains: pa.Table
) -> pa.Table:
    """One of BUILDERS' tables, in the schema of that name.

    predictions: every router, seed, test dataset and direction; gains: the same datasets and
    directions. settings: oracles and random (router names: those that need the reference, those
    that draw by chance), bootstrap {replicates, seed, level}, and where the table needs them
    budgets, risk_edges and guards {rank, signals, quantiles}.
    Raises UserError if predictions and gains do not match, or a budget chooses no request.
    """
    if name not in BUILDERS:
        raise ValueError(f"table {name!r} is unknown; known: {', '.join(BUILDERS)}")
    evaluation = evaluated_requests(predictions, gains)
    for budget in settings.get("budgets", ()):
        _check_budget(evaluation, budget)
    return BUILDERS[name](settings, evaluation)


def _check_budget(evaluation: Evaluation, budget: float) -> None:
    for direction in evaluation.directions:
        requests = len(direction.gain)
        if budget_count(budget, requests) == 0:
            raise UserError(
                f"config key 'budgets': {budget:g} of the {requests:,} requests of direction "
                f"{direction.name} is none; use at least {1 / requests:.3g} or more test data."
            )
