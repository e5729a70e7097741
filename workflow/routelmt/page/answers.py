"""The questions a reader comes with, answered from the tables at one budget.

Every sentence is put together from values of the tables it names; where a table or a value is
missing, so is its sentence, or it says why. All values are averages over the directions.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from routelmt.figures.drift import POLICIES, SCENARIOS
from routelmt.page.choice import routing_is_not_worth_it, which
from routelmt.page.wording import (
    SAME,
    Answer,
    Case,
    Row,
    Tables,
    beats,
    listed,
    p_value,
    percent,
    points,
    ranking,
    value,
)
from routelmt.roles import (
    IN_DOMAIN,
    RANDOM,
    RISK_BUCKETS,
    ROUTER,
    UNGUARDED,
)
from routelmt.stats.inference import FEW_CLUSTERS, few_clusters
from routelmt.views.layouts import ATTAINABLE, number

SEVERE_LOSS = RISK_BUCKETS[0]


def answers(tables: Tables, budget: float, settings: Mapping[str, Any]) -> list[Answer]:
    """Which router, how sure, what it buys, costs, risks, how it drifts, and how small p may be.

    tables: by name, at least routers and pareto. settings: experiment, metric, small, large.
    """
    ranked = ranking(tables["routers"], budget)
    if not ranked:
        text = (
            "No router that can be deployed has a defined gain at this budget: only chance and "
            "oracles, which know the outcome, are left to compare."
        )
        return [Answer("Which router?", "none", (text,), ("routers",))]
    case = Case(tables, budget, ranked[0]["router"], settings)
    worth = routing_is_not_worth_it(case, ranked[0])
    found = (worth, which(case, ranked), *(answer(case) for answer in _ANSWERS))
    return [answer for answer in found if answer]


def second_look(remarks: Mapping[str, Sequence[str]]) -> list[Answer]:
    """What the tables remark on their data, by table, in one answer; none where none does."""
    said = tuple(dict.fromkeys(remark for found in remarks.values() for remark in found))
    if not said:
        return []
    count = "1 remark" if len(said) == 1 else f"{len(said)} remarks"
    where = tuple(name for name, found in remarks.items() if found)
    return [Answer("Is the data what it should be?", f"{count} on it", said, where)]


def _sure(case: Case) -> Answer | None:
    against = case.against()
    if not against:
        return None
    ranked = [row["router"] for row in ranking(case.tables["routers"], case.budget)]
    second = next((router for router in ranked[1:] if router in against), next(iter(against)))
    row = against[second]
    beaten = [other for other, row in against.items() if beats(row)]
    said = [
        f"{case.best} minus {second}: {value(row, 'difference', sign='+')} points, "
        f"{p_value(row['p_holm'])} after Holm's correction over all pairs of routers.",
        _ranks_above(beaten, list(against)),
    ]
    if second not in beaten and not math.isnan(row["detectable"]):
        said.append(
            f"With Holm's correction a true difference of {number(row['detectable'], 2)} points is "
            "found on 80 of 100 such test sets; smaller ones are found less often."
        )
    if row["clusters"] is not None and row["clusters"] < FEW_CLUSTERS:
        said.append(few_clusters(row["clusters"]))
    said.append(f"{case.best} was picked on these same requests, which flatters it a little.")
    verdict = "better than" if second in beaten else "not distinguishable from"
    headline = f"{verdict} {second}"
    return Answer("Is the difference real?", headline, tuple(said), ("comparisons", "routers"))


def _ranks_above(beaten: list[str], others: list[str]) -> str:
    rest = [other for other in others if other not in beaten]
    if not rest:
        return f"It is better than all {len(others)} routers it was compared with."
    return (
        f"It is better than {len(beaten)} of the {len(others)} routers it was compared with, and "
        f"not distinguishable from {listed(rest)}."
    )


def _headroom(case: Case) -> Answer | None:
    rows = case.rows("routers", metric="headroom", budget=case.budget, router=case.best)
    if not rows:
        return None
    row, question = rows[0], "How much of what is possible?"
    if math.isnan(row["value"]):
        return Answer(question, "undefined", (f"Undefined: {row['reason']}.",), ("routers",))
    recovered = value(row, scale=100, digits=1, unit=" %")
    text = (
        "The gain oracle, which knows the outcome, gains as much as a choice can. Of what it gains "
        f"over a random choice, {case.best} recovers {recovered}."
    )
    return Answer(question, percent(row["value"], 0), (text, *_attainable(case)), ("routers",))


def _attainable(case: Case) -> list[str]:
    """What is left of the oracle's gain without the noise of the label, where that is known."""
    of = {"metric": ATTAINABLE, "budget": case.budget}
    rows = case.rows("routers", router=case.best, **of)
    if not rows or math.isnan(rows[0]["value"]):
        return [f"Of what is attainable: undefined, {row['reason']}." for row in rows]
    return [
        "Part of that gain is noise of the metric. Of what a perfect predictor of the true gain "
        "would gain (if gains and errors are jointly normal, and metrics or raters err "
        f"independently), it recovers {value(rows[0], scale=100, digits=1, unit=' %')}."
    ]


def _quality(case: Case) -> Answer | None:
    rows = sorted(case.rows("pareto", router=case.best), key=lambda row: row["call_rate"])
    if not rows:
        return None
    small, large = rows[0], rows[-1]
    here = [row for row in rows if row["call_rate"] <= case.budget + SAME][-1]
    names = case.settings
    text = (
        f"Mean quality ({names['metric']}) is {value(small, 'quality')} with the small model "
        f"({names['small']}) alone, {value(here, 'quality')} with {percent(here['call_rate'])} of "
        f"the requests sent on by {case.best}, and {value(large, 'quality')} with the large model "
        f"({names['large']}) alone."
    )
    return Answer("What quality?", f"{number(here['quality'], 1)} points", (text,), ("pareto",))


def _cost(case: Case) -> Answer | None:
    rows, question = case.rows("costs", router=case.best, budget=case.budget), "What does it cost?"
    if not rows:
        why = case.settings.get("no_costs")
        return Answer(question, "unknown", (f"Unknown: {why}.",), ()) if why else None
    row = rows[0]
    if math.isnan(row["seconds"]):
        return Answer(question, "unknown", (f"Unknown: {row['reason']}.",), ("costs",))
    said = [
        f"1,000 requests take {value(row, 'seconds', ends='seconds_')} seconds of the device, "
        f"{percent(row['of_all_large'], 1)} of what the large model alone takes; "
        f"{percent(row['router_share'], 1)} of these seconds are the router's own."
    ]
    if not math.isnan(row["break_even"]):
        even = percent(row["break_even"], 1)
        said.append(f"Up to p = {even} it costs less than the large model alone.")
    elif row["reason"]:
        said.append(f"Break-even: {row['reason']}.")
    if not math.isnan(row["money"]):
        said.append(f"In money: {number(row['money'], 4)} {row['currency']}.")
    headline = f"{percent(row['of_all_large'], 1)} of all-large"
    return Answer(question, headline, tuple(said), ("costs",))


def _risk(case: Case) -> Answer | None:
    severe = {"bucket": SEVERE_LOSS, "budget": case.budget}
    rows = case.rows("risk_buckets", router=case.best, **severe)
    if not rows:
        return None
    said = [
        f"{_share(rows[0], 'share')} of the requests that {case.best} sends get a severely worse "
        "translation from the large model than from the small one."
    ]
    chance = case.rows("risk_buckets", role=RANDOM, **severe)
    if chance:
        said.append(
            f"That is {_against(rows[0], chance[0])} the {_share(chance[0], 'share')} of a random "
            "choice, which is also what sending everything to the large model comes to."
        )
    headline = f"{percent(rows[0]['share'], 1)} severe losses"
    return Answer("What does it risk?", headline, tuple(said), ("risk_buckets",))


def _guard(case: Case) -> Answer | None:
    """The deployable guard with the fewest severe losses, and its price.

    Where the best router is not one of those that guards were tried with, the first of these is.
    """
    rows = case.rows("guard_costs", budget=case.budget, role=ROUTER)
    ranked = [row["router"] for row in rows]
    if not ranked:
        return None
    router = case.best if case.best in ranked else ranked[0]
    own = [row for row in rows if row["router"] == router]
    alone = next((row for row in own if row["guard"] == UNGUARDED), None)
    tried = [row for row in own if row["guard"] != UNGUARDED and row["quantile"] < 1]
    tried = [row for row in tried if not row["degenerate"]]
    if alone is None or not tried:
        return None
    row = min(tried, key=lambda row: (row["severe_loss"], -row["mean_delta"]))
    against = _against_none(row)
    with_it, without = (_share(one, "severe_loss", "severe_loss_") for one in (row, alone))
    gain, before = (value(one, "mean_delta", ends="mean_delta_") for one in (row, alone))
    said = [
        f"Of the guards tried with {router}, {row['guard']} with {percent(row['quantile'])} "
        f"eligible has the fewest severe losses: {with_it}, {against} the {without} without a "
        f"guard ({_points_apart(row, 'severe_loss', 100)} on the same requests). MeanΔ is {gain} "
        f"instead of {before} ({_points_apart(row, 'mean_delta', 1)}).",
        _price(row, alone),
    ]
    said.append("It was picked on these same requests, which flatters it.")
    headline = {"less than": "yes", "more than": "no"}.get(against, "cannot be told")
    return Answer("Does a guard help?", headline, tuple(said), ("guard_costs",))


def _against_none(row: Row) -> str:
    """By the paired difference to the same router without a guard."""
    if row["severe_loss_difference_high"] < 0:
        return "less than"
    more = row["severe_loss_difference_low"] > 0
    return "more than" if more else "not distinguishable from"


def _points_apart(row: Row, figure: str, scale: float) -> str:
    name = f"{figure}_difference"
    written = value(row, name, scale=scale, digits=1, sign="+", ends=f"{name}_")
    return f"{written} points"


def _price(row: Row, alone: Row) -> str:
    added = row["calibrated_seconds"] - alone["calibrated_seconds"]
    if math.isnan(added):
        return f"Its cost is unknown: {row['reason'] or alone['reason']}."
    return (
        f"It takes {number(abs(added), 2)} seconds {'less' if added < 0 else 'more'} for 1,000 "
        f"requests ({number(row['calibrated_seconds'], 2)} instead of "
        f"{number(alone['calibrated_seconds'], 2)})."
    )


def _elsewhere(case: Case) -> Answer | None:
    """The share of the best requests found, whose chance level is p in any domain."""
    rows = case.rows("domains", router=case.best, budget=case.budget, metric="hit_rate")
    named = [row for row in rows if row["domain"] != IN_DOMAIN and not math.isnan(row["value"])]
    if not named:
        return None
    said = [
        f"Of the {percent(case.budget)} of the requests that gain most, {case.best} finds (a "
        f"random choice finds {percent(case.budget)} in any domain):"
    ]
    verdicts = [_against_rest(row) for row in named]
    for row, verdict in zip(named, verdicts, strict=True):
        rest = f"{value(row, 'difference', digits=1, sign='+', ends='difference_')} points"
        compared = f", {rest} to the rest of the data: {verdict}" if verdict else ""
        said.append(f"{row['domain']}: {value(row, digits=1, unit=' %')}{compared}.")
    return Answer(
        "Does it hold in other domains?", _holds(named, verdicts), tuple(said), ("domains",)
    )


def _against_rest(row: Row) -> str:
    """'' where there is no rest to compare with."""
    low, high = row["difference_low"], row["difference_high"]
    if math.isnan(row["difference"]) or math.isnan(low):
        return ""
    if high < 0:
        return "worse"
    return "better" if low > 0 else "not distinguishable"


def _holds(named: list[Row], verdicts: list[str]) -> str:
    known = [verdict for verdict in verdicts if verdict]
    if not known:
        found = sorted(row["value"] for row in named)
        return f"{number(found[0], 1)} to {number(found[-1], 1)} % found"
    if "worse" in known:
        return f"worse in {known.count('worse')} of {len(known)} domains"
    return "cannot be told" if set(known) == {"not distinguishable"} else "not worse"


def _drift(case: Case) -> Answer | None:
    own = {"router": case.best, "budget": case.budget}
    said, used, fixed = [], [], None
    steady = case.rows("streaming", policy="fixed", **own)
    if steady:
        used.append("streaming")
        fixed = steady[0]
        said.append(
            f"A threshold set on the validation data for {percent(case.budget)} sends on "
            f"{_share(fixed, 'rate', 'rate_')} of the test data, which need not be like them."
        )
    alike = case.rows("drift", scenario="same", policy="fixed", **own)
    if alike:
        said.append(
            "Of traffic like that it was set on (one half of the test data that the drift begins "
            f"with, set on the other half) it sends on {_share(alike[0], 'rate', 'rate_')}."
        )
    changed = {name: case.rows("drift", scenario=name, **own) for name in ("shift", "gradual")}
    for scenario, rows in changed.items():
        if rows:
            each = ", ".join(
                f"{POLICIES[r['policy']][0]} {_share(r, 'rate', 'rate_')}" for r in rows
            )
            alarms = [_alarm(row) for row in rows if row["policy"] == "fixed"]
            said.append(" ".join([f"With {SCENARIOS[scenario]}: {each}.", *alarms]))
    if any(changed.values()):
        used.append("drift")
        fixed = next((r for r in changed["shift"] if r["policy"] == "fixed"), fixed)
    if not said or fixed is None:
        return None
    headline = f"{percent(fixed['rate'], 1)} instead of {percent(case.budget)}"
    return Answer("How does it drift?", headline, tuple(said), tuple(used))


def _smallest(case: Case) -> Answer | None:
    rows = sorted(case.rows("smallest_budget", router=case.best), key=lambda row: row["within"])
    if not rows:
        return None
    said = [
        f"The smallest share that keeps {case.best} near the large model alone, chosen on "
        f"validation data with {percent(rows[0]['confidence'])} confidence for a router that was "
        "chosen without them (in brackets: for all routers that can be deployed at once, so for "
        "whichever is taken):"
    ]
    for row in rows:
        outcome = "kept" if row["held"] else "missed"
        said.append(
            f"p = {percent(row['budget'])} ({percent(row['simultaneous'])}) to be within "
            f"{points(row['within'])}; on the test sets with p = {percent(row['budget'])} "
            f"{value(row, 'test_difference', sign='+')}: {outcome}."
        )
    if rows[0]["chosen_on_validation"]:
        said.append(
            "The same validation data have also chosen the epoch, rate or strength of "
            f"{case.best}, which flatters it there a little."
        )
    headline = f"p = {percent(rows[0]['budget'])} within {points(rows[0]['within'])}"
    return Answer("How small may p be?", headline, tuple(said), ("smallest_budget",))


_ANSWERS: tuple[Callable[[Case], Answer | None], ...] = (
    _sure,
    _headroom,
    _quality,
    _cost,
    _risk,
    _guard,
    _elsewhere,
    _drift,
    _smallest,
)


def _against(row: Row, other: Row, ends: str = "") -> str:
    if row[f"{ends}high"] < other[f"{ends}low"]:
        return "less than"
    more = row[f"{ends}low"] > other[f"{ends}high"]
    return "more than" if more else "not distinguishable from"


def _share(row: Row, name: str, ends: str = "") -> str:
    return value(row, name, scale=100, digits=1, unit=" %", ends=ends)


def _alarm(row: Row) -> str:
    if row["rate_alarm"] is None:
        return "The alarm for the fixed threshold's rate stays silent."
    return (
        f"The alarm for the fixed threshold's rate comes after {row['rate_alarm']:,} requests of a "
        "direction."
    )
