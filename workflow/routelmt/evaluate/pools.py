"""The requests of a pool: what every model makes of them, what it costs, and what routers expect.

A pool of M models is M - 1 pairs with the same cheapest model: their gains, and the gains that
their routers predict, are brought together here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from routelmt import tables
from routelmt.errors import UserError
from routelmt.evaluate.given import Given
from routelmt.evaluate.ledger import (
    TOKEN_COLUMNS,
    Costs,
    NoRate,
    Tokens,
    priced,
    rates_of,
    request_costs,
    tokens_of,
)
from routelmt.evaluate.rates import REQUEST
from routelmt.evaluate.requests import Evaluation, aligned, evaluated_requests, gains_by_metric
from routelmt.join import align
from routelmt.stats.arrays import AnyArray, FloatArray, IntArray, finite_column
from routelmt.stats.bootstrap import DirectionData

STATED, SECONDS, MONEY = "stated", "seconds", "money"
_NO_ROUTER = ""


class Priced(NamedTuple):
    """Costs of a direction's requests, in the pool's unit: always (n,), of each model (n, M)."""

    always: FloatArray
    model: FloatArray


@dataclass(frozen=True, eq=False)
class Place:
    """The requests of one direction; arrays (n, models) unless said otherwise.

    quality: points; predicted: gains over the first model by priority column; costs: by router (''
    is none), or why they are not known; length: of the requests, which costs are known to grow
    with, (n,); estimates: of every translation's quality; asking: cost of one, or why it is not
    known; judged: quality by other metrics; documents: rows of each in reading order.
    """

    data: DirectionData
    quality: FloatArray
    predicted: Mapping[str, FloatArray]
    costs: Mapping[str, Priced | str]
    length: FloatArray
    estimates: FloatArray | None = None
    asking: float | str = 0.0
    judged: Mapping[str, FloatArray] = field(default_factory=dict)
    documents: Sequence[IntArray] = ()

    def known(self, cost: FloatArray) -> FloatArray:
        """What a decision may know of costs (n, M): a model's mean for a prompt of this length.

        The length of a translation is not known before it is there.
        """
        per_length: FloatArray = cost.sum(axis=0) / self.length.sum()
        return np.multiply.outer(self.length, per_length)


@dataclass(frozen=True, eq=False)
class Pool:
    """models: cheapest first as the config says; columns: priority columns of each router."""

    models: tuple[str, ...]
    places: tuple[Place, ...]
    columns: Mapping[str, tuple[str, ...]]

    @property
    def directions(self) -> list[DirectionData]:
        """What the bootstrap draws from."""
        return [place.data for place in self.places]


def pool(settings: Mapping[str, Any], given: Given) -> Pool:
    """The pool of a table's inputs (see registry).

    settings: bootstrap, judge_metrics, and pool {models, routers, unit (stated, seconds or money),
    stated: a cost of each model, pairs: the `cost` of each pair (see costs.costs), estimate: the
    metric of estimates, or null}. Raises UserError where models lack requests or costs.
    """
    about = settings["pool"]
    others = about["models"][1:]
    gains = given.read_parts("pool_gains", len(others))
    gains = [gains[0], *(align(gains[0], own, f"gains of {others[0]}", f"gains of {model}")
                         for own, model in zip(gains[1:], others[1:], strict=True))]  # fmt: skip
    none = tables.arrow_schema("predictions").empty_table()
    predictions = (
        given.read_parts("pool_predictions", len(others))
        if about["routers"]
        else [none] * len(others)
    )
    pairs = [
        evaluated_requests(said, own, about["routers"], settings["bootstrap"])
        for said, own in zip(predictions, gains, strict=True)
    ]
    costs = _costs(settings, given, pairs[0], gains[0])
    estimates = _estimates(about, given, pairs[0])
    judged = _judged(settings, given, pairs[0], len(others))
    places = []
    for at, (direction, rows) in enumerate(
        zip(pairs[0].directions, aligned(pairs[0], gains[0], "gains"), strict=True)
    ):
        own = [pair.directions[at] for pair in pairs]
        places.append(
            Place(
                direction,
                _side_by_side(own[0].quality_small, [d.quality_small + d.gain for d in own]),
                {
                    column: _predicted(column, own)
                    for columns in pairs[0].columns.values()
                    for column in columns
                },
                *costs[at],
                estimates=estimates[at] if estimates else None,
                asking=_asking(about, given) if estimates else 0.0,
                judged={metric: of[at] for metric, of in judged.items()},
                documents=documents_of(rows),
            )
        )
    for place in places:
        _check_range(place, about["models"])
    return Pool(tuple(about["models"]), tuple(places), pairs[0].columns)


def _check_range(place: Place, models: Sequence[str]) -> None:
    plain = place.costs[_NO_ROUTER]
    assert not isinstance(plain, str)
    means = plain.model.mean(axis=0)
    if np.ptp(means) <= 1e-9 * means.max():
        raise UserError(
            f"direction {place.data.name}: {', '.join(models)} all cost the same "
            f"({means[0]:.3g} a request), so there is no budget to keep: take the best of them."
        )


def documents_of(rows: pa.Table) -> list[IntArray]:
    """Rows of each document, in their order; a request without one is a document of its own."""
    names = [
        f"{dataset}:{document}" if document is not None else f":{at}"
        for at, (dataset, document) in enumerate(
            zip(rows.column("dataset").to_pylist(), rows.column("doc_id").to_pylist(), strict=True)
        )
    ]
    code = np.unique(names, return_inverse=True)[1]
    order = np.argsort(code, kind="stable")
    return np.split(order, np.flatnonzero(np.diff(code[order])) + 1)


def _side_by_side(first: FloatArray, others: Sequence[FloatArray]) -> FloatArray:
    return np.ascontiguousarray(np.stack([first, *others], axis=1))


def _predicted(column: str, pairs: Sequence[DirectionData]) -> FloatArray:
    gains = [
        finite_column(f"direction {pair.name}: router {column}", pair.priorities[column])
        for pair in pairs
    ]
    return _side_by_side(np.zeros(len(gains[0])), gains)


def _costs(
    settings: Mapping[str, Any], given: Given, evaluation: Evaluation, gains: pa.Table
) -> list[tuple[dict[str, Priced | str], FloatArray]]:
    """Of every direction the costs by router, and the length of the requests."""
    about = settings["pool"]
    models, routers = about["models"], [_NO_ROUTER, *about["routers"]]
    if about["unit"] == STATED:
        stated = np.array(about["stated"], dtype=np.float64)
        found = []
        for direction in evaluation.directions:
            n = len(direction.gain)
            own: dict[str, Priced | str] = {
                router: Priced(np.zeros(n), np.tile(stated, (n, 1))) for router in routers
            }
            found.append((own, np.ones(n)))
        return found
    first, *rest = given.read_parts("pool_hypotheses", len(models), TOKEN_COLUMNS)
    tokens = [tokens_of(evaluation, gains, {"small": first, "large": own}) for own in rest]
    rates = rates_by_pair(about, given)
    return [
        (
            {
                router: _priced(about["pairs"], [pair[at] for pair in tokens], router, rates)
                for router in routers
            },
            tokens[0][at][0].prompt,
        )
        for at in range(len(evaluation.directions))
    ]


def rates_by_pair(about: Mapping[str, Any], given: Given) -> list[dict[tuple[str, str], float]]:
    """Seconds or money by name and step, for each pair."""
    files = given.each("rates")
    seconds = rates_of(pa.concat_tables(files)) if files else {}
    if about["unit"] == SECONDS:
        return [seconds] * len(about["pairs"])
    return [priced(seconds, pair["prices"], pair) for pair in about["pairs"]]


def _priced(
    pairs: Sequence[Mapping[str, Any]],
    tokens: Sequence[tuple[Tokens, Tokens]],
    router: str,
    rates: Sequence[Mapping[tuple[str, str], float]],
) -> Priced | str:
    """Costs under a router that is asked once for every pair, or why they are not known."""
    try:
        found: list[Costs] = [
            request_costs(*own, pair, router, known)
            for pair, own, known in zip(pairs, tokens, rates, strict=True)
        ]
    except NoRate as error:
        if router == _NO_ROUTER:
            raise UserError(f"cost_unit: {error}; state rates, or a cost of each model.") from None
        return str(error)
    small = found[0].small
    others = [c.small + c.router_routed + c.small_routed + c.large_routed for c in found]
    return Priced(np.sum([c.router for c in found], axis=0), _side_by_side(small, others))


def _estimates(
    about: Mapping[str, Any], given: Given, evaluation: Evaluation
) -> list[FloatArray] | None:
    if about["estimate"] is None:
        return None
    scores = given.read_parts("pool_estimates", len(about["models"]))
    by_model = [
        [rows.column("score").to_numpy() for rows in aligned(evaluation, own, "estimates")]
        for own in scores
    ]
    return [_side_by_side(own[0], own[1:]) for own in zip(*by_model, strict=True)]


def _asking(about: Mapping[str, Any], given: Given) -> float | str:
    """Cost of one estimate, or why it is not known."""
    if about["unit"] == STATED:
        return 0.0
    rates = rates_by_pair(about, given)[0]
    return rates.get((about["estimate"], REQUEST), f"no request rate of {about['estimate']}")


def _judged(
    settings: Mapping[str, Any], given: Given, evaluation: Evaluation, pairs: int
) -> dict[str, list[FloatArray]]:
    """Quality by other metrics, of every direction."""
    metrics = list(settings["judge_metrics"])
    if not metrics:
        return {}
    found: dict[str, list[list[AnyArray]]] = {metric: [] for metric in metrics}
    files = given.parts("pool_other_gains", pairs)
    for own in files:
        for metric, table in gains_by_metric(metrics, own).items():
            rows = aligned(evaluation, table, f"gains of {metric}")
            found[metric].append(
                [
                    np.stack([r.column(c).to_numpy() for c in ("quality_small", "gain")])
                    for r in rows
                ]
            )
    return {
        metric: [
            _side_by_side(own[0][0], [small + gain for small, gain in own])
            for own in zip(*by_pair, strict=True)
        ]
        for metric, by_pair in found.items()
    }
