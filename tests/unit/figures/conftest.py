"""Tables as the figures read them, with made-up numbers."""

import itertools
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from routelmt import tables
from tests.page.examples import MADE

ROLES = {"random": "random", "length": "router", "entropy": "router", "a-learned-one": "router",
         "gain-oracle": "oracle", "quality-oracle": "oracle"}  # fmt: skip
PLACES = ("en-zh", "ru-en", "average")
BUCKETS = ("severe_loss", "minor_loss", "tie", "substantial_gain")


def table(name: str, rows: list[dict[str, Any]]) -> pa.Table:
    made = tables.from_columns(name, {c: [row[c] for row in rows] for c in rows[0]})
    tables.check(made, name, name)
    return made


def with_interval(value: float, width: float) -> dict[str, float]:
    return {"low": value - width, "high": value + width}


@pytest.fixture(scope="session")
def style() -> dict[str, Any]:
    return {"width": 6.3, "dpi": 60, "font_size": 9, "palette": "okabe-ito", "metric": "chrf"}


@pytest.fixture(scope="session")
def evaluation_tables() -> dict[str, pa.Table]:
    quality = {router: 2.0 + 2 * i for i, router in enumerate(ROLES)}
    routers, pareto, risks, guards = [], [], [], []
    for router, place in itertools.product(ROLES, PLACES):
        run = {"router": router, "direction": place, "role": ROLES[router]}
        for metric, factor in (
            ("spearman", 0.05),
            ("hit_rate", 6),
            ("mean_delta", 1),
            ("headroom", 0.1),
        ):
            value = quality[router] * factor
            routers.append(
                run | {"budget": 0.3, "metric": metric, "value": value, "seeds": 1,
                       "seed_spread": np.nan, "requests": 100, "reason": None}
                | with_interval(value, factor)
            )  # fmt: skip
        for rate in np.linspace(0, 1, 11):
            mixed = 50 + 3 * rate + quality[router] * rate * (1 - rate)
            pareto.append(
                run | {"call_rate": rate, "quality": mixed} | with_interval(mixed, 0.5)
                | {"to_large": mixed - 53, "to_large_low": mixed - 54, "to_large_high": mixed - 52}
            )  # fmt: skip
        for bucket, share in zip(BUCKETS, (0.1, 0.15, 0.25, 0.5), strict=True):
            risks.append(
                run | {"budget": 0.3, "bucket": bucket, "share": share} | with_interval(share, 0.02)
            )
    for guard, quantile, place in itertools.product(
        ("none", "entropy", "quality-oracle"), (0.3, 0.6, 1.0), PLACES
    ):
        if guard == "none" and quantile < 1:
            continue
        guards.append(
            {"router": "a-learned-one", "guard": guard, "oracle": guard == "quality-oracle",
             "direction": place, "budget": 0.3, "quantile": quantile, "severe_loss": 0.1 * quantile,
             "severe_loss_low": 0.08 * quantile, "severe_loss_high": 0.12 * quantile,
             "mean_delta": 5 - quantile, "mean_delta_low": 4 - quantile,
             "mean_delta_high": 6 - quantile,
             **{f"{figure}_difference{end}": 0.0 for figure in ("severe_loss", "mean_delta")
                for end in ("", "_low", "_high")}}
        )  # fmt: skip
    guard_costs = [
        {k: v for k, v in row.items() if k != "oracle"}
        | {"role": "oracle" if row["oracle"] else "router",
           "degenerate": row["guard"] != "none" and row["quantile"] == 0.3,
           "seconds": 30 + 10 * (row["guard"] == "entropy"), "seconds_low": 28.0,
           "seconds_high": 45.0, "guard_seconds": 5.0, "calibrated_seconds": 33.0, "asked": 0.5,
           "remark": None, "reason": None}
        for row in guards
    ]  # fmt: skip
    guard_costs += [
        row | {"router": "random", "role": "random", "mean_delta": 1.0, "mean_delta_low": 0.5,
               "mean_delta_high": 1.5, "seconds": 25.0}
        for row in guard_costs if row["guard"] == "none"
    ]  # fmt: skip
    lengths = {"mean": 20.0, "p05": 4.0, "p25": 9.0, "p50": 16.0, "p75": 25.0, "p95": 60.0}
    datasheet = [
        {
            "dataset": dataset,
            "direction": direction,
            "domain": "all",
            "role": role,
            "segments": 100,
            "groups": 100,
            "documents": 0,
            "source_chars_mean": 90.0,
            "reference_chars_mean": 90.0,
            **{f"{s}_words_{k}": v for s in ("source", "reference") for k, v in lengths.items()},
        }
        for dataset, role in (("one", "train"), ("two", "test"))
        for direction in PLACES[:2]
    ]
    training = [
        {"router": router, "seed": seed, "learning_rate": rate, "epoch": epoch, "step": 40 * epoch,
         "train_loss": 1 / epoch, "validation_loss": 1 / epoch + rate, "validation_spearman": 0.3,
         "epoch_end": True, "kept": (rate, epoch) == (0.1, 3)}
        for router in ("a-learned-one", "another")
        for seed in (0, 1)
        for rate in (0.1, 0.2)
        for epoch in (1, 2, 3)
    ]  # fmt: skip
    calibration = [
        {"router": router, "direction": place, "role": role, "target": target,
         "rate": target + 0.002 * i, **with_interval(target + 0.002 * i, 0.02)}
        for i, (router, role) in enumerate(ROLES.items())
        for place in PLACES
        for target in (0.1, 0.3, 0.5, 0.9)
    ]  # fmt: skip
    reliability = [
        {"router": "a-learned-one", "direction": place, "bin": index, "predicted": 10.0 * index,
         "observed": 9.0 * index, **with_interval(9.0 * index, 2), "requests": 50}
        for place in (*PLACES[:2], "all")
        for index in range(5)
    ]  # fmt: skip
    paths = [
        {"scenario": scenario, "router": "entropy", "role": "router", "direction": place,
         "budget": 0.3, "policy": policy, "request": request, "rate": 0.3 + drift * request / 1000,
         "recent_rate": np.nan, "low": 0.2, "high": 0.4}
        for scenario in ("same", "shift", "gradual")
        for place in PLACES[:2]
        for policy, drift in (("fixed", 0.3), ("rolling", 0.1), ("controller", 0.01))
        for request in (1, 40, 200, 1000)
    ]  # fmt: skip
    unknown = {f"aiq_{unit}{end}": np.nan for unit in ("seconds", "money")
               for end in ("", "_low", "_high")}  # fmt: skip
    costs = [
        {"router": router, "direction": place, "role": role, "budget": budget,
         "quality": 40 + 20 * budget + i, "seconds": 5 + 10 * budget,
         "seconds_low": 4.0, "seconds_high": 20.0, "router_seconds": 1.0, "small_seconds": 2.0,
         "large_seconds": 3.0, "mean_seconds": 6.0, "router_share": 0.1, "break_even": 0.9,
         "of_all_large": np.nan if router == "length" else 0.3 + 0.8 * budget + 0.01 * i,
         "money": np.nan, "currency": None, **unknown, "aiq_zero": 50.0, "remark": None,
         "reason": "no rate" if router == "length" else None}
        for i, (router, role) in enumerate(ROLES.items())
        for place in PLACES
        for budget in (0.0, 0.3, 0.6, 1.0)
    ]  # fmt: skip
    deployable = [router for router, role in ROLES.items() if role == "router"]
    comparisons = [
        {"router": first, "other": second, "direction": place, "budget": 0.3,
         "metric": "mean_delta", "difference": quality[first] - quality[second],
         **with_interval(quality[first] - quality[second], 1), "p_value": 0.01, "p_holm": 0.02,
         "detectable": 1.0}
        for first, second in itertools.combinations(deployable, 2)
        for place in PLACES
    ]  # fmt: skip
    transfer = [
        {"router": router, "seen": seen, "split": split, "part": part, "budget": 0.3,
         "role": ROLES[router], "metric": "headroom", "value": value, **with_interval(value, 0.1),
         "seeds": 1, "seed_spread": np.nan, "requests": 400, "left_out": 0,
         "reason": None}
        for split, part in (("by-origin", "openstack"), ("by-origin", "others"),
                            ("by-origin", "average"))
        for router, seen, value in (("entropy", True, 0.5), ("entropy", False, 0.2),
                                    ("a-learned-one", True, 0.6), ("a-learned-one", False, 0.3),
                                    ("random", None, 0.0), ("gain-oracle", None, 1.0))
    ]  # fmt: skip
    made = {
        "transfer": transfer,
        "comparisons": comparisons,
        "calibration": calibration,
        "reliability": reliability,
        "drift_paths": paths,
        "costs": costs,
        "guard_costs": guard_costs,
        **{name: list(MADE[name]()) for name in ("atlas", "pool", "pool_shares")},
        "training": training,
        "datasheet": datasheet,
        "routers": routers,
        "pareto": pareto,
        "risk_buckets": risks,
        "guards": guards,
    }
    return {name: table(name, rows) for name, rows in made.items()}
