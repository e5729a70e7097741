"""Tables of routing one request at a time: what rate and quality come of a calibrated threshold.

Thresholds come from calibration data, decisions are made in the order of arrival by the code of
`streaming`. What the intervals hold: see `stream_replicates`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import product
from typing import Any

import numpy as np
import pyarrow as pa

from routelmt import tables
from routelmt.evaluate.deployment import Deployment
from routelmt.evaluate.quality_tables import place_names, role_of
from routelmt.evaluate.requests import clusters_of
from routelmt.progress import progress
from routelmt.roles import AVERAGE
from routelmt.stats import inference, streaming, weighted
from routelmt.stats.arrays import AnyArray, BoolArray, FloatArray, IntArray
from routelmt.stats.bootstrap import (
    DirectionData,
    Kernel,
    bootstrap_estimates,
    subset,
)
from routelmt.stats.stream_replicates import Stream, Streams, figures_of

# Rates at which the calibration of every router is looked at.
TARGETS = tuple(step / 20 for step in range(1, 20))
NOTHING_ROUTED = "no request was routed"
Row = dict[str, Any]


def streaming_table(settings: dict[str, Any], deployment: Deployment) -> pa.Table:
    """Realised rate, MeanΔ and quality of every router, budget and policy, and its alarms.

    Requests arrive in a random order, the same for every router. offline_quality, random_quality:
    with as many requests as were really sent, those of highest priority of the whole test set
    (which only who sees all of them at once can choose), or any.
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
        for router, own in policy_rows(settings, streams).items():
            same = {"router": router, "budget": budget, "role": role_of(router, settings)}
            rows[router, budget] = [same | row for row in own]
    order = product(deployment.test.routers, settings["budgets"])
    return tables.from_rows("streaming", [row for key in order for row in rows[key]])


def calibration_table(settings: dict[str, Any], deployment: Deployment) -> pa.Table:
    """Realised rate of the fixed threshold at every TARGETS rate, by router and direction."""
    places, level = place_names(deployment.test), settings["bootstrap"]["level"]
    seed = settings["stream"]["seed"]
    calibrated = [(held_out, arriving(test, seed)) for held_out, test in deployment.calibrated()]
    found: list[Row] = []
    for router in progress(deployment.test.routers, "calibration", "router"):
        columns = deployment.test.columns[router]
        streams = [
            [_at_targets(settings, held_out, test, column) for column in columns]
            for held_out, test in calibrated
        ]
        rate = figures_of(settings, {router: streams}).rate
        clusters = fewer_clusters(streams)
        reference = rate.reference(clusters)
        low, high = rate_limits(reference, rate.value, clusters, level)
        for p, place in enumerate(places):
            for t, target in enumerate(TARGETS):
                cell = (p, 0, t)
                found.append(
                    {"router": router, "direction": place, "role": role_of(router, settings),
                     "target": target, "rate": rate.value[cell], "low": low[cell],
                     "high": high[cell], "clusters": clusters.counts[p],
                     "undefined": reference.undefined[cell]}
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
    turns: Sequence[BoolArray | None] | None = None,
) -> Streams:
    """The requests of every direction as they come, decided by every policy; see Streams.

    held_out: what calibrates each direction; tests: in the order of arrival; columns: the seeds of
    a router, in the priorities of both; turns: see Stream, None for random orders.
    """
    turns = turns or [None] * len(tests)
    return [
        [_served(settings, calibrating, test, column, rate, turn) for column in columns]
        for calibrating, test, turn in zip(held_out, tests, turns, strict=True)
    ]


def _served(
    settings: dict[str, Any],
    held_out: DirectionData,
    test: DirectionData,
    column: str,
    rate: float,
    turns: BoolArray | None,
) -> Stream:
    own = stream_settings(settings, rate)
    ascending = streaming.ascending_values(held_out.priorities[column])
    values, draws = test.priorities[column], _draws(test, own.seed)
    decisions = [
        streaming.run(streaming.make_policy(policy, ascending, own), values, draws)[0]
        for policy in streaming.POLICIES
    ]
    return Stream(test, held_out, column, (rate,), np.stack(decisions, axis=1), turns)


def stream_settings(settings: dict[str, Any], rate: float) -> streaming.Settings:
    """Those of the config's `stream`, at a rate."""
    return streaming.Settings(rate, **settings["stream"])


def arriving(test: DirectionData, seed: int) -> DirectionData:
    """The requests in a random order that depends on the requests and the seed alone."""
    place = streaming.uniforms((f"arrival {key}" for key in test.tie_keys.tolist()), seed)
    return subset(test, np.argsort(place, kind="stable").astype(np.int64))


def offline_quality(stream: Stream, policy: int) -> float:
    """Quality where as many as the policy has sent are routed, those of highest priority."""
    requests, k = stream.requests, int(stream.routed[:, policy].sum())
    won = first_gain(requests.priorities[stream.column], requests.gain, k)
    return float(requests.quality_small.mean() + won / len(requests.gain))


def random_quality(stream: Stream, policy: int) -> float:
    """Quality where as many as the policy has sent are drawn by chance, in expectation."""
    requests = stream.requests
    return float(
        requests.quality_small.mean() + stream.routed[:, policy].mean() * requests.gain.mean()
    )


def first_gain(priority: FloatArray, gain: FloatArray, k: int) -> float:
    """Gain of the k requests of highest priority, of those at the boundary the expectation."""
    if k == 0:
        return 0.0
    last = np.partition(priority, -k)[-k]
    above, at = priority > last, priority == last
    return float(gain[above].sum() + gain[at].mean() * (k - above.sum()))


def policy_rows(settings: dict[str, Any], streams: Mapping[str, Streams]) -> dict[str, list[Row]]:
    """By router, its rows by place and policy; streams: of every router, at one rate."""
    figures = figures_of(settings, streams)._asdict()
    level = settings["bootstrap"]["level"]
    clusters = fewer_clusters(next(iter(streams.values())))
    references = {name: found.reference(clusters) for name, found in figures.items()}
    limits = {
        name: reference.limits(figures[name].value, level) for name, reference in references.items()
    }
    limits["rate"] = rate_limits(references["rate"], figures["rate"].value, clusters, level)
    rows: dict[str, list[Row]] = {}
    for r, (router, own) in enumerate(streams.items()):
        rows[router] = list(_outcomes(settings, own))
        for row, cell in zip(rows[router], _cells(own, r), strict=True):
            for name, found in figures.items():
                low, high = limits[name]
                row |= {name: found.value[cell], f"{name}_low": low[cell],
                        f"{name}_high": high[cell]}  # fmt: skip
            undefined = references["mean_delta"].undefined[cell]
            known = NOTHING_ROUTED if np.isnan(row["mean_delta"]) else None
            row |= {"clusters": clusters.counts[cell[0]], "undefined": undefined,
                    "reason": inference.reasons([known], undefined, NOTHING_ROUTED)[0]}  # fmt: skip
    return rows


def fewer_clusters(streams: Streams) -> inference.Clusters:
    """Clusters of calibration data or of traffic, whichever are fewer: (directions + 1,)."""
    held_out, tests = (
        clusters_of([getattr(seeds[0], side) for seeds in streams])
        for side in ("held_out", "requests")
    )
    return inference.Clusters(
        np.minimum(held_out.counts, tests.counts), np.minimum(held_out.effective, tests.effective)
    )


def rate_limits(
    reference: inference.Reference, rate: FloatArray, clusters: inference.Clusters, level: float
) -> tuple[FloatArray, FloatArray]:
    """The interval of rates; where no replicate differs (nothing routed), that of a share."""
    served = clusters.counts.reshape(-1, *(1,) * (rate.ndim - 1))
    sides = zip(
        reference.limits(rate, level, (0.0, 1.0)),
        reference.share_limits(rate, served, level),
        strict=True,
    )
    low, high = (np.where(reference.error > 0, usual, share) for usual, share in sides)
    return low, high


def _cells(streams: Streams, router: int) -> Iterator[tuple[int, int, int]]:
    """(place, router, policy) of a router's rows."""
    return product(range(len(streams) + 1), [router], range(len(streaming.POLICIES)))


def _outcomes(settings: dict[str, Any], streams: Streams) -> Iterator[Row]:
    """What needs no replicates, of each place and policy of one router."""
    for p in range(len(streams) + 1):
        here = list(streams[p : p + 1]) or list(streams)
        every = [stream for of_direction in here for stream in of_direction]
        for q, policy in enumerate(streaming.POLICIES):
            yield {
                "direction": here[0][0].requests.name if p < len(streams) else AVERAGE,
                "policy": policy,
                "offline_quality": float(np.mean([offline_quality(s, q) for s in every])),
                "random_quality": float(np.mean([random_quality(s, q) for s in every])),
                "requests": sum(len(seeds[0].requests.gain) for seeds in here),
                "calibration": sum(seeds[0].calibration for seeds in here),
                "rate_alarm": first_alarm(settings, every, q),
                "traffic_alarm": first_alarm(settings, every, streaming.POLICIES.index("fixed")),
            }


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
    return Stream(test, held_out, column, TARGETS, np.stack(decisions, axis=1))


@lru_cache(maxsize=64)  # the same for every router
def _draws(test: DirectionData, seed: int) -> FloatArray:
    return streaming.uniforms((str(key) for key in test.tie_keys.tolist()), seed)


def first_alarm(settings: dict[str, Any], streams: Sequence[Stream], policy: int) -> int | None:
    """After how many requests of its own the first of these streams leaves its band, if any."""
    bands = (band_of(settings, stream, len(streams)) for stream in streams)
    left = (b.first_left(s.routed[:, policy]) for b, s in zip(bands, streams, strict=True))
    return min((moment for moment in left if moment is not None), default=None)


def band_of(settings: dict[str, Any], stream: Stream, streams: int) -> streaming.Band:
    """The band of one of several streams, so wide that all of them keep the promise together.

    The level is divided by their number (Bonferroni): with no drift, none of them leaves its band
    with probability 1 - false_alarms, however they depend on each other.
    """
    false_alarms = settings["stream"]["false_alarms"] / streams
    return streaming.Band(stream.rates[0], stream.calibration, false_alarms)


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
