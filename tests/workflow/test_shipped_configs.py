"""Every config that ships runs to its end: in miniature, with the engines that it names."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from snakemake.utils import update_config

from routelmt import config as configuration
from routelmt import tables
from routelmt.environments import python_of
from routelmt.plan import Plan
from tests.hub import layouts
from tests.hub.server import Hub
from tests.shipped import miniature
from tests.shipped.miniature import DEMO, FULL, SHIPPED, Shipped
from tests.workflow.conftest import PACKAGES, ROOT, copy_project, run

BUILD = ROOT / "tests/comet/build_checkpoints.py"
# What stand-ins may change: where things are, how much there is of them, and the device.
REPLACED = {
    "directions", "sources", "path", "revision", "device", "rows", "part", "limits",
    "max_new_tokens", "sweeps", "run",
}  # fmt: skip
Pairs = set[tuple[str, ...]]
TIMEOUT = 1800  # seconds of one config; minutes on two quiet cores


def require(environment: str) -> None:
    """Skip where an environment was not made."""
    python = ROOT / python_of(environment)
    if not python.is_file():
        pytest.skip(f"{python} is not there: `make setup-{environment}` makes it")


@pytest.fixture(scope="session")
def sources(hub: Hub, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Where the paper's datasets are to be had: here."""
    return miniature.write_upstream(tmp_path_factory.mktemp("upstream"), hub)


@pytest.fixture(scope="session")
def wheels() -> dict[str, Any]:
    """Three small ones of the demo's wheels."""
    known = configuration.load_sources()["gettext"]["files"]
    return {"gettext": {"files": [f for f in known if f["package"] in PACKAGES]}}


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of checkpoints with random weights: XCOMET, COMET, XLM-R and a sentinel."""
    from tests.unit.routers.encoder_toys import save_sentinel, save_xlmr

    require("comet")
    folder = tmp_path_factory.mktemp("tiny")
    texts = [text for sentence in layouts.sentences(30, "tiny") for text in sentence.values()]
    rows = [{"src": a, "mt": b, "ref": b} for a, b in zip(texts[::3], texts[1::3], strict=True)]
    (folder / "rows.json").write_text(json.dumps(rows[:4]))
    command = [ROOT / python_of("comet"), BUILD, folder, "xcomet-xl", "regression"]
    subprocess.run(command, check=True, env=os.environ | {"HF_HUB_OFFLINE": "1"})
    save_xlmr(folder / "xlmr", texts, positions=512)
    save_sentinel(folder / "sentinel", folder / "sentinel-encoder", texts)
    return folder


def make(folder: Path, shipped: Shipped, stand_ins: dict[str, Any], **changed: str) -> Path:
    """A project in which a config has been run whole, with the stand-ins on top."""
    assert set(keys(stand_ins)) <= REPLACED
    project = copy_project(folder)
    (project / "stand-ins.yaml").write_text(yaml.safe_dump(stand_ins))
    done = run(project, *options(shipped), "stand-ins.yaml", timeout=TIMEOUT, **changed)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-9000:]
    return project


def options(shipped: Shipped) -> list[str]:
    """Of snakemake: the profile, then the config files."""
    profile = ["--profile", shipped.profile] if shipped.profile else ["--cores", "2"]
    return [*profile, "--configfile", *shipped.files]


def keys(value: Any, depth: int = 0) -> Iterator[str]:
    """The settings that stand-ins have; names of datasets, models and the like left out."""
    named = ("corpora", "datasets", "models", "metrics", "routers", "experiments")
    for key, entry in value.items():
        if depth == 0 and key in named:
            for inner in entry.values():
                yield from keys(inner, 1)
        elif key == "speed":
            yield from keys(entry, 1)
        else:
            yield key


@pytest.fixture(scope="session")
def paper(
    warm: Any, sources: dict[str, Any], tiny: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    require("vllm")
    stand_ins = miniature.paper(sources, tiny)
    folder = tmp_path_factory.mktemp("paper")
    return make(folder, SHIPPED["paper"], stand_ins, **warm("vllm", "comet"))


@pytest.fixture(scope="session")
def local(
    warm: Any, sources: dict[str, Any], tiny: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    require("vllm")
    stand_ins = miniature.local(sources, tiny)
    folder = tmp_path_factory.mktemp("local")
    return make(folder, SHIPPED["local"], stand_ins, **warm("vllm", "comet"))


@pytest.fixture(scope="session")
def smoke_gpu(warm: Any, wheels: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    require("vllm")
    folder = tmp_path_factory.mktemp("smoke-gpu")
    return make(folder, SHIPPED["smoke-gpu"], miniature.smoke_gpu(wheels), **warm("vllm"))


@pytest.fixture(scope="session")
def wmt25(warm: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wmt25")
    return make(folder, SHIPPED["wmt25"], miniature.wmt25(folder / "upstream"), **warm())


@pytest.fixture(scope="session")
def demo_full(finished: Path, warm: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small demo, and on top of its translations every router; then the search."""
    folder = tmp_path_factory.mktemp("full") / "project"
    shutil.copytree(finished, folder, symlinks=True)
    demo = yaml.safe_load((folder / DEMO).read_text())["experiments"]["demo"]
    path = folder / FULL[-1]
    full = miniature.demo_full(yaml.safe_load(path.read_text()), demo["transfer"])
    path.write_text(yaml.safe_dump(full))
    for name in ("demo-full", "demo-search"):
        done = run(folder, *options(SHIPPED[name]), timeout=TIMEOUT, **warm())
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-9000:]
    return folder


@pytest.fixture(scope="session")
def demo_pool(finished: Path, warm: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small demo, and on top of its translations the pool with a third model."""
    folder = tmp_path_factory.mktemp("pool") / "project"
    shutil.copytree(finished, folder, symlinks=True)
    done = run(folder, *options(SHIPPED["demo-pool"]), timeout=TIMEOUT, **warm())
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-9000:]
    return folder


@pytest.mark.parametrize("name", ["paper", "local", "smoke_gpu", "demo_full", "demo_pool"])
def test_a_shipped_config_runs_to_its_page(name: str, request: pytest.FixtureRequest) -> None:
    folder = request.getfixturevalue(name)
    results = folder / "results/runs" / name.replace("_", "-")
    page = (results / "page.html").read_text()
    assert "</html>" in page and len(page) > 100_000
    costs = tables.read(results / "tables/costs.parquet", "costs").to_pylist()
    assert all(row["seconds"] > 0 for row in costs if row["reason"] is None)
    assert any(row["reason"] is None for row in costs)


def test_published_systems_run_to_a_page(wmt25: Path) -> None:
    page = (wmt25 / "results/runs/command/page.html").read_text()
    assert "</html>" in page and len(page) > 100_000


def jobs_of(text: str) -> Iterator[tuple[str, dict[str, str]]]:
    """(rule, wildcards) of each job that Snakemake tells of."""
    for rule, told in re.findall(r"^(?:local)?rule (\w+):\n((?:    .*\n)+)", text, re.MULTILINE):
        found = re.search(r"^    wildcards: (.*)$", told, re.MULTILINE)
        pairs = found.group(1).split(", ") if found else []
        yield rule, dict(pair.split("=", 1) for pair in pairs)


def kinds(text: str, files: Iterable[Path]) -> Pairs:
    """(rule, what it runs by: engines, metric types, router types, readers, tables, figures)."""
    config: dict[str, Any] = {}
    for file in files:
        update_config(config, yaml.safe_load(file.read_text()))
    plan = Plan(configuration.resolve(config))
    by = {"model": ("models", "engine"), "metric": ("metrics", "type"),
          "router": ("routers", "type"), "dataset": ("datasets", "source")}  # fmt: skip
    sections = {key: section for key, (section, _) in by.items()} | {"experiment": "experiments"}
    found = set()
    for rule, wildcards in jobs_of(text):
        named = ((wildcards[key], section) for key, section in sections.items() if key in wildcards)
        if not all(name in plan.config[section] for name, section in named):
            continue  # other tests run experiments of their own in these projects
        kind = [plan.config[section][wildcards[key]][field]
                for key, (section, field) in by.items() if key in wildcards]  # fmt: skip
        kind += [wildcards[key] for key in ("table", "figure", "role") if key in wildcards]
        if "router" in wildcards:
            kind.append(plan.router_environment(wildcards["experiment"], wildcards["router"]))
        found.add((rule, *kind))
    return found


def executed(folder: Path, shipped: Shipped) -> Pairs:
    """The same of the jobs that Snakemake's own log of a run tells of."""
    files = [*(folder / file for file in shipped.files), *folder.glob("stand-ins.yaml")]
    logs = (folder / ".snakemake/log").glob("*.log")
    return set().union(*(kinds(log.read_text(), files) for log in logs))


def test_what_shipped_configs_plan_has_run_in_a_test(
    project: Path, paper: Path, local: Path, smoke_gpu: Path, finished: Path, demo_full: Path,
    demo_pool: Path, wmt25: Path, example: Path,
) -> None:  # fmt: skip
    ran = {"paper": paper, "local": local, "smoke-gpu": smoke_gpu, "demo": finished,
           "demo-search": demo_full, "demo-pool": demo_pool, "wmt25": wmt25, "example": example}  # fmt: skip
    planned: Pairs = set()
    for shipped in SHIPPED.values():
        dry = run(project, *options(shipped), "--dry-run")
        assert dry.returncode == 0, dry.stderr[-4000:]
        planned |= kinds(dry.stdout + dry.stderr, [project / file for file in shipped.files])
    done = set().union(*(executed(folder, SHIPPED[name]) for name, folder in ran.items()))
    # More may have run: other tests share the demo's project.
    assert not planned - done


def test_every_config_that_ships_is_known() -> None:
    files = {f for shipped in SHIPPED.values() for f in shipped.files}
    ships = [ROOT / "config.yaml", *ROOT.glob("profiles/*/*.yaml"), *ROOT.glob("docs/*/*.yaml")]
    have = {
        str(path.relative_to(ROOT)) for path in ships
        if {"experiments", "run"} & (yaml.safe_load(path.read_text()) or {}).keys()
    }  # fmt: skip
    assert have == files
