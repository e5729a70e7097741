"""One training in two processes: the same weights as in one, resumed after a kill or not."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import pytest
from router_toys import LANGUAGES, PROMPT, SPEC, toy

from routelmt import tables
from routelmt.errors import UserError
from routelmt.routers import lora
from routelmt.routers.artifact import work_folder
from routelmt.routers.training import accelerated


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """The options that name the toy rows."""
    folder, options = tmp_path_factory.mktemp("rows"), []
    for role, inputs in (("train", toy(200, 0)), ("valid", toy(48, 1))):
        for name in ("segments", "gains"):
            path = folder / f"{role}-{name}.parquet"
            tables.write(getattr(inputs, name), path, name, {"stage": name})
            options += [f"--{role}-{name}", str(path)]
    return options


def start(files, base, out, processes, **spec):
    """The training job, started."""
    model = {"path": str(base), "revision": None, "prompt": PROMPT, "languages": LANGUAGES}
    command = [
        sys.executable, "-m", "routelmt", "train", "--router", "toy", "--seed", "1", *files,
        "--settings", json.dumps({**SPEC, **spec}), "--model", json.dumps(model),
        "--batch-tokens", "512", "--device", "cpu", "--processes", str(processes),
        "--save-minutes", "0", "--out", str(out),
    ]  # fmt: skip
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        command, env=environment, stderr=subprocess.PIPE, text=True, start_new_session=True
    )


def finish(job):
    _, said = job.communicate(timeout=240)
    assert job.returncode == 0, said[-3000:]


def weights(out):
    from safetensors.numpy import load_file

    files = ("adapter_model.safetensors", "head.safetensors")
    return {k: v for f in files for k, v in load_file(out / f).items()}


def assert_equal_weights(first, second, tolerance):
    first, second = weights(first), weights(second)
    assert first.keys() == second.keys()
    assert max(np.abs(first[n] - second[n]).max() for n in first) <= tolerance


@pytest.mark.parametrize("loss", ["mse", "top_p"])
def test_two_processes_train_the_weights_of_one(files, base, tmp_path, loss):
    spec = {"epochs": 2, "loss": loss, "learning_rate": 1e-3}
    for processes in (1, 2):
        finish(start(files, base, tmp_path / str(processes), processes, **spec))
    assert_equal_weights(tmp_path / "1", tmp_path / "2", 1e-6)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["1", "2"]
    assert len((tmp_path / "2" / "history.jsonl").read_text().splitlines()) == 2


def test_a_killed_training_of_two_processes_goes_on(files, base, tmp_path):
    spec = {"epochs": 3, "learning_rate": 1e-3}
    job = start(files, base, tmp_path / "killed", 2, **spec)
    state = work_folder(tmp_path / "killed") / "learning-rate-0.001.pt"
    until = time.monotonic() + 120
    while not state.exists() and time.monotonic() < until and job.poll() is None:
        time.sleep(0.05)
    os.kill(job.pid, signal.SIGKILL)  # the launcher alone: its processes must not outlive it
    _, said = job.communicate()
    assert state.exists(), said[-3000:]
    time.sleep(0.5)
    kept = state.read_bytes()
    time.sleep(1)
    assert state.read_bytes() == kept and not (tmp_path / "killed").exists()
    finish(start(files, base, tmp_path / "killed", 2, **spec))
    finish(start(files, base, tmp_path / "whole", 2, **spec))
    assert_equal_weights(tmp_path / "killed", tmp_path / "whole", 0.0)


def test_an_error_of_several_processes_is_told_before_they_start(files, base, tmp_path):
    job = start(files, base, tmp_path / "r", 2, loss="bce")
    _, said = job.communicate(timeout=120)
    assert job.returncode == 1
    assert said.count("has no loss 'bce'") == 1 and "Traceback" not in said


def test_several_processes_need_the_command_and_the_gpus(context, tmp_path, monkeypatch):
    several = replace(context, speed={**context.speed, "processes": 2})
    with pytest.raises(UserError, match="only from the command line"):
        lora.train(SPEC, toy(32, 0), toy(8, 1), several, tmp_path / "r")
    monkeypatch.setattr(accelerated, "from_command_line", lambda: True)
    with pytest.raises(UserError, match=r"torch sees 0 GPU"):
        accelerated.launch({"processes": 2, "threads": 1}, "cuda")
