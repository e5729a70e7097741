"""The card of a router: front matter for the Hub, both models, the metric, the experiment."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from router_toys import LANGUAGES, SPEED, toy

from routelmt.routers import ngram
from routelmt.routers.inputs import RouterContext
from routelmt.routers.training.card import card

LABELS = {
    "experiment": "first", "metric": "chrfpp", "signature": "nrefs:1|nw:2",
    "small": {"name": "small-one", "path": "org/small", "revision": "abc"},
    "large": {"name": "large-one", "model": "GPT-4o"},
}  # fmt: skip


def front_matter(text: str) -> dict[str, Any]:
    start, block, _ = text.split("---\n", 2)
    assert start == ""
    found: dict[str, Any] = yaml.safe_load(block)
    return found


@pytest.mark.parametrize(
    ("path", "named"), [("org/small", True), ("data/demo/small", False), ("/models/x", False)]
)
def test_the_hub_can_read_the_card(trained, path, named):
    record = {**trained[1], "base": {**trained[1]["base"], "path": path}}
    expected = {
        "library_name": "peft", "language": ["en", "ru", "zh"],
        "tags": ["routelmt", "translation", "model-routing", "lora"],
    }  # fmt: skip
    assert front_matter(card(record)) == expected | ({"base_model": path} if named else {})


def test_a_folder_of_two_parts_is_no_name_of_the_hub(trained, tmp_path, monkeypatch):
    (tmp_path / "models/small").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    record = {**trained[1], "base": {**trained[1]["base"], "path": "models/small"}}
    assert "base_model" not in front_matter(card(record))


def test_norwegian_stays_a_language(trained):
    assert front_matter(card({**trained[1], "directions": ["en-no"]}))["language"] == ["en", "no"]


def test_models_metric_and_experiment_are_named(tmp_path):
    spec = {"type": "ngram", "target": "gain", "ngrams": [1, 2], "columns": 2**10, "alpha": 1.0}
    context = RouterContext({}, LANGUAGES, SPEED, 0, provenance={"labels": LABELS})
    record = ngram.train(spec, toy(60, 0), toy(20, 1), context, tmp_path / "r")
    assert record["provenance"]["labels"] == LABELS
    assert (
        "## Models and metric\n\n"
        "- small model: small-one, path `org/small`, revision `abc`\n"
        "- large model: large-one, model `GPT-4o`\n"
        "- metric of the labels: chrfpp, `nrefs:1|nw:2`\n"
        "- experiment: first\n\n"
    ) in (tmp_path / "r/README.md").read_text()
    del record["provenance"]["labels"]
    assert "Models and metric" not in card(record)
