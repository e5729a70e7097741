"""MetricX against a forward pass in numpy, on tiny random checkpoints in the published layout."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file
from safetensors.torch import save_file
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import MT5Config, MT5Model, PreTrainedTokenizerFast

from routelmt.errors import UserError
from routelmt.score import metricx
from routelmt.score.registry import METRICS
from routelmt.score.scorers import open_scorer

TEXT = "source: candidate: reference: der die Katze Hund the cat dog sat on mat"
WORDS = TEXT.split()
VOCABULARY = metricx.HEAD + 1
SHAPE = {
    "vocab_size": VOCABULARY, "d_model": 12, "d_kv": 4, "d_ff": 20, "num_layers": 2,
    "num_decoder_layers": 2, "num_heads": 3, "relative_attention_num_buckets": 8,
    "relative_attention_max_distance": 12, "feed_forward_proj": "gated-gelu",
}  # fmt: skip
TRIPLES = [
    ("der Hund", "the dog sat", "the dog"),
    ("die Katze", "", "the cat sat on the mat"),
    ("der Hund", "the dog sat", "the cat"),
    ("die Katze der Hund die Katze", "the mat the mat the mat", ""),
]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with checkpoint and tokenizer; its head is no row of the embeddings."""
    root = tmp_path_factory.mktemp("metricx")
    torch.manual_seed(0)
    model = MT5Model(MT5Config(**SHAPE))
    state = {k: v.normal_() * 0.3 for k, v in model.state_dict().items() if "embed_tokens" not in k}
    state["lm_head.weight"] = torch.randn(VOCABULARY, SHAPE["d_model"]) * 0.3
    state["lm_head.weight"][metricx.HEAD] *= -50  # some errors above 25
    save_file({k: v.contiguous() for k, v in state.items()}, root / "model.safetensors")
    config = SHAPE | {
        "model_type": "mt5", "architectures": ["MT5ForRegression"], "tie_word_embeddings": False,
        "torch_dtype": "float32",
    }  # fmt: skip
    (root / "config.json").write_text(json.dumps(config))
    ids = {"<pad>": 0, "</s>": 1, "<unk>": 2, "<extra_id_10>": metricx.HEAD}
    ids |= {word: 10 + i for i, word in enumerate(WORDS)}
    tokenizer = Tokenizer(models.WordLevel(ids, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.post_processor = processors.TemplateProcessing("$A </s>", None, [("</s>", 1)])
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token="</s>", pad_token="<pad>", unk_token="<unk>"
    ).save_pretrained(root)
    return root


def opened(folder: Path, tokenizer: Path, batch_tokens: int = 1000, **changes: Any) -> Any:
    settings = {"path": str(folder), "revision": None, "tokenizer": str(tokenizer),
                "tokenizer_revision": None, "reference": True, "dtype": "float32"}  # fmt: skip
    speed = {"batch_tokens": batch_tokens, "device": "cpu", "threads": 1}
    return open_scorer(METRICS["metricx"].module, settings | changes, speed)


def copied(built: Path, folder: Path, config: dict[str, Any] | None = None) -> Path:
    shutil.copytree(built, folder)
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | (config or {})))
    return folder


# --- the forward pass in numpy (Raffel et al. 2020, Xue et al. 2021) -------------------------------


def norm(states: Any, weight: Any) -> Any:
    return states / np.sqrt((states**2).mean(-1, keepdims=True) + 1e-6) * weight


def bucket(distance: int, both_ways: bool) -> int:
    """T5's bucket of key place - query place."""
    count, first = SHAPE["relative_attention_num_buckets"], 0
    if both_ways:
        count //= 2
        first = count if distance > 0 else 0
        far = abs(distance)
    else:
        far = max(0, -distance)
    exact = count // 2
    if far < exact:
        return first + far
    scaled = math.log(far / exact) / math.log(SHAPE["relative_attention_max_distance"] / exact)
    return first + min(count - 1, exact + int(scaled * (count - exact)))


def attend(w: Any, name: str, queries: Any, keys: Any, bias: Any) -> Any:
    heads, width = SHAPE["num_heads"], SHAPE["d_kv"]
    q, k, v = (
        (x @ w[f"{name}.{letter}.weight"].T).reshape(len(x), heads, width).transpose(1, 0, 2)
        for letter, x in (("q", queries), ("k", keys), ("v", keys))
    )
    logits = q @ k.transpose(0, 2, 1) + bias  # T5 does not divide by the root of the width
    shares = np.exp(logits - logits.max(-1, keepdims=True))
    mixed = shares / shares.sum(-1, keepdims=True) @ v
    return mixed.transpose(1, 0, 2).reshape(len(queries), -1) @ w[f"{name}.o.weight"].T


def feed(w: Any, name: str, x: Any) -> Any:
    gate = x @ w[f"{name}.wi_0.weight"].T
    gate = 0.5 * gate * (1 + np.tanh(math.sqrt(2 / math.pi) * (gate + 0.044715 * gate**3)))
    return (gate * (x @ w[f"{name}.wi_1.weight"].T)) @ w[f"{name}.wo.weight"].T


def stack(w: Any, side: str, ids: list[int], memory: Any = None) -> Any:
    x, cross = w["shared.weight"][ids], memory is not None
    table = w[f"{side}.block.0.layer.0.SelfAttention.relative_attention_bias.weight"]
    places = [[bucket(k - q, not cross) for k in range(len(ids))] for q in range(len(ids))]
    bias = table[np.array(places)].transpose(2, 0, 1)
    for block in range(SHAPE["num_layers"]):
        name = f"{side}.block.{block}.layer"
        y = norm(x, w[f"{name}.0.layer_norm.weight"])
        x = x + attend(w, f"{name}.0.SelfAttention", y, y, bias)
        if cross:
            y = norm(x, w[f"{name}.1.layer_norm.weight"])
            x = x + attend(w, f"{name}.1.EncDecAttention", y, memory, 0.0)
        last = f"{name}.{2 if cross else 1}"
        y = norm(x, w[f"{last}.layer_norm.weight"])
        x = x + feed(w, f"{last}.DenseReluDense", y)
    return norm(x, w[f"{side}.final_layer_norm.weight"])


def errors(folder: Path, triple: tuple[str, str, str], reference: bool) -> float:
    weights = {k: v.astype(np.float64) for k, v in load_file(folder / "model.safetensors").items()}
    source, hypothesis, truth = triple
    text = f"source: {source} candidate: {hypothesis}"
    text += f" reference: {truth}" if reference else ""
    ids = [10 + WORDS.index(word) for word in text.split()]  # no </s>
    first = stack(weights, "decoder", [0], stack(weights, "encoder", ids))[0]
    return float(np.clip(first @ weights["lm_head.weight"][metricx.HEAD], 0, 25))


# --- tests -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("reference", [True, False])
def test_scores_are_those_of_the_formula(built: Path, reference: bool) -> None:
    expected = [-errors(built, triple, reference) for triple in TRIPLES]
    assert len(set(expected)) == 3 and min(expected) == -25 < max(expected)
    for batch_tokens in (1, 1000):
        found = opened(built, built, batch_tokens, reference=reference).score(TRIPLES)
        np.testing.assert_allclose(found.values, expected, atol=1e-4)
        assert found.truncated == [False] * len(TRIPLES)
    if not reference:
        assert found.values[0] == pytest.approx(found.values[2], abs=1e-5)
    scorer = opened(built, built)
    scorer.head = -scorer.head
    assert scorer.score(TRIPLES).values == [0.0] * len(TRIPLES)
    assert scorer.score([]).values == []


def test_what_does_not_fit_is_cut_where_upstream_cuts_and_flagged(
    built: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(metricx, "LONGEST", 11)  # 10 tokens and the end of sequence, left out
    found = opened(built, built).score(TRIPLES)
    assert found.truncated == [False, True, False, True]
    cut = ("die Katze", "", "the cat sat on the")
    assert found.values[1] == pytest.approx(-errors(built, cut, True), abs=1e-4)


def test_other_files_of_the_same_weights_score_the_same(built: Path, tmp_path: Path) -> None:
    state = {k: torch.from_numpy(v) for k, v in load_file(built / "model.safetensors").items()}
    folder = copied(built, tmp_path / "pickled")
    (folder / "model.safetensors").unlink()
    # As older libraries saved it: in shards, with the embeddings' other names.
    state |= dict.fromkeys(metricx._EMBEDDINGS, state["shared.weight"])
    names = sorted(state)
    for i, part in enumerate((names[:20], names[20:]), 1):
        torch.save({n: state[n] for n in part}, folder / f"pytorch_model-0000{i}-of-00002.bin")
    pickled, safe = opened(folder, built), opened(built, built)
    assert pickled.score(TRIPLES).values == safe.score(TRIPLES).values
    assert pickled.signature() != safe.signature()
    assert opened(built, built).signature() == safe.signature()
    halved = opened(built, built, dtype="bfloat16")
    np.testing.assert_allclose(halved.score(TRIPLES).values, safe.score(TRIPLES).values, atol=1.0)
    assert halved.model.shared.weight.dtype == torch.bfloat16
    assert halved.signature() != safe.signature()


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"architectures": ["MT5ForConditionalGeneration"]}, "not MetricX, which is an mt5"),
        ({"model_type": "t5"}, "model_type 't5'"),
        ({"tie_word_embeddings": True}, "an output layer of its own"),
        ({"vocab_size": 32128}, "vocab_size is 32128; MetricX's is 250112"),
        ({"num_layers": 3}, r"1?\d problems, first: no encoder\.block\.2"),
        ({"num_layers": 1}, r"encoder\.block\.1\.\S* is not of it"),
        ({"d_ff": 24}, r"problems, first: size mismatch for encoder\.block\.0"),
    ],
)
def test_another_model_is_refused(
    built: Path, tmp_path: Path, config: dict[str, Any], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        opened(copied(built, tmp_path / "m", config), built)


def test_damaged_files_and_code_in_them_are_refused(built: Path, tmp_path: Path) -> None:
    folder = copied(built, tmp_path / "m")
    weights = folder / "model.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[:1000])
    with pytest.raises(UserError, match="cut short"):
        opened(folder, built)
    weights.unlink()
    with pytest.raises(UserError, match=r"no \*\.safetensors and no pytorch_model"):
        opened(folder, built)
    torch.save({"lm_head.weight": Path("code")}, folder / "pytorch_model.bin")
    with pytest.raises(UserError, match="not weights alone"):
        opened(folder, built)
    (folder / "config.json").write_text("{")
    with pytest.raises(UserError, match=r"config\.json: cannot be read"):
        opened(folder, built)


def test_another_tokenizer_is_refused(built: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"token 250089 is 'None', where mT5 has <extra_id_10>"):
        opened(built, Path("data/demo/small"))
    (tmp_path / "spiece.model").touch()
    (tmp_path / "tokenizer_config.json").write_text('{"tokenizer_class": "T5Tokenizer"}')
    with pytest.raises(UserError, match=r"pip install sentencepiece protobuf"):
        opened(built, tmp_path)
