"""Probes by ridge regression: against plain linear algebra, kept, loaded, deployed, refused."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from router_toys import LANGUAGES, PROMPT, SPEED, gains, toy, unsealed
from safetensors.numpy import load_file, save_file

from routelmt import provenance
from routelmt.errors import UserError
from routelmt.evaluate.training_curves import training_table
from routelmt.routers import deploy, probe
from routelmt.routers.inputs import RouterContext, RouterInputs
from routelmt.routers.networks import probe_model
from routelmt.routers.registry import is_seeded
from routelmt.routers.training import ridge
from routelmt.states import StatesWriter, open_states
from routelmt.translate.signals import prefill_signals

SPEC = {
    "type": "probe", "layers": "stacked", "pool": None, "fit": "ridge", "target": "gain",
    "standardise": True, "alpha": [0.001, 0.1, 10.0], "samples": False, "weight_decay": 0.0,
    "learning_rate": 1e-3, "epochs": 3, "patience": 1, "batch_size": 16,
}  # fmt: skip


@pytest.fixture(scope="module")
def model(base):
    """The small model as the config has it."""
    return {
        "engine": "transformers", "path": str(base), "revision": None, "dtype": "float32",
        "prompt": PROMPT, "beams": 1, "max_new_tokens": 8, "max_prompt_tokens": 100,
    }  # fmt: skip


@pytest.fixture(scope="module")
def context(model):
    return RouterContext(model, LANGUAGES, SPEED, seed=1)


@pytest.fixture(scope="module")
def rows(model, tmp_path_factory):
    """(training, validation, unseen), each with states of a real prefill."""
    folder = tmp_path_factory.mktemp("states")

    def with_states(inputs, name):
        settings = {**model, "languages": LANGUAGES}
        record = provenance.describe(
            "signals", settings, [], "routelmt.translate.transformers_engine"
        )
        path = folder / f"{name}.arrow"
        prefill_signals(inputs.segments, "tiny", model, LANGUAGES, SPEED, path, record)
        return replace(inputs, states=open_states([path], inputs.segments))

    return tuple(with_states(toy(n, seed), seed) for n, seed in ((320, 0), (64, 1), (48, 5)))


def written(values: np.ndarray, inputs: RouterInputs, model, path) -> RouterInputs:
    """The same rows with these states, (rows, layers, hidden), for both pools."""
    half = values.astype(np.float16)
    every = np.arange(inputs.rows)
    with StatesWriter(path, inputs.segments, every, inputs.rows) as writer:
        writer.put(every, half, half)
        writer.finish({"settings": {**model, "languages": LANGUAGES}})
    return replace(inputs, states=open_states([path], inputs.segments))


def features_of(inputs: RouterInputs, layers: str, pool: str) -> np.ndarray:
    """What each kind reads, float64 (rows, features)."""
    states = inputs.states.take(pool, np.arange(inputs.rows)).astype(np.float64)
    if layers == "final":
        return states[:, -1]
    return states.mean(axis=1) if layers == "mean" else states.reshape(inputs.rows, -1)


def by_least_squares(
    x: np.ndarray, directions: list[str], y: np.ndarray, alpha: float, standardise: bool
) -> tuple[np.ndarray, np.ndarray]:
    """(heads (directions, features), bias) of raw features, by numpy's lstsq with extra rows.

    Columns: what all share, what each direction has, and one unpenalised constant a direction.
    """
    own = np.array(directions)[:, None] == np.unique(directions)
    centre, scale = x.mean(axis=0), np.where(x.std(axis=0) > 0, x.std(axis=0), 1)
    if not standardise:
        scale = np.ones_like(scale)
    z = (x - centre) / scale
    crossed = (own[:, :, None] * z[:, None]).reshape(len(z), -1)
    penalty = np.sqrt(alpha * (z**2).sum(axis=1).mean())
    width = z.shape[1] + crossed.shape[1]
    left = np.block([[z, crossed, own], [penalty * np.eye(width), np.zeros((width, own.shape[1]))]])
    w = np.linalg.lstsq(left, np.append(y, np.zeros(width)), rcond=None)[0]
    weights = w[:width].reshape(-1, z.shape[1])
    heads = (weights[0] + weights[1:]) / scale
    return heads, w[width:] - heads @ centre


@pytest.mark.parametrize("standardise", [True, False])
@pytest.mark.parametrize("layers", probe.LAYERS["ridge"])
def test_the_probe_is_the_least_squares_solution(rows, context, tmp_path, layers, standardise):
    training, validation, unseen = rows
    spec = {**SPEC, "layers": layers, "standardise": standardise, "alpha": 0.01}
    record = probe.train(spec, training, validation, context, tmp_path / "r")
    x, fresh = (features_of(part, layers, record["pool"]) for part in (training, unseen))
    heads, bias = by_least_squares(
        x, training.directions, training.gain("gain", "x"), 0.01, standardise
    )
    column = [sorted(set(training.directions)).index(d) for d in unseen.directions]
    expected = (fresh * heads[column]).sum(axis=1) + bias[column]
    prediction, priority = probe.predict_trained(tmp_path / "r", unseen, context)
    np.testing.assert_allclose(prediction, expected, atol=2e-3 * record["scale"])
    assert np.array_equal(prediction, priority)
    assert record["result"]["residual"] <= ridge.TOLERANCE


@pytest.mark.parametrize("layers", probe.LAYERS["ridge"])
def test_it_learns_what_the_states_tell_and_is_deployed_as_it_was_tested(
    rows, context, base, tmp_path, layers
):
    training, validation, unseen = rows
    out = tmp_path / "r/seed0"
    record = probe.train({**SPEC, "layers": layers}, training, validation, context, out)
    prediction, _ = probe.predict_trained(out, unseen, context)
    assert np.corrcoef(prediction, unseen.gain("gain", "x"))[0, 1] > 0.6
    losses = record["result"]["alphas"]
    assert record["result"]["validation_loss"] == min(losses.values()) < 0.6 and len(losses) == 3
    found, _ = probe.predict_trained(out, validation, context)
    errors = (found - validation.gain("gain", "x")) / record["scale"]
    assert np.mean(errors**2) == pytest.approx(record["result"]["validation_loss"], rel=1e-4)

    router = deploy.load_router(out, speed=SPEED)
    again, _ = router.score(unseen.directions, unseen.sources)
    # States are kept in half precision; those of the deployed router come in other batches.
    np.testing.assert_allclose(again, prediction, atol=5e-3 * record["scale"])
    order = np.random.default_rng(0).permutation(unseen.rows)
    moved = probe.open_trained(out, {**SPEED, "batch_tokens": 30}, {"path": str(base)})
    shuffled, _ = moved.score(
        [unseen.directions[i] for i in order], [unseen.sources[i] for i in order]
    )
    np.testing.assert_allclose(shuffled, again[order], atol=5e-3 * record["scale"])
    card = (out / "README.md").read_text()
    assert "nothing beyond the prefill" in card and "ridge regression" in card
    assert not (out / "history.jsonl").exists() and training_table([out]).num_rows == 0


def test_quality_is_predicted_lowest_first(rows, context, tmp_path):
    training, validation, unseen = rows
    spec = {**SPEC, "target": "quality_small"}
    probe.train(spec, training, validation, context, tmp_path / "r")
    prediction, priority = probe.predict_trained(tmp_path / "r", unseen, context)
    assert np.array_equal(priority, -prediction)
    assert np.corrcoef(prediction, unseen.gain("quality_small", "x"))[0, 1] > 0.6


def test_chance_plays_no_part(rows, context, tmp_path):
    training, validation, _ = rows
    weights = []
    for seed, threads in ((1, 1), (2, 4)):
        out = tmp_path / f"seed{seed}"
        speed = {**SPEED, "threads": threads}
        probe.train(SPEC, training, validation, replace(context, seed=seed, speed=speed), out)
        weights.append((out / "probe.safetensors").read_bytes())
    assert weights[0] == weights[1]
    assert not is_seeded({"type": "probe", "fit": "ridge"})
    assert is_seeded({"type": "probe", "fit": "descent"}) and is_seeded({"type": "lora"})


@pytest.mark.parametrize("spec", [SPEC, {**SPEC, "standardise": False}])
def test_states_that_are_streamed_give_the_weights_of_those_in_memory(
    rows, context, tmp_path, monkeypatch, spec
):
    training, validation, _ = rows
    probe.train(spec, training, validation, context, tmp_path / "memory")
    # So that a load has 100 rows of the 320, and batches begin anywhere in it.
    row = 2 * training.states.layers * training.states.hidden
    monkeypatch.setattr(probe_model, "LOAD_BYTES", 100 * row)
    probe.train(spec, training, validation, context, tmp_path / "streamed")
    found = [load_file(tmp_path / n / "probe.safetensors") for n in ("memory", "streamed")]
    for name, tensor in found[0].items():
        np.testing.assert_array_equal(tensor, found[1][name])


def test_large_means_and_dimensions_that_never_vary_do_no_harm(model, context, tmp_path):
    """States of a trained model have numbers a thousand times as large as the rest."""
    rng = np.random.default_rng(0)
    parts = []
    for n, seed in ((200, 0), (60, 1)):
        inputs = toy(n, seed)
        values = rng.normal(size=(n, 2, 6))
        values[:, 0, 0] += 2000 + np.where(np.array(inputs.directions) == "en-zh", 8, 0)
        values[:, 1, 3] = 7.0
        gain = 5 * values[:, 1, 1] + 3 * (values[:, 0, 0].astype(np.float16) - 2004)
        parts.append(
            replace(
                written(values, inputs, model, tmp_path / f"{seed}.arrow"),
                gains=gains(inputs.segments, gain.astype(np.float64)),
            )
        )
    spec = {**SPEC, "alpha": 1e-6}
    record = probe.train(spec, *parts, context, tmp_path / "r")
    prediction, _ = probe.predict_trained(tmp_path / "r", parts[1], context)
    np.testing.assert_allclose(prediction, parts[1].gain("gain", "x"), atol=0.02 * record["scale"])


def test_more_features_than_rows(rows, context, tmp_path):
    training, validation, unseen = rows
    few = training.filter(np.arange(training.rows) < 20)
    spec = {**SPEC, "alpha": 0.1}
    record = probe.train(spec, few, validation, context, tmp_path / "r")
    assert 3 * 32 > 20 >= record["result"]["steps"]
    x, fresh = (features_of(part, "stacked", "mean") for part in (few, unseen))
    heads, bias = by_least_squares(x, few.directions, few.gain("gain", "x"), 0.1, True)
    column = [["en-ru", "en-zh"].index(d) for d in unseen.directions]
    expected = (fresh * heads[column]).sum(axis=1) + bias[column]
    prediction, _ = probe.predict_trained(tmp_path / "r", unseen, context)
    np.testing.assert_allclose(prediction, expected, atol=2e-3 * record["scale"])


def test_a_direction_without_training_rows_is_predicted_from_what_all_share(
    rows, context, tmp_path, capsys
):
    training, validation, unseen = rows
    only = np.array(training.directions) == "en-zh"
    probe.train(SPEC, training.filter(only), validation, context, tmp_path / "r")
    assert "no training row of en-ru" in capsys.readouterr().err
    prediction, _ = probe.predict_trained(tmp_path / "r", unseen, context)
    other = np.array(unseen.directions) == "en-ru"
    assert np.corrcoef(prediction[other], unseen.gain("gain", "x")[other])[0, 1] > 0.4


def test_the_files_load_without_this_package_as_the_card_says(rows, context, tmp_path):
    training, validation, unseen = rows
    record = probe.train(SPEC, training, validation, context, tmp_path / "r")
    t = load_file(tmp_path / "r/probe.safetensors")
    d = [1 + record["directions"].index(x) for x in unseen.directions]
    h = unseen.states.take("mean", np.arange(unseen.rows)).astype(np.float64)
    outputs = (t["heads"][d] * h).sum(axis=(1, 2)) + t["bias"][d]
    prediction, _ = probe.predict_trained(tmp_path / "r", unseen, context)
    points = outputs * record["scale"] + record["shift"]
    np.testing.assert_allclose(prediction, points, atol=1e-4 * record["scale"])
    assert "`(heads[d] * h).sum() + bias[d]`" in (tmp_path / "r/README.md").read_text()


# --- what is refused -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"layers": "mix"}, "'fit: ridge' cannot have 'layers: mix'; it can have final, mean, stacked"),
        ({"fit": "descent"}, "'fit: descent' cannot have 'layers: stacked'"),
        ({"target": "small-wins"}, "'fit: ridge' predicts points, not 'target: small-wins'"),
    ],
)  # fmt: skip
def test_settings_that_do_not_go_together(rows, context, tmp_path, changes, message):
    with pytest.raises(UserError, match=message):
        probe.train({**SPEC, **changes}, *rows[:2], context, tmp_path / "r")


def test_states_that_are_not_finite(rows, context, model, tmp_path):
    training, validation, _ = rows
    values = training.states.take("mean", np.arange(training.rows)).astype(np.float32)
    values[200, 1, 3] = np.inf
    bad = written(values, training, model, tmp_path / "i.arrow")
    with pytest.raises(UserError, match="states of training row 200 are not finite"):
        probe.train(SPEC, bad, validation, context, tmp_path / "r")
    few = validation.states.take("mean", np.arange(validation.rows)).astype(np.float32)
    few[7, 0, 0] = np.nan
    bad = written(few, validation, model, tmp_path / "v.arrow")
    with pytest.raises(UserError, match="states of validation row 7 are not finite"):
        probe.train(SPEC, training, bad, context, tmp_path / "r")
    assert not (tmp_path / "r").exists()


@pytest.mark.parametrize(
    "change",
    [
        lambda t: t.update(heads=t["heads"][:2].copy()),
        lambda t: t.update(heads=t["heads"][:, :, :5].copy()),
        lambda t: t.update(heads=t["heads"][0].copy()),
        lambda t: t.update(bias=t["bias"][:1].copy()),
        lambda t: t.pop("bias"),
    ],
    ids=["fewer directions", "other hidden", "one head", "short bias", "no bias"],
)  # fmt: skip
def test_weights_of_another_shape_are_refused(rows, context, tmp_path, change):
    training, validation, unseen = rows
    probe.train(SPEC, training, validation, context, tmp_path / "r")
    broken = unsealed(tmp_path / "r", tmp_path / "broken")
    tensors = load_file(broken / "probe.safetensors")
    change(tensors)
    save_file(tensors, broken / "probe.safetensors")
    with pytest.raises(UserError, match=r"probe\.safetensors: of another router"):
        probe.predict_trained(broken, unseen, context)
    with pytest.raises(UserError, match=r"probe\.safetensors: of another router"):
        probe.open_trained(broken, SPEED)
