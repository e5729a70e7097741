"""An experiment whose routers read another model than its small translator, really run."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import yaml

from routelmt import tables
from tests.workflow.conftest import run

ROUTERS = ("entropy", "frozen-ridge", "routelmt")


def test_routers_that_read_another_model(finished: Path) -> None:
    """The large model as the reader: its states and signals, its prefill among the costs."""
    demo = yaml.safe_load((finished / "profiles/demo/experiment.yaml").read_text())
    read = {f"{name}-large": demo["routers"][name] | {"base": "demo-large"} for name in ROUTERS}
    experiment = demo["experiments"]["demo"] | {
        "routers": ["gain-oracle", "random", "routelmt", "frozen-ridge", "entropy", *read],
        "guards": {}, "transfer": {},
    }  # fmt: skip
    change = {"routers": read, "experiments": {"read": experiment}, "run": ["read"]}
    (finished / "read.yaml").write_text(yaml.safe_dump(change))
    wanted = [f"results/runs/read/tables/{name}.parquet" for name in ("routers", "costs")]
    done = run(
        finished, "--profile", "profiles/demo", "--configfile", "profiles/demo/experiment.yaml",
        "read.yaml", "--", *wanted, timeout=500,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-4000:]
    folder = finished / "results/runs/read"
    for name in ("routelmt", "frozen-ridge"):
        for router, size in ((name, "small"), (f"{name}-large", "large")):
            record = json.loads((folder / f"routers/{router}/seed0/router.json").read_text())
            assert record["base"]["path"] == f"data/demo/{size}"
    entropy = tables.read(folder / "predictions/entropy-large/seed0/test.parquet", "predictions")
    signals = sorted((finished / "results/signals/demo-large/software-test").glob("*.parquet"))
    assert set(entropy.column("priority").to_pylist()) == {
        value
        for file in signals
        for value in tables.read(file, "signals").column("entropy").to_pylist()
    }
    rows = tables.read(folder / "tables/costs.parquet", "costs").to_pylist()
    spent = {r["router"]: r for r in rows if r["direction"] == "average" and r["budget"] == 0.3}
    rates = {
        (row["name"], row["step"]): row["seconds"]
        for file in (finished / "results/rates").glob("*.parquet")
        for row in tables.read(file, "rates").to_pylist()
    }
    prompts = [
        np.mean(tables.read(file, "hypotheses").column("prompt_tokens").to_numpy())
        for file in (finished / "results/hypotheses/demo-small/software-test").glob("*.parquet")
    ]
    # Of 1,000 requests: the translation's own prefill is free, that of another model is not.
    expected = 1000 * np.mean(prompts) * rates["demo-large", "prefill"]
    for name in ("entropy-large", "frozen-ridge-large"):
        np.testing.assert_allclose(spent[name]["router_seconds"], expected, rtol=1e-6)
    assert spent["entropy"]["router_seconds"] < 0.2 * expected  # wasted where it is routed
