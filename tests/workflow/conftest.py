"""A copy of the project with a small experiment that has really been run, once for all tests.

It uses the models that ship and text of three small wheels, so every stage does its real work.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from routelmt.environments import python_of
from tests.hub.server import Hub

ROOT = Path(__file__).parents[2]
PACKAGES = ("djangorestframework", "keystone", "glance")  # small wheels with long strings
EXAMPLE = "docs/example/experiment.yaml"
WARM = ROOT / "tests/shipped/warm.py"
TOKEN = "hf_accepted"
# What commands import first, by environment; all else is imported by each.
IMPORTS = {
    "": ["torch", "transformers.models.qwen3", "transformers.models.xlm_roberta", "peft",
         "matplotlib.pyplot", "numba", "pyarrow.parquet", "jsonschema", "sacrebleu", "yaml"],
    "vllm": ["vllm.entrypoints.llm", "pyarrow.parquet", "jsonschema", "yaml"],
    "comet": ["comet.models", "pyarrow.parquet", "jsonschema", "yaml"],
}  # fmt: skip
TIMEOUT = 1800  # seconds for the one real run; a dry run takes three
Jobs = dict[str, int]
TARGETS = {"all", "segments", "hypotheses", "gains", "predictions", "tables", "figures", "total"}


def run(
    folder: Path, *arguments: str, timeout: int = 120, **changed: str
) -> subprocess.CompletedProcess[str]:
    """Run snakemake in `folder` with this Python, that folder's code and a changed environment."""
    environment = os.environ | {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(folder / "workflow"),
        "HF_HUB_OFFLINE": "1",
        **changed,
    }
    return subprocess.run(
        ["timeout", "-k", "5", str(timeout), "snakemake", *arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


def job_counts(output: str) -> Jobs:
    """{rule: jobs} of a dry run, target rules and the total left out."""
    block = re.search(r"Job stats:\n.*?\n-+.*?\n(.*?)\n\n", output, re.DOTALL)
    if block is None:
        assert "Nothing to be done" in output, output
        return {}
    rows = (line.split() for line in block.group(1).splitlines())
    return {rule: int(count) for rule, count in rows if rule not in TARGETS}


def tracked_files() -> list[str]:
    """The project's files: what git knows or would add."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    return [
        name
        for name in listed.stdout.splitlines()
        if (ROOT / name).is_file() or (ROOT / name).is_symlink()
    ]


def copy_project(target: Path) -> Path:
    """The project as a fresh clone would be."""
    for name in tracked_files():
        if not name.startswith("tests/"):
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, target / name, follow_symlinks=False)
    return target


def small_experiment(folder: Path) -> None:
    """Cut the demo's experiment down to two directions and a few segments, in place."""
    sources = yaml.safe_load((folder / "data/sources.yaml").read_text())
    files = sources["gettext"]["files"]
    sources["gettext"]["files"] = [f for f in files if f["package"] in PACKAGES]
    (folder / "data/sources.yaml").write_text(yaml.safe_dump(sources))
    path = folder / "profiles/demo/experiment.yaml"
    config = yaml.safe_load(path.read_text())
    config["directions"] = ["en-zh", "zh-en"]
    config["corpora"]["gettext"]["limits"] = {"test": 40, "valid": 20, "router-train": 80}
    for router in ("routelmt", "routelmt-q"):
        config["routers"][router] |= {"epochs": 1, "rank": 2}
    config["experiments"]["demo"]["bootstrap"] = {"replicates": 100}
    parts = {"openstack": ["keystone", "glance"], "others": ["djangorestframework"]}
    transfer = {"routers": ["routelmt"], "splits": {"by-origin": parts}}
    config["experiments"]["demo"]["transfer"] = transfer
    path.write_text(yaml.safe_dump(config, allow_unicode=True))


@pytest.fixture(scope="session")
def hub() -> Iterator[Hub]:
    with Hub() as hub:
        yield hub


@pytest.fixture(scope="session")
def warm(hub: Hub, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Any]]:
    """`warm("vllm")`: what to change in the environment so that commands start at once."""
    sockets = Path(tempfile.mkdtemp(prefix="warm-"))  # a socket's path is short
    places = tmp_path_factory.mktemp("warm")
    started: dict[str, subprocess.Popen[str]] = {}
    changed = {
        "PATH": os.pathsep.join([str(places / "core/bin"), str(Path(sys.executable).parent),
                                 os.environ["PATH"]]),
        "ROUTELMT_VENVS": str(places),
        "HF_ENDPOINT": hub.endpoint, "HF_TOKEN": TOKEN, "HF_HOME": str(places / "hf"),
        "HF_HUB_OFFLINE": "0", "OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false",
        "VLLM_NO_USAGE_STATS": "1",
    }  # fmt: skip

    def start(*environments: str) -> dict[str, str]:
        fresh = [name for name in ("", *environments) if name not in started]
        for name in fresh:
            python = str(ROOT / python_of(name)) if name else sys.executable
            address, file = sockets / (name or "core"), places / (name or "core") / "bin/python"
            subprocess.run([python, WARM, "install", address, file], check=True)
            started[name] = subprocess.Popen(
                [python, WARM, "serve", address, *IMPORTS[name]],
                env=os.environ | changed, stdout=subprocess.PIPE, text=True,
            )  # fmt: skip
        for name in fresh:
            assert "ready\n" in (started[name].stdout or ()), f"'{name or 'core'}' did not start"
        return changed

    yield start
    for process in started.values():
        process.terminate()
    shutil.rmtree(sockets)


@pytest.fixture(scope="session")
def finished(warm: Callable[..., dict[str, str]], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project whose small experiment is done."""
    folder = copy_project(tmp_path_factory.mktemp("project"))
    small_experiment(folder)
    done = run(folder, "--profile", "profiles/demo", timeout=TIMEOUT, **warm())
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-6000:]
    return folder


@pytest.fixture(scope="session")
def example(warm: Callable[..., dict[str, str]], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project in which the example of own data has been run as its guide says."""
    folder = copy_project(tmp_path_factory.mktemp("own"))
    done = run(folder, "--configfile", EXAMPLE, "--cores", "2", timeout=TIMEOUT, **warm())
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-6000:]
    return folder


@pytest.fixture
def planned(finished: Path) -> Iterator[Callable[..., Jobs]]:
    """`planned()` is what a run would do now; every file of the project is put back afterwards."""
    names = [n for n in tracked_files() if (finished / n).is_file()]
    before = {n: (finished / n).read_bytes() for n in names}

    def plan(*arguments: str) -> Jobs:
        result = run(finished, "--profile", "profiles/demo", "--dry-run", *arguments)
        assert result.returncode == 0, result.stdout[-2000:] + result.stderr[-4000:]
        return job_counts(result.stdout + result.stderr)

    yield plan
    for name, content in before.items():
        if (finished / name).read_bytes() != content:
            (finished / name).write_bytes(content)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A fresh copy of the project, nothing run."""
    return copy_project(tmp_path)
