"""The tables of quality won: routers (RouteLMT Table 2), their comparisons, and Pareto curves.

A router that draws by chance is shown by its exact expectation over all draws (METHODS: HitRate
K/n where gains are distinct and more where they tie, MeanΔ the mean gain, Spearman 0), not by the
draws that happened: one draw is only noise.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import combinations, product
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from routelmt import tables
from routelmt.evaluate.label_noise import attainable_share
from routelmt.evaluate.requests import Evaluation, clusters_of
from routelmt.progress import progress
from routelmt.roles import AVERAGE, ORACLE, RANDOM, ROUTER
from routelmt.stats import inference
from routelmt.stats.arrays import FloatArray
from routelmt.stats.averages import RouterFigures, over_seeds, with_average
from routelmt.stats.bootstrap import (
    BootstrapTable,
    Estimates,
    bootstrap_pareto,
    bootstrap_table,
)
from routelmt.stats.measures import headroom, measures, percent
from routelmt.stats.metrics import (
    ANYWHERE,
    NO_REQUEST,
    RANGES,
    UNDEFINED,
    undefined_reason,
)

CALL_RATES = tuple(step / 100 for step in range(101))
# The tables' role, and the setting that lists its routers.
_ROLES = {ORACLE: "oracles", RANDOM: "random"}


class _Metrics(NamedTuple):
    spearman: RouterFigures  # (directions + 1, routers, budgets), as all
    hit_rate: RouterFigures  # 0-100
    mean_delta: RouterFigures  # points
    headroom: RouterFigures  # 0-1
    headroom_attainable: RouterFigures | None = None  # above 1 where a router knows the noise too


def routers(settings: dict[str, Any], evaluation: Evaluation) -> pa.Table:
    """Spearman, HitRate, MeanΔ and headroom of every router, direction and budget.

    Headroom on the average is that of the averaged MeanΔ: it can be read off the same row. Where
    other gains tell how noisy the label is (judge_metrics, raters), headroom_attainable is the same
    against what a perfect predictor of the true gain would reach, see `label_noise`.
    """
    metrics = _metrics(settings, evaluation, attainable_share(settings, evaluation))
    spearman_reasons = _spearman_reasons(settings, evaluation)
    clusters = clusters_of(evaluation.directions)
    places, budgets = place_names(evaluation), settings["budgets"]
    shape = (len(places), len(evaluation.routers), len(budgets))
    place, router, budget = (axis.ravel() for axis in np.indices(shape))
    names, requests = evaluation.routers, _requests(evaluation)
    parts = []
    for metric, figures in metrics._asdict().items():
        if figures is None:
            continue
        reference = figures.reference(clusters)
        within = RANGES.get(metric, ANYWHERE)
        low, high = reference.limits(figures.value, settings["bootstrap"]["level"], within)
        known = [
            _reason(metric, spearman_reasons[places[p]][names[r]]) if nothing else None
            for p, r, nothing in zip(place, router, np.isnan(figures.value.ravel()), strict=True)
        ]
        columns = {
            "router": [names[r] for r in router],
            "direction": [places[p] for p in place],
            "budget": np.array(budgets)[budget],
            "role": [role_of(names[r], settings) for r in router],
            "metric": metric,
            "value": figures.value.ravel(),
            "low": low.ravel(),
            "high": high.ravel(),
            "seeds": np.array([_seeds(name, settings, evaluation) for name in names])[router],
            "seed_spread": figures.spread.ravel(),
            "requests": np.array(requests)[place],
            "reason": inference.reasons(
                known, reference.undefined, UNDEFINED.get(metric, NO_REQUEST)
            ),
            "clusters": clusters.counts[place],
            "undefined": reference.undefined.ravel(),
        }
        parts.append(tables.from_columns("routers", columns))
    return pa.concat_tables(parts)


def comparisons(settings: dict[str, Any], evaluation: Evaluation) -> pa.Table:
    """Paired differences of Spearman, HitRate and MeanΔ between all deployable routers.

    Holm's correction is over the router pairs of one metric, direction and budget: each such
    family answers one question, which router is better there. detectable: by the test that comes
    first in it, at alpha / pairs.
    """
    deployable = [i for i, r in enumerate(evaluation.routers) if r not in settings["oracles"]]
    pairs = list(combinations(deployable, 2))
    return differences(settings, evaluation, [pairs], ("spearman", "hit_rate", "mean_delta"))


def differences(
    settings: dict[str, Any],
    evaluation: Evaluation,
    families: Sequence[Sequence[tuple[int, int]]],
    compared: Sequence[str],
) -> pa.Table:
    """Rows of `comparisons`: these metrics of these pairs of evaluation.routers, by position.

    Holm's correction is over the pairs of a family at one metric, direction and budget.
    """
    asked = [pairs for pairs in families if pairs]
    if not asked:
        return tables.arrow_schema("comparisons").empty_table()
    metrics, parts = _metrics(settings, evaluation), []
    names, budgets = evaluation.routers, settings["budgets"]
    clusters, level = clusters_of(evaluation.directions), settings["bootstrap"]["level"]
    for metric, (p, place) in product(compared, enumerate(place_names(evaluation))):
        figures, why = getattr(metrics, metric), UNDEFINED.get(metric, NO_REQUEST)
        for (b, budget), pairs in product(enumerate(budgets), asked):
            first, second = np.array(pairs).T
            own = figures.at((slice(p, p + 1), slice(None), b))
            differences, reference = own.differences(first, second, clusters[[p]])
            columns = {
                "router": [names[i] for i in first],
                "other": [names[j] for j in second],
                "direction": place,
                "budget": budget,
                "metric": metric,
                **_family(differences, reference, level, why),
                "clusters": clusters.counts[p],
            }
            parts.append(tables.from_columns("comparisons", columns))
    return pa.concat_tables(parts)


def pareto(settings: dict[str, Any], evaluation: Evaluation) -> pa.Table:
    """Quality of the mixed system at CALL_RATES, each exact at K = floor(rate * n)."""
    places, level = place_names(evaluation), settings["bootstrap"]["level"]
    clusters = clusters_of(evaluation.directions)
    parts = []
    for router in progress(evaluation.routers, "Pareto curves", "router"):
        figures = _curves(settings, evaluation, router)
        reference = figures.reference(clusters)
        low, high = reference.limits(figures.value, level)
        undefined = reference.undefined.ravel()
        # The last call rate is the large model alone, whatever the seed; differences are paired.
        beyond = figures._replace(
            value=figures.value - figures.value[..., -1:],
            samples=figures.samples - figures.samples[..., -1:, :],
        )
        to_low, to_high = beyond.reference(clusters).limits(beyond.value, level)
        columns = {
            "router": router,
            "direction": np.repeat(places, len(CALL_RATES)).tolist(),
            "role": role_of(router, settings),
            "call_rate": np.tile(CALL_RATES, len(places)),
            "quality": figures.value.ravel(),
            "low": low.ravel(),
            "high": high.ravel(),
            "to_large": beyond.value.ravel(),
            "to_large_low": to_low.ravel(),
            "to_large_high": to_high.ravel(),
            "clusters": np.repeat(clusters.counts, len(CALL_RATES)),
            "undefined": undefined,
            "reason": inference.reasons([None] * undefined.size, undefined, NO_REQUEST),
        }
        parts.append(tables.from_columns("pareto", columns))
    return pa.concat_tables(parts)


def place_names(evaluation: Evaluation) -> list[str]:
    """The directions, and the average over them last."""
    return [*(d.name for d in evaluation.directions), AVERAGE]


def role_of(router: str, settings: dict[str, Any]) -> str:
    """oracle, random or router: see the tables' role column."""
    return next((r for r, key in _ROLES.items() if router in settings[key]), ROUTER)


def _metrics(
    settings: dict[str, Any], evaluation: Evaluation, attainable: Estimates | None = None
) -> _Metrics:
    """All metrics by direction, router and budget, means over the seeds.

    attainable: of the raw headroom, the share that is no noise, by direction.
    """
    bootstrap = settings["bootstrap"]
    table = bootstrap_table(
        evaluation.directions, settings["budgets"], bootstrap["replicates"], bootstrap["seed"]
    )
    found, random = measures(table, with_average), with_average(table.random_mean_delta)
    if attainable:
        reached = with_average(_attainable_oracle(table, attainable))
        found["headroom_attainable"] = headroom(found["mean_delta"], random, reached)
    metrics = _Metrics(
        **{name: over_seeds(e, table.routers, evaluation.columns) for name, e in found.items()}
    )
    random = random.at(np.s_[:, None])  # the same at every budget
    expected = percent(with_average(table.random_hit_rate))
    for index, router in enumerate(evaluation.routers):
        if router in settings["random"]:
            _expect_random(metrics, index, random, expected)
    return metrics


def _attainable_oracle(table: BootstrapTable, share: Estimates) -> Estimates:
    """MeanΔ of a perfect predictor of the true gain, (directions, budgets)."""
    random, share = (e.at(np.s_[:, None]) for e in (table.random_mean_delta, share))
    return random.each(
        lambda chance, part, best: chance + part * (best - chance), share, table.oracle_mean_delta
    )


def _expect_random(metrics: _Metrics, router: int, delta: Estimates, hits: Estimates) -> None:
    metrics.mean_delta.set_expectation(router, delta.point, delta.samples)
    metrics.hit_rate.set_expectation(router, hits.point, hits.samples)
    for figures in filter(None, (metrics.spearman, *metrics[3:])):
        # 0 where the draws have a value; constant gains leave theirs undefined, and this too.
        value, samples = 0 * figures.value[:, router], 0 * figures.samples[:, router]
        figures.set_expectation(router, value, samples)


def _spearman_reasons(
    settings: dict[str, Any], evaluation: Evaluation
) -> dict[str, dict[str, str | None]]:
    """By place and router, why the Spearman correlation is undefined, if it is."""
    reasons: dict[str, dict[str, str | None]] = {AVERAGE: dict.fromkeys(evaluation.routers)}
    for direction in evaluation.directions:
        here = reasons[direction.name] = {}
        for router, columns in evaluation.columns.items():
            found = (undefined_reason(direction.priorities[c], direction.gain) for c in columns)
            here[router] = next((reason for reason in found if reason), None)
            if here[router] and not reasons[AVERAGE][router]:
                reasons[AVERAGE][router] = f"{direction.name}: {here[router]}"
    return reasons


def _reason(metric: str, spearman: str | None) -> str:
    if metric in UNDEFINED and metric != "spearman":
        return UNDEFINED[metric]
    return spearman or "undefined in a direction"


def _seeds(router: str, settings: dict[str, Any], evaluation: Evaluation) -> int:
    return 0 if router in settings["random"] else len(evaluation.columns[router])


def _requests(evaluation: Evaluation) -> list[int]:
    sizes = [len(direction.gain) for direction in evaluation.directions]
    return [*sizes, sum(sizes)]


def _family(
    differences: FloatArray, reference: inference.Reference, level: float, why: str
) -> dict[str, Any]:
    """The columns of all pairs of routers at one place and budget, each (1, pairs).

    why: what leaves a replicate of the metric undefined.
    """
    low, high = reference.limits(differences, level)
    p_values = reference.p_values(differences)[0]
    undefined = reference.undefined[0]
    return {
        "difference": differences[0],
        "low": low[0],
        "high": high[0],
        "p_value": p_values,
        "p_holm": _holm(p_values),
        "detectable": reference.detectable((1 - level) / differences.size)[0],
        "undefined": undefined,
        "reason": inference.reasons([None] * undefined.size, undefined, why),
    }


def _holm(p_values: FloatArray) -> FloatArray:
    # An undefined pair stays one of those that were looked at: it counts as p = 1.
    corrected = inference.holm(np.where(np.isnan(p_values), 1.0, p_values))
    return np.where(np.isnan(p_values), np.nan, corrected)


def _curves(settings: dict[str, Any], evaluation: Evaluation, router: str) -> RouterFigures:
    """(directions + 1, 1, call rates): one router at a time, since all samples stay in memory."""
    columns = evaluation.columns[router]
    own = [
        replace(d, priorities={c: d.priorities[c] for c in columns}) for d in evaluation.directions
    ]
    bootstrap = settings["bootstrap"]
    quality = bootstrap_pareto(own, CALL_RATES, bootstrap["replicates"], bootstrap["seed"])
    figures = over_seeds(with_average(quality), columns, {router: columns})
    if router in settings["random"]:
        rates = np.array(CALL_RATES)
        value, samples = figures.value[:, 0], figures.samples[:, 0]
        figures.set_expectation(
            0,
            _straight(value, rates),
            np.swapaxes(_straight(np.swapaxes(samples, 1, 2), rates), 1, 2),
        )
    return figures


def _straight(curve: FloatArray, rates: FloatArray) -> FloatArray:
    """The line between the ends of curves, (..., rates): what routing at random expects."""
    line: FloatArray = curve[..., :1] + rates * (curve[..., -1:] - curve[..., :1])
    return line
