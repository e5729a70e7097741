"""Sentinel-src: the published layout is read, and gives what the published code computes."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from encoder_toys import POSITIONS, save_sentinel
from router_toys import LANGUAGES, SPEED, WORDS, segments

from routelmt.errors import UserError
from routelmt.routers import sentinel
from routelmt.routers.inputs import RouterContext, RouterInputs

CONTEXT = RouterContext({}, LANGUAGES, {**SPEED, "batch_tokens": 64}, seed=0)
TEXTS = [
    "open the file", "print", "error  of network ", "Ｓａｖｅ ﬁle", " ".join(WORDS[:4]),
    "open the file", " ".join(WORDS * 9),
]  # fmt: skip


@pytest.fixture
def published(tmp_path):
    """(settings, content of the checkpoint)."""
    saved = save_sentinel(tmp_path / "sentinel", tmp_path / "encoder", [*WORDS, *TEXTS])
    spec = {"type": "sentinel-src", "path": str(tmp_path / "sentinel"), "revision": None,
            "encoder": None}  # fmt: skip
    return spec, saved


def rows(texts=TEXTS):
    return RouterInputs.aligned(segments([("en-zh", text) for text in texts]))


def plain(saved, texts):
    """One text at a time: last layer's first state, then Linear and tanh, written out."""
    import torch
    from transformers import AutoConfig, PreTrainedTokenizerFast, XLMRobertaModel

    folder = saved["hyper_parameters"]["pretrained_model"]
    state = saved["state_dict"]
    model = XLMRobertaModel(AutoConfig.from_pretrained(folder), add_pooling_layer=False).eval()
    prefix = "encoder.model."
    model.load_state_dict(
        {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}
    )
    tokenizer = PreTrainedTokenizerFast.from_pretrained(folder)
    found = []
    for text in texts:
        inputs = tokenizer(text, return_tensors="pt", truncation=True, max_length=POSITIONS)
        with torch.inference_mode():
            x = model(**inputs).last_hidden_state[0, 0]
            for place in (0, 3):
                w, b = (state[f"estimator.ff.{place}.{n}"] for n in ("weight", "bias"))
                x = torch.tanh(w @ x + b)
            found.append(float(state["estimator.ff.6.weight"] @ x + state["estimator.ff.6.bias"]))
    return np.array(found)


def test_scores_are_those_of_a_plain_computation_and_the_hardest_goes_first(published):
    spec, saved = published
    score, priority = sentinel.predict(spec, rows(), CONTEXT)
    expected = plain(saved, TEXTS)
    assert expected.std() > 0.02
    assert score == pytest.approx(expected, abs=1e-5)
    assert np.array_equal(priority, -score)  # a high score is an easy text


def test_scores_depend_on_neither_batches_nor_order(published):
    spec, _ = published
    whole, _ = sentinel.predict(spec, rows(), CONTEXT)
    wide = replace(CONTEXT, speed={**SPEED, "batch_tokens": 4096})
    again, _ = sentinel.predict(spec, rows(TEXTS[::-1]), wide)
    assert again[::-1] == pytest.approx(whole, abs=1e-5)
    assert whole[0] == whole[5]  # the same text


def test_texts_above_the_encoders_positions_are_cut_and_counted(published, capsys):
    spec, _ = published
    sentinel.predict(spec, rows(), CONTEXT)
    assert f"1 sources are longer than {POSITIONS} tokens" in capsys.readouterr().err


def test_a_distinct_source_is_read_once(published, monkeypatch):
    spec, _ = published
    seen = []
    real = sentinel.Encoder.first
    monkeypatch.setattr(sentinel.Encoder, "first",
                        lambda self, ids: (seen.extend(map(tuple, ids)), real(self, ids))[1])  # fmt: skip
    sentinel.predict(spec, rows(TEXTS * 3), CONTEXT)
    assert len(seen) == len(set(seen)) == len(set(TEXTS))


def test_leftovers_of_older_libraries_are_ignored_and_the_yaml_may_be_missing(published):
    import torch

    spec, saved = published
    score, _ = sentinel.predict(spec, rows(), CONTEXT)
    path = Path(spec["path"])
    saved["state_dict"]["encoder.model.embeddings.position_ids"] = torch.arange(50)[None]
    torch.save(saved, path / "checkpoints" / "model.ckpt")
    (path / "hparams.yaml").unlink()
    assert np.array_equal(sentinel.predict(spec, rows(), CONTEXT)[0], score)


def test_the_encoder_may_be_elsewhere(published, tmp_path):
    spec, _ = published
    score, _ = sentinel.predict(spec, rows(), CONTEXT)
    (tmp_path / "encoder").rename(tmp_path / "moved")
    with pytest.raises(UserError, match=r"sentinel's encoder .*no such folder.*'encoder'"):
        sentinel.predict(spec, rows(), CONTEXT)
    again, _ = sentinel.predict({**spec, "encoder": str(tmp_path / "moved")}, rows(), CONTEXT)
    assert np.array_equal(again, score)


def resave(spec, saved, **changes):
    import torch

    hparams = {**saved["hyper_parameters"], **changes}
    torch.save({**saved, "hyper_parameters": hparams}, Path(spec["path"], "checkpoints/model.ckpt"))


def without(saved, name):
    return {**saved, "state_dict": {k: v for k, v in saved["state_dict"].items() if k != name}}


def test_other_models_are_refused(published):
    spec, saved = published
    for changes, message in (
        ({"sent_to_use": "mt"}, "a sentinel that reads 'mt'"),
        ({"encoder_model": "BERT"}, "encoder 'BERT'"),
        ({"activations": "Tanhish"}, "'Tanhish'; supported: XLM-RoBERTa with Tanh"),
        ({"hidden_sizes": None}, "no 'hidden_sizes'"),
        ({"hidden_sizes": [24, 13]}, r"estimator.ff.3.bias has shape \(12,\) instead of \(13,\)"),
        ({"hidden_sizes": [24]}, "estimator.ff.6.bias is not of it"),
    ):
        resave(spec, saved, **changes)
        with pytest.raises(UserError, match=message):
            sentinel.predict(spec, rows(), CONTEXT)
    resave(spec, without(saved, "estimator.ff.6.bias"))
    with pytest.raises(UserError, match=r"1 problems, first: no estimator.ff.6.bias"):
        sentinel.predict(spec, rows(), CONTEXT)
    resave(spec, saved)
    Path(spec["path"], "hparams.yaml").write_text("class_identifier: unified_metric\n")
    with pytest.raises(UserError, match="class_identifier is 'unified_metric'"):
        sentinel.predict(spec, rows(), CONTEXT)


def test_damaged_and_dangerous_checkpoints_are_refused(published):
    import torch

    spec, saved = published
    path = Path(spec["path"], "checkpoints", "model.ckpt")
    whole = path.read_bytes()
    for content in (whole[: len(whole) // 2], b"", b"not a checkpoint"):
        path.write_bytes(content)
        with pytest.raises(UserError, match=r"cut short|not loaded"):
            sentinel.predict(spec, rows(), CONTEXT)
    torch.save({**saved, "callbacks": Evil()}, path)
    with pytest.raises(UserError, match="could run code"):
        sentinel.predict(spec, rows(), CONTEXT)
    torch.save({"model": 1}, path)
    with pytest.raises(UserError, match="holds no hyper_parameters and no state_dict"):
        sentinel.predict(spec, rows(), CONTEXT)
    path.unlink()
    with pytest.raises(UserError, match=r"model.ckpt: no such file"):
        sentinel.predict(spec, rows(), CONTEXT)


class Evil:
    """What a pickle can do."""

    def __reduce__(self):
        return os.system, ("true",)


def test_a_hub_name_without_network_says_what_to_do(published, monkeypatch, tmp_path):
    from huggingface_hub import constants

    spec, _ = published
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    with pytest.raises(UserError, match="hf download Prosho/sentinel-src-24 --revision abc"):
        sentinel.predict(
            {**spec, "path": "Prosho/sentinel-src-24", "revision": "abc"}, rows(), CONTEXT
        )
    with pytest.raises(UserError, match="no such folder, and not a hub name"):
        sentinel.predict({**spec, "path": "/nowhere/at/all"}, rows(), CONTEXT)


def test_an_encoder_of_another_size_or_kind_is_refused(published, tmp_path):
    import json

    spec, _ = published
    path = tmp_path / "encoder" / "config.json"
    config = json.loads(path.read_text())
    path.write_text(json.dumps({**config, "hidden_size": 64}))
    with pytest.raises(UserError, match=r"encoder.model.* has shape .* must be of one model"):
        sentinel.predict(spec, rows(), CONTEXT)
    path.write_text(json.dumps({**config, "model_type": "bert"}))
    with pytest.raises(UserError, match="an encoder of type bert; the checkpoint's is XLM-RoBERTa"):
        sentinel.predict(spec, rows(), CONTEXT)
    path.write_text("{")
    with pytest.raises(UserError, match=r"config.json cannot be read"):
        sentinel.predict(spec, rows(), CONTEXT)
