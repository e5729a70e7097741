"""The n-gram router with what else is known of a request: length, domain, entropy, an estimate."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import yaml
from router_toys import signals, toy
from test_ngram import CONTEXT, SPEC, explicit

from routelmt import config, tables
from routelmt.errors import UserError
from routelmt.evaluate.ledger import Tokens, request_costs
from routelmt.routers import features, ngram
from routelmt.routers.deploy import load_router
from routelmt.routers.inputs import RouterInputs
from routelmt.routers.registry import costs_of, needs_of

ALL = ["length", "domain", "entropy", "estimate"]
DOMAINS = ["law", "news", None]


def known(rows: int, seed: int) -> RouterInputs:
    """Requests of the toy task with domains, entropies and estimates that say something too."""
    rng = np.random.default_rng(seed + 100)
    inputs = toy(rows, seed)
    kinds, entropy, estimate = (
        rng.integers(0, 3, rows),
        rng.exponential(2, rows),
        rng.normal(60, 9, rows),
    )
    place = inputs.segments.schema.get_field_index("domain")
    domains = pa.array([DOMAINS[k] for k in kinds], pa.string())
    table = inputs.segments.set_column(place, "domain", domains)
    gain = inputs.gain("gain", "x") + 3 * (kinds == 1) + entropy - 0.5 * (estimate - 60)
    gains = inputs.gains.set_column(
        inputs.gains.schema.get_field_index("gain"), "gain", pa.array(gain)
    )
    scored = tables.from_columns("scores", {
        **{k: table.column(k) for k in tables.JOIN_KEY}, "metric": "qe", "model": "s",
        "score": estimate, "truncated": False, "error_spans": pa.nulls(rows, pa.string()),
    })  # fmt: skip
    return RouterInputs.aligned(
        table, gains=gains, signals=signals(table, entropy), estimates=scored
    )


def spec(names: list[str], **changes: Any) -> dict[str, Any]:
    return {**SPEC, "features": names, "metric": "qe" if "estimate" in names else None, **changes}


def dense(inputs: RouterInputs, training: RouterInputs) -> np.ndarray:
    """Columns of ALL, standardised by hand."""

    def raw(rows: RouterInputs) -> np.ndarray:
        domain = rows.segments.column("domain").to_pylist()
        nothing = [d is None for d in domain]
        hot = [np.where(nothing, np.nan, [d == name for d in domain]) for name in ("law", "news")]
        return np.column_stack([
            [np.log(1 + len(s)) for s in rows.sources], *hot,
            rows.signals.column("entropy").to_numpy(), rows.estimates.column("score").to_numpy(),
        ])  # fmt: skip

    train = raw(training)
    mean, deviation = np.nanmean(train, 0), np.nanstd(train, 0)
    return np.nan_to_num((raw(inputs) - mean) / deviation)


def test_predictions_are_those_of_scikit_learns_ridge(tmp_path):
    from sklearn.linear_model import Ridge

    training, unseen, chosen = known(150, 0), known(50, 3), spec(ALL, columns=1024, alpha=0.3)
    record = ngram.train(chosen, training, known(40, 1), CONTEXT, tmp_path / "r")

    def columns(inputs: RouterInputs) -> np.ndarray:
        more = dense(inputs, training)
        own = np.array(inputs.directions)[:, None] == ["en-ru", "en-zh"]
        crossed = (own[:, :, None] * more[:, None]).reshape(len(more), -1)
        return np.concatenate((more, crossed, explicit(inputs, chosen)), axis=1)

    free = np.array([1.0] * (3 * 5 + 3 * 1024) + [1e4] * 2)  # the intercepts' penalty is nothing
    model = Ridge(alpha=0.3, fit_intercept=False, solver="svd")
    model.fit(columns(training) * free, training.gain("gain", "x"))
    expected = model.predict(columns(unseen) * free)
    prediction, priority = ngram.predict_trained(tmp_path / "r", unseen, CONTEXT)
    np.testing.assert_allclose(prediction, expected, atol=1e-4 * record["scale"])
    assert np.array_equal(prediction, priority)


def test_they_help_where_the_text_does_not_tell_all(tmp_path):
    training, valid, unseen = known(400, 0), known(80, 1), known(200, 7)
    found = {}
    for names in ([], ["estimate"], ALL):
        ngram.train(spec(names), training, valid, CONTEXT, tmp_path / "-".join(["r", *names]))
        said, _ = ngram.predict_trained(tmp_path / "-".join(["r", *names]), unseen, CONTEXT)
        found[len(names)] = np.corrcoef(said, unseen.gain("gain", "x"))[0, 1]
    assert found[0] + 0.01 < found[1] < found[4] - 0.02


def test_a_domain_of_no_training_row_is_as_the_mean_of_those_that_are(tmp_path):
    training = known(60, 0)
    read = features.Features.of(spec(["domain"]), training)
    assert read.domains == ["law", "news"]
    domain = training.segments.column("domain").to_pylist()
    values = read.read(training)
    named = np.array([d is not None for d in domain])
    np.testing.assert_allclose(values[named].mean(axis=0), 0, atol=1e-12)
    assert not values[~named].any()
    alike = features.Features.of(spec(["length"]), training.filter(np.arange(60) == 3))
    assert alike.deviations == [1.0]
    assert (
        features.Features.from_record(
            {"features": json.loads(json.dumps(read.as_record()))["features"]}
        )
        == read
    )


def test_routing_by_text_alone(tmp_path):
    ngram.train(spec(["length"]), known(60, 0), known(20, 1), CONTEXT, tmp_path / "length")
    unseen = known(10, 5)
    router = load_router(tmp_path / "length")
    by_text, _ = router.score(unseen.directions, unseen.sources)
    assert np.array_equal(by_text, ngram.predict_trained(tmp_path / "length", unseen, CONTEXT)[0])
    ngram.train(spec(ALL), known(60, 0), known(20, 1), CONTEXT, tmp_path / "all")
    with pytest.raises(UserError, match="it reads domain, entropy, estimate of each request"):
        load_router(tmp_path / "all").score(unseen.directions, unseen.sources)
    assert "entropy, estimate." in (tmp_path / "all/README.md").read_text()
    with pytest.raises(UserError, match="reads 'score' of the estimates: give it --estimates"):
        ngram.predict_trained(tmp_path / "all", replace(unseen, estimates=None), CONTEXT)
    other = unseen.estimates.set_column(3, "metric", pa.array(["other"] * 10))
    with pytest.raises(
        UserError, match=r"estimates by \['other'\], but its setting 'metric' is 'qe'"
    ):
        ngram.predict_trained(tmp_path / "all", replace(unseen, estimates=other), CONTEXT)


def test_needs_and_costs_follow_the_features():
    assert needs_of(spec([])) == needs_of(spec(["length", "domain"])) == {"gains"}
    assert needs_of(spec(["entropy", "estimate"])) == {"gains", "signals", "estimates"}
    assert costs_of(spec(["length"])) == [] and costs_of(spec(["entropy"])) == ["shared_prefill"]
    # The prefill is a part of the translation, which is wasted whole where the request is routed.
    assert costs_of(spec(ALL)) == costs_of({"type": "qe-deferral"}) == ["decode", "estimate"]
    tokens = Tokens(np.array([10.0, 20.0]), np.array([5.0, 9.0]))
    rates = {("s", "prefill"): 1.0, ("s", "decode"): 10.0, ("l", "prefill"): 3.0,
             ("l", "decode"): 30.0, ("qe", "request"): 7.0}  # fmt: skip
    terms = {"terms": costs_of(spec(ALL)), "metric": "qe", "of": None, "samples": None}
    cost = {"small": "s", "large": "l", "routers": {"r": terms}}
    found = request_costs(tokens, tokens, cost, "r", rates)
    np.testing.assert_array_equal(found.router, [7, 7])
    assert not found.small_routed.any() and not found.router_routed.any()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"features": ["estimate"]}, "the feature 'estimate' is the score by 'metric'"),
        ({"metric": "chrf"}, "Set both or neither"),
        ({"features": 262144}, "How many columns n-grams are hashed into is 'columns'"),
        ({"features": ["estimate"], "metric": "chrf"}, "'chrf' reads the reference, which nobody has"),
    ],
)  # fmt: skip
def test_settings_that_do_not_go_together(changes, message):
    raw = yaml.safe_load(Path("profiles/demo/experiment.yaml").read_text())
    raw["routers"]["ngram"] |= changes
    with pytest.raises(UserError, match=message):
        config.resolve(raw)
