"""Jobs side by side take different GPUs; real processes and locks, a driver that is made up."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from routelmt import gpus

# Claims what its arguments say, tells which, and holds it until its input ends.
JOB = """\
import argparse, os, sys
from routelmt.gpus import claim
device, parallel = sys.argv[1:]
claim(argparse.Namespace(device=device, tensor_parallel=int(parallel)))
print(os.environ.get("CUDA_VISIBLE_DEVICES", "all"), flush=True)
"""
HOLD = JOB + "sys.stdin.read()\n"
Start = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def driver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Makes an nvidia-smi that lists so many GPUs; no scheduler and no choice of GPUs is set."""
    (tmp_path / "bin").mkdir()
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv(gpus.FOLDER_VARIABLE, str(tmp_path / "locks"))
    for name in (*gpus.SCHEDULERS, gpus.VISIBLE):
        monkeypatch.delenv(name, raising=False)

    def make(count: int) -> None:
        rows = "".join(f"echo '{n}, GPU-{n:04}'\n" for n in range(count))
        path = tmp_path / "bin" / "nvidia-smi"
        path.write_text(f"#!/bin/sh\n{rows}")
        path.chmod(0o755)

    make(2)
    return make


@pytest.fixture
def start(driver: object) -> Iterator[Start]:
    started: list[subprocess.Popen[str]] = []

    def job(device: str = "cuda", parallel: int = 1, script: str = HOLD) -> subprocess.Popen[str]:
        pipe = subprocess.PIPE
        command = [sys.executable, "-c", script, device, str(parallel)]
        started.append(subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True))
        return started[-1]

    yield job
    for process in started:
        process.kill()
        process.communicate()


def got(job: subprocess.Popen[str]) -> str:
    """What a job sees, as soon as it has it."""
    assert job.stdout is not None
    return job.stdout.readline().strip()


def test_two_jobs_at_once_get_different_gpus(start: Start) -> None:
    assert {got(job) for job in [start(), start()]} == {"0", "1"}


def test_a_third_waits_until_one_is_killed(start: Start) -> None:
    first, second = start(), start()
    taken = {got(first): first, got(second): second}
    third = start()
    assert third.stderr is not None
    assert "waiting for 1 of 2 GPUs" in third.stderr.readline()
    assert third.poll() is None
    taken["1"].kill()
    assert got(third) == "1"


def test_many_jobs_share_two_gpus_and_no_two_one(
    start: Start, driver: Callable[[int], None], tmp_path: Path
) -> None:
    driver(3)
    # O_EXCL: a job on a GPU that another one is on fails.
    alone = (
        JOB + "import time\n"
        f"for gpu in os.environ['CUDA_VISIBLE_DEVICES'].split(','):\n"
        f"    mark = {str(tmp_path)!r} + '/busy' + gpu\n"
        "    os.close(os.open(mark, os.O_CREAT | os.O_EXCL))\n"
        "    time.sleep(0.1)\n"
        "    os.remove(mark)\n"
    )
    jobs = [start(parallel=1 + n % 2, script=alone) for n in range(8)]
    assert [(job.wait(60), job.communicate()[1]) for job in jobs if job.wait(60)] == []


def test_several_gpus_are_taken_together_or_not_at_all(
    start: Start, driver: Callable[[int], None]
) -> None:
    driver(3)
    assert got(start()) == "0"
    assert got(start(parallel=2)) == "1,2"


def test_what_takes_the_place_of_the_process_keeps_its_gpu(start: Start) -> None:
    launched = start(script=JOB + "os.execvp('sleep', ['sleep', '60'])\n")
    assert got(launched) == "0"
    assert got(start()) == "1"
    third = start()
    launched.kill()
    assert got(third) == "0"


@pytest.mark.parametrize("device", ["cpu", "auto", "cuda:1"])
def test_other_devices_are_left_alone(start: Start, device: str) -> None:
    assert got(start(device)) == "all"


def test_one_gpu_leaves_nothing_to_choose(start: Start, driver: Callable[[int], None]) -> None:
    driver(1)
    assert [got(start()), got(start())] == ["all", "all"]


def test_a_scheduler_has_chosen(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(gpus.VISIBLE, "0,1")
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    assert [got(start()), got(start())] == ["0,1", "0,1"]


def test_as_many_as_are_visible_were_chosen_for_the_job(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(gpus.VISIBLE, "1")
    assert [got(start()), got(start())] == ["1", "1"]


@pytest.mark.parametrize("chosen", ["1,3", "GPU-0001,GPU-0003"])
def test_jobs_stay_within_the_gpus_that_the_user_allows(
    start: Start, driver: Callable[[int], None], monkeypatch: pytest.MonkeyPatch, chosen: str
) -> None:
    driver(4)
    monkeypatch.setenv(gpus.VISIBLE, chosen)
    assert {got(start()), got(start())} == {"1", "3"}


def test_names_that_the_driver_does_not_list_are_left_to_cuda(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(gpus.VISIBLE, "MIG-1,MIG-2")
    assert got(start()) == "MIG-1,MIG-2"


def test_more_gpus_than_there_are_is_said_at_once(driver: Callable[[int], None]) -> None:
    settings = '{"engine": "transformers", "path": "nowhere", "languages": {}}'
    options = (
        "translate --segments s --model m --out o --device cuda --tensor-parallel 3 --settings"
    )
    command = [sys.executable, "-m", "routelmt", *options.split(), settings]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert "3 GPUs asked for" in done.stderr and "there are 2 here" in done.stderr


def test_no_driver_is_no_error_here(start: Start, tmp_path: Path) -> None:
    (tmp_path / "bin" / "nvidia-smi").write_text("#!/bin/sh\nexit 9\n")
    assert got(start()) == "all"


def test_a_folder_of_somebody_elses_is_not_used(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "link").symlink_to(tmp_path)
    monkeypatch.setenv(gpus.FOLDER_VARIABLE, str(tmp_path / "link"))
    assert "not a folder of yours" in start().communicate()[1]
