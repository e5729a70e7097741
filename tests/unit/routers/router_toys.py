"""Small tables for router tests, and a task that a router can learn."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from routelmt import tables
from routelmt.routers.inputs import RouterInputs

LANGUAGES = {"en": "English", "zh": "Chinese", "ru": "Russian"}
PROMPT = "Translate the following text from {src} into {tgt}:\n{src}: {text}\n{tgt}:"
WORDS = ["open", "file", "the", "window", "save", "print", "error", "of", "user", "network"]
SPEED = {"batch_tokens": 256, "device": "cpu", "threads": 1}
SPEC = {
    "type": "lora", "target": "gain", "rank": 4, "alpha": 16, "learning_rate": 1e-2, "epochs": 3,
    "batch_size": 16, "max_length": 64, "warmup_ratio": 0.05, "weight_decay": 0.0,
    "head_init": "zeros", "dropout": 0.0, "scaling": "standard", "dtype": "float32",
}  # fmt: skip


def unsealed(router: Path, copy: Path, **changes: Any) -> Path:
    """A copy of a router as one of before its files were hashed, with some other fields."""
    shutil.copytree(router, copy)
    record = json.loads((copy / "router.json").read_text())
    del record["files"]
    (copy / "router.json").write_text(json.dumps(record | changes))
    return copy


def segments(rows: list[tuple[str, str]], dataset: str = "toy") -> pa.Table:
    """Segments table from (direction, source)."""
    ids = [f"s{i}" for i in range(len(rows))]
    return tables.from_columns(
        "segments",
        {
            "dataset": dataset, "direction": [d for d, _ in rows], "segment_id": ids,
            "group_id": ids, "doc_id": pa.nulls(len(rows), pa.string()),
            "domain": pa.nulls(len(rows), pa.string()), "split": "train",
            "source": [s for _, s in rows], "reference": "x",
        },
    )  # fmt: skip


def gains(of: pa.Table, gain: np.ndarray, quality_small: np.ndarray | None = None) -> pa.Table:
    """Gains table of the segments `of`."""
    small = np.full(len(gain), 50.0) if quality_small is None else quality_small
    return tables.from_columns(
        "gains",
        {
            **{k: of.column(k) for k in (*tables.JOIN_KEY, "group_id")},
            "quality_small": small, "quality_large": small + gain, "gain": gain,
        },
    )  # fmt: skip


def signals(of: pa.Table, entropy: np.ndarray) -> pa.Table:
    """Signals table of the segments `of`."""
    return tables.from_columns(
        "signals",
        {
            **{k: of.column(k) for k in tables.JOIN_KEY}, "model": "s", "prompt_tokens": 5,
            "entropy": entropy, "margin": 0.5, "max_logit": 1.0,
            "state": pa.array([[0.0]] * of.num_rows, pa.list_(pa.float16())),
        },
    )  # fmt: skip


def toy(rows: int, seed: int) -> RouterInputs:
    """Requests whose gain can be read off the text: +20 with 'error' in it, and the direction."""
    rng = np.random.default_rng(seed)
    texts = [" ".join(rng.choice(WORDS, rng.integers(2, 9))) for _ in range(rows)]
    directions = ["en-zh" if d else "en-ru" for d in rng.integers(0, 2, rows)]
    table = segments(list(zip(directions, texts, strict=True)))
    gain = np.array(
        [20.0 * ("error" in t.split()) + 8.0 * (d == "en-zh") - 5.0
         for d, t in zip(directions, texts, strict=True)]
    )  # fmt: skip
    return RouterInputs.aligned(table, gains=gains(table, gain, 70.0 - gain))


def sampled(inputs: RouterInputs, small: np.ndarray, large: np.ndarray) -> RouterInputs:
    """The same rows with scores of sampled translations, small (rows, k) and large (rows, k)."""

    def table(scores: np.ndarray) -> pa.Table:
        count = scores.shape[1]
        rows = np.repeat(np.arange(len(scores)), count)
        key = inputs.segments.select(list(tables.JOIN_KEY)).take(pa.array(rows))
        key = key.append_column("sample", pa.array(np.tile(np.arange(count), len(scores))))
        return key.append_column("score", pa.array(scores.ravel()))

    return replace(inputs, sample_scores=(table(small), table(large)))
