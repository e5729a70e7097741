"""A command whose package lives elsewhere runs there, or says what makes the environment."""

from __future__ import annotations

import os
import re
import stat
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from routelmt import environments
from routelmt.errors import UserError

ENVS = Path(__file__).parents[2] / "envs"
SETTINGS = '{"type": "comet", "path": "nowhere"}'
SCORE = ["score", "--segments", "s", "--hypotheses", "h", "--metric", "m", "--out", "o"]


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(environments.FOLDER_VARIABLE, str(tmp_path / "envs"))


def routelmt(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "routelmt", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


def fake_python(folder: Path, script: str) -> None:
    python = folder / "comet/bin/python"
    python.parent.mkdir(parents=True)
    python.write_text(f"#!/bin/sh\n{script}\n")
    python.chmod(python.stat().st_mode | stat.S_IXUSR)


def test_nothing_is_entered_where_the_package_is() -> None:
    environments.enter("", ["score"])  # and where none is needed


def test_a_missing_environment_names_the_command_that_makes_it() -> None:
    result = routelmt(*SCORE, "--settings", SETTINGS)
    assert result.returncode == 1
    assert "needs the 'comet' environment" in result.stderr
    assert "`make setup-comet` makes it" in result.stderr


def test_the_command_runs_in_the_environment_with_this_package(tmp_path: Path) -> None:
    fake_python(tmp_path / "envs", 'echo "$@"; echo "$PYTHONPATH"')
    result = routelmt(*SCORE, "--settings", SETTINGS)
    assert result.returncode == 0, result.stderr
    command, path = result.stdout.splitlines()
    assert command == f"-m routelmt {' '.join(SCORE)} --settings {SETTINGS}"
    assert (Path(path.split(os.pathsep)[0]) / "routelmt/__main__.py").is_file()


def test_an_environment_without_its_package_does_not_loop(tmp_path: Path) -> None:
    fake_python(tmp_path / "envs", f'exec {sys.executable} "$@"')
    result = routelmt(*SCORE, "--settings", SETTINGS)
    assert result.returncode == 1
    assert "has no module 'comet'" in result.stderr and "make setup-comet" in result.stderr


def test_every_environment_has_its_requirements_and_its_target() -> None:
    root = Path(__file__).parents[2]
    for name, environment in environments.ENVIRONMENTS.items():
        assert (root / f"envs/{name}.txt").is_file()
        target = environment.setup.removeprefix("make ")
        assert f"\n{target}:" in (root / "Makefile").read_text()


def pins(text: str) -> list[str]:
    return [line for line in text.splitlines() if line and not line.startswith("#")]


@pytest.mark.parametrize("name", ["core", *environments.ENVIRONMENTS])
def test_conda_files_hold_the_same_pins(name: str) -> None:
    made = yaml.safe_load((ENVS / f"{name}.yaml").read_text())
    (pip,) = [d["pip"] for d in made["dependencies"] if isinstance(d, dict)]
    assert pip == pins((ENVS / f"{name}.txt").read_text()), "run `make conda-files`"
    assert all(re.fullmatch(r'[\w.-]+==[\w.]+(; python_version [<>=]+ "3\.\d+")?', p) for p in pip)
    assert made["dependencies"][:2] == ["python=3.11", "pip"]


def test_the_image_has_every_environment() -> None:
    text = (ENVS / "Dockerfile").read_text()
    for name in ("core", *environments.ENVIRONMENTS):
        assert f"make_env.py {name} /opt/venvs/{name} " in text and f"envs/{name}.txt" in text
    assert f"{environments.FOLDER_VARIABLE}=/opt/venvs" in text


def test_every_environment_has_a_conda_file_and_core_no_container() -> None:
    rules = ENVS.parent / "workflow" / "rules"
    for name in ("", *environments.ENVIRONMENTS):
        made = (rules / str(environments.conda_file(name))).resolve()
        assert made == ENVS / f"{name or 'core'}.yaml"
        assert environments.container_image(name) == (environments.IMAGE if name else None)


def test_the_environments_are_known_by_name() -> None:
    with pytest.raises(KeyError):
        environments.enter("other", [])
    with pytest.raises(UserError):
        environments.enter("comet", ["score"])
