"""The smallest budget that is good enough: chosen on validation data, tried on test data.

Chosen going down from 1 in steps of 0.01 while the lower confidence bound of Q(p) - Q_L stays at or
above -x. Tests in a fixed order that ends at the first failure need no correction: with the stated
confidence over draws of the validation data, the true quality is within x (Bauer 1991; Angelopoulos
et al. 2021, "Learn then Test"). That holds for one router, direction and x that were chosen without
these data. `simultaneous` divides the error over all routers that can be deployed (Bonferroni), and
so holds for whichever of them is taken in the end, also the one that looks best here.

The bound is a percentile of the paired bootstrap, with one difference. What is lost at a budget may
hang on a few requests of large gain that the router does not send, and a bootstrap that redraws the
few that were seen believes in them: with large gains in 8 % of 300 requests it breaks a promise of
95 % in 13 %. What did not occur in n clusters may still occur in -log(error) / n of them (3 / n at
95 %); so the bound is lower by a third of that share of the largest gain of a cluster: at 95 % as
if one more such cluster had been seen that the router does not send. The third is ours, by
simulation (see the tests).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from routelmt import tables
from routelmt.evaluate.deployment import Deployment
from routelmt.evaluate.quality_tables import place_names, role_of
from routelmt.evaluate.requests import Evaluation, clusters_of
from routelmt.stats import inference
from routelmt.stats.arrays import AnyArray, FloatArray
from routelmt.stats.averages import over_seeds, with_average
from routelmt.stats.bootstrap import DirectionData, Estimates, bootstrap_pareto

# Budgets that the smallest one is looked for among, from all requests down to none.
STEPS = tuple(step / 100 for step in range(100, -1, -1))
# Of what may occur without having been seen, the part that a bound is lowered by.
UNSEEN = 1 / 3
Row = dict[str, Any]


def smallest_budget(settings: dict[str, Any], deployment: Deployment) -> pa.Table:
    """The smallest budget whose quality is within x points of all-large, and what came of it.

    The test columns are the outcome on data that had no part in the choice. chosen_on_validation:
    the same validation rows have also chosen the router's epoch, rate or strength, which flatters
    it there: the confidence is then a little less than stated.
    """
    rows: list[Row] = []
    names = [direction.name for direction in deployment.calibration.directions]
    order = [*(names.index(d.name) for d in deployment.test.directions), -1]  # average last
    held_out = below_large(settings, deployment.calibration)
    test = below_large(settings, deployment.test)
    clusters = clusters_of(deployment.calibration.directions)
    error = 1 - settings["confidence"]
    deployable = sum(r not in settings["oracles"] for r in deployment.test.routers)
    alone, together = (
        lower_bounds(deployment.calibration.directions, held_out.samples, allowed)
        for allowed in (error, error / max(1, deployable))
    )
    for r, router in enumerate(deployment.test.routers):
        for p, place in enumerate(place_names(deployment.test)):
            cell = (order[p], r)
            for within in settings["within"]:
                at = smallest_passing(alone[cell], within)
                rows.append({
                    "router": router, "direction": place, "role": role_of(router, settings),
                    "within": within, "confidence": settings["confidence"],
                    "budget": STEPS[at],
                    "calibration_difference": float(held_out.point[cell][at]),
                    "calibration_bound": float(alone[cell][at]),
                    **_outcome(settings, test.at((p, r)), at),
                    "held": bool(test.point[p, r, at] >= -within),
                    "simultaneous": STEPS[smallest_passing(together[cell], within)],
                    "chosen_on_validation": router in settings["chosen_on_validation"],
                    "clusters": clusters.counts[order[p]],
                })  # fmt: skip
    return tables.from_rows("smallest_budget", rows)


def smallest_passing(bound: FloatArray, within: float) -> int:
    """The last of STEPS before the first whose bound is below -within; bound: (steps,)."""
    failing = np.flatnonzero(bound < -within)
    return int(failing[0]) - 1 if failing.size else len(STEPS) - 1


def below_large(settings: dict[str, Any], evaluation: Evaluation) -> Estimates:
    """Q(p) - Q_L at STEPS, means over the seeds: (directions + 1, routers, steps)."""
    bootstrap, directions = settings["bootstrap"], evaluation.directions
    found = bootstrap_pareto(directions, STEPS, bootstrap["replicates"], bootstrap["seed"])
    columns = tuple(directions[0].priorities)
    below = found.each(np.subtract, found.at(np.s_[:, :, :1]))
    quality = over_seeds(with_average(below), columns, evaluation.columns)
    return Estimates(quality.value, quality.drawn(bootstrap["seed"]))


def lower_bounds(
    directions: Sequence[DirectionData], samples: FloatArray, error: float
) -> FloatArray:
    """Of below_large with these replicates, wrong in at most the share `error`, see above.

    Shape (directions + 1, routers, steps). Where everything is sent there is nothing to lose.
    """
    bound: FloatArray = np.quantile(samples, error, axis=-1)
    shares = [direction.gain / len(direction.gain) for direction in directions]
    clusters = [direction.group_ids for direction in directions]
    places = [*zip(clusters, shares, strict=True)]
    places.append((np.concatenate(clusters), np.concatenate(shares) / len(directions)))
    largest = np.array([_largest(*place) for place in places])
    lost = largest * -np.log(error) * UNSEEN
    bound -= lost[:, np.newaxis, np.newaxis] * (np.array(STEPS) < 1)
    return bound


def _largest(clusters: AnyArray, gain: FloatArray) -> float:
    """The largest sum of gains of a cluster, at least 0."""
    of_row = np.unique(clusters, return_inverse=True)[1]
    return max(0.0, float(np.bincount(of_row, gain).max()))


def _outcome(settings: dict[str, Any], test: Estimates, at: int) -> Row:
    """The difference to all-large on the test sets at a step; test: (steps,)."""
    low, high = inference.percentile_limits(test.samples[at], settings["bootstrap"]["level"])
    return {"test_difference": float(test.point[at]), "low": float(low), "high": float(high)}
