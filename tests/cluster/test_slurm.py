"""The demo's experiment as `snakemake --profile slurm` on a real Slurm: undisturbed, and not."""

from __future__ import annotations

import csv
import os
import shutil
import signal
import subprocess
from pathlib import Path

import yaml

from routelmt import tables
from routelmt.evaluate.registry import TABLES
from tests.cluster.conftest import (
    WHOLE_RUN,
    contents,
    jobs,
    kill,
    printed,
    running,
    slurm,
    slurm_in_background,
    wait_for,
)

GPU_RULES = {"translate", "translate_shard", "prefill_states", "train_router"}
CONFIG = "profiles/demo/experiment.yaml"
ONE = "results/hypotheses/demo-small/software-train/en-zh.parquet"  # made by one job, in seconds
ROUTERS = "results/runs/demo/tables/routers.parquet"  # rests on all but other tables
LOG = "logs/translate/demo-small/software-train/en-zh.log"
SLURM_LOGS = "logs/slurm/rule_translate/demo-small_software-train_en-zh"


def same(folder: Path, other: Path, name: str) -> bool:
    """Whether a table holds the same data in two projects."""
    one, two = (tables.record_of(place / name)["content"] for place in (folder, other))
    return bool(one == two)


def test_every_table_is_made_on_the_cluster(undisturbed: Path) -> None:
    for table in (name for name, kind in TABLES.items() if not kind.when):
        assert (undisturbed / f"results/runs/demo/tables/{table}.parquet").stat().st_size
    done = jobs(undisturbed, "sacct")
    assert {job.state for job in done} == {"COMPLETED"}
    assert {"translate", "translate_shard", "gather_hypotheses", "evaluate"} <= {
        j.rule for j in done
    }


def test_gpu_jobs_go_to_the_gpus_and_the_others_do_not(undisturbed: Path) -> None:
    found = {(job.rule, job.partition) for job in jobs(undisturbed, "sacct")}
    assert {(rule, "gpu") for rule in GPU_RULES} <= found
    assert {("score", "cpu"), ("evaluate", "cpu"), ("label_gains", "cpu")} <= found


def test_logs_and_the_efficiency_report_are_kept(undisturbed: Path) -> None:
    for job in jobs(undisturbed, "sacct"):
        assert list(undisturbed.glob(f"logs/slurm/rule_{job.rule}/**/{job.id}.log")), job
    assert (undisturbed / LOG).is_file()
    (report,) = (undisturbed / "logs/slurm").glob("efficiency_report_*.csv")
    rows = list(csv.DictReader(report.open()))
    assert any(row["RuleName"].startswith("rule_translate") for row in rows)
    assert all(float(row["RequestedMem_MB"]) > 0 for row in rows)


def test_a_failing_job_shows_its_log_and_had_the_settings_of_the_profile(project: Path) -> None:
    (project / ONE).unlink()
    settings = ("translate:device=cuda:0", "translate:block_rows=7")
    done = slurm(project, ONE, "--retries", "0", "-p", "--set-resources", *settings)
    assert done.returncode == 1
    # The rule's log is printed, not only named: our own sentence is in the output.
    assert LOG in printed(done)
    assert "routelmt translate: error: device 'cuda:0': torch sees no GPU here" in printed(done)
    newest = max((project / SLURM_LOGS).iterdir(), key=lambda path: path.stat().st_mtime)
    assert "--device cuda:0" in newest.read_text()
    assert "--block-rows 7" in newest.read_text()
    assert not (project / ONE).exists()


def test_a_cancelled_job_runs_again(project: Path, undisturbed: Path) -> None:
    (project / ONE).unlink()
    with slurm_in_background(project, ONE) as snakemake:
        wait_for(lambda: bool(running(project, "translate")), "a translating job")
        (job,) = running(project, "translate")
        subprocess.run(["scancel", job.id], check=True)
        assert snakemake.wait() == 0, (project / "run.log").read_text()[-4000:]
    assert "SLURM status is: 'CANCELLED'" in (project / "run.log").read_text()
    states = {j.id: j.state for j in jobs(project, "sacct")}
    assert states.pop(job.id).startswith("CANCELLED")
    assert set(states.values()) == {"COMPLETED"}
    assert same(project, undisturbed, ONE)


def test_a_job_out_of_memory_runs_again_with_more(project: Path, undisturbed: Path) -> None:
    (project / ONE).unlink()
    config = yaml.safe_load((project / CONFIG).read_text())
    config["models"]["demo-small"]["speed"]["mem_mb"] = 400  # torch and a model take 700
    (project / CONFIG).write_text(yaml.safe_dump(config, allow_unicode=True))
    done = slurm(project, ONE)
    assert done.returncode == 0, printed(done)[-4000:]
    assert "mem_mb=400," in printed(done)
    assert "mem_mb=800," in printed(done)
    logs = "".join(path.read_text() for path in (project / SLURM_LOGS).iterdir())
    assert "Exceeded job memory limit" in logs
    assert same(project, undisturbed, ONE)


def test_a_killed_run_is_recovered_and_ends_the_same(project: Path, undisturbed: Path) -> None:
    shutil.rmtree(project / "results")

    def in_the_middle() -> bool:
        made = list((project / "results/hypotheses").rglob("*.parquet"))
        return bool(made) and any(j.state == "RUNNING" for j in jobs(project))

    with slurm_in_background(project, ROUTERS) as snakemake:
        wait_for(in_the_middle, "finished translations and running jobs")
        kill(snakemake)
        orphans = jobs(project)
        assert orphans, "Slurm goes on without snakemake"

        recover = project / "profiles/slurm/recover.sh"
        shown = subprocess.run([recover, "--dry-run"], capture_output=True, text=True, check=True)
        assert all(job.id in shown.stdout for job in jobs(project))
        subprocess.run([recover], check=True, timeout=90)
        assert not jobs(project)

    done = slurm(project, ROUTERS, timeout=WHOLE_RUN)
    assert done.returncode == 0, printed(done)[-6000:]
    again = contents(project)
    assert again.keys() >= {ROUTERS, ONE}
    assert again.items() <= contents(undisturbed).items()


def test_recovery_leaves_a_living_run_alone(project: Path) -> None:
    (project / ONE).unlink()
    with slurm_in_background(project, ONE) as snakemake:
        wait_for(lambda: bool(jobs(project)), "a job")
        recover = [project / "profiles/slurm/recover.sh"]
        refused = subprocess.run(recover, capture_output=True, text=True, check=False)
        os.killpg(snakemake.pid, signal.SIGINT)  # snakemake cancels its jobs
        snakemake.wait(timeout=60)
    assert refused.returncode == 1
    assert "snakemake runs in this folder" in refused.stderr
