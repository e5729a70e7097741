"""A small run, made by the package's own writers: made-up text, drawn qualities."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from routelmt import provenance, tables
from routelmt.evaluate.build import build_table
from routelmt.gains import label_gains

DIRECTIONS = {"en-zh": 23, "zh-en": 17}
SPLIT = 10  # segments of the first dataset in each direction
SETTINGS: dict[str, Any] = {
    "budgets": [0.3],
    "oracles": ["gain-oracle"],
    "random": [],
    "bootstrap": {"replicates": 50, "seed": 0, "level": 0.95},
    "risk_edges": [-5.0, -0.5, 0.5],
}
MakeRun = Callable[..., Path]


def write(data: pa.Table, path: Path, table: str, record: Mapping[str, Any]) -> Path:
    tables.write(data, path, table, record)
    return path


def key_columns(dataset: str, direction: str) -> dict[str, Any]:
    first = 0 if dataset == "first" else SPLIT
    stop = SPLIT if dataset == "first" else DIRECTIONS[direction]
    ids = [f"seg-{i:03d}" for i in range(first, stop)]
    return {"dataset": dataset, "direction": direction, "segment_id": ids}


@pytest.fixture
def make_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MakeRun:
    """make_run(name, metric, metric_settings, shift, ...): folder of a run in its own project."""

    def make(
        name: str = "demo",
        metric: str = "chrf",
        metric_settings: Mapping[str, Any] | None = None,
        shift: float = 0.0,
        project: str = "project",
        routers: Mapping[str, float] | None = None,
    ) -> Path:
        root = tmp_path / project
        root.mkdir(exist_ok=True)
        monkeypatch.chdir(root)
        source = Path("data/source.txt")
        source.parent.mkdir(exist_ok=True)
        source.write_text("upstream")
        gains, predictions = [], []
        run = Path("results/runs") / name
        for dataset in ("first", "second"):
            for direction in DIRECTIONS:
                made = _direction(dataset, direction, metric, metric_settings or {}, shift, source)
                gains.append(made)
                for router, noise in (routers or {"gain-oracle": 0.0, "learned": 8.0}).items():
                    for seed in (0, 1) if noise else (0,):
                        path = (
                            run / f"predictions/{router}/seed{seed}/{dataset}/{direction}.parquet"
                        )
                        predictions.append(_predictions(path, made, router, seed, noise))
        for table in ("routers", "risk_buckets"):
            data = build_table(
                table,
                SETTINGS,
                tables.read_all(predictions, "predictions"),
                tables.read_all(gains, "gains"),
            )
            record = provenance.describe("tables", SETTINGS, [*predictions, *gains])
            write(data, run / f"tables/{table}.parquet", table, record)
        return root / run

    return make


def _direction(
    dataset: str,
    direction: str,
    metric: str,
    settings: Mapping[str, Any],
    shift: float,
    source: Path,
) -> Path:
    """The gains of a dataset and direction, and all before them."""
    place, key = f"{dataset}/{direction}.parquet", key_columns(dataset, direction)
    rows, draw = len(key["segment_id"]), np.random.default_rng(len(place))
    segments = tables.from_columns(
        "segments",
        key | {"group_id": key["segment_id"], "doc_id": None, "domain": "made up", "split": "test",
               "source": [f"request {i}" for i in range(rows)], "reference": "有意义的参考译文"},
    )  # fmt: skip
    text = write(
        segments, Path("data/segments") / place, "segments",
        provenance.describe("segments", {}, [source], "routelmt.data.readers.gettext"),
    )  # fmt: skip
    scored = {}
    for model in ("small", "large"):
        said = tables.from_columns(
            "hypotheses",
            key | {"model": model, "hypothesis": [f"{model} says {i}" for i in range(rows)],
                   "prompt_tokens": 7, "output_tokens": 5, "finish_reason": "stop",
                   "mean_logprob": -0.5, "degenerate": False},
        )  # fmt: skip
        settings_of_model = {"path": f"models/{model}", "revision": None}
        hypotheses = write(
            said, Path("results/hypotheses") / model / place, "hypotheses",
            provenance.describe("hypotheses", settings_of_model, [text],
                                "routelmt.translate.transformers_engine"),
        )  # fmt: skip
        quality = np.round(draw.uniform(0, 90, rows)) + (shift if model == "large" else 0.0)
        spans = '[{"text": "says", "severity": "major", "start": 0, "end": 4}]'
        scores = tables.from_columns(
            "scores",
            key | {"metric": metric, "model": model, "score": quality, "truncated": False,
                   "error_spans": [spans] * rows},
        )  # fmt: skip
        kind = "routelmt.score.sacrebleu_metrics"
        record = provenance.describe("scores", settings, [text, hypotheses], kind)
        record["signature"] = f"{metric}|version:1"
        scored[model] = write(
            scores, Path("results/scores") / metric / model / place, "scores", record
        )
    gains = label_gains(segments, *(tables.read(scored[m], "scores") for m in ("small", "large")))
    return write(
        gains, Path("results/gains") / metric / "small--large" / place, "gains",
        provenance.describe("gains", {}, [text, scored["small"], scored["large"]]),
    )  # fmt: skip


def _predictions(path: Path, gains: Path, router: str, seed: int, noise: float) -> Path:
    """Gains with noise; rounded to tens where there is noise, so that priorities tie."""
    labels = tables.read(gains, "gains")
    gain = labels.column("gain").to_numpy()
    if noise:
        draw = np.random.default_rng(seed + len(gain))
        gain = np.round(gain + draw.normal(0, noise, len(gain)), -1)
    data = tables.from_columns(
        "predictions",
        {k: labels.column(k) for k in tables.JOIN_KEY}
        | {"router": router, "seed": seed, "prediction": gain, "priority": gain},
    )
    settings = {"type": "lora", "target": "gain"} if noise else {"type": "gain-oracle"}
    kind = "routelmt.routers.lora" if noise else "routelmt.routers.oracles"
    return write(
        data, path, "predictions", provenance.describe("predictions", settings, [gains], kind)
    )
