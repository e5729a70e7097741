"""The fine-tuned encoder: what it learns, reads and leaves on disk."""

from __future__ import annotations

import json
import math
import re
from dataclasses import replace

import numpy as np
import pytest
from encoder_toys import POSITIONS, hypotheses, save_xlmr, xlmr_tokenizer
from router_toys import LANGUAGES, SPEED, WORDS, gains, segments, toy, unsealed

from routelmt.errors import UserError
from routelmt.routers import encoder
from routelmt.routers.artifact import work_folder
from routelmt.routers.deploy import load_router
from routelmt.routers.inputs import RouterContext, RouterInputs
from routelmt.routers.networks.encoder_model import read_distinct
from routelmt.routers.training import fitting

CONTEXT = RouterContext({}, LANGUAGES, SPEED, seed=1)
DEFAULTS = {
    "type": "encoder", "target": "gain", "path": None, "revision": None, "from_scratch": None,
    "hypothesis": False, "learning_rate": 3e-3, "epochs": 4, "patience": None, "batch_size": 16,
    "max_length": 88, "warmup_ratio": 0.1, "weight_decay": 0.0, "scaling": "standard",
    "head_init": "zeros",
    "samples": False, "dtype": "float32", "loss": None,
}  # fmt: skip


@pytest.fixture(scope="module")
def scratch(base):
    """Settings of a small encoder from scratch, with the toy model's tokenizer."""
    shape = {"tokenizer": str(base), "hidden": 32, "layers": 1, "heads": 2, "intermediate": 64}
    return {**DEFAULTS, "from_scratch": shape}


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory):
    """Settings of a tiny XLM-RoBERTa in a folder."""
    folder = save_xlmr(
        tmp_path_factory.mktemp("xlmr") / "model", [*WORDS, *LANGUAGES.values(), "to:"]
    )
    return {**DEFAULTS, "type": "xlmr", "path": str(folder), "learning_rate": 1e-3, "epochs": 1}


@pytest.fixture(scope="module")
def trained_encoder(scratch, tmp_path_factory):
    """(folder, record)."""
    out = tmp_path_factory.mktemp("encoders") / "seed1"
    return out, encoder.train(scratch, toy(320, 0), toy(64, 1), CONTEXT, out)


@pytest.fixture(scope="module")
def tuned(pretrained, tmp_path_factory):
    """(folder, record) of the tiny XLM-RoBERTa, fine-tuned."""
    out = tmp_path_factory.mktemp("tuned") / "seed1"
    return out, encoder.train(pretrained, toy(96, 0), toy(32, 1), CONTEXT, out)


def test_training_learns_what_the_text_and_the_direction_tell(trained_encoder):
    out, record = trained_encoder
    lines = (out / "history.jsonl").read_text().splitlines()
    losses = [json.loads(line)["validation_loss"] for line in lines]
    assert len(losses) == DEFAULTS["epochs"]
    assert record["result"]["validation_loss"] == min(losses) < 0.5  # the mean alone has about 1
    assert record["result"]["validation_spearman"] > 0.7
    assert record["validation"]["hit_rate"] > 0.6
    assert record["cost"]["terms"] == ["encoder"]


def test_all_of_the_encoder_is_trained(tuned, pretrained):
    from safetensors.torch import load_file

    out, _ = tuned
    before = load_file(f"{pretrained['path']}/model.safetensors")
    after = load_file(out / "model.safetensors")
    assert before.keys() == after.keys()
    fixed = {n for n in before if np.array_equal(before[n], after[n])}
    # Added to every key alike, so no attention weight depends on it.
    assert all(n.endswith("key.bias") for n in fixed)


def by_hand(out, record, text, second=None):
    """Transformers alone: first token's state, the head's weights, the target's unit."""
    import torch
    from safetensors.torch import load_file
    from transformers import AutoModel, AutoTokenizer

    tokenizer, model = AutoTokenizer.from_pretrained(out), AutoModel.from_pretrained(out).eval()
    head = load_file(out / "head.safetensors")
    pair = [text] if second is None else [text, second]
    with torch.inference_mode():
        state = model(**tokenizer(*pair, return_tensors="pt")).last_hidden_state[0, 0]
    value = float(head["weight"][0] @ state + head["bias"][0])
    return value * record["scale"] + record["shift"]


@pytest.mark.parametrize("which", ["trained_encoder", "tuned"])
def test_predictions_are_those_of_transformers_alone_on_the_prefixed_source(which, request):
    out, record = request.getfixturevalue(which)
    fresh = toy(12, 5)
    prediction, priority = encoder.predict_trained(out, fresh, CONTEXT)
    assert np.array_equal(prediction, priority)
    for i, (direction, text) in enumerate(zip(fresh.directions, fresh.sources, strict=True)):
        source, target = (LANGUAGES[c] for c in direction.split("-"))
        value = by_hand(out, record, f"{source} to {target}: {text}")
        assert prediction[i] == pytest.approx(value, abs=2e-4 * record["scale"])


@pytest.mark.parametrize("which", ["trained_encoder", "tuned"])
def test_predictions_depend_on_neither_batches_nor_order(which, request):
    out, record = request.getfixturevalue(which)
    inputs = toy(60, 6)
    whole, _ = encoder.predict_trained(out, inputs, CONTEXT)
    small = replace(CONTEXT, speed={**SPEED, "batch_tokens": 20})
    order = np.random.default_rng(0).permutation(60)
    shuffled = RouterInputs.aligned(inputs.segments.take(order))
    again, _ = encoder.predict_trained(out, shuffled, small)
    assert again == pytest.approx(whole[order], abs=1e-5 * record["scale"])


def test_the_same_seed_gives_the_same_weights_and_another_one_others(scratch, tmp_path):
    spec = {**scratch, "epochs": 1}
    found = []
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        context = replace(CONTEXT, seed=seed)
        encoder.train(spec, toy(48, 0), toy(16, 1), context, tmp_path / name)
        found.append((tmp_path / name / "model.safetensors").read_bytes())
    assert found[0] == found[1] != found[2]


class Killed(BaseException):
    """What a signal looks like from inside."""


@pytest.mark.parametrize("which", ["scratch", "pretrained"])  # both have dropout
def test_a_killed_training_goes_on_to_the_same_weights(which, request, tmp_path, monkeypatch):
    spec = {**request.getfixturevalue(which), "epochs": 2}
    context = replace(CONTEXT, speed={**SPEED, "save_minutes": 0})
    encoder.train(spec, toy(96, 0), toy(32, 1), context, tmp_path / "whole")
    real, calls = fitting._step, []

    def fails(*arguments):
        calls.append(1)
        if len(calls) == 9:
            raise Killed
        return real(*arguments)

    monkeypatch.setattr(fitting, "_step", fails)
    out = tmp_path / "killed"
    with pytest.raises(Killed):
        encoder.train(spec, toy(96, 0), toy(32, 1), context, out)
    assert not out.exists() and work_folder(out).is_dir()
    encoder.train(spec, toy(96, 0), toy(32, 1), context, out)
    assert len(calls) == 13  # 12 steps, and the one that was killed
    for name in ("model.safetensors", "head.safetensors"):
        assert (out / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    assert not work_folder(out).exists()


def test_of_several_learning_rates_the_best_is_kept(scratch, tmp_path):
    spec = {**scratch, "epochs": 2, "learning_rate": [1e-9, 3e-3]}
    record = encoder.train(spec, toy(160, 0), toy(32, 1), CONTEXT, tmp_path / "r")
    assert record["result"]["learning_rate"] == 3e-3
    alone = encoder.train({**spec, "learning_rate": 3e-3}, toy(160, 0), toy(32, 1), CONTEXT,
                          tmp_path / "alone")  # fmt: skip
    assert alone["result"]["validation_loss"] == record["result"]["validation_loss"]


@pytest.mark.parametrize("target", ["small-wins", "small-within"])
def test_hybrid_llms_labels_give_probabilities_that_route_the_losses_first(
    target, scratch, tmp_path
):
    record = encoder.train({**scratch, "target": target, "epochs": 8}, toy(320, 0), toy(64, 1), CONTEXT,
                           tmp_path / "r")  # fmt: skip
    fresh = toy(80, 3)
    p, priority = encoder.predict_trained(tmp_path / "r", fresh, CONTEXT)
    assert record["loss"] == "bce" and ((p > 0) & (p < 1)).all()
    assert np.array_equal(priority, -p)
    y = fresh.gain("gain", "x") <= (record.get("margin") or 0.0)
    assert p[y].mean() > p[~y].mean() + 0.5
    card = (tmp_path / "r" / "README.md").read_text()
    assert {"small-wins": "2024), det", "small-within": "2024), trans"}[target] in card
    program = card_program(card)
    assert 0 < run(program, tmp_path / "r") < 1


def test_a_translation_that_is_given_and_not_read_costs_nothing(scratch, tmp_path):
    spec, rows = {**scratch, "epochs": 1}, translated(16, 0)
    record = encoder.train(spec, rows, translated(8, 1), CONTEXT, tmp_path / "r")
    assert record["cost"]["terms"] == ["encoder"]
    alone = RouterInputs.aligned(rows.segments)
    with_it, _ = encoder.predict_trained(tmp_path / "r", rows, CONTEXT)
    assert np.array_equal(encoder.predict_trained(tmp_path / "r", alone, CONTEXT)[0], with_it)


def test_quality_routes_the_lowest_first(scratch, tmp_path):
    spec = {**scratch, "target": "quality_small"}
    record = encoder.train(spec, toy(160, 0), toy(32, 1), CONTEXT, tmp_path / "r")
    prediction, priority = encoder.predict_trained(tmp_path / "r", toy(20, 3), CONTEXT)
    assert np.array_equal(priority, -prediction)
    assert prediction.mean() == pytest.approx(record["shift"], abs=10)


def translated(rows, seed):
    """Sources that say nothing; a hypothesis with 'error' in it has a large gain."""
    rng = np.random.default_rng(seed)
    texts = [" ".join(rng.choice(WORDS, 4)) for _ in range(rows)]
    table = segments([("en-ru", "open the file")] * rows)
    gain = np.array([20.0 * ("error" in t.split()) for t in texts])
    return RouterInputs.aligned(
        table, gains=gains(table, gain), hypotheses=hypotheses(table, texts)
    )


def test_with_the_hypothesis_it_reads_the_translation_as_a_second_segment(scratch, tmp_path):
    spec = {**scratch, "hypothesis": True}
    out = tmp_path / "r"
    record = encoder.train(spec, translated(320, 0), translated(64, 1), CONTEXT, out)
    assert record["result"]["validation_spearman"] > 0.7
    assert record["cost"]["terms"] == ["decode", "encoder"]
    fresh = translated(8, 3)
    prediction, _ = encoder.predict_trained(out, fresh, CONTEXT)
    for value, text in zip(
        prediction, fresh.hypotheses.column("hypothesis").to_pylist(), strict=True
    ):
        expected = by_hand(out, record, "English to Russian: open the file", text)
        assert value == pytest.approx(expected, abs=2e-4 * record["scale"])
    assert math.isfinite(run(card_program((out / "README.md").read_text()), out))
    for missing in (toy(4, 0), RouterInputs.aligned(fresh.segments)):
        with pytest.raises(UserError, match="reads the small model's translations: give it --hyp"):
            encoder.predict_trained(out, missing, CONTEXT)
    with pytest.raises(UserError, match="requests have none"):
        load_router(out, speed=SPEED).score(["en-ru"], ["open"])
    with pytest.raises(UserError, match="--train- and --valid-hypotheses"):
        encoder.train(spec, toy(32, 0), toy(32, 1), CONTEXT, tmp_path / "x")


def test_the_hypothesis_is_declared_as_a_need_only_where_it_is_read():
    from routelmt.routers.registry import needs_of

    spec = {**DEFAULTS, "hypothesis": True}
    assert needs_of(spec) == {"gains", "hypotheses"}
    assert needs_of(DEFAULTS) == {"gains"}
    assert needs_of({**DEFAULTS, "target": "small-wins-sampled"}) == {"gains", "sample_scores"}


def card_program(card: str) -> str:
    """The card's code that loads the router without this package."""
    return next(b for b in re.findall(r"```python\n(.*?)```", card, re.S) if "AutoModel" in b)


def run(program, out):
    found = {"DIR": str(out)}
    exec(program, found)
    return found["prediction"]


def test_the_cards_program_gives_the_routers_prediction(trained_encoder):
    out, record = trained_encoder
    prediction, _ = load_router(out, speed=SPEED).score(["en-zh"], ["Open the file."])
    found = run(card_program((out / "README.md").read_text()), out)
    assert found == pytest.approx(prediction[0], abs=2e-4 * record["scale"])


def test_the_card_says_that_the_encoder_was_not_pretrained(trained_encoder, tuned):
    said = "was not pretrained"
    assert said in (trained_encoder[0] / "README.md").read_text()
    assert said not in (tuned[0] / "README.md").read_text()
    assert tuned[1]["start"]["weights_sha256"]


# --- bad input -----------------------------------------------------------------------------------


def test_labels_that_say_nothing_are_refused(scratch, tmp_path):
    table = segments([("en-zh", "open")] * 4)
    for values, message in (
        (np.full(4, 3.0), "of all 4 training rows is 3: there is nothing to learn"),
        (
            np.array([1.0, math.nan, 2.0, 3.0]),
            "gain is not a number in 1 of the 4 training rows: toy/en-zh/s1",
        ),
    ):
        bad = RouterInputs(table, gains=gains(table, values))
        with pytest.raises(UserError, match=message):
            encoder.train(scratch, bad, toy(8, 1), CONTEXT, tmp_path / "r")


def test_fewer_rows_than_a_batch_train(scratch, tmp_path):
    record = encoder.train({**scratch, "epochs": 1}, toy(5, 0), toy(4, 1), CONTEXT, tmp_path / "r")
    assert record["rows"]["training"]["count"] == 5


def test_encoders_that_cannot_be_had_are_named(scratch, pretrained, tmp_path, monkeypatch):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    shape = scratch["from_scratch"]
    (tmp_path / "empty").mkdir()
    for changes, message in (
        ({"path": "FacebookAI/xlm-roberta-large"}, "hf download FacebookAI/xlm-roberta-large"),
        ({"path": str(tmp_path / "none")}, "no such folder, and not a hub name"),
        ({"path": str(tmp_path / "empty")}, "has no config.json"),
        ({"path": None}, "set 'path' .* or 'from_scratch'"),
        ({"from_scratch": {**shape, "tokenizer": str(tmp_path / "none")}}, "no tokenizer there"),
        ({"from_scratch": {**shape, "heads": 3}}, "hidden 32 is not a multiple of heads 3"),
        (
            {"max_length": POSITIONS + 1},
            f"max_length {POSITIONS + 1} is more than .* {POSITIONS} tokens",
        ),
    ):
        with pytest.raises(UserError, match=message):
            encoder.train({**pretrained, **changes}, toy(8, 0), toy(8, 1), CONTEXT, tmp_path / "r")


def test_damaged_weights_are_named(pretrained, tmp_path):
    import shutil

    folder = tmp_path / "model"
    shutil.copytree(pretrained["path"], folder)
    weights = folder / "model.safetensors"
    whole = weights.read_bytes()
    spec = {**pretrained, "path": str(folder)}
    for content in (whole[: len(whole) // 2], b"", b"x" * 100):
        weights.write_bytes(content)
        with pytest.raises(UserError, match="cannot be loaded"):
            encoder.train(spec, toy(8, 0), toy(8, 1), CONTEXT, tmp_path / "r")
    weights.write_bytes(whole)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "num_hidden_layers": 3}))
    with pytest.raises(UserError, match="of its weights are missing"):
        encoder.train(spec, toy(8, 0), toy(8, 1), CONTEXT, tmp_path / "r")
    (folder / "tokenizer.json").write_text("{")
    with pytest.raises(UserError, match="its tokenizer cannot be loaded"):
        encoder.train(spec, toy(8, 0), toy(8, 1), CONTEXT, tmp_path / "r")


def test_a_damaged_router_is_named(trained_encoder, tmp_path):

    def copy(name):
        return unsealed(trained_encoder[0], tmp_path / name)

    cut = copy("cut")
    whole = (cut / "model.safetensors").read_bytes()
    (cut / "model.safetensors").write_bytes(whole[: len(whole) // 2])
    headless = copy("headless")
    (headless / "head.safetensors").unlink()
    other = copy("other")
    content = json.loads((other / "tokenizer.json").read_text())
    content["post_processor"] = None
    (other / "tokenizer.json").write_text(json.dumps(content))
    for folder, message in ((cut, "cannot be loaded"), (headless, "head.safetensors: missing"),
                            (other, "its tokenizer is not the one")):  # fmt: skip
        with pytest.raises(UserError, match=message):
            encoder.open_trained(folder, SPEED)


def test_long_texts_are_cut_at_their_end_and_counted(scratch, tmp_path):
    long = segments([("en-zh", " ".join(WORDS * 20)), ("en-zh", "open")])
    inputs = RouterInputs.aligned(long, gains=gains(long, np.array([1.0, 2.0])))
    record = encoder.train({**scratch, "epochs": 1}, inputs, toy(8, 1), CONTEXT, tmp_path / "r")
    assert record["rows"]["truncated"] == 1
    assert "1 of the training rows did" in (tmp_path / "r" / "README.md").read_text()
    router = load_router(tmp_path / "r", speed=SPEED)
    ids = router.reader.read(["en-zh"] * 2, [" ".join(WORDS * 20), " ".join(WORDS * 30)]).ids
    assert len(ids[0]) == scratch["max_length"] and ids[0] == ids[1]  # the end is what is cut
    last = router.reader.read(["en-zh"], ["open"]).ids[0][-1]
    assert ids[0][-1] == last  # the special token at the end stays


def test_a_control_token_in_a_text_is_text(capsys):
    tokenizer = xlmr_tokenizer(["one two three", "the end"])
    texts = ["one </s> two", "three", "<mask>"]
    alone = read_distinct(tokenizer, texts, None, 64)
    assert "2 of 3 texts hold a control token" in capsys.readouterr().err
    start, end, mask = tokenizer.convert_tokens_to_ids(["<s>", "</s>", "<mask>"])
    for ids in alone.ids:
        assert (ids.count(start), ids.count(end), ids.count(mask)) == (1, 1, 0)
    assert alone.ids[1] == tokenizer("three")["input_ids"]
    pair = read_distinct(tokenizer, ["three"] * 2, texts[:2], 64).ids
    assert pair[0].count(end) == 3 and pair[1] == tokenizer("three", "three")["input_ids"]
    cut = read_distinct(tokenizer, ["one </s> two three"], None, 5)
    assert cut.ids[0] == [*alone.ids[0][:4], end] and cut.truncated == 1


def test_a_language_without_a_name_is_refused(trained_encoder):
    with pytest.raises(UserError, match="every language needs a name"):
        load_router(trained_encoder[0], speed=SPEED).score(["en-de"], ["open"])
