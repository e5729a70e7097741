"""The package of docs/extending.md, installed as it stands there, runs."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import sysconfig
import tomllib
from pathlib import Path

import pytest

from routelmt import tables
from tests.workflow.conftest import EXAMPLE, ROOT, copy_project, job_counts, run

DOCUMENT = (ROOT / "docs/extending.md").read_text(encoding="utf-8")
LETTERCOUNT = """
VERSION = "1.0"


def shared(one, other):
    return len(set(one) & set(other)) / max(1, len(set(other)))
"""
RUN = "results/runs/by-letters"


def blocks() -> dict[str, str]:
    """The files of the document, by the name in their first line."""
    found = re.findall(r"```\w+\n# (\S+)\n(.*?)```", DOCUMENT, re.DOTALL)
    return dict(found)


def installed(folder: Path) -> Path:
    """A folder for PYTHONPATH that holds the package as pip would have put it."""
    files = blocks()
    declared = tomllib.loads(files.pop("pyproject.toml"))["project"]
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")
    about = folder / f"{declared['name']}-{declared['version']}.dist-info"
    about.mkdir()
    (about / "METADATA").write_text(f"Name: {declared['name']}\nVersion: {declared['version']}\n")
    groups = (
        f"[{group}]\n" + "".join(f"{name} = {module}\n" for name, module in entries.items())
        for group, entries in declared["entry-points"].items()
    )
    (about / "entry_points.txt").write_text("".join(groups))
    return folder


@pytest.fixture(scope="module")
def extended(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A project in which the example has been run with the package, and the package's folder."""
    project = copy_project(tmp_path_factory.mktemp("extended"))
    package = installed(tmp_path_factory.mktemp("package"))
    (project / "with-letters.yaml").write_text((package / "with-letters.yaml").read_text())
    missing = made(project, package)
    assert missing.returncode != 0
    assert "this step needs the 'letters' environment" in missing.stdout + missing.stderr
    environment = project / ".venvs/letters"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", environment], check=True)
    (inside,) = environment.glob("lib/python*/site-packages")
    (inside / "core.pth").write_text(sysconfig.get_path("purelib"))
    (inside / "lettercount.py").write_text(LETTERCOUNT)
    done = made(project, package, "--rerun-incomplete")
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-6000:]
    return project, package


def made(project: Path, package: Path, *more: str) -> subprocess.CompletedProcess[str]:
    """The document's command, the package on the path."""
    path = os.pathsep.join([str(project / "workflow"), str(package)])
    files = [EXAMPLE, "with-letters.yaml"]
    return run(project, "--cores", "2", "--configfile", *files, *more, timeout=600, PYTHONPATH=path)


def test_router_metric_and_table_are_there(extended: tuple[Path, Path]) -> None:
    project, _ = extended
    table = tables.read(project / RUN / "tables/routers.parquet", "routers").to_pandas()
    assert "capitals" in set(table.router)
    score = project / "results/scores/letters/system-a/phrases/en-de.parquet"
    record = tables.record_of(score)
    assert record["signature"]["signature"] == "letters|version:1.0"
    text = (project / RUN / "tables/sent_lengths.csv").read_text()
    assert text.startswith('"router","direction","budget","characters"')
    assert "capitals" in text and len(text.splitlines()) == 1 + 4 * 2
    for suffix in ("tex", "md"):
        assert "capitals" in (project / RUN / f"tables/sent_lengths.{suffix}").read_text()


def test_an_edit_to_a_module_redoes_what_it_makes(extended: tuple[Path, Path]) -> None:
    project, package = extended

    def planned() -> dict[str, int]:
        result = made(project, package, "--dry-run")
        return job_counts(result.stdout + result.stderr)

    assert planned() == {}
    for name, edit, expected in (
        ("lengths", "\n# a comment\n", {}),
        ("lengths", "\n_EDITED = 1\n", {"evaluate": 1, "render": 1}),
        ("metric", "\n_EDITED = 1\n", {}),
        ("metric", "\nBEHAVIOUR = 2\n", {"score": 2}),
    ):
        path = package / f"letters/{name}.py"
        before = path.read_text()
        path.write_text(before + edit)
        plan = planned()
        path.write_text(before)
        assert {rule: plan.get(rule, 0) for rule in expected or plan} == expected
    path = package / "letters/capitals.py"
    before = path.read_text()
    path.write_text(before + "\n_EDITED = 1\n")
    plan = planned()
    path.write_text(before)
    assert plan["predict"] == 1 and "score" not in plan


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("capitals = ", "length = "), "'length' is the name of a built-in; take another"),
        (
            ("letters.lengths", "letters.nothing"),
            "plug-in 'sent_lengths' of routelmt.tables: letters.nothing",
        ),
    ],
)
def test_a_plug_in_that_cannot_be_read_is_named(
    change: tuple[str, str], message: str, tmp_path: Path, project: Path
) -> None:
    package = installed(tmp_path / "package")
    (project / "with-letters.yaml").write_text((package / "with-letters.yaml").read_text())
    (points,) = package.glob("*.dist-info/entry_points.txt")
    points.write_text(points.read_text().replace(*change))
    result = made(project, package, "--dry-run")
    assert result.returncode != 0 and message in result.stdout + result.stderr


def test_a_setting_that_is_not_declared_is_refused(tmp_path: Path, project: Path) -> None:
    package = installed(tmp_path / "package")
    text = (package / "with-letters.yaml").read_text().replace("least: 1", "lest: 1")
    (project / "with-letters.yaml").write_text(text)
    result = made(project, package, "--dry-run")
    assert "unknown key 'lest' (did you mean 'least'?)" in result.stdout + result.stderr
