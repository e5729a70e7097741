"""The conventions of the Snakemake Workflow Catalog: a bare clone, a module, a deployment."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import yaml

from routelmt.views.config_docs import documentation
from tests.workflow.conftest import EXAMPLE, ROOT, copy_project, job_counts

QUICK = ("--max-jobs-per-timespan", "1000/1s")  # Snakemake ends only when the timespan is over
SEGMENTS = "data/segments/phrases/en-de.parquet"
# What `snakedeploy deploy-workflow URL FOLDER --tag v1.0.0` (0.17) writes to workflow/Snakefile.
DEPLOYED = """\
from snakemake.utils import min_version


min_version("6.10.0")


configfile: "config/config.yaml"


# declare the workflow as a module
module routelmt:
    snakefile:
        {snakefile}
    config:
        config


# use all rules from it
use rule * from routelmt
"""


def snakemake(folder: Path, *arguments: str, **changed: str) -> str:
    """What Snakemake says in a folder, where no package is named or installed but its own."""
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{environment['PATH']}"
    done = subprocess.run(
        ["timeout", "-k", "5", "300", "snakemake", *QUICK, *arguments],
        cwd=folder,
        env=environment | {"HF_HUB_OFFLINE": "1"} | changed,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    return done.stdout + done.stderr


def deploy(folder: Path, snakefile: str) -> None:
    """What snakedeploy leaves, with the example's config and data in place of the paper's."""
    (folder / "workflow").mkdir(parents=True)
    (folder / "workflow/Snakefile").write_text(DEPLOYED.format(snakefile=snakefile))
    shutil.copytree(ROOT / "config", folder / "config")
    shutil.copytree(ROOT / "profiles", folder / "profiles")
    shutil.copytree(ROOT / "docs/example", folder / "docs/example")
    shutil.copy(ROOT / EXAMPLE, folder / "config/config.yaml")


def test_the_documentation_of_the_config_is_current() -> None:
    assert (ROOT / "config/README.md").read_text(encoding="utf-8") == documentation(), "make docs"
    assert (ROOT / "config/config.yaml").samefile(ROOT / "config.yaml")


def test_every_key_of_the_config_is_described() -> None:
    rows = [line.split(" | ") for line in documentation().splitlines() if line.startswith("| `")]
    assert len(rows) > 200
    assert [row[0] for row in rows if not row[1].strip()] == []


def test_the_catalog_file_names_flags_that_snakemake_has() -> None:
    usage = yaml.safe_load((ROOT / ".snakemake-workflow-catalog.yml").read_text())["usage"]
    flags = usage["mandatory-flags"]["flags"].split()
    offered = subprocess.run(
        [sys.executable, "-m", "snakemake", "--help"], capture_output=True, text=True, check=True
    ).stdout
    assert all(flag in offered for flag in flags if flag.startswith("--"))


def test_a_bare_clone_is_without_lint(project: Path) -> None:
    assert "in a good condition" in snakemake(project, "--lint")


def test_a_module_of_another_workflow_plans_and_runs(tmp_path: Path) -> None:
    clone = copy_project(tmp_path / "clone")
    deploy(tmp_path / "mine", f'"{clone}/workflow/Snakefile"')
    counts = job_counts(snakemake(tmp_path / "mine", "--dry-run", "--cores", "1"))
    assert counts == job_counts(
        snakemake(clone, "--dry-run", "--cores", "1", "--configfile", EXAMPLE)
    )
    snakemake(tmp_path / "mine", "--cores", "1", SEGMENTS)
    assert (tmp_path / "mine" / SEGMENTS).is_file() and not (clone / "data/segments").exists()


def test_a_deployment_from_a_host_of_git_brings_its_package(tmp_path: Path) -> None:
    clone = copy_project(tmp_path / "clone")
    commands = (["init", "-q"], ["add", "-A"], ["commit", "-qm", "x"], ["tag", "v1.0.0"])
    for command in commands:
        named = ["git", "-c", "user.name=x", "-c", "user.email=x@example.org", *command]
        subprocess.run(named, cwd=clone, check=True)
    host = 'github("routelmt/routelmt", path="workflow/Snakefile", tag="v1.0.0")'
    deploy(tmp_path / "mine", host)
    # Git reads the clone where the workflow says GitHub.
    redirected = {
        "GIT_CONFIG_COUNT": "1",
        "GIT_CONFIG_KEY_0": f"url.{clone.as_uri()}.insteadOf",
        "GIT_CONFIG_VALUE_0": "https://github.com/routelmt/routelmt",
        "XDG_CACHE_HOME": str(tmp_path / "cache"),
    }
    said = snakemake(tmp_path / "mine", "--cores", "1", SEGMENTS, **redirected)
    assert "1 of 1 steps" in said and (tmp_path / "mine" / SEGMENTS).is_file()
    (package,) = (tmp_path / "mine/.snakemake/routelmt").iterdir()
    assert (package / "workflow/routelmt/__main__.py").is_file()
