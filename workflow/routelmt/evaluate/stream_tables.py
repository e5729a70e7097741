"""Tables of routing one request at a time: what rate and quality come of a calibrated threshold.

Thresholds come from calibration data, decisions are made in the order of arrival by the code of
`streaming`. Intervals hold what the requests contribute: the decisions stay as they were made.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from routelmt import tables
from routelmt.evaluate import inference, streaming, weighted
from routelmt.evaluate.arrays import BoolArray, FloatArray, IntArray
from routelmt.evaluate.averages import RouterFigures, over_seeds, with_average
from routelmt.evaluate.bootstrap import (
    DirectionData,
    Kernel,
    bootstrap_estimates,
    bootstrap_pareto,
)
from routelmt.evaluate.deployment import Deployment, subset
from routelmt.evaluate.quality_tables import place_names, role_of
from routelmt.evaluate.roles import AVERAGE
from routelmt.progress import progress

# Rates at which the calibration of every router is looked at.
TARGETS = tuple(step / 20 for step in range(1, 20))
NOTHING_ROUTED = "no request was routed"
METRICS = ("rate", "mean_delta", "quality")
Row = dict[str, Any]


class Stream(NamedTuple):
    """One stream of requests in the order of arrival, and what was decided of them."""

    requests: DirectionData
    calibration: int  # how many values the threshold was taken from
    routed: BoolArray  # (requests, policies)
    rate: float


class StreamFigures(NamedTuple):
    """By direction (the average last) and policy: means over a router's seeds."""

    rate: RouterFigures
    mean_delta: RouterFigures
    quality: RouterFigures


def streaming_table(settings: dict[str, Any], deployment: Deployment) -> pa.Table:
    """Realised rate, MeanΔ and quality of every router, budget and policy, and its alarms.

    Requests arrive in a random order, the same for every router. offline_quality: that of the top
    share of the test set, which only who sees all requests at once can choose.
    """
    found: list[Row] = []
    for router in progress(deployment.test.routers, "streams", "router"):
        for budget in settings["budgets"]:
            streams = [
                [served(settings, held_out, test, column, budget, arrival(test, settings))
                 for column in deployment.test.columns[router]]
                for held_out, test in deployment.calibrated()
            ]  # fmt: skip
            columns = deployment.test.columns[router]
            offline = [offline_quality(own[0].requests, columns, budget) for own in streams]
            same = {"router": router, "budget": budget, "role": role_of(router, settings)}
            found += [
                same | row
                for row in policy_rows(settings, streams, place_names(deployment.test), offline)
            ]
    return tables.from_rows("streaming", found)


def calibration_table(settings: dict[str, Any], deployment: Deployment) -> pa.Table:
    """Realised rate of the fixed threshold at every TARGETS rate, by router and direction."""
    places, level = place_names(deployment.test), settings["bootstrap"]["level"]
    found: list[Row] = []
    for router in progress(deployment.test.routers, "calibration", "router"):
        columns = deployment.test.columns[router]
        streams = [
            [_at_targets(settings, held_out, test, column) for column in columns]
            for held_out, test in deployment.calibrated()
        ]
        rate = figures_of(settings, streams).rate
        low, high = inference.share_limits(rate.samples, level)
        for p, place in enumerate(places):
            for t, target in enumerate(TARGETS):
                cell = (p, t)
                found.append(
                    {"router": router, "direction": place, "role": role_of(router, settings),
                     "target": target, "rate": rate.value[cell], "low": low[cell],
                     "high": high[cell]}
                )  # fmt: skip
    return tables.from_rows("calibration", found)


def reliability(settings: dict[str, Any], deployment: Deployment) -> pa.Table:
    """Mean gain observed against mean gain predicted, in bins of equally many requests.

    Of settings' gain_routers only, whose prediction is in points of gain; by direction, and over
    all of them together. Equal predictions share a bin. The first seed's predictions.
    """
    found: list[Row] = []
    for router in settings["gain_routers"]:
        column = deployment.predicted.columns[router][0]
        for place, rows in _pooled(deployment.predicted.directions):
            predicted = np.concatenate([d.priorities[column] for d in rows])
            for row in _bins(settings, rows, predicted):
                found.append({"router": router, "direction": place} | row)
    return tables.from_rows("reliability", found)


def served(
    settings: dict[str, Any],
    held_out: DirectionData,
    test: DirectionData,
    column: str,
    rate: float,
    order: IntArray,
) -> Stream:
    """The requests of `test` in this order, decided by every policy calibrated on `held_out`.

    column: the router and seed, in the priorities of both.
    """
    own = stream_settings(settings, rate)
    ascending = streaming.ascending_values(held_out.priorities[column])
    values, draws = test.priorities[column][order], _draws(test, own.seed)[order]
    decisions = [
        streaming.run(streaming.make_policy(policy, ascending, own), values, draws)[0]
        for policy in streaming.POLICIES
    ]
    return Stream(subset(test, order), len(ascending), np.stack(decisions, axis=1), rate)


def stream_settings(settings: dict[str, Any], rate: float) -> streaming.Settings:
    """Those of the config's `stream`, at a rate."""
    return streaming.Settings(rate, **settings["stream"])


def arrival(test: DirectionData, settings: dict[str, Any]) -> IntArray:
    """Rows in a random order that depends on the requests and the seed alone."""
    seed = settings["stream"]["seed"]
    place = streaming.uniforms((f"arrival {key}" for key in test.tie_keys.tolist()), seed)
    order: IntArray = np.argsort(place, kind="stable").astype(np.int64)
    return order


def offline_quality(requests: DirectionData, columns: Sequence[str], rate: float) -> float:
    """Quality where the top floor(rate n) by priority are routed, all requests being known.

    columns: priorities of the seeds, of which it is the mean.
    """
    own = replace(requests, priorities={c: requests.priorities[c] for c in columns})
    quality: float = bootstrap_pareto([own], [rate], replicates=1).point.mean()
    return quality


def policy_rows(
    settings: dict[str, Any],
    streams: Sequence[Sequence[Stream]],
    places: Sequence[str],
    offline: Sequence[Any],
) -> Iterator[Row]:
    """Rows of one router and budget by place and policy; streams: by direction, then seed."""
    figures = figures_of(settings, streams)
    level = settings["bootstrap"]["level"]
    limits = {
        name: (inference.share_limits if name == "rate" else inference.percentile_limits)(
            found.samples, level
        )
        for name, found in figures._asdict().items()
    }
    requests = [len(own[0].requests.gain) for own in streams]
    alarms = [[_alarms(settings, own, p) for p in range(len(streaming.POLICIES))]
              for own in streams]  # fmt: skip
    for p, place in enumerate(places):
        here = range(len(streams)) if place == AVERAGE else [p]
        for q, policy in enumerate(streaming.POLICIES):
            row: Row = {"direction": place, "policy": policy}
            for name, found in figures._asdict().items():
                low, high = limits[name]
                row |= {name: found.value[p, q], f"{name}_low": low[p, q],
                        f"{name}_high": high[p, q]}  # fmt: skip
            row |= {
                "offline_quality": float(np.mean([offline[i] for i in here])),
                "requests": sum(requests[i] for i in here),
                "calibration": sum(streams[i][0].calibration for i in here),
                "rate_alarm": _earliest(alarms[i][q][0] for i in here),
                "traffic_alarm": _earliest(alarms[i][q][1] for i in here),
                "reason": NOTHING_ROUTED if np.isnan(row["mean_delta"]) else None,
            }
            yield row


def figures_of(settings: dict[str, Any], streams: Sequence[Sequence[Stream]]) -> StreamFigures:
    """Rate, MeanΔ and quality on the bootstrap replicates; streams: by direction, then seed."""
    bootstrap = settings["bootstrap"]
    requests = [own[0].requests for own in streams]
    routed = [np.stack([stream.routed for stream in own]) for own in streams]
    kernels = [_kernel(d, z) for d, z in zip(requests, routed, strict=True)]
    found = bootstrap_estimates(requests, kernels, bootstrap["replicates"], bootstrap["seed"])
    seeds = [str(seed) for seed in range(len(streams[0]))]
    # (directions + 1, 1 router, policies): the one router is dropped.
    means = (over_seeds(with_average(e), seeds, {"": seeds}) for e in found)
    return StreamFigures(*(RouterFigures(*(part[:, 0] for part in m)) for m in means))


def _kernel(requests: DirectionData, routed: BoolArray) -> Kernel:
    """Rate, MeanΔ and quality, each (seeds, policies, B), from weights (B, requests).

    routed: (seeds, requests, policies).
    """
    shape = (routed.shape[0], routed.shape[2])
    chosen = np.moveaxis(routed, 1, 0).reshape(routed.shape[1], -1).astype(np.float64)
    gained = chosen * requests.gain[:, np.newaxis]

    def kernel(weights: FloatArray) -> tuple[FloatArray, ...]:
        served = weights.sum(axis=1)
        count, sums = (weights @ chosen).T, (weights @ gained).T
        small = weighted.ratio(weights @ requests.quality_small, served)
        figures = (weighted.ratio(count, served), weighted.ratio(sums, count),
                   small + weighted.ratio(sums, served))  # fmt: skip
        return tuple(figure.reshape(*shape, -1) for figure in figures)

    return kernel


def _at_targets(
    settings: dict[str, Any], held_out: DirectionData, test: DirectionData, column: str
) -> Stream:
    """Decisions of the fixed threshold, a column for each of TARGETS."""
    ascending = streaming.ascending_values(held_out.priorities[column])
    draws = _draws(test, settings["stream"]["seed"])
    decisions = []
    for target in TARGETS:
        policy = streaming.make_policy("fixed", ascending, stream_settings(settings, target))
        decisions.append(streaming.run(policy, test.priorities[column], draws)[0])
    return Stream(test, len(ascending), np.stack(decisions, axis=1), float("nan"))


def _draws(test: DirectionData, seed: int) -> FloatArray:
    return streaming.uniforms((str(key) for key in test.tie_keys.tolist()), seed)


def _alarms(
    settings: dict[str, Any], streams: Sequence[Stream], policy: int
) -> tuple[int | None, int | None]:
    """When the realised rate and the fixed threshold's first left the band in any seed."""
    rate, traffic = [], []
    for stream in streams:
        band = streaming.Band(stream.rate, stream.calibration, settings["stream"]["false_alarms"])
        rate.append(band.first_left(stream.routed[:, policy]))
        traffic.append(band.first_left(stream.routed[:, streaming.POLICIES.index("fixed")]))
    return _earliest(rate), _earliest(traffic)


def _earliest(moments: Any) -> int | None:
    return min((moment for moment in moments if moment is not None), default=None)


def _pooled(directions: Sequence[DirectionData]) -> Iterator[tuple[str, list[DirectionData]]]:
    for direction in directions:
        yield direction.name, [direction]
    yield "all", list(directions)


def _bins(
    settings: dict[str, Any], rows: Sequence[DirectionData], predicted: FloatArray
) -> Iterator[Row]:
    edges = np.unique(np.quantile(predicted, np.linspace(0, 1, settings["bins"] + 1)[1:-1]))
    bins = np.searchsorted(edges, predicted, side="right")
    present, of_row = np.unique(bins, return_inverse=True)
    split = np.cumsum([len(d.gain) for d in rows])[:-1]
    found = _bin_means(settings, rows, np.split(of_row, split), len(present))
    low, high = inference.percentile_limits(found[1], settings["bootstrap"]["level"])
    for index in range(len(present)):
        mask = of_row == index
        yield {
            "bin": index,
            "predicted": float(predicted[mask].mean()),
            "observed": float(found[0][index]),
            "low": float(low[index]),
            "high": float(high[index]),
            "requests": int(mask.sum()),
        }


def _bin_means(
    settings: dict[str, Any], rows: Sequence[DirectionData], bins: Sequence[IntArray], count: int
) -> tuple[FloatArray, FloatArray]:
    """Mean gain of every bin over all the directions, (bins,), and on replicates, (bins, B)."""

    def sums(direction: DirectionData, of_row: IntArray) -> Kernel:
        inside = (of_row[:, np.newaxis] == np.arange(count)).astype(np.float64)
        gained = inside * direction.gain[:, np.newaxis]
        return lambda weights: ((weights @ inside).T, (weights @ gained).T)

    kernels = [sums(d, b) for d, b in zip(rows, bins, strict=True)]
    bootstrap = settings["bootstrap"]
    members, gained = bootstrap_estimates(rows, kernels, bootstrap["replicates"], bootstrap["seed"])
    return (
        weighted.ratio(gained.point.sum(axis=0), members.point.sum(axis=0)),
        weighted.ratio(gained.samples.sum(axis=0), members.samples.sum(axis=0)),
    )
