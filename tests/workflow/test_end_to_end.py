"""The small experiment, really run: everything is there, sound, and survives being killed."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from routelmt import provenance, tables
from routelmt.evaluate.registry import TABLES
from routelmt.figures.registry import FIGURES
from tests.workflow.conftest import ROOT, run

RUN = "results/runs/demo"


def command(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHONPATH": str(folder / "workflow"), "HF_HUB_OFFLINE": "1"}
    return subprocess.run(
        ["timeout", "-k", "5", "120", sys.executable, "-m", "routelmt", *arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


def test_every_table_and_figure_is_there(finished: Path) -> None:
    without = {"judge_metrics", "human", "atlas", "domains", "pool"}  # the demo's experiment
    made = {name for name, table in TABLES.items() if not without.intersection(table.when)}
    for table in made:
        for suffix in ("parquet", "csv", "tex", "md"):
            assert (finished / RUN / f"tables/{table}.{suffix}").stat().st_size
    for figure in (name for name, figure in FIGURES.items() if made.issuperset(figure.tables)):
        assert (finished / RUN / f"figures/{figure}.pdf").read_bytes().startswith(b"%PDF")
        assert (finished / RUN / f"figures/{figure}.png").read_bytes().startswith(b"\x89PNG")


def test_the_page_is_one_small_file(finished: Path) -> None:
    page = (finished / RUN / "page.html").read_text(encoding="utf-8")
    assert len(page) < 3 * 2**20 and page.startswith("<!doctype html>")


def test_the_models_that_ship_really_translate(finished: Path) -> None:
    mean = {
        size: tables.read(
            finished / f"results/scores/chrf/demo-{size}/software-test/en-zh.parquet", "scores"
        )
        .column("score")
        .to_numpy()
        .mean()
        for size in ("small", "large")
    }
    assert mean["large"] > mean["small"] + 3 > 10  # chrF points; random text scores below 3


def test_the_oracle_is_best_and_random_gains_the_mean(finished: Path) -> None:
    rows = tables.read(finished / RUN / "tables/routers.parquet", "routers").to_pylist()
    delta = {
        r["router"]: r["value"]
        for r in rows
        if r["metric"] == "mean_delta" and r["direction"] == "average"
    }
    assert max(delta, key=lambda router: delta[router]) == "gain-oracle"
    folder = finished / "results/gains/chrf/demo-small--demo-large/software-test"
    means = [
        tables.read(folder / f"{d}.parquet", "gains").column("gain").to_numpy().mean()
        for d in ("en-zh", "zh-en")
    ]
    assert delta["random"] == pytest.approx(sum(means) / 2)


def test_a_router_of_each_part_meets_both(finished: Path) -> None:
    rows = tables.read(finished / RUN / "tables/transfer.parquet", "transfer").to_pylist()
    own = {(r["part"], r["seen"]) for r in rows if r["router"] == "routelmt"}
    assert own == {(p, s) for p in ("openstack", "others", "average") for s in (True, False)}
    by_part = {r["part"]: (r["clusters"], r["left_out"]) for r in rows}
    assert by_part == {"openstack": (2, 0), "others": (1, 0), "average": (3, 0)}


def test_the_audit_finds_the_whole_run_sound(finished: Path) -> None:
    result = command(finished, "audit")
    assert result.returncode == 0, result.stderr
    assert "0 broken links" in result.stdout


def test_the_audit_names_a_file_that_was_changed(finished: Path) -> None:
    path = finished / "results/gains/chrf/demo-small--demo-large/software-test/en-zh.parquet"
    content = path.read_bytes()
    try:
        data = tables.read(path, "gains").slice(1)
        tables.write(data, path, "gains", provenance.describe("gains", {}, []))
        result = command(finished, "audit", f"{RUN}/tables/routers.parquet")
        assert result.returncode == 1
        assert "routers.parquet: stale, made from results/gains/chrf" in result.stderr
        path.write_bytes(content[:1000])
        result = command(finished, "audit", f"{RUN}/tables/routers.parquet")
        assert result.returncode == 1 and "not a readable Parquet file" in result.stderr
    finally:
        path.write_bytes(content)


def test_a_finished_run_names_its_page_and_the_summary(finished: Path) -> None:
    logs = [path.read_text() for path in (finished / ".snakemake/log").glob("*.log")]
    assert any(f"{RUN}/page.html    python -m routelmt summary {RUN}" in log for log in logs)


def test_the_summary_prints_the_table_and_the_places(finished: Path) -> None:
    result = command(finished, "summary", RUN)
    assert result.returncode == 0, result.stderr
    for word in ("routelmt", "random", "gain-oracle", f"{RUN}/figures"):
        assert word in result.stdout


def test_the_report_is_made(finished: Path) -> None:
    result = run(finished, "--profile", "profiles/demo", "--report", f"{RUN}/report.html")
    assert result.returncode == 0, result.stderr[-3000:]
    assert "pareto" in (finished / RUN / "report.html").read_text()


def test_a_killed_run_leaves_nothing_half_and_goes_on(finished: Path, tmp_path: Path) -> None:
    folder = tmp_path / "project"
    shutil.copytree(finished, folder, symlinks=True)
    target = folder / "results/hypotheses/demo-large/software-train/en-zh.parquet"
    before = tables.record_of(target)["content"]
    target.unlink()
    environment = os.environ | {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(folder / "workflow"),
    }
    name = str(target.relative_to(folder))
    job = subprocess.Popen(
        ["snakemake", "--profile", "profiles/demo", "--cores", "1", name],
        cwd=folder,
        env=environment,
        start_new_session=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    log = folder / "logs/translate/demo-large/software-train/en-zh.log"
    log.unlink()
    deadline = time.monotonic() + 60
    while not log.exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(1.0)  # in the middle of loading or decoding
    os.killpg(job.pid, signal.SIGKILL)
    job.wait()
    assert not target.exists()
    assert run(folder, "--profile", "profiles/demo", "--unlock").returncode == 0
    again = run(folder, "--profile", "profiles/demo", "--rerun-incomplete", name)
    assert again.returncode == 0, again.stderr[-3000:]
    assert tables.record_of(target)["content"] == before


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("routers", {"routelmt": {"type": "lorra"}}, "'routers.routelmt.type': 'lorra' is unknown"),
        ("model", {}, "config: unknown key 'model' (did you mean 'models'?)"),
    ],
)
def test_a_config_typo_is_one_paragraph(project: Path, key: str, value: dict, message: str) -> None:
    import yaml

    config = yaml.safe_load((project / "config.yaml").read_text())
    config[key] = config.get(key, {}) | value if isinstance(config.get(key), dict) else value
    (project / "config.yaml").write_text(yaml.safe_dump(config))
    result = run(project, "--dry-run")
    assert result.returncode == 1
    printed = result.stdout + result.stderr
    assert message in printed
    assert "Traceback" not in printed and len(printed) < 1500


def test_a_download_that_cannot_be_had_says_what_to_do(project: Path) -> None:
    result = run(project, "--cores", "1", "data/raw/commt")
    assert result.returncode == 1
    printed = " ".join((result.stdout + result.stderr).split())
    assert "offline here (HF_HUB_OFFLINE" in printed
    assert "fetch --all" in printed and "sources.commt.local" in printed
    assert not (project / "data/raw/commt").exists()


def test_the_project_names_no_machine(project: Path) -> None:
    """No absolute path of a machine stands in any file that ships."""
    for path in project.rglob("*"):
        if path.is_file() and path.suffix in (".py", ".smk", ".yaml", ".md", ".txt", ".toml"):
            assert "/root/" not in path.read_text(), path
    assert (project / "slurm").is_symlink() == (ROOT / "slurm").is_symlink() is True
