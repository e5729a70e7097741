"""The evaluation tables of an experiment, from what its routers said and what the gains were."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import pyarrow as pa

from routelmt.errors import UserError
from routelmt.evaluate import policy_tables, quality_tables
from routelmt.evaluate.breakdown import breakdown
from routelmt.evaluate.cross_metric import cross_metric
from routelmt.evaluate.domains import domains
from routelmt.evaluate.noise import noise
from routelmt.evaluate.requests import Evaluation, evaluated_requests
from routelmt.evaluate.router_metrics import router_metrics
from routelmt.evaluate.selection import budget_count
from routelmt.evaluate.transfer import transfer, transfer_comparisons

Builder = Callable[[dict[str, Any], Evaluation], pa.Table]

BUILDERS: dict[str, Builder] = {
    "routers": quality_tables.routers,
    "comparisons": quality_tables.comparisons,
    "pareto": quality_tables.pareto,
    "risk_buckets": policy_tables.risk_buckets,
    "guards": policy_tables.guards,
    "router_metrics": router_metrics,
    "breakdown": breakdown,
    "noise": noise,
    "cross_metric": cross_metric,
    "domains": domains,
    "transfer": transfer,
    "transfer_comparisons": transfer_comparisons,
}


def build_table(
    name: str,
    settings: dict[str, Any],
    predictions: pa.Table,
    gains: pa.Table,
    segments: pa.Table | None = None,
    other_gains: Mapping[str, pa.Table] | None = None,
) -> pa.Table:
    """One of BUILDERS' tables, in the schema of that name.

    predictions: every router, seed, test dataset and direction; gains: the same datasets and
    directions. segments: of the test sets, for `breakdown`, `domains` and
    `transfer`; other_gains: of the same requests by other metrics, by name, for `noise` and
    `cross_metric`. settings: routers (those of
    the table, in its order; by default all), oracles and random (router names: those that need the
    reference, those that draw by chance), bootstrap {replicates, seed, level, clusters, strings},
    and where the table needs them budgets, risk_edges, guards {rank, signals, quantiles}, metric
    (name of the gains' own), raters, domains and minimum_requests.
    Raises UserError if predictions and gains do not match, or a budget chooses no request.
    """
    if name not in BUILDERS:
        raise ValueError(f"table {name!r} is unknown; known: {', '.join(BUILDERS)}")
    evaluation = replace(
        evaluated_requests(predictions, gains, settings.get("routers"), settings["bootstrap"]),
        segments=segments,
        other_gains=other_gains or {},
    )
    for budget in settings.get("budgets", ()):
        _check_budget(evaluation, budget)
    return BUILDERS[name](settings, evaluation)


def gains_by_metric(names: Sequence[str], files: Sequence[pa.Table]) -> dict[str, pa.Table]:
    """Other gains by metric, from as many tables for each, the first metric's first.

    Raises UserError if the tables cannot be shared out evenly.
    """
    each, left = divmod(len(files), len(names)) if names else (0, len(files))
    if left or (names and not each):
        raise UserError(
            f"--other-gains: found {len(files)} files for metrics {', '.join(names) or 'none'}; "
            "give one of every test dataset and direction for each metric, metric by metric."
        )
    return {
        name: pa.concat_tables(files[each * index : each * (index + 1)])
        for index, name in enumerate(names)
    }


def _check_budget(evaluation: Evaluation, budget: float) -> None:
    for direction in evaluation.directions:
        requests = len(direction.gain)
        if budget_count(budget, requests) == 0:
            raise UserError(
                f"config key 'budgets': {budget:g} of the {requests:,} requests of direction "
                f"{direction.name} is none; use at least {1 / requests:.3g} or more test data."
            )
