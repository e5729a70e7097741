"""Tables `transfer`, `transfer_comparisons`: routers on domains they have seen, and on new ones.

A split puts the domains into two parts, and every router is trained on each of them. A test request
of one part is then judged twice: by the router trained on the same part, which has seen its domain,
and by the one trained on the other part, which has not. Budgets are those of every part and
direction; the average is over parts and directions. The claim is about new domains, so the
bootstrap draws domains, each with all its requests in any direction. Seen and unseen differ in what
they were trained on, so their seeds are drawn apart.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import combinations, product
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from routelmt import tables
from routelmt.errors import UserError
from routelmt.evaluate import quality_tables
from routelmt.evaluate.breakdown import fewest_requests
from routelmt.evaluate.requests import Evaluation, aligned
from routelmt.roles import AVERAGE
from routelmt.stats.arrays import AnyArray, FloatArray
from routelmt.stats.bootstrap import DirectionData, subset

METRICS = ("spearman", "hit_rate", "mean_delta", "headroom")


class _Judged(NamedTuple):
    """A router that is judged; seen: whether it was trained on these domains, None: untrained."""

    router: str
    seen: bool | None


class _Place(NamedTuple):
    """What a number is about: the cells (a part in a direction) of one part, or of several."""

    split: str
    part: str
    cells: tuple[DirectionData, ...]
    left_out: int  # requests of domains in no part
    undefined: str | None  # why, if it is

    def columns(self) -> dict[str, Any]:
        return {
            "split": self.split,
            "part": self.part,
            "requests": sum(len(cell.gain) for cell in self.cells),
            "left_out": self.left_out,
        }

    def why(self) -> dict[str, Any]:
        """Columns that say why all of it is undefined."""
        domains = {domain for cell in self.cells for domain in cell.group_ids.tolist()}
        return {"reason": self.undefined, "clusters": len(domains), "undefined": None}


def transfer(settings: dict[str, Any], evaluation: Evaluation) -> pa.Table:
    """Spearman, HitRate, MeanΔ and headroom on seen and on unseen domains, by split and part.

    settings: as for the table `routers`; splits {name: {part: {domains: [...], routers: {router:
    the one derived from it that was trained on this part}}}}, two parts each; minimum_requests, see
    the table `breakdown`. Raises UserError without segments.
    """
    judged, parts = _judged(settings, evaluation), []
    for place in _places(settings, evaluation, judged):
        if place.undefined:
            rows = list(product(METRICS, judged, settings["budgets"]))
            found: Mapping[str, Any] = {
                "metric": [metric for metric, _, _ in rows],
                "router": [label for _, label, _ in rows],
                "budget": [budget for _, _, budget in rows],
                "role": [quality_tables.role_of(label, settings) for _, label, _ in rows],
                "seeds": 0,
                **dict.fromkeys(("value", "low", "high", "seed_spread"), np.nan),
                **place.why(),
            }
        else:
            found = _on_average(quality_tables.routers(settings, _evaluation(judged, place)))
        of = [judged[label] for label in found["router"]]
        named = {"router": [one.router for one in of], "seen": [one.seen for one in of]}
        parts.append(_made("transfer", {**found, **named, **place.columns()}))
    return pa.concat_tables(parts)


def transfer_comparisons(settings: dict[str, Any], evaluation: Evaluation) -> pa.Table:
    """Paired differences: seen - unseen of every router, and between routers on unseen domains.

    Holm's correction is over the routers, and over the pairs of routers (chance among them), of one
    metric, place and budget. Otherwise as `transfer`.
    """
    judged, parts = _judged(settings, evaluation), []
    families = _families(settings, judged)
    labels = list(judged)
    for place in _places(settings, evaluation, judged):
        if place.undefined:
            pairs = [pair for family in families for pair in family]
            rows = list(product(METRICS, settings["budgets"], pairs))
            found: Mapping[str, Any] = {
                "metric": [metric for metric, _, _ in rows],
                "budget": [budget for _, budget, _ in rows],
                "router": [labels[first] for _, _, (first, _) in rows],
                "other": [labels[second] for _, _, (_, second) in rows],
                **dict.fromkeys(("difference", "low", "high", "p_value", "p_holm"), np.nan),
                "detectable": np.nan,
                **place.why(),
            }
        else:
            here = _evaluation(judged, place)
            found = _on_average(quality_tables.differences(settings, here, families, METRICS))
        first, second = ([judged[label] for label in found[side]] for side in ("router", "other"))
        named = {
            "router": [one.router for one in first],
            "seen": [one.seen for one in first],
            "other": [one.router for one in second],
            "other_seen": [one.seen for one in second],
        }
        parts.append(_made("transfer_comparisons", {**found, **named, **place.columns()}))
    return pa.concat_tables(parts)


def _families(
    settings: Mapping[str, Any], judged: Mapping[str, _Judged]
) -> list[list[tuple[int, int]]]:
    """Pairs of positions in judged: every router's seen and unseen, and all of the unseen."""
    index = {one: i for i, one in enumerate(judged.values())}
    unseen = [one for one in index if one.seen is False]
    deployable = [*unseen, *(one for one in index if one.router in settings["random"])]
    return [
        [(index[_Judged(one.router, True)], index[one]) for one in unseen],
        [(index[one], index[other]) for one, other in combinations(deployable, 2)],
    ]


def _judged(settings: Mapping[str, Any], evaluation: Evaluation) -> dict[str, _Judged]:
    """Who is judged, by a label of its own: trained routers twice, and the references."""
    parts = [part for split in settings["splits"].values() for part in split.values()]
    trained = dict.fromkeys(router for part in parts for router in part["routers"])
    derived = {name for part in parts for name in part["routers"].values()}
    return {
        **{f"{router} ({what})": _Judged(router, what == "seen")
           for router, what in product(trained, ("seen", "unseen"))},
        **{router: _Judged(router, None) for router in evaluation.routers
           if router not in derived},
    }  # fmt: skip


def _places(
    settings: Mapping[str, Any], evaluation: Evaluation, judged: Mapping[str, _Judged]
) -> Iterator[_Place]:
    """Every part of every split, the average of the split, and that of all of several splits."""
    domains = _domains(evaluation)
    averages = []
    for split, parts in settings["splits"].items():
        known = [domain for part in parts.values() for domain in part["domains"]]
        strange = np.concatenate([own[~np.isin(own, known)] for own in domains])
        left_out = len(strange)
        if left_out:
            names = ", ".join(sorted({str(name) or "(none)" for name in strange}))
            print(f"transfer, split {split}: {left_out:,} test requests are of domains in neither "
                  f"part and left out: {names}", file=sys.stderr)  # fmt: skip
        own = []
        for part in parts:
            cells = tuple(_cells(evaluation, domains, judged, (split, part), parts))
            own.append(_Place(split, part, cells, left_out, _too_few(settings, cells)))
        yield from own
        averages.append(_average(split, own, left_out))
        yield averages[-1]
    if len(averages) > 1:
        yield _average(AVERAGE, averages, sum(place.left_out for place in averages))


def _domains(evaluation: Evaluation) -> list[AnyArray]:
    """The domain of every request, '' for none, by direction."""
    if evaluation.segments is None:
        raise UserError("domains are told by the test segments; give --segments.")
    return [
        np.array(segments.column("domain").fill_null("").to_pylist(), dtype=object).astype(str)
        for segments in aligned(evaluation, evaluation.segments, "segments")
    ]


def _cells(
    evaluation: Evaluation,
    domains: Sequence[AnyArray],
    judged: Mapping[str, _Judged],
    place: tuple[str, str],
    parts: Mapping[str, Mapping[str, Any]],
) -> Iterator[DirectionData]:
    """The requests of a part in every direction that has some, with the priorities of `judged`."""
    home = parts[place[1]]
    (away,) = (part for name, part in parts.items() if name != place[1])
    for direction, domain in zip(evaluation.directions, domains, strict=True):
        rows = np.flatnonzero(np.isin(domain, home["domains"]))
        if not len(rows):
            continue
        requests = subset(direction, rows)
        priorities: dict[str, FloatArray] = {}
        for label, (router, seen) in judged.items():
            asked = router if seen is None else (home if seen else away)["routers"][router]
            for at, column in enumerate(evaluation.columns[asked]):
                priorities[f"{label}/{at}"] = requests.priorities[column]
        name = f"{'/'.join(place)} {direction.name}"
        yield replace(requests, name=name, group_ids=domain[rows], priorities=priorities)


def _evaluation(judged: Mapping[str, _Judged], place: _Place) -> Evaluation:
    columns: dict[str, tuple[str, ...]] = {
        label: tuple(c for c in place.cells[0].priorities if c.rsplit("/", 1)[0] == label)
        for label in judged
    }
    return Evaluation(place.cells, columns)


def _too_few(settings: Mapping[str, Any], cells: Sequence[DirectionData]) -> str | None:
    needed = fewest_requests(settings)
    for cell in cells:
        if len(cell.gain) < needed:
            return f"{cell.name}: {len(cell.gain)} requests, {needed} are needed"
    return None if cells else "no test request is of its domains"


def _average(split: str, places: Sequence[_Place], left_out: int) -> _Place:
    cells = tuple(cell for place in places for cell in place.cells)
    whys = (f"{place.part}: {place.undefined}" for place in places if place.undefined)
    return _Place(split, AVERAGE, cells, left_out, next(whys, None))


def _on_average(found: pa.Table) -> dict[str, list[Any]]:
    columns: dict[str, list[Any]] = found.filter(
        pc.equal(found.column("direction"), AVERAGE)
    ).to_pydict()
    return columns


def _made(name: str, columns: Mapping[str, Any]) -> pa.Table:
    """The table of that name, of those of the columns that it has."""
    known = tables.arrow_schema(name).names
    return tables.from_columns(name, {c: v for c, v in columns.items() if c in known})
