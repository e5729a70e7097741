"""The signature test: which edit re-runs which rules, exactly.

The small experiment has 2 directions, 3 datasets, 2 models, 11 routers (5 trained: two adapters of the
small model, so asked together, one on its states, two on the text; each asked on the test and on the
validation set); one adapter is trained on each part of a split too, and asked on the test set. Of its
tables, 9 are of the evaluation (5 figures), 2 of transfer (1), 7 of deployments (3), 2 of costs (3),
2 of the data (1), one of flags, and 1 of the training (1); the page shows them all.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

Jobs = dict[str, int]
Plan = Callable[..., Jobs]
EXPERIMENT = "profiles/demo/experiment.yaml"


def tables(count: int, plots: int = 0) -> Jobs:
    """Tables, what readers want of each, figures, and the page."""
    found = {"evaluate": count, "render": count, "plot": plots, "page": 1}
    return {name: jobs for name, jobs in found.items() if jobs}


def add(*plans: Jobs) -> Jobs:
    """All jobs of several plans that share none but the page."""
    total: Counter[str] = Counter()
    for plan in plans:
        total.update(plan)
    return {name: 1 if name == "page" else jobs for name, jobs in total.items()}


TRANSFER = tables(2, 1)
OWN = tables(18, 11)  # where the routers of transfer stay as they are
EVALUATED = add(OWN, TRANSFER)
DATA_TABLES = tables(3, 1)
FLAGS = tables(1)
FIGURES = {"plot": 14, "page": 1}
DEPLOYED = tables(7, 3)
COSTS = tables(2, 3)
TRAINED_ROUTERS = ("routelmt", "frozen-ridge", "ngram", "routelmt-q", "ngram-q")
ASKED = 2  # on the test set and on the validation set
# What follows a trained router: its losses and its speed; the tables and figures with it.
TOLD = add(tables(1, 1), {"collect_rates": 1}, OWN)
# An adapter, asked with the others, and on each part of the split.
TRAINED = add(TOLD, {"predict_in_model": ASKED + 1}, TRANSFER)
TEXTS = add({"train_router": 2, "predict": 2 * ASKED}, TOLD)  # those on the text
ON_STATES = add({"train_router": 1, "predict": ASKED}, TOLD)  # that on the states
LEARNED = add(TRAINED, {"train_router": 7, "predict": 3 * ASKED})
OVERLAPS = add({"find_overlaps": 1}, tables(1), LEARNED)  # what the rows left out are left out of
# Gains reach every trained router, and the two oracles.
LABELS = add({"label_gains": 6}, LEARNED, {"predict": 2 * ASKED})
# Signals and states come from one pass: entropy, and the router on the states.
PREFILLED = add({"prefill_states": 6}, ON_STATES, {"predict": ASKED})


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
    assert planned() == OVERLAPS


def test_only_counting_contamination_trains_again(finished: Path, planned: Plan) -> None:
    edit(finished, lambda c: c["experiments"]["demo"].update(contamination={"action": "count"}))
    plan = planned()
    assert plan["train_router"] == 7 and plan["evaluate"] == 22


def test_a_prompt_template_translates_again_and_all_below(finished: Path, planned: Plan) -> None:
    def change(config: dict) -> None:
        for model in config["models"].values():
            model["prompt"] = "{src} to {tgt}: {text}"

    edit(finished, change)
    models = {"translate": 12, "score": 12, "prefill_states": 6, "time_model": 2}
    assert planned() == add(
        models, LABELS, FLAGS, {"predict": ASKED}
    )  # length, rarity and random read segments alone


def test_the_large_models_prompt_leaves_the_small_alone(finished: Path, planned: Plan) -> None:
    edit(finished, lambda c: c["models"]["demo-large"].update(prompt="{src} to {tgt}: {text}"))
    assert planned() == add({"translate": 6, "score": 6, "time_model": 1}, LABELS, FLAGS)


def test_budgets_evaluate_again(finished: Path, planned: Plan) -> None:
    edit(finished, lambda c: c["experiments"]["demo"].update(budgets=[0.2, 0.3]))
    # All but pareto, exact at every budget, and noise.
    assert planned() == {**EVALUATED, "evaluate": 18, "render": 18}


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"bootstrap": {"replicates": 200}}, EVALUATED),
        (
            {"routers": ["gain-oracle", "quality-oracle", *TRAINED_ROUTERS, "random"]},
            OWN,
        ),
        (
            {"risk_edges": [-10, -1, 1]},
            tables(4, 3),
        ),
        (
            {"guards": {"rank": ["routelmt"], "signals": ["entropy"]}},
            tables(2, 2),
        ),
        ({"cases": {"limit": 3}}, tables(1)),
        ({"within": [3]}, DEPLOYED),
        ({"stream": {"window": 50}}, DEPLOYED),
    ],
    ids=[
        "bootstrap",
        "router subset",
        "bucket edges",
        "guards",
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


def test_what_is_left_out_is_neither_learned_nor_evaluated(finished: Path, planned: Plan) -> None:
    edit(finished, lambda c: c["experiments"]["demo"].update(leave_out=["degenerate"]))
    assert planned() == add({"find_flagged": 1}, LEARNED, FLAGS)


def test_prices_and_rates_redo_the_costs(finished: Path, planned: Plan) -> None:
    edit(finished, lambda c: c.update(prices={"currency": "EUR", "per_hour": 2}))
    assert planned() == add(tables(1), COSTS)
    edit(finished, lambda c: c.update(rates={"routelmt": {"seconds_per_request": 0.1}}))
    assert planned() == add({"collect_rates": 1}, tables(1), COSTS)


def test_a_router_setting_trains_that_router(finished: Path, planned: Plan) -> None:
    edit(finished, lambda c: c["routers"]["routelmt"].update(epochs=2))
    assert planned() == add({"train_router": 3}, TRAINED)


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
    assert planned() == add({"train_router": trainings, "predict_in_model": 1}, TRANSFER)


def test_a_new_router_is_all_that_is_new(finished: Path, planned: Plan) -> None:
    def change(config: dict) -> None:
        config["routers"]["rarity-half"] = {"type": "rarity", "share": 0.5}
        config["experiments"]["demo"]["routers"].append("rarity-half")

    edit(finished, change)
    assert planned() == add({"predict": ASKED}, OWN)


def test_a_new_seed_trains_and_samples_that_seed(finished: Path, planned: Plan) -> None:
    edit(finished, lambda c: c["experiments"]["demo"].update(seeds=[0, 1]))
    # Random and the two adapters: no chance plays a part in the others.
    assert planned() == add({"predict": ASKED, "train_router": 4}, TRAINED)


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


def test_a_comment_or_docstring_redoes_nothing(finished: Path, planned: Plan) -> None:
    for path in (finished / "workflow/routelmt").rglob("*.py"):
        append(path, "\n\n# a comment\n")
    module = finished / "workflow/routelmt/stats/metrics.py"
    module.write_text(f'"""Other words.\n{module.read_text().removeprefix(chr(34) * 3)}')
    assert planned() == {}


CHEAP = [
    ("stats/metrics.py", EVALUATED),
    ("evaluate/transfer.py", TRANSFER),
    ("evaluate/noise.py", tables(1)),
    ("stats/streaming.py", {**DEPLOYED, "evaluate": 6, "render": 6}),  # no smallest budget
    ("evaluate/ledger.py", add(tables(1), COSTS)),  # and that of budgets
    ("evaluate/cases.py", tables(1)),
    ("views/layouts.py", {"render": 24, "page": 1}),
    ("views/render.py", {"render": 24}),
    ("figures/style.py", FIGURES),
    ("routers/rarity.py", add({"predict": ASKED}, OWN)),
    ("evaluate/describe.py", DATA_TABLES),
    ("page/answers.py", {"page": 1}),
]


@pytest.mark.parametrize(("file", "expected"), CHEAP, ids=[file for file, _ in CHEAP])
def test_edited_code_of_a_cheap_stage_redoes_it(
    finished: Path, planned: Plan, file: str, expected: Jobs
) -> None:
    append(finished / "workflow/routelmt" / file, "\n_AN_EDIT = 1\n")
    assert planned() == expected


@pytest.mark.parametrize("file", ["page/page.css", "page/page.js"])
def test_what_the_page_is_put_together_from_redoes_it(
    finished: Path, planned: Plan, file: str
) -> None:
    append(finished / "workflow/routelmt" / file, "\n/* an edit */\n")
    assert planned() == {"page": 1}


@pytest.mark.parametrize(
    "file",
    [
        "gains.py",
        "score/sacrebleu_metrics.py",
        "translate/greedy.py",
        "translate/signals.py",
        "translate/prompts.py",
        "data/readers/gettext.py",
        "data/overlaps.py",
        "routers/objective/losses.py",
        "routers/lora.py",
        "routers/networks/in_model.py",
        "routers/training/card.py",
        "data/fetch.py",
        "commands/translate.py",
        "provenance.py",
        "progress.py",
        "demo_models/train.py",
    ],
)
def test_edited_code_of_an_expensive_stage_redoes_no_expensive_job(
    finished: Path, planned: Plan, file: str
) -> None:
    """Only a declared behaviour does: a refactoring keeps translations, scores and trainings."""
    append(finished / "workflow/routelmt" / file, "\n_AN_EDIT = 1\n")
    cheap = {"predict", "evaluate", "render", "plot", "page"}  # of routers without a network
    assert set(planned()) <= cheap


@pytest.mark.parametrize(
    ("file", "expected"),
    [
        ("score/sacrebleu_metrics.py", add({"score": 12}, LABELS, FLAGS)),
        ("translate/transformers_engine.py",
         add({"translate": 12, "score": 12, "prefill_states": 6}, LABELS, FLAGS, {"predict": ASKED})),
        ("routers/ngram.py", TEXTS),
        ("routers/probe.py", ON_STATES),
        ("routers/embedding_mlp.py", {}),
        ("data/readers/flores.py", {}),
        ("score/comet_metric.py", {}),
    ],
)  # fmt: skip
def test_another_behaviour_redoes_its_stages(
    finished: Path, planned: Plan, file: str, expected: Jobs
) -> None:
    append(finished / "workflow/routelmt" / file, "\nBEHAVIOUR = 2\n")
    assert planned() == expected


@pytest.mark.parametrize(
    ("stage", "expected"),
    [
        ("gains", LABELS),
        ("signals", PREFILLED),
        ("overlaps", OVERLAPS),
        ("routers", LEARNED),
    ],
)
def test_another_behaviour_of_a_stage_redoes_it(
    finished: Path, planned: Plan, stage: str, expected: Jobs
) -> None:
    path = finished / "workflow/routelmt/stages.py"
    path.write_text(path.read_text().replace(f'"{stage}": 1,', f'"{stage}": 2,'))
    assert planned() == expected
