"""What a dry run plans, before anything is there: no network, GPU or model files needed."""

from __future__ import annotations

import os
import re
import shutil
import sys
from pathlib import Path

import pytest

from tests.workflow.conftest import EXAMPLE, job_counts, run

DIRECTIONS, TEST_SETS, DATASETS = 4, 3, 7  # of config.yaml
JUDGES = 2  # other metrics, on the test sets
TRAINED = 6  # xlmr-gain, xlmr-quality, ngram, frozen-ridge, routelmt, routelmt-q
TRANSFERRED = 3 * 2  # of the demo: three routers, on each part of one split
IN_MODEL = 2  # of the trained ones: the adapters of the small model, asked in one pass
# Of the data 3, of the training 1, of the test sets 8, cases, deployments 7, costs 2.
TABLES, FIGURES = 22, 13
ELSEWHERE = 2  # test sets of other domains, of the paper
SHARDS = 2  # of the paper's training set
ROLES = 2  # every router is asked on the test sets and, for thresholds, on the validation sets


def test_the_paper_is_planned_whole(project: Path) -> None:
    result = run(project, "--dry-run")
    assert result.returncode == 0, result.stderr
    assert job_counts(result.stdout + result.stderr) == {
        "fetch": 4,
        "read_segments": DATASETS * DIRECTIONS,
        "translate": 2 * (DATASETS - 1) * DIRECTIONS,
        "translate_shard": 2 * SHARDS * DIRECTIONS,
        "gather_hypotheses": 2 * DIRECTIONS,
        "score": 2 * (DATASETS - 1 + JUDGES * TEST_SETS) * DIRECTIONS,
        "score_shard": 2 * SHARDS * DIRECTIONS,
        "gather_scores": 2 * DIRECTIONS,
        "label_gains": (DATASETS + JUDGES * TEST_SETS) * DIRECTIONS,
        "prefill_states": DATASETS * DIRECTIONS,  # of frozen-ridge: of training sets too
        "time_model": 2,
        "find_overlaps": 1,
        "train_router": TRAINED,
        "collect_rates": 1,
        "predict": (14 - IN_MODEL) * (ROLES + 1),
        "predict_in_model": ROLES + 1,
        "evaluate": TABLES + 2,  # and the judges' own, and the domains
        "render": TABLES + 2,
        "page": 1,
        "plot": FIGURES,
    }


def test_the_demo_is_planned_whole(project: Path) -> None:
    result = run(project, "--profile", "profiles/demo", "--dry-run")
    assert result.returncode == 0, result.stderr
    assert job_counts(result.stdout + result.stderr) == {
        "fetch": 1,
        "read_catalogs": 1,
        "read_segments": 3 * DIRECTIONS,
        "translate": 2 * 3 * DIRECTIONS,
        "score": 2 * 3 * DIRECTIONS,
        "label_gains": 3 * DIRECTIONS,
        "prefill_states": 3 * DIRECTIONS,
        "time_model": 2,
        "find_overlaps": 1,
        "train_router": 5 + TRANSFERRED,
        "collect_rates": 1,
        "predict": (11 - IN_MODEL) * ROLES + 2 * 2,
        "predict_in_model": ROLES + 1,  # and those of transfer, on the test set
        "evaluate": TABLES + 2,  # and the two of transfer, with their figure
        "render": TABLES + 2,
        "page": 1,
        "plot": FIGURES + 1,
    }


@pytest.mark.parametrize("name", ["local", "smoke-gpu"])
def test_the_experiments_for_one_gpu_are_planned_whole(project: Path, name: str) -> None:
    experiment = f"profiles/{name}/experiment.yaml"
    result = run(project, "--profile", "profiles/local", "--configfile", experiment, "--dry-run")
    assert result.returncode == 0, result.stderr
    counts = job_counts(result.stdout + result.stderr)
    unguarded = name == "smoke-gpu"  # no costs of guards
    assert counts["evaluate"] == TABLES - unguarded and counts["plot"] == FIGURES - unguarded
    sharded = name == "smoke-gpu"  # the training set of two directions, in two shards
    assert counts.get("translate_shard", 0) == counts.get("score_shard", 0) == 8 * sharded
    assert counts["translate"] == 8 if sharded else 24


def test_what_is_not_pinned_is_said_at_the_start(project: Path) -> None:
    result = run(project, "--dry-run", "segments")
    lines = (result.stdout + result.stderr).splitlines()
    said = next(line for line in lines if line.startswith("Not pinned"))
    assert "models.lmt-60-8b (NiuTrans/LMT-60-8B), routers.sentinel-src-24 (" in said
    assert "xcomet" not in said and "xlmr" not in said and "0.6b" not in said
    demo = run(project, "--profile", "profiles/demo", "--dry-run", "segments")
    assert "Not pinned" not in demo.stdout + demo.stderr


@pytest.mark.parametrize(
    ("options", "messages"),
    [
        (
            ["--resources", "mem_mb=48000", "--", "hypotheses"],
            ["'speed' of models.lmt-60-8b in the config asks for 64000", "together get 48000"],
        ),
        (["--resources", "gpu=0", "--", "gains"], ["gpu: 'speed' of models.lmt-60-", "get 0"]),
        (
            ["--resources", "mem_mb=5000", "--set-resources", "plot:mem_mb=6000", "--", "segments"],
            ["mem_mb: rule plot asks for 6000, and all jobs together get 5000"],
        ),
    ],
)
def test_a_job_that_asks_for_more_than_there_is_stops_the_run(
    project: Path, options: list[str], messages: list[str]
) -> None:
    result = run(project, "--dry-run", *options)
    assert result.returncode == 1
    for message in messages:
        assert message in result.stdout + result.stderr


def test_such_a_job_stops_a_real_run_before_anything_is_done(project: Path) -> None:
    """Snakemake itself would look at a job's resources when its turn comes."""
    config = ["--configfile", "profiles/demo/experiment.yaml"]
    result = run(project, *config, "--cores", "1", "--resources", "mem_mb=1000", "--", "hypotheses")
    assert result.returncode == 1
    assert re.search(r"'speed' of models.demo-\w+ in the config asks for 1500", result.stderr)
    assert not (project / "data/raw").exists() and not (project / "data/corpora").exists()


def test_stages_can_be_asked_for_by_name(project: Path) -> None:
    result = run(project, "--dry-run", "segments")
    assert job_counts(result.stdout + result.stderr) == {
        "fetch": 4,
        "read_segments": DATASETS * DIRECTIONS,
    }


def test_the_cluster_profile_plans_the_same(project: Path) -> None:
    plain, cluster = run(project, "--dry-run"), run(project, "--profile", "slurm", "--dry-run")
    assert cluster.returncode == 0, cluster.stderr
    assert job_counts(cluster.stdout + cluster.stderr) == job_counts(plain.stdout + plain.stderr)


def test_the_cluster_profile_without_slurm_is_one_sentence(project: Path, tmp_path: Path) -> None:
    for tool in ("bash", "timeout", "which"):
        (tmp_path / tool).symlink_to(str(shutil.which(tool)))
    options = ("--profile", "slurm", "--configfile", EXAMPLE, "--", "segments")
    result = run(project, *options, PATH=f"{Path(sys.executable).parent}{os.pathsep}{tmp_path}")
    assert result.returncode == 1
    assert "found no 'sbatch', so Slurm is not installed here. Run it on a login" in result.stderr
    assert "Traceback" not in result.stderr and len(result.stderr.splitlines()) < 60


def test_the_demos_translators_can_be_made_again(project: Path) -> None:
    result = run(project, "--snakefile", "workflow/demo_models.smk", "--dry-run")
    assert result.returncode == 0, result.stderr
    counts = job_counts(result.stdout + result.stderr)
    assert counts == {
        "fetch": 1,
        "read_catalogs": 1,
        "train_tokenizer": 1,
        "train_translator": 2,
        "plot_losses": 1,
        "ship_demo_models": 1,
    }
