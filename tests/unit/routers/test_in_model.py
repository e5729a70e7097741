"""Many adapters of one model: joint prediction, several answers of one pass, lower layers."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest
from router_toys import SPEC, SPEED, sampled, toy, unsealed

from routelmt.errors import UserError
from routelmt.routers import answer, lora
from routelmt.routers.artifact import read_record
from routelmt.routers.deploy import Request, load_router, score_requests
from routelmt.routers.networks import in_model
from routelmt.routers.networks.regressor import PromptRegressor

VARIANTS = {
    "also": {"also": "quality_small"},
    "quantile": {"loss": "quantile", "quantiles": [0.1, 0.25, 0.5, 0.75], "rank_by": 0.25},
    "gaussian": {"loss": "gaussian", "rank_by_deviations": -1.0},
    "top_p": {"loss": "top_p"},
    "pairwise": {"loss": "pairwise"},
    "wins": {"target": "small-wins"},
    "layer": {"layer": 1, "rank": 2},
    "bfloat16": {"dtype": "bfloat16"},
    "bfloat16-layer": {"dtype": "bfloat16", "layer": 1},
}


@pytest.fixture(scope="module")
def routers(context, tmp_path_factory):
    """Folders of one router of each variant, by name."""
    folder = tmp_path_factory.mktemp("variants")
    for name, changes in VARIANTS.items():
        lora.train({**SPEC, **changes}, toy(320, 0), toy(64, 1), context, folder / name / "seed1")
    return {name: folder / name / "seed1" for name in VARIANTS}


@pytest.fixture(scope="module")
def together(routers, context):
    """The answers of all of them to 60 requests, by name."""
    found = lora.predict_together(list(routers.values()), toy(60, 6), context)
    return dict(zip(routers, found, strict=True))


@pytest.mark.parametrize("name", VARIANTS)
def test_every_variant_learns_and_says_so(routers, name):
    record = read_record(routers[name])
    assert record["result"]["validation_spearman"] > 0.7
    assert record["validation"]["hit_rate"] > 0.6  # of a random router: 0.3
    assert set(record["validation"]["by_direction"]) == {"en-zh", "en-ru"}


@pytest.mark.parametrize("name", VARIANTS)
def test_a_router_predicts_alone_what_it_predicts_with_others(routers, together, context, name):
    prediction, priority = lora.predict_trained(routers[name], toy(60, 6), context)
    assert np.array_equal(prediction, together[name]["prediction"])
    assert np.array_equal(priority, together[name]["priority"])


def test_the_order_of_the_routers_does_not_matter(routers, together, context):
    names = list(routers)[::-1]
    found = lora.predict_together([routers[n] for n in names], toy(60, 6), context)
    for name, answers in zip(names, found, strict=True):
        for key, values in answers.items():
            assert np.array_equal(values, together[name][key])


def test_each_adapter_reads_each_distinct_prompt_once(routers, context, monkeypatch):
    from routelmt.routers.networks import base_model
    from routelmt.routers.networks.prompt_rows import PromptReader

    inputs = toy(60, 6)
    distinct = len(set(zip(inputs.directions, inputs.sources, strict=True)))
    read, loaded, tokenised, layers = [], [], [], []
    real = PromptRegressor.outputs, in_model.load_base, PromptReader.read

    def outputs(self, rows):
        read.append(len(rows))
        return real[0](self, rows)

    def load_base(*arguments, **options):
        base = real[1](*arguments, **options)
        for layer in base.causal.get_decoder().layers:
            layer.register_forward_hook(lambda *_: layers.append(1))
        loaded.append(arguments[1])
        return base

    def reader(self, *arguments):
        tokenised.append(1)
        return real[2](self, *arguments)

    monkeypatch.setattr(PromptRegressor, "outputs", outputs)
    monkeypatch.setattr(in_model, "load_base", load_base)
    monkeypatch.setattr(PromptReader, "read", reader)
    hashed = []
    hashing = base_model.weights_hash
    monkeypatch.setattr(base_model, "weights_hash", lambda f: hashed.append(1) or hashing(f))
    names = ["also", "quantile", "layer"]
    folders = [routers[n] for n in (*names, "also")]  # a second answer of the first
    lora.predict_together(folders, inputs, context)
    assert sum(read) == 3 * distinct
    assert (loaded, len(hashed), len(tokenised)) == (["float32"], 1, 1)
    passes = len(read) // 3
    assert len(layers) == passes * (2 + 2 + 1)


def test_the_base_is_what_it_was_after_each_adapter(routers, context, monkeypatch):
    monkeypatch.setattr(in_model, "precision", lambda dtype, device: dtype)
    for names in (["also", "layer"], ["bfloat16", "bfloat16-layer"]):
        artifacts = [in_model.Artifact.read(routers[n]) for n in names]
        shared = in_model.SharedBase(context.model, artifacts[0], SPEED, None)
        before = {n: p.clone() for n, p in shared.base.causal.named_parameters()}
        for artifact in artifacts:
            with shared.attached(artifact):
                pass
            after = dict(shared.base.causal.named_parameters())
            assert list(after) == list(before)
            assert all(bool((after[n] == before[n]).all()) for n in before)
            assert len(shared.base.causal.get_decoder().layers) == 2


@pytest.mark.parametrize("name", ["also", "bfloat16"])
def test_predictions_do_not_depend_on_the_batch(routers, context, name):
    """To far less than the 1e-3 of the labels' deviation that would do for bfloat16."""
    inputs, record = toy(60, 6), read_record(routers[name])
    whole, _ = lora.predict_trained(routers[name], inputs, context)
    small = replace(context, speed={**SPEED, "batch_tokens": 20})
    alone, _ = lora.predict_trained(routers[name], inputs, small)
    assert np.abs(whole - alone).max() < 1e-5 * record["scale"]


def test_on_a_gpu_bfloat16_stays_and_moves_little(routers, context, monkeypatch):
    """The path of a GPU, taken on the CPU; this random model is 5 times as loud as a real one."""
    record = read_record(routers["bfloat16"])
    exact, _ = lora.predict_trained(routers["bfloat16"], toy(60, 6), context)
    monkeypatch.setattr(in_model, "precision", lambda dtype, device: dtype)
    names = ["bfloat16", "bfloat16-layer"]
    both = lora.predict_together([routers[n] for n in names], toy(60, 6), context)
    for name, answers in zip(names, both, strict=True):
        alone, _ = lora.predict_trained(routers[name], toy(60, 6), context)
        assert np.array_equal(answers["prediction"], alone)
    assert np.abs(both[0]["prediction"] - exact).max() < 2e-2 * record["scale"]


def test_one_pass_answers_gain_and_quality(together):
    inputs, answers = toy(60, 6), together["also"]
    assert set(answers) == {"gain", "quality_small", "prediction", "priority"}
    for name in ("gain", "quality_small"):
        wanted = inputs.gain(name, "test")
        assert np.corrcoef(answers[name], wanted)[0, 1] > 0.7
        assert abs(answers[name].mean() - wanted.mean()) < 5


def test_quantiles_never_cross_and_the_chosen_one_ranks(together):
    answers = together["quantile"]
    stacked = np.stack([answers[f"quantile-{q}"] for q in ("0.1", "0.25", "0.5", "0.75")])
    assert (np.diff(stacked, axis=0) >= 0).all()
    assert np.array_equal(answers["prediction"], answers["quantile-0.5"])
    assert np.array_equal(answers["gain"], answers["quantile-0.5"])
    assert np.array_equal(answers["priority"], answers["quantile-0.25"])


def test_cautious_ranking_subtracts_the_spread(together):
    answers = together["gaussian"]
    assert (answers["spread"] > 0).all()
    expected = answers["gain"] - answers["spread"]
    assert np.array_equal(answers["prediction"], answers["gain"])
    assert answers["priority"] == pytest.approx(expected, abs=1e-12)


def test_a_classifier_answers_a_probability(together):
    answers = together["wins"]
    assert set(answers) == {"probability", "prediction", "priority"}
    assert ((answers["probability"] > 0) & (answers["probability"] < 1)).all()
    assert np.array_equal(answers["priority"], -answers["probability"])


@pytest.mark.parametrize(
    ("router", "output", "sign"),
    [("also", "quality_small", -1), ("also", "gain", 1), ("quantile", "quantile-0.1", 1),
     ("gaussian", "spread", 1), ("wins", "probability", -1)],
)  # fmt: skip
def test_another_answer_is_a_router_of_its_own(routers, together, router, output, sign):
    spec = {"type": "answer", "of": router, "output": output}
    prediction, priority = answer.choose(spec, routers[router], together[router])
    assert np.array_equal(prediction, together[router][output])
    assert np.array_equal(priority, sign * prediction)


def test_an_answer_that_is_not_there_names_those_that_are(routers, together):
    spec = {"type": "answer", "of": "also", "output": "spread"}
    with pytest.raises(UserError, match=r"'also'.*'spread'.*it has gain, quality_small"):
        answer.choose(spec, routers["also"], together["also"])


def test_a_lower_layer_is_read_after_the_final_norm_and_loads_with_peft(
    routers, together, base, context
):
    import torch
    from peft import PeftModel
    from safetensors.torch import load_file
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from routelmt.routers.networks.prompt_rows import PromptReader

    out, inputs = routers["layer"], toy(60, 6)
    names = list(load_file(out / "adapter_model.safetensors"))
    assert len(names) == 7 * 2  # linear layers of the first decoder layer, A and B
    causal = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), out).eval()
    head, record = load_file(out / "head.safetensors"), read_record(out)
    reader = PromptReader(AutoTokenizer.from_pretrained(base), record["prompt"],
                          context.languages, 64)  # fmt: skip
    rows = reader.read(inputs.directions[:8], inputs.sources[:8])
    for i, ids in enumerate(rows.ids[j] for j in rows.of_row):
        with torch.inference_mode():
            states = causal(input_ids=torch.tensor([ids]), output_hidden_states=True).hidden_states
            state = causal.get_base_model().model.norm(states[1])[0, -1]
        value = float(head["weight"] @ state + head["bias"]) * record["scale"] + record["shift"]
        assert together["layer"]["gain"][i] == pytest.approx(value, abs=1e-4 * record["scale"])


def test_a_layer_that_is_not_there_is_refused(context, tmp_path):
    with pytest.raises(UserError, match=r"layer: found 3, and base model .* has layers 1 to 2"):
        lora.train({**SPEC, "layer": 3}, toy(32, 0), toy(8, 1), context, tmp_path / "r")


def test_sampled_targets_train_a_classifier(context, tmp_path):
    data = [toy(160, 0), toy(40, 1)]
    rng = np.random.default_rng(0)
    inputs = [
        sampled(d, *(d.gain(f"quality_{m}", "t")[:, None] + rng.normal(0, 9, (d.rows, 3))
                     for m in ("small", "large")))
        for d in data
    ]  # fmt: skip
    spec = {**SPEC, "target": "small-within", "samples": True}
    record = lora.train(spec, *inputs, context, tmp_path / "r")
    assert (record["loss"], record["samples"]) == ("bce", [3, 3])
    assert record["result"]["validation_spearman"] > 0.5
    card = (tmp_path / "r" / "README.md").read_text()
    assert "3 x 3 sampled translations" in card
    alone = lora.train({**spec, "samples": False}, *data, context, tmp_path / "one")
    assert alone["samples"] == [1, 1]
    assert "median gain: a split in half" in (tmp_path / "one" / "README.md").read_text()


@pytest.mark.parametrize("name", ["also", "quantile", "wins", "layer"])
def test_the_five_lines_of_the_card_work(routers, together, name):
    """Run as they stand, and against the joint prediction."""
    text = (routers[name] / "README.md").read_text()
    code = re.search(r"```python\n(from routelmt.*?)```", text, re.DOTALL).group(1)
    assert len([line for line in code.splitlines() if line]) <= 5
    found = {"DIR": routers[name]}
    exec(code, found)  # what a reader of the card would run
    assert np.isfinite(found["prediction"]).all() and len(found["priority"]) == 2
    inputs = toy(60, 6)
    router = load_router(routers[name], speed=SPEED)
    requests = [
        Request(i, d, s)
        for i, (d, s) in enumerate(zip(inputs.directions, inputs.sources, strict=True))
    ]
    prediction, priority = score_requests(router, requests)
    assert np.array_equal(prediction, together[name]["prediction"])
    assert np.array_equal(priority, together[name]["priority"])


def test_the_card_tells_what_where_how_and_at_what_cost(routers):
    text = (routers["quantile"] / "README.md").read_text()
    for heading in ("Use", "Base", "Training", "On the validation rows", "Cost of a request",
                    "Limits"):  # fmt: skip
        assert f"\n## {heading}\n" in text
    assert "0.25 quantile; the prediction is the median" in text
    assert "toy/en-ru: " in text
    assert "| average | " in text and "HitRate@0.3" in text
    assert re.search(
        r"Measured on the validation rows: [\d.]+ ms a request \(.+, in batches\)", text
    )
    assert "learning rate 0.01" in text and "None" not in text
    assert "The same pass also predicts the quality" in (routers["also"] / "README.md").read_text()


def test_a_direction_without_training_rows_is_predicted_with_one_warning(
    trained, context, tmp_path, capsys
):
    keep = np.array(toy(160, 0).directions) == "en-zh"
    data, valid = toy(160, 0).filter(keep), toy(32, 1)
    lora.train({**SPEC, "epochs": 1}, data, valid, context, tmp_path / "r")
    capsys.readouterr()
    prediction, _ = lora.predict_trained(tmp_path / "r", toy(20, 5), context)
    assert np.isfinite(prediction).all()
    said = "no training rows for direction en-ru; predicted all the same"
    assert capsys.readouterr().err.count(said) == 1
    router = load_router(tmp_path / "r", speed=SPEED)
    for _ in range(2):
        router.score(["en-ru", "en-ru"], ["save", "open"])
    assert capsys.readouterr().err.count(said) == 1
    lora.predict_trained(trained[0], toy(20, 5), context)
    assert "no training rows" not in capsys.readouterr().err


@pytest.mark.parametrize("name", ["adapter_model.safetensors", "head.safetensors"])
@pytest.mark.parametrize("damage", ["cut", "missing"])
def test_a_folder_that_is_not_whole_is_refused(trained, context, tmp_path, name, damage):
    broken = unsealed(trained[0], tmp_path / "r")
    if damage == "cut":
        whole = (broken / name).read_bytes()
        (broken / name).write_bytes(whole[: len(whole) // 2])
    else:
        (broken / name).unlink()
    with pytest.raises(UserError, match=rf"{name}: missing or damaged"):
        lora.predict_together([trained[0], broken], toy(8, 1), context)
    with pytest.raises(UserError, match="train the router again"):
        lora.open_trained(broken, SPEED)


def test_a_router_of_another_base_or_tokenizer_is_named(trained, context, tmp_path):
    for key, value, message in (
        ("base", {"path": "x", "weights_sha256": "0" * 64}, "not the ones this router was trained"),
        ("prompt_fingerprint", "0" * 64, "tokenizer or chat template"),
    ):
        other = unsealed(trained[0], tmp_path / key, **{key: value})
        with pytest.raises(UserError, match=rf"{key}.*{message}"):
            lora.predict_together([trained[0], other], toy(8, 1), context)


def test_gradient_checkpointing_is_speed_alone(context, tmp_path):
    plain = lora.train({**SPEC, "epochs": 1}, toy(96, 0), toy(16, 1), context, tmp_path / "plain")
    saving = replace(context, speed={**SPEED, "gradient_checkpointing": True})
    other = lora.train({**SPEC, "epochs": 1}, toy(96, 0), toy(16, 1), saving, tmp_path / "saving")
    assert other["result"]["validation_loss"] == pytest.approx(
        plain["result"]["validation_loss"], rel=1e-5
    )


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"loss": "quantile", "rank_by": 0.3}, "'rank_by: 0.3' is not one of the quantiles"),
        ({"rank_by": 0.25}, "'rank_by: 0.25' is not one of the quantiles"),
        ({"rank_by_deviations": -1.0}, "needs the spread of 'loss: gaussian'"),
    ],
)
def test_a_ranking_that_the_loss_cannot_give_is_refused(context, tmp_path, settings, message):
    with pytest.raises(UserError, match=message):
        lora.train({**SPEC, **settings}, toy(32, 0), toy(8, 1), context, tmp_path / "r")
