"""Tables as the figures read them, with made-up numbers."""

import itertools
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from routelmt import tables

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
    return {"width": 6.3, "dpi": 60, "font_size": 9, "palette": "okabe-ito"}


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
            pareto.append(run | {"call_rate": rate, "quality": mixed} | with_interval(mixed, 0.5))
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
             "mean_delta_high": 6 - quantile}
        )  # fmt: skip
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
    made = {
        "datasheet": datasheet,
        "routers": routers,
        "pareto": pareto,
        "risk_buckets": risks,
        "guards": guards,
    }
    return {name: table(name, rows) for name, rows in made.items()}
