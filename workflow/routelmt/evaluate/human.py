"""Table `human`: whether the order of two routers by a metric holds for people, or cannot be told.

Both are judged on the same requests, those that people have scored. People's points and a metric's
are of different size, so what people would see if they agreed is the metric's difference in
deviations of the gain: expected = difference by the metric x deviation of their gains / of its. The
power is that of people's two-sided test to find it, by the noncentral t; where it is low, a
difference that people do not show says nothing.
"""

from __future__ import annotations

from itertools import combinations, product
from typing import Any

import numpy as np
import pyarrow as pa

from routelmt import tables
from routelmt.errors import UserError
from routelmt.evaluate import inference
from routelmt.evaluate.arrays import FloatArray
from routelmt.evaluate.averages import over_seeds, with_average
from routelmt.evaluate.bootstrap import bootstrap_table
from routelmt.evaluate.cross_metric import judged_by
from routelmt.evaluate.quality_tables import holm_of, place_names
from routelmt.evaluate.requests import Evaluation, clusters_of
from routelmt.evaluate.router_metrics import with_expected_chance

HOLDS, REVERSED, NOT_CONFIRMED = "holds", "reversed", "not confirmed"
CANNOT_TELL = "too few segments to tell"
ENOUGH_POWER = 0.8


def human(settings: dict[str, Any], evaluation: Evaluation) -> pa.Table:
    """Differences in MeanΔ of all pairs of deployable routers, by the metric and by people.

    settings: metric, its name; human, names of other gains that are by people. Holm's correction is
    over the pairs of one judge, direction and budget. Raises UserError for gains not given.
    """
    if missing := [name for name in settings["human"] if name not in evaluation.other_gains]:
        raise UserError(f"table human: no gains by {', '.join(missing)}; give --other-gains.")
    evaluation = with_expected_chance(evaluation, settings)
    own, parts = _differences(settings, evaluation), []
    for judge in settings["human"]:
        people = judged_by(evaluation, judge)
        parts += _rows(settings, judge, own, _differences(settings, people))
    return pa.concat_tables(parts) if parts else tables.arrow_schema("human").empty_table()
