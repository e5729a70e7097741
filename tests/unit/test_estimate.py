"""What a run will take, from what Snakemake prints of its plan."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from routelmt import config, tables
from routelmt.estimate import Estimate, Job, measured_rates, parse, told

ROOT = Path(__file__).parents[2]
DRY_RUN = """\
[Sat Nov 28 15:03:05 2026]
rule translate_shard:
    input: data/segments/commt-train/en-zh.parquet
    output: results/shards/hypotheses/lmt-60-8b/commt-train/en-zh/1-of-2.parquet
    log: logs/x.log
    jobid: 139
    wildcards: model=lmt-60-8b, dataset=commt-train, direction=en-zh, shard=1, shards=2
    resources: tmpdir=/tmp, batch_tokens=65536, device=cuda, gpu=1, runtime=720, mem_mb=64000
[Sat Nov 28 15:03:05 2026]
rule score:
    input: data/segments/flores/en-zh.parquet, results/hypotheses/lmt-60-8b/flores/en-zh.parquet
    output: results/scores/chrf/lmt-60-8b/flores/en-zh.parquet
    jobid: 3
    wildcards: metric=chrf, model=lmt-60-8b, dataset=flores, direction=en-zh
    resources: tmpdir=/tmp, gpu=0, runtime=30
[Sat Nov 28 15:03:05 2026]
localrule fetch:
    output: data/raw/flores
    jobid: 1
    wildcards: source=flores
    resources: tmpdir=/tmp
[Sat Nov 28 15:03:05 2026]
localrule all:
    input: results/runs/paper/page.html
    jobid: 0
    resources: tmpdir=/tmp
Job stats:
job                count
"""


@pytest.fixture
def paper(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The paper's config, in a folder where nothing has run and with an empty cache."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hub"))
    monkeypatch.delenv("HF_HUB_CACHE", raising=False)
    return config.load(ROOT / "config.yaml")


def test_jobs_are_those_that_snakemake_prints_without_targets() -> None:
    first, second, third = parse(DRY_RUN)
    assert (first.rule, first.gpus, first.wildcards["shards"]) == ("translate_shard", 1, "2")
    assert (second.gpus, third.rule, third.gpus) == (0, "fetch", 0)
    assert parse("Nothing to be done.") == []


def test_seconds_are_the_arithmetic_of_the_stated_figures(paper: dict[str, Any]) -> None:
    seconds = Estimate(paper, parse(DRY_RUN), "a100").seconds
    rows, parameters = 56_918 / 2, 8e9
    start = 30 + 2 * parameters / 1e9
    reading = rows * 60 * 2 * parameters / (0.35 * 312e12)
    decoding = rows * 40 * 5 * 2 * parameters / (0.15 * 312e12)
    assert seconds == pytest.approx([start + reading + decoding, 2 + 1012 / 2000, 2])


def test_a_measured_rate_goes_before_the_assumed_ones(paper: dict[str, Any]) -> None:
    paper["rates"]["lmt-60-8b"] = {"prefill_tokens_per_second": 6000}
    rates = measured_rates(paper, paper["models"])
    assert rates == {"lmt-60-8b": {"prefill": 1 / 6000}}
    timed = {
        "name": "lmt-60-8b", "low": 0.0, "high": 1.0, "origin": "timed", "device": "a card",
        "batches": None, "date": "2026-11-28", "measurements": 3,
    }  # fmt: skip
    rows = [
        timed | {"step": "prefill", "seconds": 1e-4},
        timed | {"step": "decode", "seconds": 2e-3},
    ]
    Path("results/rates").mkdir(parents=True)
    tables.write(
        tables.from_rows("rates", rows), Path("results/rates/lmt-60-8b.parquet"), "rates", {}
    )
    paper["rates"].clear()
    rates = measured_rates(paper, paper["models"])
    first, *_ = Estimate(paper, parse(DRY_RUN), "a100", rates).seconds
    # The rate of decoding is of a token that the model gives out, its beams included.
    assert first == pytest.approx(46 + 56_918 / 2 * (60 * 1e-4 + 40 * 2e-3))
    assert "Measured rates: lmt-60-8b." in told(Estimate(paper, parse(DRY_RUN), "a100", rates))


def test_the_whole_of_it(paper: dict[str, Any], tmp_path: Path) -> None:
    found = Estimate(paper, parse(DRY_RUN), "a100", price=2.0)
    assert found.ceiling_hours == 12
    assert found.gpu_hours == pytest.approx(found.seconds[0] / 3600)
    assert found.card_memory == (pytest.approx(16e9 * 4 / 3), "lmt-60-8b")
    text = told(found)
    assert "longest job" in text and "translate_shard lmt-60-8b/commt-train/en-zh/1/2" in text
    assert f"money         {2 * found.gpu_hours:.0f}" in text
    before = found.downloads
    revision = tmp_path / "hub/hub/models--NiuTrans--LMT-60-8B/snapshots/abc"
    revision.mkdir(parents=True)
    (revision / "config.json").write_text("{}")
    assert before - found.downloads == pytest.approx(16e9)
    assert told(Estimate(paper, [], "a100")) == "Nothing is left to do."


def test_a_slice_and_rows_that_are_there_count(paper: dict[str, Any]) -> None:
    paper["datasets"]["flores"]["limit"] = 50
    sliced = Estimate(paper, [], "h100")
    assert sliced.rows("flores", "en-zh") == 50
    assert sliced.rows("commt-valid", "en-zh") == 1000  # assumed
    place = Path("data/segments/flores/en-zh.parquet")
    place.parent.mkdir(parents=True)
    columns = {
        "segment_id": ["a", "b"],
        "group_id": ["a", "b"],
        "doc_id": [None] * 2,
        "domain": [None] * 2,
    }
    more = {
        "dataset": "flores",
        "direction": "en-zh",
        "split": "test",
        "source": "x",
        "reference": "y",
    }
    tables.write(tables.from_columns("segments", columns | more), place, "segments", {})
    assert sliced.rows("flores", "en-zh") == 2


def test_training_counts_passes_and_learning_rates(paper: dict[str, Any]) -> None:
    paper["routers"]["routelmt"] |= {"epochs": 2, "learning_rate": [1e-4, 1e-3]}
    inputs = ["data/segments/commt-train/en-zh.parquet", "results/gains/x.parquet"]
    wildcards = {"experiment": "paper", "router": "routelmt", "seed": "0"}
    job = Job("train_router", wildcards, inputs, {"gpu": "1"})
    (seconds,) = Estimate(paper, [job], "h100").seconds
    one = 56_918 * 60 * 2 * 0.6e9 / (0.35 * 989e12)
    assert seconds == pytest.approx(30 + 1.2 + 2 * 2 * 3 * one)


@pytest.mark.parametrize(
    ("spec", "billions"),
    [
        ({"engine": "vllm", "path": "NiuTrans/LMT-60-0.6B"}, 0.6),
        ({"engine": "transformers", "path": "HuggingFaceTB/SmolLM2-135M-Instruct"}, 0.135),
        ({"engine": "precomputed", "path": "my-8b.jsonl"}, 0),
        ({"type": "comet", "path": "Unbabel/XCOMET-XXL"}, 10.7),
        ({"type": "comet", "path": "Unbabel/XCOMET-XL"}, 3.5),
        ({"type": "comet", "path": "Unbabel/wmt22-comet-da"}, 0.56),
        ({"type": "metricx", "path": "google/metricx-24-hybrid-large-v2p6"}, 1.2),
    ],
)
def test_sizes_are_as_names_say(
    paper: dict[str, Any], spec: dict[str, str], billions: float
) -> None:
    assert Estimate(paper, [], "a100").parameters(spec) == pytest.approx(billions * 1e9)


def test_adapters_of_another_model_cost_that_model(paper: dict[str, Any]) -> None:
    inputs = ["data/segments/flores/en-zh.parquet", "results/runs/paper/routers/a/seed0"]

    def seconds(group: str) -> float:
        wildcards = {"experiment": "paper", "group": group, "role": "test"}
        job = Job("predict_in_model", wildcards, inputs, {"gpu": "1"})
        return Estimate(paper, [job], "h100").seconds[0]

    one = 1012 * 60 * 2 * 8e9 / (0.35 * 989e12)
    assert seconds("routers--lmt-60-8b") == pytest.approx(30 + 16 + one)
    assert seconds("routers") == pytest.approx(30 + 1.2 + one * 0.6 / 8)
