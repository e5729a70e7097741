"""Probes as routers: trained on a real model's states, kept, loaded, deployed, refused."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import scipy.special
from router_toys import LANGUAGES, PROMPT, SPEED, gains, toy

from routelmt import provenance
from routelmt.errors import UserError
from routelmt.evaluate.training_curves import training_table
from routelmt.routers import deploy, probe
from routelmt.routers.inputs import RouterContext, RouterInputs
from routelmt.states import open_states
from routelmt.translate.signals import prefill_signals

MODULE = "routelmt.translate.transformers_engine"
KINDS = ("final", "mean", "mix", "dirichlet", "dirichlet-input")
SPEC = {
    "type": "probe", "layers": "mix", "pool": None, "fit": "descent", "target": "gain", "standardise": True,
    "learning_rate": 1e-2, "epochs": 50, "patience": 5, "batch_size": 16, "weight_decay": 0.0,
}  # fmt: skip


@pytest.fixture(scope="session")
def model(base):
    """The small model as the config has it."""
    return {
        "engine": "transformers", "path": str(base), "revision": None, "dtype": "float32",
        "prompt": PROMPT, "beams": 1, "max_new_tokens": 8, "max_prompt_tokens": 100,
    }  # fmt: skip


@pytest.fixture(scope="session")
def context(model):
    return RouterContext(model, LANGUAGES, SPEED, seed=1)


def with_states(inputs, model, path):
    record = provenance.describe("signals", {**model, "languages": LANGUAGES}, [], MODULE)
    prefill_signals(inputs.segments, "tiny", model, LANGUAGES, SPEED, path, record)
    return replace(inputs, states=open_states([path], inputs.segments))


def winning(inputs):
    """The same rows; the small model is at least as good unless 'error' is in the text."""
    gain = np.array([10.0 * ("error" in s.split()) - 1.0 for s in inputs.sources])
    return replace(inputs, gains=gains(inputs.segments, gain))


@pytest.fixture(scope="session")
def rows(model, tmp_path_factory):
    """(training, validation, unseen), each with states of a real prefill."""
    folder = tmp_path_factory.mktemp("states")
    return tuple(
        with_states(toy(n, seed), model, folder / f"{seed}.arrow")
        for n, seed in ((320, 0), (64, 1), (48, 5))
    )


def spearman(a, b):
    from scipy.stats import spearmanr

    return spearmanr(a, b).statistic


@pytest.mark.parametrize("layers", KINDS)
def test_a_probe_learns_what_the_states_tell_and_is_deployed_as_it_was_tested(
    rows, context, base, tmp_path, layers
):
    training, validation, unseen = rows
    out = tmp_path / "r/seed0"
    record = probe.train({**SPEC, "layers": layers}, training, validation, context, out)
    found = record["result"]
    history = training_table([out]).to_pylist()  # as the workflow's table has it
    assert found["validation_loss"] == min(h["validation_loss"] for h in history) < 0.6
    assert [h["step"] // h["epoch"] for h in history] == [history[0]["step"]] * len(history)
    prediction, priority = probe.predict_trained(out, unseen, context)
    assert np.array_equal(prediction, priority) and prediction.dtype == np.float64
    assert spearman(prediction, unseen.gain("gain", "test")) > 0.6

    router = deploy.load_router(out, speed=SPEED)
    requests = [
        deploy.Request(i, d, s)
        for i, (d, s) in enumerate(zip(unseen.directions, unseen.sources, strict=True))
    ]
    again, _ = deploy.score_requests(router, requests)
    # States are kept in half precision either way; batches differ in the last float32 bits.
    np.testing.assert_allclose(again, prediction, atol=2e-3 * record["scale"])
    assert np.array_equal(router.answers(unseen.directions, unseen.sources)["gain"], again)
    moved = probe.open_trained(out, SPEED, {"path": str(base), "revision": None})
    assert np.array_equal(moved.score(unseen.directions, unseen.sources)[0], again)
    card = (out / "README.md").read_text()
    assert "nothing beyond the prefill" in card and "## On the validation rows" in card


def test_pds_target_is_a_probability_and_routes_the_lowest_first(rows, context, tmp_path):
    training, validation, unseen = (winning(r) for r in rows)
    spec = {**SPEC, "layers": "dirichlet", "target": "small-wins"}
    record = probe.train(spec, training, validation, context, tmp_path / "r")
    assert record["loss"] == "bce"
    prediction, priority = probe.predict_trained(tmp_path / "r", unseen, context)
    assert np.array_equal(priority, -prediction)
    assert prediction.min() >= 0 and prediction.max() <= 1
    wins = unseen.gain("gain", "test") <= 0
    assert prediction[wins].mean() > prediction[~wins].mean() + 0.3
    # The loss of the record is the cross-entropy of what is predicted.
    p, _ = probe.predict_trained(tmp_path / "r", validation, context)
    y = (validation.gain("gain", "test") <= 0).astype(float)
    loss = -np.mean(y * np.log(p) + (1 - y) * np.log(1 - p))
    assert record["result"]["validation_loss"] == pytest.approx(loss, rel=1e-4)


def test_probabilities_begin_at_the_base_rate_and_points_at_the_mean(rows, context, tmp_path):
    """A probe that learns nothing says what the training rows say on average."""
    for target, data in (("small-wins", [winning(r) for r in rows]), ("gain", rows)):
        spec = {**SPEC, "layers": "mean", "target": target, "learning_rate": 1e-12, "epochs": 1}
        probe.train(spec, data[0], data[1], context, tmp_path / target)
        prediction, _ = probe.predict_trained(tmp_path / target, data[2], context)
        gain = data[0].gain("gain", "test")
        expected = (gain <= 0).mean() if target == "small-wins" else gain.mean()
        assert prediction == pytest.approx(expected, abs=1e-4)


def test_the_files_load_without_this_package_as_the_card_says(rows, context, tmp_path):
    from safetensors.torch import load_file

    training, validation, unseen = rows
    states = unseen.states.take("mean", np.arange(unseen.rows)).astype(np.float64)
    for layers in ("mix", "dirichlet-input"):
        out = tmp_path / layers
        record = probe.train({**SPEC, "layers": layers}, training, validation, context, out)
        t = {n: v.double().numpy() for n, v in load_file(out / "probe.safetensors").items()}
        if layers == "mix":
            outputs = (t["heads"] * states).sum(axis=(1, 2)) + t["bias"]
            weights = record["layer_weights"]
            assert len(weights) == unseen.states.layers
            assert sum(weights) == pytest.approx(1, abs=1e-4)
        else:
            shares = scipy.special.softmax(states[:, 0] @ t["gate"].T + t["gate_bias"], axis=1)
            by_layer = (t["heads"] * states).sum(axis=2) + t["offsets"]
            outputs = (shares * by_layer).sum(axis=1) + t["bias"]
        prediction, _ = probe.predict_trained(out, unseen, context)
        points = outputs * record["scale"] + record["shift"]
        np.testing.assert_allclose(prediction, points, atol=1e-4 * record["scale"])


def test_a_seed_gives_the_same_bytes_and_another_seed_others(rows, context, tmp_path):
    training, validation, _ = rows
    spec = {**SPEC, "layers": "dirichlet", "epochs": 3}
    found = []
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        out = tmp_path / name
        probe.train(spec, training, validation, replace(context, seed=seed), out)
        found.append((out / "probe.safetensors").read_bytes())
    assert found[0] == found[1] != found[2]


def test_the_best_of_several_learning_rates_is_kept(rows, context, tmp_path):
    training, validation, _ = rows
    spec = {**SPEC, "learning_rate": [1e-5, 1e-2], "epochs": 4}
    record = probe.train(spec, training, validation, context, tmp_path / "r")
    history = [json.loads(x) for x in (tmp_path / "r/history.jsonl").read_text().splitlines()]
    assert {h["learning_rate"] for h in history} == {1e-5, 1e-2}
    assert record["result"]["learning_rate"] == 1e-2
    alone = probe.train({**spec, "learning_rate": 1e-2}, training, validation, context,
                        tmp_path / "s")  # fmt: skip
    assert record["result"]["validation_loss"] == alone["result"]["validation_loss"]


def test_fewer_rows_than_a_batch_are_one_batch(rows, context, tmp_path):
    training, validation, unseen = rows
    few = training.filter(np.arange(training.rows) < 7)
    record = probe.train({**SPEC, "batch_size": 64}, few, validation, context, tmp_path / "r")
    assert record["rows"]["training"]["count"] == 7
    assert np.isfinite(probe.predict_trained(tmp_path / "r", unseen, context)[0]).all()


# --- what is refused -----------------------------------------------------------------------------


def refuse(match, rows, context, tmp_path, **changes):
    out = tmp_path / "refused"
    with pytest.raises(UserError, match=match):
        probe.train({**SPEC, **changes}, *rows[:2], context, out)
    assert not out.exists()


def test_labels_that_cannot_be_learned(rows, context, tmp_path):
    training, validation, _ = rows
    same = replace(training, gains=gains(training.segments, np.full(training.rows, 2.0)))
    refuse("gain of all 320 training rows is 2", (same, validation), context, tmp_path)
    # Not through from_columns and check, as no valid table has one.
    import pyarrow as pa

    gain = training.gain("gain", "test")
    gain[3] = np.nan
    table = training.gains.set_column(
        training.gains.schema.get_field_index("gain"), "gain", pa.array(gain, from_pandas=False)
    )
    broken = replace(training, gains=table)
    refuse("gain is not a number in 1 .* toy/.*/s3", (broken, validation), context, tmp_path)


def test_no_states_and_states_of_other_models(rows, context, model, tmp_path):
    training, validation, unseen = rows
    bare = RouterInputs.aligned(training.segments, gains=training.gains)
    refuse("reads the small model's states: give it --states", (bare, validation), context,
           tmp_path)  # fmt: skip
    another = replace(context, model={**model, "prompt": "{text}"})
    refuse("not the small model's: 'prompt' is", rows, another, tmp_path)
    other = with_states(validation, {**model, "dtype": "bfloat16"}, tmp_path / "b.arrow")
    refuse("'dtype' is 'float32' and 'bfloat16'", (training, other), context, tmp_path)
    probe.train(SPEC, training, validation, context, tmp_path / "r")
    fresh = with_states(unseen, {**model, "dtype": "bfloat16"}, tmp_path / "c.arrow")
    with pytest.raises(UserError, match="trained on states of another model: 'dtype'"):
        probe.predict_trained(tmp_path / "r", fresh, context)
    with pytest.raises(UserError, match="give it --states"):
        probe.predict_trained(tmp_path / "r", bare, context)
    smaller = with_other_size(unseen, tmp_path / "d.arrow")
    with pytest.raises(UserError, match="states of 3 layers of 32, given states of 2 layers of 5"):
        probe.predict_trained(tmp_path / "r", smaller, context)
    refuse("3 layers of 32, the validation rows' of 2 layers of 5", (training, smaller), context,
           tmp_path)  # fmt: skip


def with_other_size(inputs, path, value=1.0):
    from routelmt.states import StatesWriter

    values = np.full((inputs.rows, 2, 5), value, np.float16)
    with StatesWriter(path, inputs.segments, np.arange(inputs.rows), inputs.rows) as writer:
        writer.put(np.arange(inputs.rows), values, values)
        writer.finish({"settings": {}})
    return replace(inputs, states=open_states([path], inputs.segments))


def test_states_that_are_not_finite(rows, context, model, tmp_path):
    from routelmt.states import StatesWriter

    training, validation, _ = rows
    last, mean = (training.states.take(p, np.arange(training.rows)) for p in ("last", "mean"))
    mean[200, 1, 3] = np.inf
    n = training.rows
    with StatesWriter(tmp_path / "i.arrow", training.segments, np.arange(n), n) as writer:
        writer.put(np.arange(n), last, mean)
        writer.finish({"settings": {**model, "languages": LANGUAGES}})
    broken = replace(training, states=open_states([tmp_path / "i.arrow"], training.segments))
    for layers in ("mix", "mean"):
        for standardise in (True, False):
            refuse("states of training row 200 are not finite", (broken, validation), context, tmp_path,
                   layers=layers, standardise=standardise)  # fmt: skip


def test_settings_that_cannot_be(rows, context, tmp_path):
    refuse("'layers: dirichlet-input' reads the mean", rows, context, tmp_path,
           layers="dirichlet-input", pool="last")  # fmt: skip
    refuse("training diverged with learning rate 1e\\+38; lower", rows, context, tmp_path,
           learning_rate=1e38)  # fmt: skip


def test_damaged_routers_and_other_bases(rows, context, tmp_path, base):
    import shutil

    training, validation, _ = rows
    out = tmp_path / "r"
    probe.train({**SPEC, "epochs": 1}, training, validation, context, out)
    weights = out / "probe.safetensors"
    whole = weights.read_bytes()
    for part in (whole[:10], whole[:-20], b""):
        weights.write_bytes(part)
        with pytest.raises(UserError, match=r"probe\.safetensors: damaged or of another router"):
            probe.predict_trained(out, validation, context)
    weights.unlink()
    with pytest.raises(UserError, match=r"probe\.safetensors: missing \(No such file"):
        probe.open_trained(out, SPEED)
    weights.write_bytes(whole)
    other = tmp_path / "base"
    shutil.copytree(base, other)
    data = bytearray((other / "model.safetensors").read_bytes())
    data[-1] ^= 1
    (other / "model.safetensors").write_bytes(data)
    with pytest.raises(UserError, match="are not the ones this router was trained on"):
        probe.open_trained(out, SPEED, {"path": str(other), "revision": None})
    gone = replace(context, model={**context.model, "path": str(tmp_path / "none")})
    with pytest.raises(UserError, match="not the small model's: 'path'"):
        probe.train(SPEC, training, validation, gone, tmp_path / "s")
