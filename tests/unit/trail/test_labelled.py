"""What a router's labels came from, by the records of gains tables."""

from __future__ import annotations

from pathlib import Path

from routelmt import tables
from routelmt.trail.labelled import labelled

KEY = {"dataset": "d", "direction": "en-zh", "segment_id": ["s0"]}
SIGNATURE = {"signature": "nrefs:1|nw:2", "reference": True}
OUT = Path("results/runs/first/routers/routelmt/seed0")


def parents(*paths: str) -> list[dict[str, str]]:
    return [{"path": path, "content": ""} for path in ("data/segments.parquet", *paths)]


def write_chain(root: Path) -> Path:
    """Hypotheses, scores and gains of two models below `root`; the gains table."""
    gains = tables.from_columns("gains", {
        **KEY, "group_id": "g", "quality_small": [1.0], "quality_large": [2.0], "gain": [1.0],
    })  # fmt: skip
    for role, settings in (
        ("small", {"path": "org/small", "revision": "abc", "beams": 1}),
        ("large", {"model": "GPT-4o", "base_url": "https://host/v1"}),
    ):
        hypotheses = tables.from_columns("hypotheses", {
            **KEY, "model": f"{role}-one", "hypothesis": ["x"], "prompt_tokens": [1],
            "output_tokens": [1], "finish_reason": ["stop"], "mean_logprob": [-1.0],
            "degenerate": [False],
        })  # fmt: skip
        tables.write(hypotheses, root / f"{role}.parquet", "hypotheses", {"settings": settings})
        scores = tables.from_columns("scores", {
            **KEY, "metric": "chrfpp", "model": f"{role}-one", "score": [1.0],
            "truncated": [False], "error_spans": [None],
        })  # fmt: skip
        record = {"parents": parents(f"{role}.parquet"), "signature": SIGNATURE}
        tables.write(scores, root / f"scores-{role}.parquet", "scores", record)
    record = {"parents": parents("scores-small.parquet", "scores-large.parquet")}
    tables.write(gains, root / "results/gains.parquet", "gains", record)
    return root / "results/gains.parquet"


def test_models_metric_and_experiment_are_named(tmp_path: Path) -> None:
    gains = write_chain(tmp_path)
    small = {"name": "small-one", "path": "org/small", "revision": "abc"}
    large = {"name": "large-one", "model": "GPT-4o"}
    expected = {
        "experiment": "first", "metric": "chrfpp", "signature": "nrefs:1|nw:2",
        "small": small, "large": large,
    }  # fmt: skip
    assert labelled([gains], tmp_path / OUT) == expected
    (tmp_path / "large.parquet").unlink()
    assert labelled([gains], tmp_path / OUT) == expected | {"large": {"name": "large-one"}}
    (tmp_path / "scores-large.parquet").unlink()
    del expected["large"]
    assert labelled([gains], tmp_path / OUT) == expected


def test_what_nothing_says_is_left_out(tmp_path: Path) -> None:
    gains = write_chain(tmp_path)
    tables.write(tables.read(gains, "gains"), gains, "gains", {})
    assert labelled([gains], tmp_path / "mine") == {}
