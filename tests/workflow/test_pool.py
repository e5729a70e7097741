"""An experiment with three models: planned by pairs, and its tables made of files."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import yaml

from routelmt import config as configuration
from routelmt import tables
from routelmt.errors import UserError
from routelmt.plan import Plan
from tests.workflow.conftest import EXAMPLE, ROOT, job_counts, run

TIERS = [f"lmt-60-{size}b" for size in ("0.6", "1.7", "4", "8")]
SETS = {"train": [0, 0.4], "valid": [0.4, 0.6], "held-out": [0.6, 1]}
COSTS = {"system-a": 1.0, "system-b": 3.0, "system-c": 2.0}
POOL = {
    "models": {
        name: {"engine": "precomputed", "path": f"{name}.jsonl", "cost": cost}
        for name, cost in COSTS.items()
    },
    "datasets": {
        name: {"source": "jsonl", "path": "docs/example/segments.jsonl", "part": part}
        for name, part in SETS.items()
    },
    "routers": {"ngram": {"type": "ngram", "columns": 1024}},
    "experiments": {
        "three": {
            "models": ["system-a", "system-c", "system-b"], "cost_unit": "stated",
            "metric": "chrf", "train": ["train"], "valid": ["valid"], "test": ["held-out"],
            "routers": ["gain-oracle", "random", "ngram"], "budgets": [0.5],
            "contamination": {"action": "count"}, "switch_cost": "never",
            "bootstrap": {"replicates": 100},
        }
    },
    "run": ["three"],
}  # fmt: skip


def add(folder: Path) -> None:
    """Translations by all three systems of every set, and the experiment."""
    for system in COSTS:
        kept = folder / f"docs/example/{'system-a' if system == 'system-c' else system}.jsonl"
        rows = [json.loads(line) for line in kept.read_text().splitlines()]
        end = " !" if system == "system-c" else ""
        written = [
            json.dumps(row | {"dataset": name, "hypothesis": row["hypothesis"] + end})
            for name in SETS
            for row in rows
        ]
        (folder / f"{system}.jsonl").write_text("\n".join(written) + "\n")
    (folder / "pool.yaml").write_text(yaml.safe_dump(POOL))


def test_the_tables_of_a_pool_are_made(example: Path, tmp_path: Path) -> None:
    project = tmp_path / "project"
    shutil.copytree(example, project, symlinks=True)
    add(project)
    folder = "results/runs/three"
    made = [f"{folder}/tables/{name}.csv" for name in ("pool", "pool_shares", "pool_choice")]
    done = run(
        project, "--cores", "2", "--configfile", EXAMPLE, "pool.yaml", "--", *made,
        f"{folder}/figures/pool.pdf", timeout=600,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-5000:]
    rows = tables.read(project / f"{folder}/tables/pool.parquet", "pool").to_pylist()
    assert {row["policy"] for row in rows} == {
        "single", "mixture", "allocated", "coherent", "pair", "oracle"
    }  # fmt: skip
    costs = {r["name"]: r["cost"] for r in rows if r["policy"] == "single"}
    assert costs == {"system-a": 1, "system-c": 2, "system-b": 3}
    # Each pair has its gains and a router of its own, and no table but those of the pool is made.
    assert (project / "results/gains/chrf/system-a--system-c").is_dir()
    assert (project / "results/runs/three.system-c/routers/ngram/seed0").is_dir()
    assert not (project / "results/runs/three.system-c/tables").exists()


def test_the_four_tiers_are_planned(project: Path) -> None:
    result = run(project, "--dry-run", "--config", "run=[tiers]", "--", "tables")
    assert result.returncode == 0, result.stderr
    jobs = job_counts(result.stdout + result.stderr)
    pairs, gain_routers, datasets, directions = 3, 4, 5, 4
    assert jobs["train_router"] == pairs * gain_routers
    assert jobs["time_model"] == len(TIERS)
    judged = 2 * 3  # other metrics on the test sets
    assert jobs["label_gains"] == pairs * (datasets + judged) * directions


def test_pairs_of_a_pool_have_experiments_that_are_not_run() -> None:
    resolved = configuration.load(ROOT / "config.yaml")
    assert resolved["run"] == ["paper"]
    own, between = (resolved["experiments"][n] for n in ("tiers", "tiers.lmt-60-1.7b"))
    assert (own["small"], own["large"]) == (TIERS[0], TIERS[-1])
    assert (between["small"], between["large"]) == (TIERS[0], TIERS[1])
    assert between["routers"] == ["xlmr-gain", "ngram", "frozen-ridge", "routelmt"]
    plan = Plan(resolved)
    assert "pool" in plan.table_names("tiers") and "pool" not in plan.table_names("paper")
    assert "pool" not in plan.table_names("tiers.lmt-60-1.7b")
    assert configuration.resolve(resolved) == resolved


def changed(**experiment: object) -> dict:
    found = yaml.safe_load((ROOT / "config.yaml").read_text())
    found["experiments"]["tiers"] |= experiment
    return found


@pytest.mark.parametrize(
    ("experiment", "message"),
    [
        ({"models": TIERS[:1]}, "minItems 2"),
        ({"models": [*TIERS, TIERS[0]]}, "uniqueItems"),
        ({"models": [*TIERS, "lmt-60-9b"]}, "'lmt-60-9b' is not in 'models'"),
        ({"small": TIERS[1]}, "'models' is there, so leave out 'small' and 'large'"),
        ({"cost_unit": "stated"}, "costs in stated of .* are not to be had; give each model"),
        ({"cost_unit": "money"}, "costs in money .* prices.per_million"),
        ({"switch_cost": "sometimes"}, "switch_cost"),
        ({"switch_cost": -1}, "switch_cost"),
    ],
)
def test_a_wrong_pool_is_refused(experiment: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        configuration.resolve(changed(**experiment))


def test_a_second_currency_and_a_pool_without_prices_of_a_model_are_refused() -> None:
    priced = changed(cost_unit="money")
    priced["prices"] = {"currency": "EUR", "per_million": {m: [1, 2] for m in TIERS[:3]}}
    with pytest.raises(UserError, match=r"costs in money of lmt-60-8b are not to be had"):
        configuration.resolve(priced)
    priced["prices"]["per_million"][TIERS[3]] = {"input": 1, "output": 2, "currency": "USD"}
    with pytest.raises(UserError, match=r"prices\.per_million"):
        configuration.resolve(priced)


def test_neither_models_nor_a_pair_is_refused() -> None:
    lacking = changed(models=None)
    with pytest.raises(UserError, match="required key 'small' is missing"):
        configuration.resolve(lacking)
