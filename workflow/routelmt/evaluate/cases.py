"""Table `cases`: requests to look at, picked by rule: severe losses, largest gains, regressions.

A severe loss is listed if a router that can be deployed sends it to the large model; the largest
gains and the worst regressions are those of all requests of a direction. Routers that draw by
chance are left out: they send any request with the budget's probability.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from routelmt import tables
from routelmt.errors import UserError
from routelmt.evaluate.given import Given, Made
from routelmt.evaluate.quality_tables import role_of
from routelmt.evaluate.requests import Evaluation, aligned, evaluation
from routelmt.roles import ORACLE, RISK_BUCKETS, ROUTER
from routelmt.stats.arrays import FloatArray, IntArray
from routelmt.stats.bootstrap import DirectionData
from routelmt.stats.metrics import risk_bucket_of
from routelmt.stats.selection import budget_count, ranking, route

SEVERE_LOSS = RISK_BUCKETS[0]
LARGEST_GAIN, WORST_REGRESSION = "largest_gain", "worst_regression"
LIMIT = 50  # severe losses of a direction
PER_DIRECTION = 5  # largest gains, and worst regressions

_NOTHING = {
    SEVERE_LOSS: "no deployable router sends a request with a severe loss to the large model",
    LARGEST_GAIN: "no request gains from the large model",
    WORST_REGRESSION: "no request loses by the large model",
}
_SIZES = ("small", "large")
_Parts = dict[str, list[pa.Table]]  # by what it is, the table of every direction


class _Picked(NamedTuple):
    """Requests of one kind and direction, worst or best first; found: before any limit."""

    kind: str
    rows: IntArray
    found: int


def cases_table(settings: Mapping[str, Any], given: Given) -> Made:
    """The cases of a table's inputs (see registry)."""
    texts = ("gains", "segments", *(f"{w}_{s}" for w in ("hypotheses", "scores") for s in _SIZES))
    return cases(settings, evaluation(settings, given), {name: given.read(name) for name in texts})


def cases(
    settings: Mapping[str, Any], evaluation: Evaluation, given: Mapping[str, pa.Table]
) -> Made:
    """The cases of every direction and budget, and a note for each list that was cut or is empty.

    settings: as for the other tables, risk_edges, and cases {limit: severe losses of a direction,
    per_direction: of the other kinds}, by default LIMIT and PER_DIRECTION. given: gains, segments,
    and hypotheses and scores of both models as hypotheses_small, ..., each of all evaluated
    requests. Equal gains go by the hash of the segment id. Raises UserError where a table lacks a
    request, or scores are not those of the gains.
    """
    asked = {"limit": LIMIT, "per_direction": PER_DIRECTION} | settings.get("cases", {})
    parts = {what: aligned(evaluation, table, what) for what, table in given.items()}
    _check_scores(evaluation, parts)
    found: list[pa.Table] = []
    notes: list[str] = []
    for budget in settings["budgets"]:
        for d, direction in enumerate(evaluation.directions):
            shares = _shares(evaluation, direction, budget)
            sent = _sent(settings, shares, direction)
            for picked in _picked(settings, asked, direction, sent):
                notes += _notes(picked, f"{direction.name} at budget {budget:g}")
                columns = _columns(settings, parts, d, picked, shares)
                found.append(tables.from_columns("cases", columns | {"budget": budget}))
    return Made(pa.concat_tables(found), tuple(notes))


def _shares(
    evaluation: Evaluation, direction: DirectionData, budget: float
) -> dict[str, FloatArray]:
    """By router, the share of its seeds that send each request to the large model, (n,)."""
    k = budget_count(budget, len(direction.gain))
    return {
        router: np.mean(
            [route(direction.priorities[c], direction.tie_keys, k) for c in columns], axis=0
        )
        for router, columns in evaluation.columns.items()
    }


def _sent(
    settings: Mapping[str, Any], shares: Mapping[str, FloatArray], direction: DirectionData
) -> FloatArray:
    """The largest share of seeds over the routers that can be deployed, (n,)."""
    deployable = [share for r, share in shares.items() if role_of(r, dict(settings)) == ROUTER]
    largest: FloatArray = np.max([np.zeros(len(direction.gain)), *deployable], axis=0)
    return largest


def _picked(
    settings: Mapping[str, Any],
    asked: Mapping[str, int],
    direction: DirectionData,
    sent: FloatArray,
) -> Iterator[_Picked]:
    gain, edges = direction.gain, settings["risk_edges"]
    best, worst = (ranking(sign * gain, direction.tie_keys) for sign in (1.0, -1.0))
    severe = risk_bucket_of(gain, (edges[0], edges[1], edges[2])) == RISK_BUCKETS.index(SEVERE_LOSS)
    for kind, order, limit in (
        (SEVERE_LOSS, worst[(severe & (sent > 0))[worst]], asked["limit"]),
        (LARGEST_GAIN, best[gain[best] > 0], asked["per_direction"]),
        (WORST_REGRESSION, worst[gain[worst] < 0], asked["per_direction"]),
    ):
        yield _Picked(kind, order[:limit], len(order))


def _notes(picked: _Picked, place: str) -> Iterator[str]:
    if not picked.found:
        yield f"{place}: {_NOTHING[picked.kind]}."
    elif picked.kind == SEVERE_LOSS and len(picked.rows) < picked.found:
        yield f"{place}: {picked.found:,} severe losses, the worst {len(picked.rows):,} are listed."


def _columns(
    settings: Mapping[str, Any],
    parts: _Parts,
    direction: int,
    picked: _Picked,
    shares: Mapping[str, FloatArray],
) -> dict[str, Any]:
    rows = pa.array(picked.rows)
    own = {what: found[direction].take(rows) for what, found in parts.items()}
    sides = {
        f"{name}_{size}": own[f"{table}_{size}"].column(name)
        for size in _SIZES
        for table, names in (
            ("hypotheses", ("hypothesis", "degenerate")),
            ("scores", ("truncated", "error_spans")),
        )
        for name in names
    }
    names = ("doc_id", "domain", "source", "reference")
    return {
        **{name: own["gains"].column(name) for name in (*tables.JOIN_KEY, "group_id")},
        "kind": picked.kind,
        "rank": np.arange(1, len(picked.rows) + 1),
        "found": picked.found,
        **{name: own["segments"].column(name) for name in names},
        **{name: own["gains"].column(name) for name in ("quality_small", "quality_large", "gain")},
        **sides,
        **_senders(settings, picked.rows, shares),
    }


def _senders(
    settings: Mapping[str, Any], rows: IntArray, shares: Mapping[str, FloatArray]
) -> dict[str, Any]:
    """Of every row, the routers that send it with their shares of seeds, and the oracles."""
    by_role: dict[str, list[str]] = {ROUTER: [], ORACLE: []}
    for router in shares:
        by_role.setdefault(role_of(router, dict(settings)), []).append(router)
    routed = [[r for r in by_role[ROUTER] if shares[r][row] > 0] for row in rows]
    return {
        "routed_by": routed,
        "seed_shares": [
            [float(shares[r][row]) for r in names] for row, names in zip(rows, routed, strict=True)
        ],
        "oracles": [[r for r in by_role[ORACLE] if shares[r][row] > 0] for row in rows],
    }


def _check_scores(evaluation: Evaluation, parts: _Parts) -> None:
    for d, direction in enumerate(evaluation.directions):
        for size in _SIZES:
            own = parts["gains"][d].column(f"quality_{size}").to_numpy()
            score = parts[f"scores_{size}"][d].column("score").to_numpy()
            different = int(np.sum(own != score))
            if different:
                raise UserError(
                    f"scores of the {size} model, direction {direction.name}: {different:,} of "
                    f"{len(own):,} differ from the gains' quality_{size}; give the scores that the "
                    "gains were made from (same metric, same models, small and large in place)."
                )
