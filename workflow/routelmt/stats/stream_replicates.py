"""Intervals of streams: calibration data and traffic are drawn anew, and every policy runs again.

What a table says of a policy is an estimate of what it comes to on average over calibration samples
and streams of these sizes. One stream differs from that average by the luck of its threshold, which
a few hundred calibration requests decide, and by its own requests; and as every decision depends on
those before it, requests drawn from a finished stream would say nothing true of it. So a replicate
draws clusters of calibration requests and clusters of traffic, puts the traffic into a random order
and lets the policy decide. Replicates scatter around their own mean as streams do around the
average, so the interval is the estimate and their standard error (see `inference`), not their
percentiles: those of a policy that corrects its rate lie around the budget, wherever the one stream
that was seen ended.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from routelmt.stats import streaming, weighted
from routelmt.stats.arrays import AnyArray, BoolArray, FloatArray, IntArray
from routelmt.stats.averages import RouterFigures, over_seeds, with_average
from routelmt.stats.bootstrap import (
    REPLICATES_PER_BLOCK,
    REQUESTS_PER_BLOCK,
    DirectionData,
    Estimates,
    replicate_weights,
)


class Stream(NamedTuple):
    """One stream of requests in the order of arrival, and what was decided of them.

    column: the priorities it was decided by. routed: (requests, decisions), by a decision for each
    of POLICIES at a single rate, or of the fixed threshold at each of several rates. turns: None
    where traffic is in random order; else whether a request belongs to what comes later, (n,), see
    `moments`.
    """

    requests: DirectionData
    held_out: DirectionData
    column: str
    rates: tuple[float, ...]
    routed: BoolArray
    turns: BoolArray | None = None

    @property
    def calibration(self) -> int:
        """How many values the threshold was taken from."""
        return len(self.held_out.gain)


# Of one router: by direction, then seed.
Streams = Sequence[Sequence[Stream]]


class StreamFigures(NamedTuple):
    """By direction (the average last), router and decision: means over a router's seeds."""

    rate: RouterFigures
    mean_delta: RouterFigures
    quality: RouterFigures


class Draws(NamedTuple):
    """A block of replicates of one direction, the same for all routers; B of them.

    held: how often each calibration request is drawn, (B, m). rows, coins: the requests as they
    arrive and their draws, (B, s), of which `served` count. window: places among the ascending
    calibration values that a rolling quantile starts with, (B, w), of which `sizes` count.
    """

    held: AnyArray
    rows: IntArray
    served: IntArray
    coins: FloatArray
    window: IntArray
    sizes: IntArray


def figures_of(settings: dict[str, Any], streams: Mapping[str, Streams]) -> StreamFigures:
    """Rate, MeanΔ and quality of every router's streams of the same requests, with replicates."""
    columns = {
        router: [f"{router}/seed{seed}" for seed in range(len(directions[0]))]
        for router, directions in streams.items()
    }
    names = [name for seeds in columns.values() for name in seeds]
    by_direction = [
        [stream for directions in streams.values() for stream in directions[d]]
        for d in range(len(next(iter(streams.values()))))
    ]
    points = [np.stack(parts) for parts in zip(*map(_as_they_were, by_direction), strict=True)]
    replicated = _replicated(settings, by_direction)
    estimates = (
        Estimates(point, samples) for point, samples in zip(points, replicated, strict=True)
    )
    return StreamFigures(*(over_seeds(with_average(e), names, columns) for e in estimates))


def _as_they_were(streams: Sequence[Stream]) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Rate, MeanΔ and quality of the streams of a direction, each (streams, decisions)."""
    requests = streams[0].requests
    routed = np.stack([stream.routed for stream in streams]).astype(np.float64)
    sums = np.stack((routed.sum(axis=1), (routed * requests.gain[:, np.newaxis]).sum(axis=1)))
    return _figures(sums, len(requests.gain), requests.quality_small.mean())


def _figures(
    sums: FloatArray, served: Any, small: Any
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Rate, MeanΔ and quality from the number routed and their gain."""
    count, gained = sums
    served = np.asarray(served, dtype=np.float64)
    return (
        weighted.ratio(count, served), weighted.ratio(gained, count),
        small + weighted.ratio(gained, served),
    )  # fmt: skip


def _replicated(
    settings: dict[str, Any], streams: Sequence[Sequence[Stream]]
) -> tuple[FloatArray, ...]:
    """Rate, MeanΔ and quality on every replicate: (directions, streams, decisions, B)."""
    blocks = []
    for drawn in draws_of(settings, [of_direction[0] for of_direction in streams]):
        found = []
        for of_direction, own in zip(streams, drawn, strict=True):
            small = _small(of_direction[0].requests, own)
            sums = np.stack([again(settings, stream, own) for stream in of_direction])
            found.append(_figures(np.moveaxis(sums, (3, 1), (0, 3)), own.served, small))
        blocks.append([np.stack(parts) for parts in zip(*found, strict=True)])
    return tuple(np.concatenate(parts, axis=-1) for parts in zip(*blocks, strict=True))


def _small(requests: DirectionData, drawn: Draws) -> FloatArray:
    inside = np.arange(drawn.rows.shape[1]) < drawn.served[:, np.newaxis]
    total = (requests.quality_small[drawn.rows] * inside).sum(axis=1)
    return weighted.ratio(total, drawn.served)


def again(settings: dict[str, Any], stream: Stream, drawn: Draws) -> FloatArray:
    """Number routed and their gain in every replicate of a stream: (B, decisions, 2)."""
    from routelmt.stats import stream_loops as loops

    values, held = (d.priorities[stream.column] for d in (stream.requests, stream.held_out))
    levels = np.unique(np.concatenate((held, values)), return_inverse=True)[1].astype(np.int64)
    ascending = np.argsort(held, kind="stable")
    counts = drawn.held.sum(axis=1, dtype=np.int64)
    sorted_levels, weights = levels[ascending], np.ascontiguousarray(drawn.held[:, ascending])
    copies = loops.repeated(sorted_levels, weights, counts)
    traffic = (drawn.rows, drawn.served, drawn.coins, levels[held.size :], stream.requests.gain)
    rates = np.array(stream.rates)
    fixed: FloatArray = loops.fixed(copies, counts, rates, *traffic)
    if rates.size > 1:
        return fixed
    own = streaming.Settings(float(rates[0]), **settings["stream"])
    window = np.take_along_axis(copies, drawn.window, axis=1)
    rolling = loops.rolling(window, drawn.sizes, own.window, own.rate, *traffic)
    controller = loops.controller(copies, counts, own.rate, own.correction, *traffic)
    return np.stack((fixed[:, 0], rolling, controller), axis=1)


def draws_of(settings: dict[str, Any], streams: Sequence[Stream]) -> Iterator[list[Draws]]:
    """Blocks of replicates of one stream of each direction: clusters are drawn over all of them."""
    bootstrap = settings["bootstrap"]
    largest = max(len(stream.requests.gain) for stream in streams)
    size = max(1, min(REPLICATES_PER_BLOCK, REQUESTS_PER_BLOCK // largest))
    generator = np.random.default_rng([bootstrap["seed"], 2])
    tests, held_out = ([s.requests for s in streams], [s.held_out for s in streams])
    later = [np.zeros(len(s.requests.gain), np.bool_) if s.turns is None else s.turns
             for s in streams]  # fmt: skip
    traffic = _weights(tests, later, bootstrap["replicates"], bootstrap["seed"], size)
    calibration = _weights(held_out, [np.zeros(len(d.gain), np.bool_) for d in held_out],
                           bootstrap["replicates"], bootstrap["seed"] + 1, size)  # fmt: skip
    window = settings["stream"]["window"]
    for of_traffic, of_calibration in zip(traffic, calibration, strict=True):
        yield [
            _draws(stream, served, held, window, generator)
            for stream, served, held in zip(streams, of_traffic, of_calibration, strict=True)
        ]


def _weights(
    directions: Sequence[DirectionData],
    later: Sequence[BoolArray],
    replicates: int,
    seed: int,
    block: int,
) -> Iterator[list[AnyArray]]:
    """How often each replicate draws each request, (B, n) by direction.

    later: of every request; what comes later and what does not are drawn apart, so that there is
    as much of either in every replicate.
    """
    groups, part = (
        np.concatenate([d.group_ids for d in directions]),
        np.concatenate(later),
    )
    ends = np.cumsum([len(d.gain) for d in directions])[:-1]
    rows = [np.flatnonzero(part == which) for which in np.unique(part)]
    apart = [
        replicate_weights(groups[own], replicates, seed + 2 * i, block)
        for i, own in enumerate(rows)
    ]
    for drawn in zip(*apart, strict=True):
        whole = np.empty((len(drawn[0]), groups.size), np.int64)
        for own, weights in zip(rows, drawn, strict=True):
            whole[:, own] = weights
        yield np.split(whole, ends, axis=1)


def _draws(
    stream: Stream,
    traffic: AnyArray,
    held: AnyArray,
    length: int,
    generator: np.random.Generator,
) -> Draws:
    served, counts = traffic.sum(axis=1), held.sum(axis=1)
    everyone = np.arange(traffic.shape[1])
    rows = np.zeros((len(traffic), served.max()), np.int64)
    for own, weights, count in zip(rows, traffic, served, strict=True):
        own[:count] = np.repeat(everyone, weights)
        if stream.turns is None:
            generator.shuffle(own[:count])
        else:
            place = moments(stream.turns[own[:count]], generator.random(count))
            own[:count] = own[:count][np.argsort(place)]
    sizes = np.minimum(counts, length)
    window = np.zeros((len(traffic), sizes.max()), np.int64)
    for own, count, size in zip(window, counts.tolist(), sizes, strict=True):
        own[:size] = generator.permutation(streaming.evenly_spaced(count, length))
    coins = generator.random((len(rows), int(served.max())))
    return Draws(held, rows, served, coins, window, sizes)


def moments(later: BoolArray, draws: FloatArray) -> FloatArray:
    """When requests of a stream arrive that turns into another: between 0 and 1.

    The one comes at a density that falls to 0, 2 (1 - x), what is `later` at one that rises, 2 x.
    draws: uniform.
    """
    return np.where(later, np.sqrt(draws), 1 - np.sqrt(1 - draws))
