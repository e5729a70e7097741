"""Tables `atlas` and `atlas_signals`: every ordered pair of a pool of systems; see `atlas`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import permutations, product
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from routelmt import tables
from routelmt.errors import UserError
from routelmt.evaluate import atlas as arrays
from routelmt.evaluate.given import Given
from routelmt.evaluate.label_noise import NO_RELIABILITY, NONE, ONE_FACTOR, PARALLEL
from routelmt.evaluate.requests import cluster_ids
from routelmt.join import tie_keys
from routelmt.progress import progress
from routelmt.roles import AVERAGE
from routelmt.stats import inference
from routelmt.stats.arrays import BoolArray, FloatArray, IntArray
from routelmt.stats.inference import Clusters, reference
from routelmt.stats.metrics import ANYWHERE

# Figures of a pair, and which depend on the budget.
PAIR_FIGURES = ("mean_gain", "losses", "severe_losses", "headroom", "cross_headroom",
                "attainable_headroom", "reliability", "attainable_spearman", "agreement_pearson",
                "agreement_spearman")  # fmt: skip
_BUDGETED = ("headroom", "cross_headroom", "attainable_headroom")
# Figures with an interval, and the range that they cannot leave.
RANGES = {
    "mean_gain": ANYWHERE, "losses": (0.0, 1.0), "severe_losses": (0.0, 1.0),
    "headroom": (0.0, np.inf), "attainable_headroom": (0.0, np.inf), "reliability": (0.0, 1.0),
    "recovered": (-np.inf, 1.0), "spearman": (-1.0, 1.0),
}  # fmt: skip
_METHODS = (NONE, PARALLEL, ONE_FACTOR)  # by the number of other metrics
_SCORES = [*tables.JOIN_KEY, "metric", "model", "score"]


class Atlas(NamedTuple):
    """A pool of systems: what each direction holds, and the names of all axes."""

    directions: list[str]
    pools: list[arrays.Pool]
    models: list[str]
    metrics: list[str]
    signals: list[str]

    @property
    def pairs(self) -> IntArray:
        """Every ordered pair, small and large, by position, (pairs, 2)."""
        return np.array(list(permutations(range(len(self.models)), 2)), dtype=np.int64)

    @property
    def rankings(self) -> list[tuple[str, str]]:
        """Kind and name of what requests are ranked by."""
        by_metric = [(kind, m) for kind in (arrays.GAIN, arrays.QUALITY) for m in self.metrics]
        return by_metric + [(arrays.SIGNAL, signal) for signal in self.signals]


class Limits(NamedTuple):
    """Of one chosen pair: interval and share of undefined replicates by figure, clusters by place.

    All of the figure's shape, without the pairs.
    """

    ends: dict[str, tuple[FloatArray, FloatArray]]
    undefined: dict[str, FloatArray]
    clusters: IntArray


class Found(NamedTuple):
    """Requests, (places, pairs), figures, and limits of the chosen pairs, by their position."""

    atlas: Atlas
    requests: IntArray
    figures: arrays.Figures
    apart: BoolArray
    chosen: dict[int, Limits]


def subject(settings: dict[str, Any], given: Given) -> Found:
    """All figures of the pool. Raises UserError for scores of unknown requests.

    settings: atlas, as `settings.COMPUTED` makes it; budgets; risk_edges.
    """
    return measured(settings, read(settings["atlas"], given))


def read(spec: dict[str, Any], given: Given) -> Atlas:
    """Scores and signals of the pool, by direction."""
    segments = given.read("segments")
    keys = _keys(segments)
    quality = np.full((len(spec["metrics"]), len(spec["models"]), segments.num_rows), np.nan)
    for path in given.paths["pool_scores"]:
        scores = tables.read(path, "scores", _SCORES)
        metric, model = (scores.column(c)[0].as_py() for c in ("metric", "model"))
        rows = pc.index_in(_keys(scores), value_set=keys)
        if rows.null_count:
            raise UserError(f"{path}: {rows.null_count:,} scores of requests that no segment has.")
        at = spec["metrics"].index(metric), spec["models"].index(model)
        quality[(*at, rows.to_numpy())] = scores.column("score").to_numpy()
    signals = _signals(spec["signals"], given, keys)
    clusters = cluster_ids(segments, spec["bootstrap"])
    names = pc.binary_join_element_wise(segments["dataset"], segments["segment_id"], ":")
    ties, direction = tie_keys(names.to_pylist()), segments.column("direction").to_numpy()
    directions = list(dict.fromkeys(direction.tolist()))
    pools = [
        arrays.Pool(quality[..., here], signals[:, here], clusters[here], ties[here])
        for here in (direction == name for name in directions)
    ]
    return Atlas(directions, pools, spec["models"], spec["metrics"], spec["signals"])


def _signals(names: Sequence[str], given: Given, keys: pa.Array) -> FloatArray:
    """Priorities of routers, of each its first seed, (routers, segments)."""
    found = np.full((len(names), len(keys)), np.nan)
    if not names:
        return found
    predictions = given.read("signal_predictions")
    router, seed = (predictions.column(c).to_numpy() for c in ("router", "seed"))
    rows = pc.index_in(_keys(predictions), value_set=keys).to_numpy()
    for at, name in enumerate(names):
        own = router == name
        own &= seed == seed[own].min(initial=0)
        found[at, rows[own]] = predictions.column("priority").to_numpy()[own]
    if np.isnan(found).any():
        raise UserError("--signal-predictions: some requests of the segments have none.")
    return found


def _keys(table: pa.Table) -> pa.Array:
    return pc.binary_join_element_wise(*(table[c] for c in tables.JOIN_KEY), "/").combine_chunks()


def measured(settings: dict[str, Any], atlas: Atlas) -> Found:
    """Figures of every pair, and intervals of those that `intervals` names."""
    spec, budgets, edges = settings["atlas"], settings["budgets"], settings["risk_edges"]
    each = [
        arrays.pair_statistics(pool, atlas.pairs, budgets, edges)
        for pool in progress(atlas.pools, "Atlas", "direction")
    ]
    requests = np.stack([own for own, _ in each])
    statistics = arrays.Statistics(*map(np.stack, zip(*(s for _, s in each), strict=True)))
    apart = np.array([[m not in spec["sharing"][n] for m in atlas.metrics] for n in atlas.metrics])
    found = arrays.figures(statistics, apart)
    where = {tuple(pair): at for at, pair in enumerate(atlas.pairs.tolist())}
    chosen = {}
    for names in progress(spec["intervals"], "Intervals", "pair"):
        pair = (atlas.models.index(names[0]), atlas.models.index(names[1]))
        at, bootstrap = where[pair], spec["bootstrap"]
        if requests[:, at].any():
            drawn, ids = arrays.pair_replicates(
                atlas.pools, pair, budgets, edges, (bootstrap["replicates"], bootstrap["seed"])
            )
            own, nothing = iter(ids), np.empty(0, np.int64)
            by_place = [next(own) if n else nothing for n in requests[:, at]]
            clusters = Clusters.of([*by_place, np.concatenate(ids)])
            samples = arrays.figures(drawn, apart)
            chosen[at] = _limits(found, samples, at, clusters, bootstrap["level"])
    total = np.concatenate((requests, requests.sum(axis=0, keepdims=True)))
    return Found(atlas, total, found, apart, chosen)


def _limits(
    found: arrays.Figures, samples: arrays.Figures, at: int, clusters: Clusters, level: float
) -> Limits:
    drawn = {name: reference(getattr(samples, name), clusters) for name in RANGES}
    ends = {
        name: own.limits(getattr(found, name)[..., at], level, RANGES[name])
        for name, own in drawn.items()
    }
    return Limits(ends, {name: own.undefined for name, own in drawn.items()}, clusters.counts)


def atlas(settings: dict[str, Any], found: Found) -> pa.Table:
    """A row for every pair, place, metric and budget."""
    pool, parts = found.atlas, []
    for (p, place), (m, metric), (b, budget) in _cells(pool, settings["budgets"]):
        columns = {"direction": place, "metric": metric, "budget": budget}
        judged = ~np.isnan(found.figures.mean_gain[:, m])  # (places, pairs)
        for name in PAIR_FIGURES:
            cell = (p, b, m) if name in _BUDGETED else (p, m)
            columns |= _figure(found, name, cell)
        there = ~np.isnan(found.figures.mean_gain[p]).all(axis=-1)
        others = arrays.independent(m, found.apart, there)
        why = NO_RELIABILITY if others else "one metric alone says nothing of its noise"
        known = [why if no else None for no in np.isnan(columns["attainable_headroom"])]
        undefined = _undefined(found, "attainable_headroom", (p, b, m))
        columns |= {
            "method": _METHODS[min(len(others), 2)],
            "reason": inference.reasons(known, undefined, why),
            "directions": judged[:-1].sum(axis=0) if place == AVERAGE else 1,
            **_support(found, p, undefined),
        }
        parts.append(_rows("atlas", pool, columns, judged[p]))
    return pa.concat_tables(parts)


def atlas_signals(settings: dict[str, Any], found: Found) -> pa.Table:
    """A row for every ranking too: of all pairs on the average, of the chosen ones by direction."""
    pool, parts = found.atlas, []
    every = np.ones(len(pool.pairs), dtype=bool)
    chosen = np.isin(np.arange(len(every)), list(found.chosen))
    for (p, place), (m, metric), (b, budget) in _cells(pool, settings["budgets"]):
        apart = found.apart[m]
        for r, (kind, signal) in enumerate(pool.rankings):
            shown = (every if place == AVERAGE else chosen) & ~np.isnan(
                found.figures.recovered[p, b, r, m]
            )
            if (kind, signal) == (arrays.GAIN, metric) or not shown.any():
                continue
            undefined = _undefined(found, "recovered", (p, b, r, m))
            columns = {
                "direction": place, "metric": metric, "budget": budget, "kind": kind,
                "signal": signal,
                "shares_rater": signal in pool.metrics and not apart[pool.metrics.index(signal)],
                "pearson": found.figures.pearson[p, r, m],
                **_figure(found, "recovered", (p, b, r, m)),
                **_figure(found, "spearman", (p, r, m)),
                **_support(found, p, undefined),
            }  # fmt: skip
            parts.append(_rows("atlas_signals", pool, columns, shown))
    return pa.concat_tables(parts)


def _cells(pool: Atlas, budgets: Sequence[float]) -> Iterator[tuple[tuple[int, Any], ...]]:
    yield from product(enumerate([*pool.directions, AVERAGE]), enumerate(pool.metrics),
                       enumerate(budgets))  # fmt: skip


def _figure(found: Found, name: str, cell: tuple[int, ...]) -> dict[str, FloatArray]:
    """A figure of all pairs, (pairs,), with its interval where it has one."""
    values = getattr(found.figures, name)[cell]
    if name not in RANGES:
        return {name: values}
    low, high = np.full((2, len(values)), np.nan)
    for at, limits in found.chosen.items():
        low[at], high[at] = (end[cell] for end in limits.ends[name])
    return {name: values, f"{name}_low": low, f"{name}_high": high}


def _undefined(found: Found, name: str, cell: tuple[int, ...]) -> FloatArray:
    shares = np.zeros(len(found.atlas.pairs))
    for at, limits in found.chosen.items():
        shares[at] = limits.undefined[name][cell]
    return shares


def _support(found: Found, place: int, undefined: FloatArray) -> dict[str, Any]:
    """Requests of all pairs, clusters and undefined replicates of the chosen ones."""
    size = len(undefined)
    return {
        "requests": found.requests[place],
        "clusters": [found.chosen[at].clusters[place] if at in found.chosen else None
                     for at in range(size)],
        "undefined": pa.array(undefined, mask=~np.isin(np.arange(size), list(found.chosen))),
    }  # fmt: skip


def _rows(table: str, pool: Atlas, columns: dict[str, Any], shown: BoolArray) -> pa.Table:
    names = np.array(pool.models, dtype=object)[pool.pairs.T]
    made = tables.from_columns(table, {"small": names[0], "large": names[1]} | columns)
    return made.filter(pa.array(shown))
