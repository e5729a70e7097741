"""The small experiment on a real Slurm (see lab.sh): run once undisturbed, then disturbed.

The translating rules ask for a GPU, which the cluster only pretends to have.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest
import yaml

from tests.workflow.conftest import copy_project, run, small_experiment

HERE = Path(__file__).parent
# What a user would edit in the profile; status checks soon, as these jobs take seconds.
PROFILE = (
    *("--profile", "slurm", "--configfile", "profiles/demo/experiment.yaml"),
    *("--slurm-partition-config", str(HERE / "partitions.yaml")),
    *("--slurm-init-seconds-before-status-checks", "9", "--latency-wait", "15"),
)
WHOLE_RUN, ONE_JOB = 900, 240  # seconds; both take a fifth of it on two idle cores
STARTED = time.strftime("%Y-%m-%dT%H:%M:%S")  # the accounting may know jobs of earlier tests


class SlurmJob(NamedTuple):
    """A job as Slurm's accounting or queue knows it."""

    id: str
    state: str
    rule: str
    partition: str


@pytest.fixture(scope="session", autouse=True)
def lab() -> None:
    """Skip unless the cluster of lab.sh is up."""
    script = HERE / "lab.sh"
    status = subprocess.run([script, "status"], capture_output=True, text=True, check=False)
    if "slurmctld: process" not in status.stdout:
        pytest.skip("no Slurm of the tests' own is up: make test-slurm")


def shrink(folder: Path) -> None:
    """Leave of the small experiment what jobs of seconds need: one direction, few rows."""
    small_experiment(folder)
    path = folder / "profiles/demo/experiment.yaml"
    config = yaml.safe_load(path.read_text())
    config["directions"] = ["en-zh"]
    config["corpora"]["gettext"]["limits"] = {"test": 16, "valid": 8, "router-train": 24}
    config["datasets"]["software-test"]["shards"] = 2
    for model in config["models"].values():
        model["speed"]["gpu"] = 1
    demo = config["experiments"]["demo"]
    demo["routers"] = ["gain-oracle", "quality-oracle", "routelmt", "frozen-ridge", "random"]
    demo["transfer"] = {}
    demo["guards"] = {"rank": ["routelmt"], "signals": ["quality-oracle"]}
    path.write_text(yaml.safe_dump(config, allow_unicode=True))


def slurm(
    folder: Path, *arguments: str, timeout: int = ONE_JOB
) -> subprocess.CompletedProcess[str]:
    """`snakemake --profile slurm` in a project."""
    return run(folder, *PROFILE, *arguments, timeout=timeout)


@contextmanager
def slurm_in_background(folder: Path, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """The same, to be disturbed; its output goes to run.log of the project.

    Whatever a test leaves of it, in Slurm too, is gone afterwards.
    """
    environment = os.environ | {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(folder / "workflow"),
        "HF_HUB_OFFLINE": "1",
    }
    command = ["timeout", "-k", "5", str(WHOLE_RUN), "snakemake", *PROFILE, *arguments]
    with (folder / "run.log").open("w") as log:
        process = subprocess.Popen(
            command,
            cwd=folder,
            env=environment,
            stdout=log,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
    try:
        yield process
    finally:
        if process.poll() is None:
            kill(process)
        if left := [job.id for job in jobs(folder)]:
            subprocess.run(["scancel", *left], check=True)


def kill(process: subprocess.Popen[str]) -> None:
    """SIGKILL to snakemake and its children on this side; Slurm's jobs are not among them."""
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def jobs(folder: Path, source: str = "squeue") -> list[SlurmJob]:
    """Slurm jobs of a project: queued and running ones by squeue, all of them by sacct."""
    command = {
        "squeue": "squeue --noheader --format=%i|%T|%k|%P|%Z",
        "sacct": f"sacct -X -n -P -S {STARTED} -o JobIDRaw,State,Comment,Partition,WorkDir",
    }[source].split()
    listed = subprocess.run(command, capture_output=True, text=True, check=True)
    rows = [line.split("|") for line in listed.stdout.splitlines()]
    return [
        SlurmJob(number, state, comment.removeprefix("rule_").split("_wildcards_")[0], partition)
        for number, state, comment, partition, workdir in rows
        if Path(workdir) == folder
    ]


def wait_for(condition: Callable[[], bool], what: str, seconds: float = 300) -> None:
    """Fail unless the condition comes true in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"{what}: not within {seconds} s"
        time.sleep(0.2)


def running(folder: Path, rule: str) -> list[SlurmJob]:
    """Jobs of a rule that run now."""
    return [job for job in jobs(folder) if (job.rule, job.state) == (rule, "RUNNING")]


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project whose experiment has run on Slurm with nothing in its way; not to be changed."""
    folder = copy_project(tmp_path_factory.mktemp("undisturbed"))
    shrink(folder)
    done = slurm(folder, timeout=WHOLE_RUN)
    assert done.returncode == 0, printed(done)[-6000:]
    return folder


@pytest.fixture
def project(undisturbed: Path, tmp_path: Path) -> Path:
    """A copy of the finished project, to disturb."""
    folder = tmp_path / "project"
    shutil.copytree(undisturbed, folder, symlinks=True)
    return folder


def printed(done: subprocess.CompletedProcess[str]) -> str:
    """All that a run printed."""
    return done.stdout + done.stderr


# What a clock measured is never the same twice; budgets in seconds rest on it.
TIMED = {"rates", "costs", "guard_costs", "budgets"}


def contents(folder: Path) -> dict[str, str]:
    """{table: hash of its data columns, as they are in the file now} of all results but TIMED."""
    from routelmt import tables

    found = {}
    for path in sorted((folder / "results").rglob("*.parquet")):
        name = tables.record_of(path)["table"]
        table = tables.read(path, name)
        found[str(path.relative_to(folder))] = "" if name in TIMED else tables.content_hash(table)
    return found
