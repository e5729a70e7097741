"""Routers that read another model than the small translator: what is planned, asked and charged."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from routelmt import config, pins, settings
from routelmt.errors import UserError
from routelmt.evaluate.ledger import Tokens, rated, request_costs
from routelmt.plan import Plan

DEMO = yaml.safe_load(Path("profiles/demo/experiment.yaml").read_text())
READER = {"engine": "transformers", "path": "someone/reader", "prompt": "{src} {tgt} {text}"}


def changed(**bases: str) -> dict[str, Any]:
    """The demo's config with a reader under some routers."""
    raw = copy.deepcopy(DEMO)
    raw["models"]["reader"] = copy.deepcopy(READER)
    raw["routers"]["quality-too"] = {
        "type": "answer",
        "of": "routelmt-q",
        "output": "quality_small",
    }
    raw["experiments"]["demo"]["routers"] += ["quality-too"]
    for router, base in bases.items():
        raw["routers"][router.replace("_", "-")]["base"] = base
    return config.resolve(raw)


def test_files_of_the_base_take_the_place_of_the_small_models():
    found = Plan(changed(frozen_ridge="reader", entropy="reader"))
    for router, need in (("frozen-ridge", "states"), ("entropy", "signals")):
        files = found.needed_for("demo", router, need, "test")
        assert files and all(f.startswith(f"results/{need}/reader/software-test/") for f in files)
    assert found.keeps_states("reader") and not found.keeps_states("demo-small")
    # Nothing is translated by it: the gains are those of the small model.
    assert not any(
        "reader" in f for role in ("train", "test") for f in found.hypotheses("demo", role)
    )
    assert found.gains("demo", "test") == Plan(changed()).gains("demo", "test")
    assert "results/rates/reader.parquet" in found.rates("demo")
    assert found.timing_segments("reader") == found.segments("demo", "test")
    assert "models.reader (someone/reader)" in pins.unpinned(found.config)
    assert pins.unpinned(changed()) == []


def test_adapters_of_one_base_are_asked_together():
    resolved = changed(routelmt_q="reader")
    found = Plan(resolved)
    folder = "results/runs/demo/predictions/in_model"
    asked = [f for f in found.predictions("demo", "test") if f.startswith(folder)]
    assert asked == [f"{folder}/routers/test.parquet", f"{folder}/routers--reader/test.parquet"]
    passes = settings.stage_settings(resolved)["in_model"]["demo"]
    names = {
        job: [e["router"] for e in yaml.safe_load(said)["ask"]] for job, said in passes.items()
    }
    # The answer is the adapter's, so it is asked where that is.
    assert names["routers"] == ["routelmt"] and names["routers--reader"] == [
        "routelmt-q",
        "quality-too",
    ]
    assert found.in_model_artifacts("demo", "routers--reader") == [
        "results/runs/demo/routers/routelmt-q/seed0"
    ]
    adapted = settings.stage_settings(resolved)["adapted"]["demo"]
    assert (
        "someone/reader" in adapted["routers--reader"] and "data/demo/small" in adapted["routers"]
    )
    assert found.in_model_weights("demo", "routers") == found.weights("demo-small")
    bases = settings.stage_settings(resolved)["bases"]["demo"]
    assert "someone/reader" in bases["routelmt-q"] and "data/demo/small" in bases["routelmt"]


def test_without_a_base_nothing_is_another():
    """No setting of a router has become another: nobody's routers are trained again."""
    raw = config.resolve(DEMO)
    assert all("base" not in spec for spec in raw["routers"].values())
    same = changed(routelmt="demo-small")
    assert Plan(same).predictions("demo", "test") == Plan(changed()).predictions("demo", "test")


def test_its_prefill_is_a_cost_of_its_own():
    resolved = changed(frozen_ridge="reader", entropy="demo-small", routelmt="reader")
    cost = yaml.safe_load(settings.stage_settings(resolved)["tables"]["demo"]["costs"])["cost"]
    assert cost["routers"]["frozen-ridge"]["terms"] == ["base_prefill"]
    assert cost["routers"]["entropy"]["terms"] == ["shared_prefill"]  # the small model by its name
    assert rated(cost, "frozen-ridge")[-1] == "reader"
    tokens = Tokens(np.array([10.0, 20.0]), np.array([5.0, 9.0]))
    rates = {("demo-small", "prefill"): 1.0, ("demo-small", "decode"): 10.0, ("demo-large", "prefill"): 3.0,
             ("demo-large", "decode"): 30.0, ("reader", "prefill"): 2.0, ("frozen-ridge", "request"): 0.5}  # fmt: skip
    probe, entropy, adapter = (
        request_costs(tokens, tokens, cost, name, rates)
        for name in ("frozen-ridge", "entropy", "routelmt")
    )
    np.testing.assert_array_equal(probe.router, [20, 40])
    np.testing.assert_array_equal(probe.router_routed, [0, 0])  # the small model has not been asked
    np.testing.assert_array_equal(entropy.router_routed, [10, 20])
    np.testing.assert_array_equal(adapter.router, [20, 40])  # as long as no training has timed it


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"routelmt": "redaer"}, r"'routers\.routelmt\.base': 'redaer' is not in 'models' \(did you mean 'reader'"),
        ({"ngram": "reader"}, "unknown key 'base'"),
    ],
)  # fmt: skip
def test_what_is_no_base(change, message):
    with pytest.raises(UserError, match=message):
        changed(**change)


def test_a_base_has_weights_where_translators_have_none():
    """Published or precomputed translators, and a router of them that reads another model."""
    raw = copy.deepcopy(DEMO)
    raw["models"]["reader"] = copy.deepcopy(READER)
    for size in ("small", "large"):
        raw["models"][f"demo-{size}"] = {"engine": "precomputed", "path": f"{size}.jsonl"}
    reading = ["routelmt", "frozen-ridge", "routelmt-q", "entropy"]
    with pytest.raises(
        UserError, match=r"routelmt, frozen-ridge, routelmt-q, entropy, .* read the small model"
    ):
        config.resolve(raw)
    for router in reading:
        raw["routers"][router]["base"] = "reader"
    assert set(reading) <= set(config.resolve(raw)["experiments"]["demo"]["routers"])
    raw["routers"]["entropy"]["base"] = "demo-large"
    with pytest.raises(
        UserError,
        match=r"'routers\.entropy\.base': 'demo-large' \(engine precomputed\) has no weights",
    ):
        config.resolve(raw)
