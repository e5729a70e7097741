"""A small experiment: two datasets, two directions, ties in gain, an oracle, seeds."""

from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from routelmt import tables

SIZES = {"news": 40, "chat": 20}
DIRECTIONS = ("en-ru", "ru-en")
SEEDS = {"random": (0, 1), "length": (0,), "learned": (0, 1, 2), "gain-oracle": (0,)}


@pytest.fixture(scope="session")
def settings() -> dict[str, Any]:
    return {
        "bootstrap": {"replicates": 120, "seed": 3, "level": 0.9},
        "budgets": [0.3, 0.1],
        "risk_edges": [-5, -0.5, 0.5],
        "guards": {
            "rank": ["learned"],
            "signals": ["length", "gain-oracle"],
            "quantiles": [0.6, 1.0],
        },
        "oracles": ["gain-oracle"],
        "random": ["random"],
        "metric": "chrf",
        "human": ["bleu"],
        "minimum_requests": 12,
        "domains": {"news": {"datasets": ["news"]}},
        "splits": {"by-set": {
            "news": {"domains": ["news"], "routers": {"learned": "learned"}},
            "chats": {"domains": ["chat", "rare"], "routers": {"learned": "learned"}},
        }},
    }  # fmt: skip


@pytest.fixture(scope="session")
def gains() -> pa.Table:
    generator = np.random.default_rng(5)
    parts = []
    for direction in DIRECTIONS:
        for dataset, size in SIZES.items():
            ids = [f"{i:03d}" for i in range(size)]
            gain = np.round(generator.normal(2, 8, size))
            gain[generator.random(size) < 0.3] = 0.0
            small = generator.uniform(30, 70, size)
            columns = {
                "dataset": dataset, "direction": direction, "segment_id": ids, "group_id": ids,
                "quality_small": small, "quality_large": small + gain, "gain": gain,
            }  # fmt: skip
            parts.append(tables.from_columns("gains", columns))
    return pa.concat_tables(parts)


@pytest.fixture(scope="session")
def predictions(gains: pa.Table) -> pa.Table:
    generator = np.random.default_rng(6)
    gain = gains.column("gain").to_numpy()
    parts = []
    for router, seeds in SEEDS.items():
        for seed in seeds:
            noise = generator.normal(0, 8, gain.size)
            priority = {
                "random": noise,
                "length": np.round(noise / 6),  # many ties
                "learned": gain + noise,
                "gain-oracle": gain,
            }[router]
            columns = {
                **{name: gains.column(name) for name in tables.JOIN_KEY},
                "router": router, "seed": seed, "prediction": priority, "priority": priority,
            }  # fmt: skip
            parts.append(tables.from_columns("predictions", columns))
    return pa.concat_tables(parts)


@pytest.fixture(scope="session")
def segments(gains: pa.Table) -> pa.Table:
    """Two domains by dataset and a third of three requests; sources of 1 to 12 words."""
    generator = np.random.default_rng(7)
    dataset = gains.column("dataset").to_pylist()
    ids = gains.column("segment_id").to_pylist()
    columns = {
        **{name: gains.column(name) for name in (*tables.JOIN_KEY, "group_id")},
        "doc_id": None,
        "domain": ["rare" if i < "003" and d == "chat" else d
                   for i, d in zip(ids, dataset, strict=True)],
        "split": "test",
        "source": [" ".join(["word"] * n) for n in generator.integers(1, 13, gains.num_rows)],
        "reference": "anything",
    }  # fmt: skip
    made = tables.from_columns("segments", columns)
    return made.take(pa.array(generator.permutation(made.num_rows)))


@pytest.fixture(scope="session")
def other_gains(gains: pa.Table) -> dict[str, pa.Table]:
    """Gains by two other metrics: the same true gain, with errors of their own."""
    generator = np.random.default_rng(8)
    columns = {name: gains.column(name) for name in gains.column_names}
    gain = gains.column("gain").to_numpy()
    return {
        metric: tables.from_columns(
            "gains", columns | {"gain": gain + generator.normal(0, error, gain.size)}
        )
        for metric, error in (("comet", 6), ("bleu", 9))
    }
