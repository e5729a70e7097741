"""Tables of routing one request at a time: what rate and quality come of a calibrated threshold.

Thresholds come from calibration data, decisions are made in the order of arrival by the code of
`streaming`. Intervals hold what the requests contribute: the decisions stay as they were made.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import product
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from routelmt import tables
from routelmt.evaluate import inference, streaming, weighted
from routelmt.evaluate.arrays import AnyArray, BoolArray, FloatArray, IntArray
from routelmt.evaluate.averages import RouterFigures, over_seeds, with_average
from routelmt.evaluate.bootstrap import (
    DirectionData,
    Kernel,
    bootstrap_estimates,
)
from routelmt.evaluate.deployment import Deployment, subset
from routelmt.evaluate.quality_tables import place_names, role_of
from routelmt.evaluate.requests import Evaluation
from routelmt.evaluate.roles import AVERAGE
from routelmt.evaluate.selection import budget_count
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


# Of one router: by direction, then seed.
Streams = Sequence[Sequence[Stream]]


class StreamFigures(NamedTuple):
    """By direction (the average last), router and policy: means over a router's seeds."""

    rate: RouterFigures
    mean_delta: RouterFigures
    quality: RouterFigures


def streaming_table(settings: dict[str, Any], deployment: Deployment) -> pa.Table:
    """Realised rate, MeanΔ and quality of every router, budget and policy, and its alarms.

    Requests arrive in a random order, the same for every router. offline_quality: that of the top
    share of the test set, which only who sees all requests at once can choose.
    """
    tests = [arriving(d, settings["stream"]["seed"]) for d in deployment.test.directions]
    held_out = [calibrating for calibrating, _ in deployment.calibrated()]
    rows: dict[tuple[str, float], list[Row]] = {}
    for budget in settings["budgets"]:
        streams = {
            router: all_served(settings, held_out, tests, columns, budget)
            for router, columns in progress(
                list(deployment.test.columns.items()), "streams", "router"
            )
        }
        for router, own in policy_rows(settings, streams, deployment.test, budget).items():
            same = {"router": router, "budget": budget, "role": role_of(router, settings)}
            rows[router, budget] = [same | row for row in own]
    order = product(deployment.test.routers, settings["budgets"])
    return tables.from_rows("streaming", [row for key in order for row in rows[key]])


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
        rate = figures_of(settings, {router: streams}).rate
        low, high = inference.share_limits(rate.samples, level)
        for p, place in enumerate(places):
            for t, target in enumerate(TARGETS):
                cell = (p, 0, t)
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


def all_served(
    settings: dict[str, Any],
    held_out: Sequence[DirectionData],
    tests: Sequence[DirectionData],
    columns: Sequence[str],
    rate: float,
) -> Streams:
    """The requests of every direction as they come, decided by every policy; see Streams.

    held_out: what calibrates each direction; tests: in the order of arrival; columns: the seeds of
    a router, in the priorities of both.
    """
    return [
        [_served(settings, calibrating, test, column, rate) for column in columns]
        for calibrating, test in zip(held_out, tests, strict=True)
    ]


def _served(
    settings: dict[str, Any], held_out: DirectionData, test: DirectionData, column: str, rate: float
) -> Stream:
    own = stream_settings(settings, rate)
    ascending = streaming.ascending_values(held_out.priorities[column])
    values, draws = test.priorities[column], _draws(test, own.seed)
    decisions = [
        streaming.run(streaming.make_policy(policy, ascending, own), values, draws)[0]
        for policy in streaming.POLICIES
    ]
    return Stream(test, len(ascending), np.stack(decisions, axis=1), rate)


def stream_settings(settings: dict[str, Any], rate: float) -> streaming.Settings:
    """Those of the config's `stream`, at a rate."""
    return streaming.Settings(rate, **settings["stream"])


def arriving(test: DirectionData, seed: int) -> DirectionData:
    """The requests in a random order that depends on the requests and the seed alone."""
    place = streaming.uniforms((f"arrival {key}" for key in test.tie_keys.tolist()), seed)
    return subset(test, np.argsort(place, kind="stable").astype(np.int64))


def offline_quality(requests: DirectionData, columns: Sequence[str], rate: float) -> float:
    """Quality where the top floor(rate n) by priority are routed, all requests being known.

    columns: priorities of the seeds, of which it is the mean.
    """
    k = budget_count(rate, len(requests.gain))
    won = [_first_gain(requests.priorities[c], requests.gain, k) for c in columns]
    return float(requests.quality_small.mean() + np.mean(won) / len(requests.gain))


def _first_gain(priority: FloatArray, gain: FloatArray, k: int) -> float:
    """Gain of the k requests of highest priority, of those at the boundary the expectation."""
    if k == 0:
        return 0.0
    last = np.partition(priority, -k)[-k]
    above, at = priority > last, priority == last
    return float(gain[above].sum() + gain[at].mean() * (k - above.sum()))


def policy_rows(
    settings: dict[str, Any], streams: Mapping[str, Streams], test: Evaluation, rate: float
) -> dict[str, list[Row]]:
    """By router, its rows by place and policy; streams: of every router, at one rate."""
    figures = figures_of(settings, streams)._asdict()
    level = settings["bootstrap"]["level"]
    limits = {
        name: (inference.share_limits if name == "rate" else inference.percentile_limits)(
            found.samples, level
        )
        for name, found in figures.items()
    }
    rows: dict[str, list[Row]] = {}
    for r, (router, own) in enumerate(streams.items()):
        rows[router] = list(_outcomes(settings, own, test, test.columns[router], rate))
        for row, cell in zip(rows[router], _cells(own, r), strict=True):
            for name, found in figures.items():
                low, high = limits[name]
                row |= {name: found.value[cell], f"{name}_low": low[cell],
                        f"{name}_high": high[cell]}  # fmt: skip
            row["reason"] = NOTHING_ROUTED if np.isnan(row["mean_delta"]) else None
    return rows


def _cells(streams: Streams, router: int) -> Iterator[tuple[int, int, int]]:
    """(place, router, policy) of a router's rows."""
    return product(range(len(streams) + 1), [router], range(len(streaming.POLICIES)))


def _outcomes(
    settings: dict[str, Any],
    streams: Streams,
    test: Evaluation,
    columns: Sequence[str],
    rate: float,
) -> Iterator[Row]:
    """What needs no replicates, of each place and policy of one router."""
    offline = [offline_quality(own[0].requests, columns, rate) for own in streams]
    alarms = [[_alarms(settings, own, p) for p in range(len(streaming.POLICIES))]
              for own in streams]  # fmt: skip
    for p, place in enumerate(place_names(test)):
        here = range(len(streams)) if place == AVERAGE else [p]
        for q, policy in enumerate(streaming.POLICIES):
            yield {
                "direction": place,
                "policy": policy,
                "offline_quality": float(np.mean([offline[i] for i in here])),
                "requests": sum(len(streams[i][0].requests.gain) for i in here),
                "calibration": sum(streams[i][0].calibration for i in here),
                "rate_alarm": _earliest(alarms[i][q][0] for i in here),
                "traffic_alarm": _earliest(alarms[i][q][1] for i in here),
            }


def figures_of(settings: dict[str, Any], streams: Mapping[str, Streams]) -> StreamFigures:
    """Rate, MeanΔ and quality of every router's streams of the same requests, with replicates."""
    bootstrap, first = settings["bootstrap"], next(iter(streams.values()))
    requests = [own[0].requests for own in first]
    routed = [
        np.stack([stream.routed for router in streams.values() for stream in router[d]])
        for d in range(len(requests))
    ]
    kernels = [_kernel(d, z) for d, z in zip(requests, routed, strict=True)]
    found = bootstrap_estimates(requests, kernels, bootstrap["replicates"], bootstrap["seed"])
    columns = {
        router: [f"{router}/seed{seed}" for seed in range(len(own[0]))]
        for router, own in streams.items()
    }
    names = [name for seeds in columns.values() for name in seeds]
    return StreamFigures(*(over_seeds(with_average(e), names, columns) for e in found))


def _kernel(requests: DirectionData, routed: BoolArray) -> Kernel:
    """Rate, MeanΔ and quality, each (streams, policies, B), from weights (B, requests).

    routed: (streams, requests, policies).
    """
    shape = (routed.shape[0], routed.shape[2])
    chosen = np.moveaxis(routed, 1, 0).reshape(routed.shape[1], -1).astype(np.float64)
    gained = chosen * requests.gain[:, np.newaxis]

    def kernel(weights: FloatArray) -> tuple[FloatArray, ...]:
        copies = weights.astype(np.float64)  # else every product would convert them
        served = copies.sum(axis=1)
        count, sums = (copies @ chosen).T, (copies @ gained).T
        small = weighted.ratio(copies @ requests.quality_small, served)
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


@lru_cache(maxsize=64)  # the same for every router
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
        figures = np.concatenate((inside, gained), axis=1)

        def kernel(weights: AnyArray) -> tuple[FloatArray, ...]:
            found = (weights.astype(np.float64) @ figures).T
            return found[:count], found[count:]

        return kernel

    kernels = [sums(d, b) for d, b in zip(rows, bins, strict=True)]
    bootstrap = settings["bootstrap"]
    members, gained = bootstrap_estimates(rows, kernels, bootstrap["replicates"], bootstrap["seed"])
    return (
        weighted.ratio(gained.point.sum(axis=0), members.point.sum(axis=0)),
        weighted.ratio(gained.samples.sum(axis=0), members.samples.sum(axis=0)),
    )
