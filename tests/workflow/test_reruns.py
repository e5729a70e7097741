"""The signature test: which edit re-runs which rules, exactly.

The small experiment has 2 directions, 3 datasets, 2 models, 11 routers (5 trained: two adapters of the
small model, so asked together, one on its states, two on the text; each asked on the test and on the
validation set); one adapter is trained on each part of a split too, and asked on the test set. Of its
tables, 8 are of the evaluation (5 figures), 2 of transfer (1), 1 of cases, 7 of deployments (3), 2 of
costs (3), 2 of the data (1), one of flags, and 1 of the training (1); the page shows them all.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

Plan = Callable[..., dict[str, int]]
EXPERIMENT = "profiles/demo/experiment.yaml"

EVALUATED = {
    "evaluate": 10,
    "evaluate_cases": 1,
    "evaluate_deployment": 7,
    "evaluate_costs": 2,
    "page": 1,
}
TABLES = {**EVALUATED, "plot": 12}
TRANSFER = {"evaluate": 2, "plot": 1, "page": 1}
OWN = {**TABLES, "evaluate": 8, "plot": 11}  # where the routers of transfer stay as they are
DATA_TABLES = {"describe_data": 2, "plot": 1, "page": 1}
FIGURES = {"plot": 14, "page": 1}
DEPLOYED = {"evaluate_deployment": 7, "plot": 3, "page": 1}
COSTS = {"evaluate_costs": 2, "plot": 3, "page": 1}
TRAINED_ROUTERS = ("routelmt", "frozen-ridge", "ngram", "routelmt-q", "ngram-q")
ASKED = 2  # on the test set and on the validation set
# What follows a trained router: its losses and its speed; the tables and figures with it.
TOLD = {"training_table": 1, "collect_rates": 1, **OWN, "plot": 12}
# An adapter, asked with the others, and on each part of the split.
TRAINED = {**TOLD, "predict_in_model": ASKED + 1, "evaluate": 10, "plot": 13}
TEXTS = {"train_router": 2, "predict": 2 * ASKED, **TOLD}  # those on the text
ON_STATES = {"train_router": 1, "predict": ASKED, **TOLD}  # that on the states
LEARNED = {**TRAINED, "train_router": 7, "predict": 3 * ASKED}
OVERLAPS = {"find_overlaps": 1, "describe_data": 2}  # and what depends on the rows left out
# Gains reach every trained router, and the two oracles.
LABELS = {"label_gains": 6, **LEARNED, "predict": 5 * ASKED}
# Signals and states come from one pass: entropy, and the router on the states.
PREFILLED = {"prefill_states": 6, **ON_STATES, "predict": 2 * ASKED}


def edit(folder: Path, change: Callable[[dict], object]) -> None:
    path = folder / EXPERIMENT
    config = yaml.safe_load(path.read_text())
    change(config)
    path.write_text(yaml.safe_dump(config, allow_unicode=True))


def append(path: Path, text: str) -> None:
    path.write_text(path.read_text() + text)


def test_a_second_run_plans_nothing(finished: Path, planned: Plan) -> None:
    assert planned() == {}


def test_a_figure_style_redraws_figures_only(finished: Path, planned: Plan) -> None:
    edit(finished, lambda c: c.update(figures={"palette": "tol-bright"}))
    assert planned() == FIGURES


def test_a_threshold_of_contamination_compares_and_trains_again(
    finished: Path, planned: Plan
) -> None:
    edit(finished, lambda c: c["experiments"]["demo"].update(contamination={"threshold": 0.7}))
    assert planned() == {**OVERLAPS, **LEARNED, **FIGURES}


def test_only_counting_contamination_trains_again(finished: Path, planned: Plan) -> None:
    edit(finished, lambda c: c["experiments"]["demo"].update(contamination={"action": "count"}))
    plan = planned()
    assert plan["train_router"] == 7 and plan["describe_data"] == 2


def test_a_prompt_template_translates_again_and_all_below(finished: Path, planned: Plan) -> None:
    def change(config: dict) -> None:
        for model in config["models"].values():
            model["prompt"] = "{src} to {tgt}: {text}"

    edit(finished, change)
    assert planned() == {
        "translate": 12,
        "score": 12,
        "label_gains": 6,
        "find_flags": 1,
        "prefill_states": 6,
        "time_model": 2,
        **LEARNED,
        "predict": 6 * ASKED,
    }  # length, rarity and random read segments alone


def test_the_large_models_prompt_leaves_the_small_alone(finished: Path, planned: Plan) -> None:
    edit(finished, lambda c: c["models"]["demo-large"].update(prompt="{src} to {tgt}: {text}"))
    assert planned() == {
        "translate": 6,
        "score": 6,
        "find_flags": 1,
        "time_model": 1,
        **LABELS,
    }


def test_budgets_evaluate_again(finished: Path, planned: Plan) -> None:
    edit(finished, lambda c: c["experiments"]["demo"].update(budgets=[0.2, 0.3]))
    plan = planned()
    # All but pareto, exact at every budget, and noise.
    assert plan == {**TABLES, "evaluate": 8}


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"bootstrap": {"replicates": 200}}, TABLES),
        (
            {"routers": ["gain-oracle", "quality-oracle", *TRAINED_ROUTERS, "random"]},
            OWN,
        ),
        (
            {"risk_edges": [-10, -1, 1]},
            {"evaluate": 2, "evaluate_cases": 1, "evaluate_costs": 1, "plot": 3, "page": 1},
        ),
        (
            {"guards": {"rank": ["routelmt"], "signals": ["entropy"]}},
            {"evaluate": 1, "evaluate_costs": 1, "plot": 2, "page": 1},
        ),
        ({"leave_out": ["degenerate"]}, {"find_flags": 1, **TABLES}),
        ({"cases": {"limit": 3}}, {"evaluate_cases": 1, "page": 1}),
        ({"within": [3]}, DEPLOYED),
        ({"stream": {"window": 50}}, DEPLOYED),
    ],
    ids=[
        "bootstrap",
        "router subset",
        "bucket edges",
        "guards",
        "left out",
        "cases",
        "within",
        "stream",
    ],
)
def test_an_evaluation_setting_redoes_tables_and_figures_only(
    finished: Path, planned: Plan, change: dict, expected: dict[str, int]
) -> None:
    edit(finished, lambda c: c["experiments"]["demo"].update(change))
    assert planned() == expected


def test_prices_and_rates_redo_the_costs(finished: Path, planned: Plan) -> None:
    edit(finished, lambda c: c.update(prices={"currency": "EUR", "per_hour": 2}))
    assert planned() == {"evaluate_deployment": 1, **COSTS}
    edit(finished, lambda c: c.update(rates={"routelmt": {"seconds_per_request": 0.1}}))
    assert planned() == {"collect_rates": 1, "evaluate_deployment": 1, **COSTS}


def test_a_router_setting_trains_that_router(finished: Path, planned: Plan) -> None:
    edit(finished, lambda c: c["routers"]["routelmt"].update(epochs=2))
    assert planned() == {"train_router": 3, **TRAINED}


@pytest.mark.parametrize(
    ("change", "trainings"),
    [
        ({"seeds": [1]}, 2),
        (
            {"splits": {"by-origin": {"openstack": ["glance"], "others": ["djangorestframework"]}}},
            1,
        ),
        ({"routers": ["routelmt", "routelmt-q"]}, 2),
    ],
    ids=["seed", "one part", "router"],
)
def test_transfer_trains_what_it_changes_and_redoes_its_own_tables(
    finished: Path, planned: Plan, change: dict, trainings: int
) -> None:
    edit(finished, lambda c: c["experiments"]["demo"]["transfer"].update(change))
    assert planned() == {"train_router": trainings, "predict_in_model": 1, **TRANSFER}


def test_a_new_router_is_all_that_is_new(finished: Path, planned: Plan) -> None:
    def change(config: dict) -> None:
        config["routers"]["rarity-half"] = {"type": "rarity", "share": 0.5}
        config["experiments"]["demo"]["routers"].append("rarity-half")

    edit(finished, change)
    assert planned() == {"predict": ASKED, **OWN}


def test_a_new_seed_trains_and_samples_that_seed(finished: Path, planned: Plan) -> None:
    edit(finished, lambda c: c["experiments"]["demo"].update(seeds=[0, 1]))
    # Random and the two adapters: no chance plays a part in the others.
    assert planned() == {"predict": ASKED, "train_router": 4, **TRAINED}


@pytest.mark.parametrize(
    "change",
    [
        lambda c: c["models"]["demo-small"]["speed"].update(batch_tokens=512),
        lambda c: c["models"]["demo-small"]["speed"].update(device="cuda"),
        lambda c: c["models"]["demo-large"]["speed"].update(mem_mb=2000, gpu=1, runtime=9),
        lambda c: c["routers"].update(unused={"type": "rarity"}),
        lambda c: c["experiments"]["demo"].update(risk_edges=[-5, -0.5, 0.5]),  # the default
    ],
    ids=["batch size", "device", "resources", "unused entry", "default written out"],
)
def test_speed_and_the_unused_redo_nothing(
    finished: Path, planned: Plan, change: Callable[[dict], object]
) -> None:
    edit(finished, change)
    assert planned() == {}


def test_comments_redo_nothing(finished: Path, planned: Plan) -> None:
    append(finished / EXPERIMENT, "\n# a comment\n")
    assert planned() == {}


def test_threads_redo_nothing(finished: Path, planned: Plan) -> None:
    assert planned("--set-threads", "translate=2", "train_router=2") == {}


def test_a_touched_code_file_redoes_nothing(finished: Path, planned: Plan) -> None:
    for path in (finished / "workflow").rglob("*.py"):
        path.touch()
    assert planned() == {}


@pytest.mark.parametrize(
    ("file", "expected"),
    [
        ("gains.py", LABELS),
        ("score/sacrebleu_metrics.py", {"score": 12, "find_flags": 1, **LABELS}),
        ("translate/signals.py", PREFILLED),
        ("evaluate/metrics.py", TABLES),
        ("evaluate/transfer.py", {"evaluate": 10, "plot": 10, "page": 1}),
        ("figures/style.py", FIGURES),
        ("routers/rarity.py", {"predict": ASKED, **OWN}),
        ("data/readers/flores.py", {}),
        ("data/overlaps.py", {**OVERLAPS, **LEARNED, **FIGURES}),
        ("routers/training/losses.py", LEARNED),
        ("routers/ngram.py", TEXTS),
        ("routers/probe.py", ON_STATES),
        ("routers/embedding_mlp.py", {}),
        ("states.py", PREFILLED),
        ("routers/training/card.py", {}),
        ("routers/training/probe_card.py", {}),
        ("evaluate/streaming.py", DEPLOYED),
        ("evaluate/costs.py", {**DEPLOYED, **COSTS, "plot": 6}),
        ("evaluate/cases.py", {"evaluate_cases": 1, "page": 1}),
        ("page/page.css", {"page": 1}),
        ("page/page.js", {"page": 1}),
        ("page/answers.py", {"page": 1}),
        ("data/describe.py", DATA_TABLES),
        ("data/fetch.py", {}),
        ("score/comet_metric.py", {}),
        ("commands/translate.py", {}),
        ("provenance.py", {}),
        ("progress.py", {}),
        ("demo_models/train.py", {}),
    ],
)
def test_an_edited_code_file_redoes_its_stages(
    finished: Path, planned: Plan, file: str, expected: dict[str, int]
) -> None:
    append(finished / "workflow/routelmt" / file, "\n# an edit\n")
    assert planned() == expected
