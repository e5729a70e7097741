"""Traffic that is not like the calibration traffic: what each policy makes of it.

Part A of the test data calibrates, part B is something else: other datasets, or other domains of
the same one. No text (group) is on both sides of calibration and traffic.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from itertools import product
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from routelmt import tables
from routelmt.evaluate.deployment import Deployment
from routelmt.evaluate.quality_tables import role_of
from routelmt.evaluate.stream_tables import Row, all_served, band_of, policy_rows
from routelmt.progress import progress
from routelmt.stats import streaming
from routelmt.stats.arrays import AnyArray, BoolArray, FloatArray, IntArray
from routelmt.stats.bootstrap import DirectionData, subset
from routelmt.stats.stream_replicates import Stream, Streams, moments

# What comes after calibration on half of A: its other half, B, or A that turns into B.
SCENARIOS = ("same", "shift", "gradual")
# Fewer requests of a part say nothing about a rate.
LEAST = 20
# Requests over which a rate at a moment is taken, and moments of a path.
RECENT = 200
MOMENTS = 60


class Parts(NamedTuple):
    """Rows of a direction: A's for calibration and for traffic, and B's."""

    calibrating: IntArray
    same: IntArray
    other: IntArray


def drift(settings: dict[str, Any], deployment: Deployment) -> pa.Table:
    """As the streaming table, by scenario (see SCENARIOS); empty without two parts to compare.

    settings' drift: {from, to}: datasets of A and of B. Without them A is the first of several
    test datasets and B the others; of one dataset, A is its largest domains up to half of the
    requests and B the other domains, in every direction.
    """
    rows: dict[tuple[str, float, str], list[Row]] = {}
    for (budget, scenario), streams in _all_streams(settings, deployment):
        for router, own in policy_rows(settings, streams).items():
            same = {"scenario": scenario, "router": router, "budget": budget,
                    "role": role_of(router, settings)}  # fmt: skip
            rows[router, budget, scenario] = [same | row for row in own]
    order = product(_deployable(settings, deployment), settings["budgets"], SCENARIOS)
    return tables.from_rows("drift", [row for key in order for row in rows.get(key, [])])


def drift_paths(settings: dict[str, Any], deployment: Deployment) -> pa.Table:
    """The realised rate as the requests come: MOMENTS rows a stream, of the first seed.

    rate: over all requests so far; recent_rate: over the last RECENT of them (NaN before there are
    so many); low, high: the band of the rate so far.
    """
    parts: dict[tuple[str, float, str], list[pa.Table]] = {}
    for (budget, scenario), streams in _all_streams(settings, deployment):
        for router, directions in streams.items():
            same = {"scenario": scenario, "router": router, "budget": budget,
                    "role": role_of(router, settings)}  # fmt: skip
            paths = [_path(settings, own[0], len(own)) for own in directions]
            parts[router, budget, scenario] = [
                tables.from_columns("drift_paths", same | columns)
                for of_direction in paths
                for columns in of_direction
            ]
    order = product(_deployable(settings, deployment), settings["budgets"], SCENARIOS)
    found = [part for key in order for part in parts.get(key, [])]
    return pa.concat_tables(found) if found else tables.arrow_schema("drift_paths").empty_table()


def _path(settings: dict[str, Any], stream: Stream, seeds: int) -> Iterator[dict[str, Any]]:
    """The columns of each policy; the band is that of all the seeds' streams together."""
    band = band_of(settings, stream, seeds)
    looked_at = _looked_at(len(stream.routed))
    limits = np.array([_limits(band, int(moment)) for moment in looked_at])
    for q, policy in enumerate(streaming.POLICIES):
        yield {
            "direction": stream.requests.name, "policy": policy,
            "request": looked_at, "rate": _rates(stream.routed[:, q], looked_at),
            "recent_rate": _recent(stream.routed[:, q], looked_at),
            "low": limits[:, 0], "high": limits[:, 1],
        }  # fmt: skip


def parts_of(
    settings: dict[str, Any], test: DirectionData, datasets: AnyArray, domains: AnyArray
) -> Parts | None:
    """A and B of a direction, A cut in halves by group; None if there are no two such parts.

    datasets, domains: of every request, (n,).
    """
    in_a, in_b = _sides(settings["drift"], datasets, domains)
    seed = settings["stream"]["seed"]
    coin = streaming.uniforms((f"half {group}" for group in test.group_ids.tolist()), seed) < 0.5
    seen = np.isin(test.group_ids, test.group_ids[in_a & coin])
    found = Parts(
        np.flatnonzero(in_a & coin), np.flatnonzero(in_a & ~coin), np.flatnonzero(in_b & ~seen)
    )
    return found if min(map(len, found)) >= LEAST else None


def _sides(
    asked: dict[str, Any], datasets: AnyArray, domains: AnyArray
) -> tuple[BoolArray, BoolArray]:
    names = list(dict.fromkeys(datasets.tolist()))
    if asked.get("from") and asked.get("to"):
        return np.isin(datasets, asked["from"]), np.isin(datasets, asked["to"])
    if len(names) > 1:
        first: BoolArray = datasets == names[0]
        return first, ~first
    largest = np.isin(domains, largest_domains(domains))
    return largest, ~largest


def largest_domains(domains: AnyArray) -> list[str]:
    """The largest domains that together have no more than half of the rows; at least one."""
    names, counts = np.unique(domains.astype(str), return_counts=True)
    order = np.lexsort((names, -counts))
    fitting = int(np.searchsorted(np.cumsum(counts[order]), domains.size / 2, side="right"))
    found: list[str] = names[order[: max(1, fitting)]].tolist()
    return found


def order_of(scenario: str, parts: Parts, test: DirectionData, seed: int) -> IntArray:
    """Rows of a scenario in the order of arrival; random, the same on every machine.

    gradual: requests of A leave and of B come, as many of the one as of the other, see `moments`.
    """
    if scenario == "gradual":
        size = min(len(parts.same), len(parts.other))
        both = np.concatenate([_shuffled(rows, test, seed)[:size] for rows in parts[1:]])
        place = moments(np.arange(2 * size) >= size, _draws(both, test, seed))
        mixed: IntArray = both[np.argsort(place, kind="stable")]
        return mixed
    return _shuffled(parts.same if scenario == "same" else parts.other, test, seed)


def _shuffled(rows: IntArray, test: DirectionData, seed: int) -> IntArray:
    keys = (f"arrival {key}" for key in test.tie_keys[rows].tolist())
    shuffled: IntArray = rows[np.argsort(streaming.uniforms(keys, seed), kind="stable")]
    return shuffled


def _draws(rows: IntArray, test: DirectionData, seed: int) -> FloatArray:
    return streaming.uniforms((f"moment {key}" for key in test.tie_keys[rows].tolist()), seed)


def _all_streams(
    settings: dict[str, Any], deployment: Deployment
) -> Iterator[tuple[tuple[float, str], dict[str, Streams]]]:
    """By budget and scenario, the streams of every deployable router."""
    parts = [
        parts_of(settings, test, datasets, domains)
        for test, datasets, domains in zip(
            deployment.test.directions, deployment.datasets, deployment.domains, strict=True
        )
    ]
    whole = [found for found in parts if found is not None]
    if len(whole) < len(parts):
        return
    apart, seed = (
        list(zip(deployment.test.directions, whole, strict=True)),
        settings["stream"]["seed"],
    )
    held_out = [subset(test, own.calibrating) for test, own in apart]
    orders = {
        scenario: [order_of(scenario, own, test, seed) for test, own in apart]
        for scenario in SCENARIOS
    }
    routers = _deployable(settings, deployment)
    for budget, (scenario, rows) in product(settings["budgets"], orders.items()):
        tests = [subset(test, order) for (test, _), order in zip(apart, rows, strict=True)]
        turns = [np.isin(order, own.other) if scenario == "gradual" else None
                 for (_, own), order in zip(apart, rows, strict=True)]  # fmt: skip
        yield (
            (budget, scenario),
            {
                router: all_served(
                    settings, held_out, tests, deployment.test.columns[router], budget, turns
                )
                for router in progress(routers, f"drift, {scenario}", "router")
            },
        )


def _deployable(settings: dict[str, Any], deployment: Deployment) -> list[str]:
    return [r for r in deployment.test.routers if r not in settings["oracles"]]


@cache
def _limits(band: streaming.Band, served: int) -> tuple[float, float]:
    return band.limits(served)


def _looked_at(requests: int) -> IntArray:
    """After how many requests the rate is looked at: evenly spaced, the last one included."""
    return np.unique(np.linspace(1, requests, min(MOMENTS, requests)).round().astype(np.int64))


def _rates(routed: BoolArray, moments: IntArray) -> FloatArray:
    rates: FloatArray = np.cumsum(routed)[moments - 1] / moments
    return rates


def _recent(routed: BoolArray, moments: IntArray) -> FloatArray:
    so_far = np.concatenate(([0], np.cumsum(routed)))
    recent = (so_far[moments] - so_far[np.maximum(moments - RECENT, 0)]) / RECENT
    return np.where(moments >= RECENT, recent, np.nan)
