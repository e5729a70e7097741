"""Which router, if any: what cannot be told apart, and whether a constant choice is as good."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

from routelmt.page.wording import (
    SAME,
    Answer,
    Case,
    Row,
    beats,
    listed,
    p_value,
    percent,
    points,
    value,
)
from routelmt.roles import RANDOM
from routelmt.views.layouts import number


class Objection(NamedTuple):
    """Why routing is not worth it: in a few words, in a sentence, and the tables it is from."""

    headline: str
    sentence: str
    tables: tuple[str, ...]


def which(case: Case, ranked: list[Row]) -> Answer:
    """The highest MeanΔ, whether it is above chance, and which routers are not told from it.

    ranked: MeanΔ rows of the deployable routers, the highest first.
    """
    against = case.against()
    chance = case.rows("routers", metric="mean_delta", budget=case.budget, role=RANDOM)
    others = [row["router"] for row in ranked[1:]]
    group = [other for other in others if other in against and not beats(against[other])]
    said = [
        f"The {percent(case.budget)} of the requests that {case.best} sends to the large model "
        f"gain {value(ranked[0])} points of {case.settings['metric']} each, the most of "
        f"{len(ranked)} routers."
    ]
    if others:
        said.append(f"The next is {others[0]} with {value(ranked[1])}.")
    if chance:
        said.append(f"Requests picked at random gain {value(chance[0])}.")
    to_chance = against.get(chance[0]["router"]) if chance else None
    said.append(_to_chance(case.best, to_chance, list(against)))
    if group:
        said.append(f"Not told apart from {case.best} after Holm's correction: {listed(group)}.")
    said.append(f"The other answers are about {case.best}.")
    used = ("routers", "comparisons") if against else ("routers",)
    headline = _leader(case.best, group, to_chance, any(map(beats, against.values())))
    return Answer("Which router?", headline, tuple(said), used)


def _leader(best: str, group: list[str], to_chance: Row | None, beats_any: bool) -> str:
    """The headline: no winner without a comparison that one has won."""
    if to_chance is not None and not beats(to_chance):
        return "none is shown to be better than random"
    if not beats_any:
        return "none is shown to be better"
    name = best
    if group:
        rest = group[0] if len(group) == 1 else f"one of {len(group)} others"
        name = f"{best} or {rest}, not told apart"
    return name if to_chance is not None else f"{name}; none compared with random"


def _to_chance(best: str, row: Row | None, compared: list[str]) -> str:
    if row is not None:
        verdict = "better" if beats(row) else "not distinguishable"
        return (
            f"{best} minus {row['other']}: {value(row, 'difference', sign='+')} points, "
            f"{p_value(row['p_holm'])} after Holm's correction: {verdict}."
        )
    if compared:
        return f"No comparison with a random choice here; {best} was compared with " + (
            f"{listed(compared)}."
        )
    return "There is no test of it against a random choice or another router."


def routing_is_not_worth_it(case: Case, best: Row) -> Answer | None:
    """Every objection that the tables have against routing with the best router, or None.

    best: its MeanΔ row. Not shown to be worth it counts as an objection.
    """
    objections: list[Callable[[Case, Row], Objection | None]] = [
        _small_alone, _large_alone, _chance_mixes, _large_at_its_quality,
    ]  # fmt: skip
    found = [objection for raised in objections if (objection := raised(case, best))]
    if not found:
        return None
    used = dict.fromkeys(table for objection in found for table in objection.tables)
    sentences = tuple(objection.sentence for objection in found)
    return Answer("Is routing worth it?", found[0].headline, sentences, tuple(used))


def _small_alone(case: Case, best: Row) -> Objection | None:
    if not best["low"] <= 0:
        return None
    verdict = "a loss" if best["high"] < 0 else "not distinguishable from none"
    return Objection(
        "no: the small model alone is as good",
        f"The requests that {case.best} sends gain {value(best)} points each: {verdict}. To send "
        "none costs less.",
        ("routers",),
    )


def _large_alone(case: Case, best: Row) -> Objection | None:
    """Routing takes at least the large model's time and is not shown to be better than it."""
    costs = case.rows("costs", router=case.best, budget=case.budget)
    curve = [
        r for r in case.rows("pareto", router=case.best) if r["call_rate"] <= case.budget + SAME
    ]
    if not costs or not curve or not costs[0]["of_all_large"] >= 1:
        return None
    here = max(curve, key=lambda row: row["call_rate"])
    if here["to_large_low"] > 0:
        return None
    return Objection(
        "no: the large model alone is cheaper and as good",
        f"With {case.best} 1,000 requests take {percent(costs[0]['of_all_large'], 1)} of the "
        "large model's time, and their quality minus that of the large model alone is "
        f"{value(here, 'to_large', ends='to_large_', sign='+')} points.",
        ("costs", "pareto"),
    )


def _chance_mixes(case: Case, best: Row) -> Objection | None:
    """Over all budgets, the area under its quality over time is no larger than chance's.

    By the point estimates: the table has no paired interval of their difference.
    """
    costs = case.rows("costs", router=case.best, budget=case.budget)
    if not costs or not costs[0]["aiq_seconds"] <= costs[0]["aiq_zero"]:
        return None
    row = costs[0]
    return Objection(
        "no: the two models mixed by chance are as good for their time",
        f"Over all budgets, mean quality for its time with {case.best} (AIQ) is "
        f"{value(row, 'aiq_seconds', ends='aiq_seconds_')}; the two models mixed by chance reach "
        f"{number(row['aiq_zero'], 2)}.",
        ("costs",),
    )


def _large_at_its_quality(case: Case, best: Row) -> Objection | None:
    """Where p must be so large to come near the large model that this one is cheaper."""
    costs = case.rows("costs", router=case.best, budget=case.budget)
    if not costs or math.isnan(costs[0]["break_even"]):
        return None
    even = costs[0]["break_even"]
    beyond = [
        row for row in case.rows("smallest_budget", router=case.best) if row["budget"] >= even
    ]
    if not beyond:
        return None
    row = max(beyond, key=lambda row: row["within"])
    return Objection(
        "not for the large model's quality",
        f"To be within {points(row['within'])} of the large model alone, {case.best} has to send "
        f"p = {percent(row['budget'])} of the requests, and from p = {percent(even, 1)} on the "
        "large model alone is cheaper.",
        ("smallest_budget", "costs"),
    )
