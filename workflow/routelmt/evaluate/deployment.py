"""What a deployment is judged on: what it may be calibrated on, and the requests that come then."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from routelmt.errors import UserError
from routelmt.evaluate.given import Given
from routelmt.evaluate.requests import Evaluation, evaluated_requests
from routelmt.join import align
from routelmt.stats.arrays import AnyArray, FloatArray
from routelmt.stats.bootstrap import DirectionData
from routelmt.tables import JOIN_KEY

NO_DOMAIN = "(none)"


@dataclass(frozen=True, eq=False)
class Deployment:
    """Held-out data that thresholds may be taken from, and the test data that they meet.

    test, calibration: priorities; predicted, calibration_predicted: the same requests with the
    routers' predictions in the place of priorities. datasets, domains: of every test request, by
    direction in the order of test.directions. added_costs: see costs.added_costs, of the test
    requests; empty where no costs are known. Both sides have the same directions and routers.
    """

    test: Evaluation
    predicted: Evaluation
    calibration: Evaluation
    calibration_predicted: Evaluation
    datasets: tuple[AnyArray, ...]
    domains: tuple[AnyArray, ...]
    added_costs: Mapping[str, Mapping[str, FloatArray]] = field(default_factory=dict)

    def calibrated(self) -> list[tuple[DirectionData, DirectionData]]:
        """(calibration, test) of every direction."""
        held_out = {direction.name: direction for direction in self.calibration.directions}
        return [(held_out[direction.name], direction) for direction in self.test.directions]


def deployment(settings: Mapping[str, Any], given: Given) -> Deployment:
    """The deployment of a table's inputs (see registry). settings: see build_deployment_table."""
    found = read_deployment(
        given.read("predictions"),
        given.read("gains"),
        given.read("calibration_predictions"),
        given.read("calibration_gains"),
        given.read("segments", [*JOIN_KEY, "domain"]),
        settings.get("routers"),
        settings["bootstrap"],
    )
    check_drift(settings, found)
    return found


def check_drift(settings: Mapping[str, Any], deployment: Deployment) -> None:
    """Raise UserError if the sides of a drift are no test datasets."""
    datasets = {dataset for column in deployment.datasets for dataset in column.tolist()}
    for side, asked in settings.get("drift", {}).items():
        strangers = sorted(set(asked or ()) - datasets)
        if strangers:
            raise UserError(
                f"config key 'drift.{side}': {', '.join(strangers)} is not among the test "
                f"datasets: {', '.join(sorted(datasets))}."
            )


def read_deployment(
    predictions: pa.Table,
    gains: pa.Table,
    calibration_predictions: pa.Table,
    calibration_gains: pa.Table,
    segments: pa.Table,
    routers: Sequence[str] | None = None,
    bootstrap: Mapping[str, Any] | None = None,
) -> Deployment:
    """The deployment of these tables; segments: of the test sets, for their domains.

    bootstrap: see requests.cluster_ids.

    Raises UserError where predictions, gains or segments do not match, or where a direction has
    test data and no calibration data, or a router other seeds on either side.
    """
    test = evaluated_requests(predictions, gains, routers, bootstrap)
    calibration = evaluated_requests(
        calibration_predictions, calibration_gains, test.routers, bootstrap
    )
    missing = {d.name for d in test.directions} - {d.name for d in calibration.directions}
    if missing:
        raise UserError(
            f"calibration data: none for direction {', '.join(sorted(missing))}, which is tested; "
            "give the validation sets' predictions and gains of every direction."
        )
    for router, columns in test.columns.items():
        if columns != calibration.columns[router]:
            raise UserError(
                f"calibration data: router '{router}' has {_seeds(calibration.columns[router])} "
                f"there and {_seeds(columns)} on the test sets; predict with the same seeds."
            )
    placed = align(gains, segments, "gains", "segments")
    return Deployment(
        test,
        evaluated_requests(_by_prediction(predictions), gains, test.routers, bootstrap),
        calibration,
        evaluated_requests(_by_prediction(calibration_predictions), calibration_gains,
                           test.routers, bootstrap),
        _by_direction(placed.column("dataset"), gains, test),
        _by_direction(pc.fill_null(placed.column("domain"), NO_DOMAIN), gains, test),
    )  # fmt: skip


def _seeds(columns: Sequence[str]) -> str:
    return ", ".join(column.rsplit("/", 1)[1] for column in columns)


def _by_prediction(predictions: pa.Table) -> pa.Table:
    index = predictions.schema.get_field_index("priority")
    return predictions.set_column(index, "priority", predictions.column("prediction"))


def _by_direction(values: Any, gains: pa.Table, test: Evaluation) -> tuple[AnyArray, ...]:
    column: AnyArray = values.to_numpy()
    direction: AnyArray = gains.column("direction").to_numpy()
    return tuple(np.asarray(column[direction == d.name]) for d in test.directions)
