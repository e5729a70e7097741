"""Tables as a page reads them: every one it can show, with made-up numbers, of the demo's size."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import combinations, permutations, product
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from routelmt import provenance, tables

ROLES = {"gain-oracle": "oracle", "routelmt": "router", "routelmt-q": "router", "entropy": "router",
         "rarity": "router", "length": "router", "probe": "router", "random": "random"}  # fmt: skip
DEPLOYABLE = [router for router, role in ROLES.items() if role == "router"]
DIRECTIONS = ("en-zh", "zh-en", "en-ru", "ru-en")
PLACES = (*DIRECTIONS, "average")
BUDGETS = (0.3, 0.5)
POLICIES = ("fixed", "rolling", "controller")
POOL = ("demo-small", "demo-large", "demo-large-5-beams")
SCENARIOS = ("same", "shift", "gradual")
BUCKETS = ("severe_loss", "minor_loss", "tie", "substantial_gain")
BOOTSTRAP = {"bootstrap": {"replicates": 1000, "seed": 0, "level": 0.95}}
SETTINGS = {"experiment": "demo", "metric": "chrf", "small": "demo-small", "large": "demo-large",
            "languages": {"en": "English", "zh": "Chinese", "ru": "Russian"},
            "palette": "okabe-ito"}  # fmt: skip
MARKUP = '<img src=x onerror="window.ran = true"></script><script>window.ran = true</script>'
UNDEFINED = "the priorities are all equal"

Row = dict[str, Any]


def ends(value: float, width: float, name: str = "") -> Row:
    return {f"{name}low": value - width, f"{name}high": value + width}


def worth(router: str) -> float:
    """How good a made-up router is, 0 to 1; routelmt is the best that can be deployed.

    Nothing is made a round number, which would leave the last digit to the way of rounding.
    """
    order = ["length", "random", "rarity", "entropy", "routelmt-q", "probe", "routelmt"]
    return 1.0 if ROLES[router] == "oracle" else order.index(router) / 8.37


def runs(budgets: Iterable[float] = BUDGETS) -> Iterable[Row]:
    for router, place, budget in product(ROLES, PLACES, budgets):
        yield {"router": router, "direction": place, "budget": budget, "role": ROLES[router]}


def quality(router: str, place: str, rate: float) -> float:
    return 40 + PLACES.index(place) + 20 * rate + 25 * worth(router) * rate * (1 - rate)


def routers() -> Iterable[Row]:
    for run in runs():
        good = worth(run["router"])
        for metric, value in (("spearman", good), ("hit_rate", 30 + 70 * good),
                              ("mean_delta", 10 + 10 * good + run["budget"]), ("headroom", good),
                              ("headroom_attainable", 1.5 * good)):  # fmt: skip
            undefined = (run["router"], metric) == ("rarity", "spearman")
            yield run | {
                "metric": metric, "value": np.nan if undefined else value,
                **(ends(np.nan, 0) if undefined else ends(value, 0.1 * abs(value) + 0.01)),
                "seeds": 2, "seed_spread": 0.05, "requests": 4200,
                "reason": UNDEFINED if undefined else None,
            }  # fmt: skip


def pareto(points: int = 1051) -> Iterable[Row]:
    for router, place in product(ROLES, PLACES):
        for rate in np.linspace(0, 1, points):
            value = quality(router, place, rate)
            beyond = value - quality(router, place, 1)
            yield {"router": router, "direction": place, "role": ROLES[router], "call_rate": rate,
                   "quality": value, **ends(value, 0.7), "to_large": beyond,
                   **ends(beyond, 0.4, "to_large_")}  # fmt: skip


def comparisons() -> Iterable[Row]:
    for (first, second), place, budget, metric in product(
        combinations([*DEPLOYABLE, "random"], 2),
        PLACES,
        BUDGETS,
        ("spearman", "hit_rate", "mean_delta"),
    ):
        difference = 10 * (worth(first) - worth(second))
        p = 0.2 if {first, second} == {"routelmt", "probe"} else 1e-5
        yield {"router": first, "other": second, "direction": place, "budget": budget,
               "metric": metric, "difference": difference, **ends(difference, 1.5),
               "p_value": p / 2, "p_holm": p, "detectable": 2.1,
               "clusters": 1500, "undefined": 0.0, "reason": None}  # fmt: skip


def risk_buckets() -> Iterable[Row]:
    for run in runs():
        severe = 0.08 - 0.06 * worth(run["router"])
        for bucket, share in zip(BUCKETS, (severe, 0.1, 0.2, 0.7 - severe), strict=True):
            yield run | {"bucket": bucket, "share": share, **ends(share, 0.01)}


def router_metrics() -> Iterable[Row]:
    for router, place in product(ROLES, (*PLACES, "pooled")):
        for metric, budget in (("apgr", None), ("auroc", None), ("mean_delta", 0.3), ("pgr", 0.3)):
            yield {"router": router, "direction": place, "budget": budget, "role": ROLES[router],
                   "metric": metric, "value": worth(router), **ends(worth(router), 0.02),
                   "seeds": 1, "seed_spread": np.nan, "requests": 4200, "reason": None}  # fmt: skip


def breakdown() -> Iterable[Row]:
    groups = [("domain", f"package-{i}") for i in range(30)] + [("length", f"q{i}") for i in "1234"]
    for router, place, (by, group), (metric, budget) in product(
        ROLES, PLACES, groups, (("spearman", None), ("hit_rate", 0.3), ("mean_delta", 0.3))
    ):
        yield {"router": router, "direction": place, "by": by, "group": group, "detail": "",
               "budget": budget, "role": ROLES[router], "metric": metric, "value": worth(router),
               **ends(worth(router), 0.2), "requests": 35, "reason": None}  # fmt: skip


def cross_metric() -> Iterable[Row]:
    for judge, router, place in product(("chrf", "bleu"), ROLES, PLACES):
        yield {"judge": judge, "router": router, "direction": place, "budget": 0.3,
               "role": ROLES[router], "metric": "mean_delta", "value": worth(router),
               **ends(worth(router), 0.1), "reason": None}  # fmt: skip


def noise() -> Iterable[Row]:
    for place, router in product(PLACES, (None, "routelmt")):
        yield {"direction": place, "router": router, "method": "none", "metrics": "chrf",
               "measure": "noise_share" if router else "reliability", "value": np.nan,
               **ends(np.nan, 0), "requests": 4200, "reason": "one metric, one rater"}  # fmt: skip


def guards() -> Iterable[Row]:
    for guard, place, budget, share in product(
        ("none", "routelmt-q"), PLACES, BUDGETS, (0.5, 0.7, 1.0)
    ):
        if guard != "none" or share == 1.0:
            yield {"router": "routelmt", "guard": guard, "oracle": False, "direction": place,
                   "budget": budget, "quantile": share, "severe_loss": 0.05 * share,
                   **ends(0.05 * share, 0.01, "severe_loss_"), "mean_delta": 12 * share,
                   **ends(12 * share, 0.5, "mean_delta_"), **to_unguarded(share)}  # fmt: skip


def to_unguarded(share: float) -> Row:
    """Differences to quantile 1, where nobody is held back."""
    severe, gain = 0.05 * (share - 1), 12 * (share - 1)
    return {"severe_loss_difference": severe, **ends(severe, 0.01, "severe_loss_difference_"),
            "mean_delta_difference": gain, **ends(gain, 0.5, "mean_delta_difference_")}  # fmt: skip


def guard_costs() -> Iterable[Row]:
    for row in guards():
        asked = 0.0 if row["guard"] == "none" or row["quantile"] == 1 else 0.9 - row["quantile"] / 2
        extra = 5.2 * (asked > 0)
        yield {key: value for key, value in row.items() if key != "oracle"} | {
            "role": "router", "degenerate": row["guard"] != "none"
            and row["quantile"] == row["budget"], "seconds": 36.4 + extra,
            **ends(36.4 + extra, 1.7, "seconds_"), "guard_seconds": extra,
            "calibrated_seconds": 36.4 + extra * asked, "asked": asked, "reason": None, "remark": None,
        }  # fmt: skip
    for place, budget in product(PLACES, BUDGETS):
        yield {"router": "random", "guard": "none", "direction": place, "budget": budget,
               "quantile": 1.0, "role": "random", "degenerate": False, "severe_loss": 0.08,
               **ends(0.08, 0.01, "severe_loss_"), "mean_delta": 9.0,
               **ends(9, 0.5, "mean_delta_"), **to_unguarded(1.0),
               "seconds": 32.9, **ends(32.9, 1.7, "seconds_"),
               "guard_seconds": 0.0, "calibrated_seconds": 32.9, "asked": 0.0,
               "reason": None, "remark": None}  # fmt: skip


def domains() -> Iterable[Row]:
    """Worse in the first domain, as good in the second, undefined in one direction of it."""
    for run, (domain, away) in product(
        runs(), (("medical", -9.3), ("colloquial", 0.4), ("in-domain", 0.0))
    ):
        few = (domain, run["direction"]) == ("colloquial", "ru-en")
        for metric, scale in (("hit_rate", 1.0), ("mean_delta", 0.3), ("spearman", 0.01),
                              ("headroom", 0.01)):  # fmt: skip
            value = np.nan if few else scale * (37.3 + 50 * worth(run["router"]) + away)
            difference = np.nan if few or domain == "in-domain" else scale * away
            yield run | {
                "domain": domain, "metric": metric, "value": value, **ends(value, 2 * scale),
                "seeds": 2, "seed_spread": 0.1 * scale, "requests": 300, "directions": 1,
                "difference": difference, **ends(difference, 3 * scale, "difference_"),
                "reason": "3 requests, 30 are needed" if few else None,
            }  # fmt: skip


TRANSFERRED = (("routelmt", True), ("routelmt", False), ("random", None), ("gain-oracle", None))
METRICS_OF_TRANSFER = (("hit_rate", 100.0), ("mean_delta", 20.0), ("spearman", 1.0),
                       ("headroom", 1.0))  # fmt: skip


def moved(budget: float, part: str, metric: str) -> Row:
    return {"split": "by-origin", "part": part, "budget": budget, "metric": metric, "clusters": 31,
            "requests": 2100 * (1 + (part == "average")), "left_out": 7}  # fmt: skip


def transfer() -> Iterable[Row]:
    """Half of what a router wins is lost on domains that it has not seen."""
    worth_of = {True: 0.6, False: 0.3, None: 0.0}
    for budget, part, (metric, scale), (router, seen) in product(
        BUDGETS, ("openstack", "others", "average"), METRICS_OF_TRANSFER, TRANSFERRED
    ):
        value = scale * (1.0 if router == "gain-oracle" else worth_of[seen])
        yield moved(budget, part, metric) | {
            "router": router, "seen": seen, "role": ROLES[router], "value": value,
            **ends(value, 0.1 * scale), "seeds": 1, "seed_spread": np.nan, "reason": None,
        }  # fmt: skip


def transfer_comparisons() -> Iterable[Row]:
    for budget, part, (metric, scale), (other, seen) in product(
        BUDGETS, ("openstack", "others", "average"), METRICS_OF_TRANSFER,
        (("routelmt", False), ("random", None), ("entropy", False)),
    ):  # fmt: skip
        yield moved(budget, part, metric) | {
            "router": "routelmt", "seen": other == "routelmt", "other": other, "other_seen": seen,
            "difference": 0.3 * scale, **ends(0.3 * scale, 0.1 * scale), "p_value": 0.01,
            "p_holm": 0.02 if seen is None else 0.01, "detectable": 0.2 * scale,
        }  # fmt: skip


def streamed(rate: float, alarm: int | None) -> Row:
    return {"rate": rate, **ends(rate, 0.02, "rate_"), "mean_delta": 12.0,
            **ends(12, 1, "mean_delta_"), "quality": 55.0, **ends(55, 1, "quality_"),
            "offline_quality": 55.5, "random_quality": 52.0, "requests": 4200, "calibration": 1200, "rate_alarm": alarm,
            "traffic_alarm": alarm, "reason": None}  # fmt: skip


def streaming() -> Iterable[Row]:
    for run, policy in product(runs(), POLICIES):
        yield run | {"policy": policy, **streamed(run["budget"] + 0.01, None)}


def drift() -> Iterable[Row]:
    moved = {"fixed": 0.15, "rolling": 0.05, "controller": 0.01}
    for scenario, run, policy in product(SCENARIOS, runs(), POLICIES):
        away = moved[policy] if scenario != "same" else 0.0
        yield run | {"scenario": scenario, "policy": policy,
                     **streamed(run["budget"] + away, 180 if away > 0.1 else None)}  # fmt: skip


def drift_paths() -> Iterable[Row]:
    for scenario, router, place, budget, policy, request in product(
        SCENARIOS, ROLES, DIRECTIONS, BUDGETS, POLICIES, range(9, 540, 9)
    ):
        yield {"scenario": scenario, "router": router, "direction": place, "budget": budget,
               "role": ROLES[router], "policy": policy, "request": int(request),
               "rate": budget + request / 5000, "recent_rate": np.nan,
               **ends(budget, 0.1)}  # fmt: skip


def calibration() -> Iterable[Row]:
    for router, place, target in product(ROLES, PLACES, np.arange(1, 20) / 20):
        yield {"router": router, "direction": place, "role": ROLES[router], "target": target,
               "rate": target - 0.01, **ends(target - 0.01, 0.02)}  # fmt: skip


def reliability() -> Iterable[Row]:
    for place, index in product((*DIRECTIONS, "all"), range(10)):
        yield {"router": "routelmt", "direction": place, "bin": index, "predicted": 4.0 * index,
               "observed": 3.8 * index, **ends(3.8 * index, 1), "requests": 105}  # fmt: skip


def costs() -> Iterable[Row]:
    for run in runs(sorted({*BUDGETS, *(np.arange(21) / 20)})):
        share = 0.2 + 0.85 * run["budget"]
        unknown = run["router"] == "rarity"
        value = np.nan if unknown else 100 * share
        yield run | {
            "quality": quality(run["router"], run["direction"], run["budget"]), "seconds": value,
            **ends(value, 2, "seconds_"), "router_seconds": 0.05 * value,
            "small_seconds": 0.2 * value, "large_seconds": 0.75 * value, "mean_seconds": value,
            "of_all_large": value / 100, "router_share": np.nan if unknown else 0.05,
            "break_even": np.nan if unknown else 0.94, "money": np.nan, "currency": None,
            "aiq_seconds": np.nan if unknown else 62.0, **ends(62.0, 1, "aiq_seconds_"),
            "aiq_money": np.nan, **ends(np.nan, 1, "aiq_money_"), "aiq_zero": 61.0,
            "remark": None, "reason": "no rate of router rarity" if unknown else None,
        }  # fmt: skip


def budgets() -> Iterable[Row]:
    for run, allocation in product(runs(), ("per_direction", "pooled")):
        if run["direction"] != "average":
            yield run | {"allocation": allocation, "rate": run["budget"], "mean_delta": 12.0,
                         **ends(12, 1, "mean_delta_"), "quality": 55.0, **ends(55, 1, "quality_"),
                         "behind_oracle": 3.0, **ends(3, 1, "behind_oracle_"),
                         "reason": None}  # fmt: skip


def smallest_budget() -> Iterable[Row]:
    for router, place, within in product(ROLES, PLACES, (0.5, 1.0)):
        yield {"router": router, "direction": place, "role": ROLES[router], "within": within,
               "confidence": 0.95, "budget": 0.95 - 0.1 * within, "calibration_difference": -0.3,
               "calibration_bound": -0.4, "test_difference": -0.6, **ends(-0.6, 0.2),
               "held": within == 1.0, "simultaneous": 0.97 - 0.1 * within,
               "chosen_on_validation": router == "probe"}  # fmt: skip


def cases() -> Iterable[Row]:
    found = product(("severe_loss", "largest_gain"), DIRECTIONS, BUDGETS, range(1, 31))
    for at, (kind, direction, budget, rank) in enumerate(found):
        gain = -10.0 - rank if kind == "severe_loss" else 30.0 - rank
        first = rank == 1
        flags = {f"{flag}_{size}": flag == "degenerate" and first
                 for flag in ("truncated", "degenerate") for size in ("small", "large")}  # fmt: skip
        yield {
            "dataset": "software-test", "direction": direction, "segment_id": f"segment{at}",
            "group_id": f"group{at}", "doc_id": None, "domain": None, "kind": kind,
            "budget": budget, "rank": rank, "found": 30,
            "source": MARKUP if first else f"text {at} of some forty characters, or so",
            "reference": "مرحبا <b>بالعالم</b>" if first else "ein Verweis " * 4,
            "hypothesis_small": "", "hypothesis_large": "x" * 5000 if rank == 2 else "y" * 40,
            "quality_small": 50.0, "quality_large": 50.0 + gain, "gain": gain, **flags,
            "error_spans_small": None, "error_spans_large": MARKUP if first else None,
            "routed_by": ["routelmt", "entropy"] if rank % 2 else ["routelmt"],
            "seed_shares": [0.5, 1.0] if rank % 2 else [1.0], "oracles": [],
        }  # fmt: skip


def pool() -> Iterable[Row]:
    whole = {f"{figure}{end}": np.nan for figure in ("to_mixture", "to_pair", "area")
             for end in ("", "_low", "_high")}  # fmt: skip
    named = [("single", m) for m in POOL] + [("mixture", "static mixture")]
    named += [(policy, "probe") for policy in ("allocated", "coherent", "pair")]
    for place, (policy, name) in product(PLACES, named):
        own = [POOL.index(name) / 2] if policy == "single" else sorted({*np.linspace(0, 1, 6), 0.3})
        for budget in own:
            value = 40 + 9.07 * budget + (3.03 * budget * (1 - budget) if name == "probe" else 0)
            lacks = policy == "allocated" and budget == 0
            yield {"policy": policy, "name": name, "direction": place, "budget": budget,
                   "role": "router", "quality": np.nan if lacks else value,
                   **ends(np.nan if lacks else value, 0.7, "quality_"), "cost": 1 + 3 * budget,
                   **ends(1 + 3 * budget, 0.01, "cost_"), "unit": "seconds", **whole,
                   "switches": np.nan, "reason": "too dear" if lacks else None}  # fmt: skip


def pool_shares() -> Iterable[Row]:
    for row in pool():
        if row["policy"] in ("allocated", "coherent"):
            for m, model in enumerate(POOL):
                share = [1 - row["budget"], 0.0, row["budget"]][m]
                yield {key: row[key] for key in ("policy", "name", "direction", "budget")} | {
                    "model": model, "share": share, **ends(share, 0.02), "reason": None
                }  # fmt: skip


def pool_choice() -> Iterable[Row]:
    for budget, size in product(BUDGETS, (1, 2, 3)):
        yield {"name": "probe", "budget": budget, "size": size, "role": "router",
               "models": ", ".join(POOL[:size]), "same": size != 2, "chosen_at": 40.11 + size,
               "quality": 39.97 + size, **ends(39.97 + size, 0.6, "quality_"),
               "to_smaller": 1.01 if size > 1 else np.nan,
               **ends(1.01 if size > 1 else np.nan, 0.3, "to_smaller_"), "reason": None}  # fmt: skip


def datasheet() -> Iterable[Row]:
    statistics = ("mean", "p05", "p25", "p50", "p75", "p95")
    words = {f"{s}_words_{k}": 9.5 for s in ("source", "reference") for k in statistics}
    for role, direction, domain in product(("train", "test"), DIRECTIONS, ("all", "one")):
        yield {"dataset": f"software-{role}", "direction": direction, "domain": domain,
               "role": role, "segments": 1050, "groups": 1050, "documents": 12, **words,
               "source_chars_mean": 60.0, "reference_chars_mean": 55.0}  # fmt: skip


def contamination() -> Iterable[Row]:
    for direction in (*DIRECTIONS, "all"):
        yield {"dataset": "software-train", "role": "train", "held_out": "any", "rows": 2600,
               "direction": direction, "exact": 0, "near": 5, "group": 0, "removed": 5}  # fmt: skip


def flags() -> Iterable[Row]:
    for model, direction in product(("small", "large"), DIRECTIONS):
        yield {"model": model, "dataset": "software-test", "direction": direction, "requests": 1050,
               "truncated": 2, "degenerate": 7, "length": 5, "left_out": 0}  # fmt: skip


def training() -> Iterable[Row]:
    for seed, epoch in product((0, 1), (1, 2, 3)):
        yield {"router": "routelmt", "seed": seed, "learning_rate": 0.003, "epoch": epoch,
               "step": 40 * epoch, "train_loss": 1 / epoch, "validation_loss": 1 / epoch,
               "validation_spearman": 0.4, "epoch_end": True, "kept": epoch == 3}  # fmt: skip


def human() -> Iterable[Row]:
    for (router, other), place in product(combinations(DEPLOYABLE, 2), PLACES):
        value = 3 * (worth(router) - worth(other))
        yield {"judge": "esa", "router": router, "other": other, "direction": place, "budget": 0.3,
               "metric": "chrf", "metric_difference": 2 * value, "metric_p_holm": 0.01,
               "expected": 1.3 * value, "difference": value, **ends(value, 2.1), "p_value": 0.2,
               "p_holm": 0.4, "detectable": 4.7, "verdict": "too few requests to tell",
               "requests": 36}  # fmt: skip


SYSTEMS = ("small-7b", "middle-32b", "large-235b")


def atlas() -> Iterable[Row]:
    """The pair small-7b, large-235b is the chosen one."""
    for at, (pair, place) in enumerate(product(permutations(SYSTEMS, 2), PLACES)):
        chosen = pair == (SYSTEMS[0], SYSTEMS[2])
        gain = 3.17 * (SYSTEMS.index(pair[1]) - SYSTEMS.index(pair[0])) + PLACES.index(place)
        figures = {"mean_gain": gain, "losses": 0.31, "severe_losses": 0.12,
                   "headroom": 12 + gain / 2, "attainable_headroom": 9 + gain / 3 + at / 100,
                   "reliability": 0.5}  # fmt: skip
        row = {
            "small": pair[0],
            "large": pair[1],
            "direction": place,
            "metric": "chrf",
            "budget": 0.3,
        }
        for name, value in figures.items():
            row |= {name: value, **ends(value if chosen else np.nan, 0.01, f"{name}_")}
        yield row | {"cross_headroom": 6.1, "attainable_spearman": 0.7, "agreement_pearson": 0.5,
                     "agreement_spearman": 0.4, "method": "one factor", "requests": 1050,
                     "directions": 4 if place == "average" else 1, "reason": None,
                     "clusters": 300 if chosen else None}  # fmt: skip


def atlas_signals() -> Iterable[Row]:
    pair = {"small": SYSTEMS[0], "large": SYSTEMS[2], "direction": "average", "metric": "chrf"}
    for share, (kind, signal) in enumerate(
        (("gain", "comet"), ("quality", "chrf"), ("router", "length"))
    ):
        value = 0.45 - 0.13 * share
        yield pair | {"budget": 0.3, "kind": kind, "signal": signal, "shares_rater": signal == "chrf",
                      "recovered": value, **ends(value, 0.05, "recovered_"), "spearman": value,
                      **ends(value, 0.05, "spearman_"), "pearson": value, "requests": 4200,
                      "clusters": 300}  # fmt: skip


MADE = {
    f.__name__: f
    for f in (routers, pareto, comparisons, router_metrics, breakdown, cross_metric, noise, guards,
              guard_costs, domains, transfer, transfer_comparisons,
              human, atlas, atlas_signals, risk_buckets, streaming, calibration, reliability, drift,
              drift_paths, costs, budgets, smallest_budget, pool, pool_shares, pool_choice, cases,
              datasheet, contamination, flags, training)
}  # fmt: skip


def example(name: str) -> pa.Table:
    """The made-up table of that name."""
    rows, schema = list(MADE[name]()), tables.arrow_schema(name)
    given = [f for f in schema if f.name in rows[0]]  # what was added to a table may be left out
    columns = {f.name: pa.array([row[f.name] for row in rows], f.type) for f in given}
    return tables.from_columns(name, columns)


def write_examples(folder: Path, names: Iterable[str] = tuple(MADE)) -> list[Path]:
    """The tables of these names as files with provenance."""
    parent = folder / "parent.txt"
    folder.mkdir(parents=True, exist_ok=True)
    parent.write_text("what all of them were made from")
    record = provenance.describe("tables", BOOTSTRAP, [parent])
    paths = [folder / f"{name}.parquet" for name in names]
    for path in paths:
        notes = {"notes": ["en-zh: 60 severe losses, the worst 30 are listed."]}
        tables.write(example(path.stem), path, path.stem, record | notes)
    return paths
