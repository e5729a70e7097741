"""The frozen encoder with an MLP: what it computes, learns and leaves on disk."""

from __future__ import annotations

import json
import math
import shutil
from dataclasses import replace

import numpy as np
import pytest
from encoder_toys import save_xlmr
from router_toys import LANGUAGES, SPEED, WORDS, gains, segments, toy, unsealed

from routelmt.errors import UserError
from routelmt.routers import embedding_mlp
from routelmt.routers.deploy import load_router
from routelmt.routers.inputs import RouterContext, RouterInputs
from routelmt.routers.networks import encoder_model

CONTEXT = RouterContext({}, LANGUAGES, SPEED, seed=1)
DEFAULTS = {
    "type": "embedding-mlp", "target": "small-wins", "path": None, "revision": None,
    "from_scratch": None, "hidden": [32, 16], "dropout": 0.1, "learning_rate": 3e-3, "epochs": 30,
    "patience": 5, "batch_size": 16, "max_length": 88, "scaling": "standard", "samples": False,
    "dtype": "float32", "loss": None,
}  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A tiny XLM-RoBERTa."""
    texts = [*WORDS, *LANGUAGES.values(), "to:"]
    return save_xlmr(tmp_path_factory.mktemp("xlmr") / "model", texts)


@pytest.fixture(scope="module")
def frozen(folder):
    """Settings with that encoder."""
    return {**DEFAULTS, "path": str(folder)}


@pytest.fixture(scope="module")
def scratch(base):
    """Settings with a small random encoder for the toy model's tokenizer."""
    shape = {"tokenizer": str(base), "hidden": 64, "layers": 1, "heads": 2, "intermediate": 64}
    return {**DEFAULTS, "from_scratch": shape}


@pytest.fixture(scope="module")
def routers(frozen, scratch, tmp_path_factory):
    """(folder, record) of a router for the gain on either encoder."""
    found = {}
    for name, spec in (("frozen", frozen), ("scratch", scratch)):
        out = tmp_path_factory.mktemp(name) / "seed1"
        spec = {**spec, "target": "gain"}
        found[name] = out, embedding_mlp.train(spec, toy(320, 0), toy(64, 1), CONTEXT, out)
    return found


@pytest.mark.parametrize("which", ["frozen", "scratch"])
def test_it_learns_what_the_text_and_the_direction_tell(which, routers):
    _, record = routers[which]
    assert record["result"]["validation_spearman"] > 0.6
    assert record["validation"]["spearman"] > 0.5
    assert record["cost"]["terms"] == ["encoder"]


@pytest.mark.parametrize("which", ["frozen", "scratch"])
def test_predictions_are_those_of_a_plain_computation(which, routers, folder):
    """One text at a time: mean of the token states, standardised, two ReLU layers, the head."""
    import torch
    from safetensors.torch import load_file
    from transformers import AutoModel, AutoTokenizer

    out, record = routers[which]
    where = folder if which == "frozen" else out / "encoder"
    tokenizer, model = AutoTokenizer.from_pretrained(where), AutoModel.from_pretrained(where).eval()
    w = {name: tensor.double() for name, tensor in load_file(out / "mlp.safetensors").items()}
    fresh = toy(10, 5)
    prediction, priority = embedding_mlp.predict_trained(out, fresh, CONTEXT)
    assert np.array_equal(prediction, priority)
    for i, (direction, text) in enumerate(zip(fresh.directions, fresh.sources, strict=True)):
        source, target = (LANGUAGES[c] for c in direction.split("-"))
        inputs = tokenizer(f"{source} to {target}: {text}", return_tensors="pt")
        with torch.inference_mode():
            x = model(**inputs).last_hidden_state[0].double().mean(dim=0)
        x = (x - w["mean"]) / w["deviation"]
        for place in (0, 3):
            x = (w[f"layers.{place}.weight"] @ x + w[f"layers.{place}.bias"]).clamp(min=0)
        value = float(w["layers.6.weight"][0] @ x + w["layers.6.bias"][0])
        value = value * record["scale"] + record["shift"]
        assert prediction[i] == pytest.approx(value, abs=1e-3 * record["scale"])


def test_features_are_standardised_by_the_training_rows(routers, frozen):
    from safetensors.torch import load_file

    out, _ = routers["frozen"]
    router = load_router(out, speed=SPEED)
    data = toy(320, 0)
    ids = router.reader.read(data.directions, data.sources)
    x = router.encoder.each(ids.ids, router.encoder.mean, 32, 256)[ids.of_row]
    kept = load_file(out / "mlp.safetensors")
    assert kept["mean"].numpy() == pytest.approx(x.mean(axis=0), abs=1e-5)
    assert kept["deviation"].numpy() == pytest.approx(x.std(axis=0), abs=1e-5)


@pytest.mark.parametrize("which", ["frozen", "scratch"])
def test_predictions_depend_on_neither_batches_nor_order(which, routers):
    out, record = routers[which]
    inputs = toy(60, 6)
    whole, _ = embedding_mlp.predict_trained(out, inputs, CONTEXT)
    small = replace(CONTEXT, speed={**SPEED, "batch_tokens": 20})
    order = np.random.default_rng(0).permutation(60)
    shuffled = RouterInputs.aligned(inputs.segments.take(order))
    again, _ = embedding_mlp.predict_trained(out, shuffled, small)
    assert again == pytest.approx(whole[order], abs=1e-5 * record["scale"])


def test_the_default_target_is_a_probability_that_routes_the_losses_first(frozen, tmp_path):
    out = tmp_path / "r"
    record = embedding_mlp.train(frozen, toy(320, 0), toy(64, 1), CONTEXT, out)
    fresh = toy(80, 3)
    p, priority = embedding_mlp.predict_trained(out, fresh, CONTEXT)
    assert record["loss"] == "bce" and ((p > 0) & (p < 1)).all()
    assert np.array_equal(priority, -p)
    y = fresh.gain("gain", "x") <= 0
    assert p[y].mean() > p[~y].mean() + 0.3


def test_training_stops_when_validation_gets_no_better_and_keeps_the_best(routers):
    out, record = routers["frozen"]
    lines = (out / "history.jsonl").read_text().splitlines()
    losses = [json.loads(line)["validation_loss"] for line in lines]
    best = int(np.argmin(losses))
    assert record["result"]["epoch"] == best + 1
    assert len(losses) in (best + 1 + DEFAULTS["patience"], DEFAULTS["epochs"])
    router, valid = load_router(out, speed=SPEED), toy(64, 1)
    errors = (router.score(valid.directions, valid.sources)[0] - valid.gain("gain", "x")) / record[
        "scale"
    ]
    assert np.mean(errors**2) == pytest.approx(losses[best], rel=1e-3)


def test_the_same_seed_gives_the_same_weights_and_another_one_others(scratch, tmp_path):
    found = []
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        context = replace(CONTEXT, seed=seed)
        embedding_mlp.train(
            {**scratch, "epochs": 3}, toy(48, 0), toy(16, 1), context, tmp_path / name
        )
        found.append((tmp_path / name / "mlp.safetensors").read_bytes())
    assert found[0] == found[1] != found[2]


def test_a_distinct_text_is_embedded_once_for_training_and_validation(
    frozen, tmp_path, monkeypatch
):
    seen = []
    real = encoder_model.Encoder.mean
    monkeypatch.setattr(
        encoder_model.Encoder,
        "mean",
        lambda self, ids: (seen.extend(map(tuple, ids)), real(self, ids))[1],
    )
    data = toy(60, 0)
    embedding_mlp.train(
        {**frozen, "epochs": 3, "target": "gain"}, data, data, CONTEXT, tmp_path / "r"
    )
    assert len(seen) == len(set(zip(data.directions, data.sources, strict=True)))


def test_of_several_learning_rates_the_best_is_kept(frozen, tmp_path):
    spec = {**frozen, "target": "gain", "learning_rate": [1e-9, 3e-3], "epochs": 5}
    record = embedding_mlp.train(spec, toy(160, 0), toy(32, 1), CONTEXT, tmp_path / "r")
    assert record["result"]["learning_rate"] == 3e-3
    alone = {**spec, "learning_rate": 3e-3}
    embedding_mlp.train(alone, toy(160, 0), toy(32, 1), CONTEXT, tmp_path / "alone")
    both = [(tmp_path / n / "mlp.safetensors").read_bytes() for n in ("r", "alone")]
    assert both[0] == both[1]


def test_only_an_encoder_that_is_nowhere_else_is_in_the_folder(routers):
    assert not (routers["frozen"][0] / "encoder").exists()
    assert routers["frozen"][1]["base"]["weights_sha256"]
    assert "never trained" in (routers["scratch"][0] / "README.md").read_text()
    assert "never trained" not in (routers["frozen"][0] / "README.md").read_text()


def test_an_encoder_that_moved_is_found_and_another_one_refused(routers, folder, tmp_path):
    out, _ = routers["frozen"]
    moved = shutil.copytree(folder, tmp_path / "moved")
    there, _ = load_router(out, base=str(moved), speed=SPEED).score(["en-zh"], ["open"])
    assert there == load_router(out, speed=SPEED).score(["en-zh"], ["open"])[0]
    texts = [*WORDS, *LANGUAGES.values(), "to:"]
    other = save_xlmr(tmp_path / "other", texts, seed=9)
    with pytest.raises(UserError, match="are not those that this router was trained on"):
        load_router(out, base=str(other), speed=SPEED)


def test_bad_input_is_named(frozen, scratch, routers, tmp_path):
    table = segments([("en-zh", "open")] * 4)
    shape = scratch["from_scratch"]
    for values, message in (
        (np.full(4, 3.0), "of all 4 training rows is 0: there is nothing to learn"),
        (np.array([1.0, math.nan, -2.0, 3.0]), "is not a number in 1 of the 4 given rows"),
    ):
        bad = RouterInputs(table, gains=gains(table, values))
        with pytest.raises(UserError, match=message):
            embedding_mlp.train(frozen, bad, toy(8, 1), CONTEXT, tmp_path / "r")
    for changes, message in (
        ({"path": None}, r"set 'path' .* or 'from_scratch'"),
        ({"path": str(tmp_path / "none")}, "no such folder, and not a hub name"),
        ({"from_scratch": {**shape, "tokenizer": str(tmp_path)}}, "no tokenizer there"),
        ({"max_length": 1000}, "max_length 1000 is more than the encoder's 96 tokens"),
    ):
        with pytest.raises(UserError, match=message):
            embedding_mlp.train(
                {**frozen, **changes}, toy(8, 0), toy(8, 1), CONTEXT, tmp_path / "r"
            )
    cut = unsealed(routers["frozen"][0], tmp_path / "cut")
    (cut / "mlp.safetensors").write_bytes((cut / "mlp.safetensors").read_bytes()[:100])
    with pytest.raises(UserError, match=r"mlp.safetensors: missing or damaged"):
        embedding_mlp.open_trained(cut, SPEED)


def test_long_texts_are_cut_and_counted(frozen, tmp_path):
    long = segments([("en-zh", " ".join(WORDS * 20)), ("en-zh", "open")])
    inputs = RouterInputs.aligned(long, gains=gains(long, np.array([-1.0, 2.0])))
    record = embedding_mlp.train(
        {**frozen, "epochs": 1}, inputs, toy(8, 1), CONTEXT, tmp_path / "r"
    )
    assert record["rows"]["truncated"] == 1
