"""RouteLMT: what is trained, what is predicted, what is left on disk."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from router_toys import PROMPT, SPEC, gains, segments, toy

from routelmt.errors import UserError
from routelmt.routers import lora
from routelmt.routers.artifact import work_folder
from routelmt.routers.inputs import RouterInputs
from routelmt.routers.networks import in_model
from routelmt.routers.networks.base_model import BaseModel
from routelmt.routers.training import fitting


def history(out):
    return [json.loads(line) for line in (out / "history.jsonl").read_text().splitlines()]


def test_training_learns_what_the_text_tells(trained):
    out, record = trained
    errors = [entry["validation_loss"] for entry in history(out)]
    assert len(errors) == SPEC["epochs"]
    assert record["result"]["validation_loss"] == min(errors) < 0.5  # the mean alone has about 1
    assert record["result"]["validation_spearman"] > 0.7


def test_the_adapter_loads_with_peft_and_gives_the_same_predictions(trained, base, context):
    import torch
    from peft import PeftModel
    from safetensors.torch import load_file
    from transformers import AutoModelForCausalLM, AutoTokenizer

    out, record = trained
    fresh = toy(24, 5)
    prediction, priority = lora.predict_trained(out, fresh, context)
    assert np.array_equal(prediction, priority)

    tokenizer = AutoTokenizer.from_pretrained(base)
    model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), out).eval()
    head = load_file(out / "head.safetensors")
    names = {"en": "English", "zh": "Chinese", "ru": "Russian"}
    for i, (direction, text) in enumerate(zip(fresh.directions, fresh.sources, strict=True)):
        source, target = (names[c] for c in direction.split("-"))
        turn = f"Translate the following text from {source} into {target}:\n{source}: {text}\n"
        turn += f"{target}:"
        ids = tokenizer.apply_chat_template(
            [{"role": "user", "content": turn}], add_generation_prompt=True, return_tensors="pt",
            return_dict=True,
        )["input_ids"]  # fmt: skip
        with torch.inference_mode():
            state = model(input_ids=ids, output_hidden_states=True).hidden_states[-1][0, -1]
        value = float(head["weight"] @ state + head["bias"]) * record["scale"] + record["shift"]
        assert prediction[i] == pytest.approx(value, abs=1e-4 * record["scale"])


def test_every_linear_layer_of_the_decoder_has_a_lora_and_the_vocabulary_has_none(trained):
    from safetensors.torch import load_file

    out, _ = trained
    names = list(load_file(out / "adapter_model.safetensors"))
    assert len(names) == 2 * 7 * 2  # layers, linear layers, A and B
    assert not any("lm_head" in n or "embed" in n for n in names)
    assert json.loads((out / "adapter_config.json").read_text())["r"] == SPEC["rank"]


def test_predictions_depend_on_neither_batches_nor_order(trained, context):
    out, _ = trained
    inputs = toy(60, 6)
    whole, _ = lora.predict_trained(out, inputs, context)
    small = replace(context, speed={**context.speed, "batch_tokens": 20})
    order = np.random.default_rng(0).permutation(60)
    shuffled = RouterInputs.aligned(inputs.segments.take(order))
    again, _ = lora.predict_trained(out, shuffled, small)
    assert again == pytest.approx(whole[order], abs=1e-4)


def test_the_batch_budget_does_not_change_training(context, tmp_path):
    spec = {**SPEC, "epochs": 1}
    results = []
    for budget in (40, 4096):
        ctx = replace(context, speed={**context.speed, "batch_tokens": budget})
        out = tmp_path / str(budget)
        lora.train(spec, toy(96, 0), toy(32, 1), ctx, out)
        results.append(lora.predict_trained(out, toy(16, 7), context)[0])
    assert results[0] == pytest.approx(results[1], abs=0.05)  # float32 sums in another order


def test_scaling_is_undone(context, tmp_path):
    """Without training the router says the mean (standard) or zero (raw), in points."""
    data, unseen = toy(48, 0), toy(8, 1)
    for scaling, expected in (("standard", data.gains["gain"].to_numpy().mean()), ("raw", 0.0)):
        spec = {**SPEC, "epochs": 1, "learning_rate": 1e-12, "scaling": scaling}
        record = lora.train(spec, data, unseen, context, tmp_path / scaling)
        prediction, _ = lora.predict_trained(tmp_path / scaling, unseen, context)
        assert prediction == pytest.approx(expected, abs=1e-3)
        assert record["scale"] == (100 if scaling == "raw" else data.gains["gain"].to_numpy().std())


def test_quality_routes_the_lowest_first(context, tmp_path):
    spec = {**SPEC, "target": "quality_small", "epochs": 1}
    lora.train(spec, toy(96, 0), toy(32, 1), context, tmp_path / "q")
    prediction, priority = lora.predict_trained(tmp_path / "q", toy(8, 2), context)
    assert np.array_equal(priority, -prediction)
    assert 30 < prediction.mean() < 90  # points of quality, not of gain


def test_bfloat16_learns_and_keeps_head_and_lora_in_float32(context, tmp_path, monkeypatch):
    monkeypatch.setattr(in_model, "precision", lambda dtype, device: dtype)  # as on a GPU
    spec = {**SPEC, "dtype": "bfloat16"}
    record = lora.train(spec, toy(320, 0), toy(64, 1), context, tmp_path / "b")
    assert record["result"]["validation_loss"] < 0.5
    router = lora.open_trained(tmp_path / "b", context.speed)
    assert str(router.regressor.head.weight.dtype) == "torch.float32"
    assert {str(p.dtype) for n, p in router.regressor.causal.named_parameters() if "lora" in n} == {
        "torch.float32"
    }


def test_of_several_learning_rates_the_best_on_validation_is_kept(context, tmp_path):
    spec = {**SPEC, "epochs": 1, "learning_rate": [1e-2, 1e-6]}
    record = lora.train(spec, toy(160, 0), toy(32, 1), context, tmp_path / "r")
    entries = history(tmp_path / "r")
    assert [e["learning_rate"] for e in entries] == [1e-2, 1e-6]
    assert record["result"]["learning_rate"] == 1e-2
    assert record["result"]["validation_loss"] == min(e["validation_loss"] for e in entries)
    alone = lora.train({**spec, "learning_rate": 1e-2}, toy(160, 0), toy(32, 1), context,
                       tmp_path / "alone")  # fmt: skip
    assert alone["result"]["validation_loss"] == record["result"]["validation_loss"]
    valid = toy(32, 1)  # the weights on disk are those of the number in the record
    errors = lora.predict_trained(tmp_path / "r", valid, context)[0] - valid.gain("gain", "lora")
    mse = np.mean(errors**2) / record["scale"] ** 2
    assert mse == pytest.approx(record["result"]["validation_loss"], rel=1e-3)


class Killed(BaseException):
    """What a signal looks like from inside."""


@pytest.mark.parametrize("minutes", [0.0, 1e9], ids=["within an epoch", "at its end"])
@pytest.mark.parametrize("loss", ["mse", "top_p"])
def test_a_killed_training_goes_on_to_the_same_result(
    context, tmp_path, monkeypatch, minutes, loss
):
    context = replace(context, speed={**context.speed, "save_minutes": minutes})
    data, valid, spec = toy(96, 0), toy(32, 1), {**SPEC, "loss": loss}
    lora.train(spec, data, valid, context, tmp_path / "whole")
    real, calls = fitting._step, []

    def killing(*arguments):
        calls.append(1)
        if len(calls) == 10:  # of 18: in the second of three epochs
            raise Killed
        return real(*arguments)

    monkeypatch.setattr(fitting, "_step", killing)
    with pytest.raises(Killed):
        lora.train(spec, data, valid, context, tmp_path / "killed")
    assert not (tmp_path / "killed").exists()
    assert work_folder(tmp_path / "killed").is_dir()
    lora.train(spec, data, valid, context, tmp_path / "killed")
    assert len(calls) == (10 + 9 if minutes == 0 else 10 + 12)
    assert not work_folder(tmp_path / "killed").exists()
    for name in ("adapter_model.safetensors", "head.safetensors"):
        assert (tmp_path / "killed" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    timeless = [
        [{k: v for k, v in e.items() if k != "seconds"} for e in history(tmp_path / run)]
        for run in ("whole", "killed")
    ]
    assert timeless[0] == timeless[1]
    running = [(tmp_path / run / "losses.jsonl").read_text() for run in ("whole", "killed")]
    assert running[0] == running[1]


def test_the_state_of_another_training_is_not_used(context, tmp_path, monkeypatch):
    data, valid = toy(48, 0), toy(16, 1)
    real = fitting._save

    def killing(*arguments):
        real(*arguments)
        raise Killed

    monkeypatch.setattr(fitting, "_save", killing)
    with pytest.raises(Killed):
        lora.train(SPEC, data, valid, context, tmp_path / "r")
    monkeypatch.setattr(fitting, "_save", real)
    other = {**SPEC, "rank": 2}
    lora.train(other, data, valid, context, tmp_path / "r")
    lora.train(other, data, valid, context, tmp_path / "clean")
    name = "adapter_model.safetensors"
    assert (tmp_path / "r" / name).read_bytes() == (tmp_path / "clean" / name).read_bytes()


def test_a_router_that_is_there_is_replaced(context, tmp_path):
    out = tmp_path / "r"
    out.mkdir()
    (out / "stale").write_text("x")
    lora.train({**SPEC, "epochs": 1}, toy(32, 0), toy(16, 1), context, out)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["r"]
    assert sorted(p.name for p in out.iterdir()) == [
        "README.md", "adapter_config.json", "adapter_model.safetensors", "head.safetensors",
        "history.jsonl", "losses.jsonl", "router.json",
    ]  # fmt: skip


def test_long_prompts_lose_the_end_of_their_text_only(context, tmp_path, base):
    from transformers import AutoTokenizer

    from routelmt.routers.networks.prompt_rows import PromptReader

    tokenizer = AutoTokenizer.from_pretrained(base)
    reader = PromptReader(tokenizer, PROMPT, context.languages, max_length=20)
    text = "open the file " * 20
    rows = reader.read(["en-zh", "en-zh", "en-zh"], [text, "save", text])
    assert rows.truncated == 2
    assert len(rows.ids[0]) == 20
    shown = tokenizer.decode(rows.ids[0])
    assert shown.endswith("\nChinese:<|im_end|>\n<|im_start|>assistant\n")
    assert shown.startswith("<|im_start|>user\nTranslate the following text from English into")
    with pytest.raises(UserError, match="max_length 2"):
        replace(reader, max_length=2).read(["en-zh"], [text])
    config = SimpleNamespace(max_position_embeddings=16, get_text_config=lambda decoder: config)
    model = BaseModel(SimpleNamespace(config=config), tokenizer, "")
    assert (model.longest(20), model.longest(12)) == (16, 12)
    spec = {**SPEC, "epochs": 1, "max_length": 12}
    record = lora.train(spec, toy(32, 0), toy(16, 1), context, tmp_path / "r")
    assert record["rows"]["truncated"] > 0
    assert (
        f"{record['rows']['truncated']} of the training rows"
        in (tmp_path / "r" / "README.md").read_text()
    )


def test_labels_that_are_all_equal_are_refused(context, tmp_path):
    table = segments([("en-zh", "save"), ("en-zh", "print")])
    flat = RouterInputs.aligned(table, gains=gains(table, np.zeros(2)))
    with pytest.raises(UserError, match="nothing to learn"):
        lora.train(SPEC, flat, flat, context, tmp_path / "r")


def test_diverging_training_is_reported(context, tmp_path):
    with pytest.raises(UserError, match=r"diverged .* lower 'learning_rate'"):
        lora.train({**SPEC, "learning_rate": 1e38}, toy(32, 0), toy(16, 1), context, tmp_path / "r")
    assert not (tmp_path / "r").exists()


def test_another_base_model_is_refused(trained, base, context, tmp_path):
    import torch
    from safetensors.torch import load_file, save_file

    out, _ = trained
    moved, changed = tmp_path / "moved", tmp_path / "changed"
    shutil.copytree(base, moved)
    shutil.copytree(base, changed)
    weights = load_file(changed / "model.safetensors")
    weights["model.norm.weight"] = weights["model.norm.weight"] + torch.tensor(1e-3)
    save_file(weights, changed / "model.safetensors", {"format": "pt"})
    lora.open_trained(out, context.speed, {"path": str(moved)})
    with pytest.raises(UserError, match="not the ones this router was trained on"):
        lora.open_trained(out, context.speed, {"path": str(changed)})
    with pytest.raises(UserError, match="--base"):
        lora.open_trained(out, context.speed, {"path": str(tmp_path / "nowhere")})
    (moved / "chat_template.jinja").write_text("{{ messages[0].content }}")
    with pytest.raises(UserError, match="chat template"):
        lora.open_trained(out, context.speed, {"path": str(moved)})
