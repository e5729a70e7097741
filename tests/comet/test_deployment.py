"""A job that needs COMET runs where Snakemake's software deployment puts it, and nowhere else.

Neither conda nor Apptainer can be had on the machines of these tests, so commands of their names
stand in for them. All of Snakemake's part is real: which environment a job gets, making it once,
entering it. In place of installing packages, the stand-in of conda compares the pins with those of
the ready environment and leads to that.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from routelmt import tables
from routelmt.environments import FOLDER_VARIABLE, IMAGE
from tests.comet.conftest import EXAMPLE
from tests.workflow.conftest import job_counts, run

QUICK = ("--max-jobs-per-timespan", "1000/1s")  # Snakemake ends only when the timespan is over
SCORES = "results/scores/{}/system-a/phrases/en-de.parquet"

CONDA = """\
import json, pathlib, re, subprocess, sys
import yaml
arguments = sys.argv[1:]
if arguments[:2] == ["info", "--json"]:
    print(json.dumps({"conda_prefix": PREFIX, "platform": "linux-64"}))
elif arguments == ["--version"]:
    print("conda 26.9.0")
elif arguments[0] == "config":
    print(json.dumps({"get": {"channel_priority": "strict"}}))
elif arguments[:2] == ["env", "create"]:
    file, prefix = (arguments[arguments.index(o) + 1] for o in ("--file", "--prefix"))
    text = pathlib.Path(file).read_text()
    made, READY = yaml.safe_load(text), READY[re.search(r"envs/(\\w+)\\.txt", text)[1]]
    pins = next(d["pip"] for d in made["dependencies"] if isinstance(d, dict))
    listed = subprocess.check_output([READY, "-m", "pip", "list", "--format=freeze"], text=True)
    there = {line.lower().replace("_", "-").partition("+")[0] for line in listed.splitlines()}
    assert there.issuperset(pin.lower().replace("_", "-") for pin in pins), set(pins) - there
    python = pathlib.Path(prefix) / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text(f'#!/bin/sh\\nexec {READY} "$@"\\n')
    python.chmod(0o755)
    with open(PREFIX + "/made", "a") as log:
        log.write(file + "\\n")
"""
ACTIVATE = 'export PATH="$1/bin:$PATH"\n'

# The image: a Python of its own for the core, the environments in a folder of its own.
APPTAINER = """\
if [ "$1" = --version ]; then echo "apptainer version 1.4.0"; exit; fi
shift
while [ "${1#--}" != "$1" ]; do shift 2; done
echo "$1" >> PREFIX/entered
shift
ROUTELMT_VENVS=READY PYTHONPATH=workflow exec "$@"
"""


@pytest.fixture
def stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder first in PATH; ready environments are not where jobs look for them."""
    folder = tmp_path / "stand-in"
    (folder / "bin").mkdir(parents=True)
    monkeypatch.setenv("PATH", f"{folder / 'bin'}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path / "none"))
    return folder


def command(path: Path, text: str) -> None:
    path.write_text(text)
    path.chmod(0o755)


def score(project: Path, *options: str) -> str:
    """What a run that scores by COMET and by chrF says."""
    targets = [SCORES.format(metric) for metric in ("tiny", "chrf")]
    arguments = ("--configfile", EXAMPLE, "--cores", "1", *QUICK, *options, "--", *targets)
    done = run(project, *arguments, timeout=300)
    logs = "".join(p.read_text() for p in project.glob("logs/score/tiny/**/*.log"))
    assert done.returncode == 0, done.stderr[-4000:] + logs[-2000:]
    return done.stdout + done.stderr


def test_conda_gives_comet_its_environment(
    project: Path, stand_in: Path, comet_python: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ready = {"comet": str(comet_python), "core": sys.executable}
    names = f"PREFIX, READY = {str(stand_in)!r}, {ready!r}\n"
    command(stand_in / "bin/conda", f"#!{sys.executable}\n{names}{CONDA}")
    (stand_in / "bin/activate").write_text(ACTIVATE)
    said = score(project, "--sdm", "conda")
    # Each rule has an environment: COMET its own, all others the core one.
    made = {Path(file).read_bytes() for file in (stand_in / "made").read_text().splitlines()}
    assert made == {(project / f"envs/{name}.yaml").read_bytes() for name in ("comet", "core")}
    jobs = 4  # segments, translations, scores by two metrics
    assert said.count("Activating conda environment") == jobs
    values = tables.read(project / SCORES.format("tiny"), "scores").column("score")
    assert score(project, "--sdm", "conda", "--dry-run").count("Nothing to be done") == 1

    # With a ready environment instead: the same scores.
    monkeypatch.setenv(FOLDER_VARIABLE, str(comet_python.parents[2]))
    (project / SCORES.format("tiny")).unlink()
    assert "Activating" not in score(project)
    assert tables.read(project / SCORES.format("tiny"), "scores").column("score") == values
    # Neither way is part of what a result is, unless one changes over to conda.
    assert "Nothing to be done" in score(project, "--dry-run")
    assert job_counts(score(project, "--sdm", "conda", "--dry-run")) == {
        "read_segments": 1,
        "translate": 1,
        "score": 2,
    }
    change_over = ("--sdm", "conda", "--rerun-triggers", "code", "input", "mtime", "params")
    assert "Nothing to be done" in score(project, *change_over, "--dry-run")


def test_a_container_gives_comet_its_environment(
    project: Path, stand_in: Path, comet_python: Path
) -> None:
    text = APPTAINER.replace("PREFIX", str(stand_in)).replace("READY", str(comet_python.parents[2]))
    command(stand_in / "bin/apptainer", f"#!/bin/sh\n{text}")
    said = score(project, "--sdm", "apptainer")
    assert said.count("Activating singularity image") == 1
    assert (stand_in / "entered").read_text().split() == [IMAGE]
    assert tables.read(project / SCORES.format("tiny"), "scores").num_rows == 16
