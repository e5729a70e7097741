"""Signals are those of each prompt alone, unpadded, in float32."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import scipy.special
import scipy.stats

from routelmt import provenance, tables
from routelmt.errors import UserError
from routelmt.states import open_states
from routelmt.trail.audit import audit
from routelmt.translate.signals import prefill_signals

FLOAT32 = 2e-5  # sums of some hundred float32 terms


@pytest.fixture()
def signals(
    segments: Any, model_config: dict[str, Any], languages: dict[str, str], speed: dict[str, Any]
) -> Any:
    return prefill_signals(segments, "tiny", model_config, languages, speed)


def unpadded(engine: Any, prompt: list[int]) -> tuple[Any, Any]:
    """(logits, final hidden state) at the last prompt token, by transformers' defaults."""
    import torch
    from transformers import AutoModelForCausalLM

    if not hasattr(engine, "plain"):
        engine.plain = AutoModelForCausalLM.from_pretrained(engine.model.name_or_path)
    with torch.inference_mode():
        found = engine.plain(torch.tensor([prompt]), output_hidden_states=True)
    return found.logits[0, -1].double().numpy(), found.hidden_states[-1][0, -1].numpy()


def test_signals_are_those_of_an_unpadded_forward(
    signals: Any, engine: Any, asked: list[list[int]]
) -> None:
    tables.check(signals, "signals", "here")
    for row, prompt in zip(signals.to_pylist(), asked, strict=False):
        logits, state = unpadded(engine, prompt)
        p = np.sort(scipy.special.softmax(logits))
        assert row["prompt_tokens"] == len(prompt)
        assert row["entropy"] == pytest.approx(scipy.stats.entropy(p), abs=FLOAT32)
        assert row["margin"] == pytest.approx(p[-1] - p[-2], abs=FLOAT32)
        assert row["max_logit"] == pytest.approx(logits.max(), abs=10 * FLOAT32)
        # Half precision: eleven bits.
        np.testing.assert_allclose(row["state"], state, rtol=2e-3, atol=2e-3)


def test_right_padding_without_mask_equals_left_padding_with_one(
    signals: Any, engine: Any, asked: list[list[int]]
) -> None:
    import torch

    unpadded(engine, asked[0])
    width = max(len(p) for p in asked)
    ids = torch.tensor([[engine.pad_id] * (width - len(p)) + p for p in asked])
    mask = torch.tensor([[0] * (width - len(p)) + [1] * len(p) for p in asked])
    positions = (mask.cumsum(1) - 1).clamp(min=0)
    with torch.inference_mode():
        logits = engine.plain(ids, attention_mask=mask, position_ids=positions).logits[:, -1]
    expected = scipy.stats.entropy(scipy.special.softmax(logits.double().numpy(), axis=1), axis=1)
    np.testing.assert_allclose(signals["entropy"].to_numpy()[: len(asked)], expected, atol=FLOAT32)


def test_rows_are_the_segments_in_their_order(signals: Any, segments: Any) -> None:
    assert signals.select(tables.JOIN_KEY).equals(segments.select(tables.JOIN_KEY))
    rows = signals.drop_columns(["segment_id"]).to_pylist()
    assert rows[2] == rows[-1] == rows[-3] and rows[0] == rows[-2] and rows[2] != rows[0]


@pytest.mark.parametrize("budget", [1, 90, 10**6])
def test_signals_do_not_depend_on_the_batches(
    signals: Any,
    segments: Any,
    model_config: dict[str, Any],
    languages: dict[str, str],
    speed: dict[str, Any],
    budget: int,
) -> None:
    other = prefill_signals(
        segments, "tiny", model_config, languages, {**speed, "batch_tokens": budget}
    )
    for name in ("entropy", "margin", "max_logit"):
        np.testing.assert_allclose(other[name], signals[name], atol=10 * FLOAT32)


def test_the_same_run_gives_the_same_bytes(
    signals: Any,
    segments: Any,
    model_config: dict[str, Any],
    languages: dict[str, str],
    speed: dict[str, Any],
) -> None:
    again = prefill_signals(segments, "tiny", model_config, languages, speed)
    assert tables.content_hash(again) == tables.content_hash(signals)


def test_entropy_of_a_certain_and_of_an_undecided_model() -> None:
    import torch

    from routelmt.translate.next_token import signals

    logits = torch.tensor([[0.0, 0.0, 0.0, 0.0], [500.0, 0.0, -500.0, float("-inf")]])
    entropy, margin, top, _ = signals(logits, torch.nn.Identity())
    np.testing.assert_allclose(entropy, [np.log(4), 0.0], atol=1e-6)
    np.testing.assert_allclose(margin, [0.0, 1.0])
    np.testing.assert_allclose(top, [0.0, 500.0])


def test_bfloat16_models_are_reduced_in_float32(
    segments: Any, model_config: dict[str, Any], languages: dict[str, str], speed: dict[str, Any]
) -> None:
    model = {**model_config, "dtype": "bfloat16"}
    found = prefill_signals(segments, "tiny", model, languages, speed)
    entropy = np.unique(found["entropy"].to_numpy())
    coarse = entropy.astype(np.float32).view(np.uint32) & 0xFFFF  # bits that bfloat16 lacks
    assert (coarse != 0).any()


def test_a_prompt_template_with_an_unknown_field_is_refused(
    segments: Any, model_config: dict[str, Any], languages: dict[str, str], speed: dict[str, Any]
) -> None:
    with pytest.raises(UserError, match=r"'\{source\}': a '\{' that is no part"):
        prefill_signals(segments, "tiny", {**model_config, "prompt": "{source}"}, languages, speed)


# --- states of every layer -----------------------------------------------------------------------


def every_layer(engine: Any, prompt: list[int]) -> Any:
    """(layers, tokens, hidden) of a prompt alone, by transformers' own output_hidden_states."""
    import torch
    from transformers import AutoModelForCausalLM

    if not hasattr(engine, "plain"):
        engine.plain = AutoModelForCausalLM.from_pretrained(engine.model.name_or_path)
    with torch.inference_mode():
        found = engine.plain(torch.tensor([prompt]), output_hidden_states=True)
    return np.stack([layer[0].double().numpy() for layer in found.hidden_states])


@pytest.fixture()
def passes(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Token ids of every forward pass of the decoder, real and padding."""
    from transformers import Qwen3Model

    seen: list[Any] = []
    forward = Qwen3Model.forward

    def watched(self: Any, *args: Any, **kwargs: Any) -> Any:
        seen.append(kwargs["input_ids"].tolist())
        return forward(self, *args, **kwargs)

    monkeypatch.setattr(Qwen3Model, "forward", watched)
    return seen


@pytest.mark.parametrize("budget", [90, 10**6])
def test_one_pass_gives_signals_and_the_states_of_every_layer(
    signals: Any,
    segments: Any,
    engine: Any,
    asked: list[list[int]],
    model_config: dict[str, Any],
    languages: dict[str, str],
    speed: dict[str, Any],
    tmp_path: Path,
    passes: list[Any],
    budget: int,
) -> None:
    out, how = tmp_path / "s.arrow", {**speed, "batch_tokens": budget}
    # As vLLM gives no states, the engine of the model does not matter.
    vllm = {**model_config, "engine": "vllm"}
    module = "routelmt.translate.transformers_engine"
    record = provenance.describe("signals", vllm, [], module)
    both = prefill_signals(segments, "tiny", vllm, languages, how, out, record)
    rows = [row for batch in passes for row in batch]
    assert len(rows) == len(asked)  # every distinct prompt once
    for prompt in asked:
        assert sum(row[: len(prompt)] == prompt for row in rows) >= 1
    alone = prefill_signals(segments, "tiny", model_config, languages, how)
    assert tables.content_hash(alone) == tables.content_hash(both)

    found = open_states([out], segments)
    every = np.arange(segments.num_rows)
    last, mean = (found.take(pool, every) for pool in ("last", "mean"))
    for i, prompt in enumerate(asked):
        layers = every_layer(engine, prompt)
        # Half precision: eleven bits of the layer's largest values.
        size = 1e-3 * np.abs(layers).max(axis=(1, 2))[:, None]
        assert (np.abs(last[i] - layers[:, -1]) <= size).all()
        assert (np.abs(mean[i] - layers.mean(axis=1)) <= size).all()
    states = np.array(both["state"].to_pylist(), dtype=np.float16)
    assert np.array_equal(last[:, -1], states)
    assert np.array_equal(last[2], last[-1]) and np.array_equal(mean[2], mean[-3])


def test_states_beyond_fp16_are_clipped_not_infinite() -> None:
    import torch

    from routelmt.translate.layer_states import LayerPooling

    decoder = torch.nn.Module()
    decoder.layers = torch.nn.ModuleList()
    pooling = LayerPooling(decoder)
    with pooling.watching(torch.tensor([2, 1])):
        pass
    final = torch.tensor([[[1e6, 1.0], [-1e6, 3.0]], [[2.0, 4.0], [9e9, 9e9]]])
    found = pooling.pooled(final)
    assert found.last.tolist() == [[[-65504.0, 3.0]], [[2.0, 4.0]]]
    assert found.mean.tolist() == [[[0.0, 2.0]], [[2.0, 4.0]]]


def test_a_decoder_without_layers_is_named() -> None:
    import torch
    from transformers import PretrainedConfig

    from routelmt.translate.layer_states import LayerPooling

    decoder = torch.nn.Module()
    decoder.config = PretrainedConfig()
    with pytest.raises(UserError, match="states cannot be read"):
        LayerPooling(decoder)


def test_the_command_writes_both_from_one_pass(
    segments: Any, model_config: dict[str, Any], languages: dict[str, str], tmp_path: Path
) -> None:
    import json

    from routelmt.__main__ import main

    tables.write(segments, tmp_path / "segments.parquet", "segments",
                 provenance.describe("gains", {}, []))  # fmt: skip
    settings = json.dumps({**model_config, "engine": "vllm", "languages": languages})
    arguments = ["signals", "--segments", str(tmp_path / "segments.parquet"), "--model", "tiny",
                 "--settings", settings, "--device", "cpu", "--states", str(tmp_path / "s.arrow"),
                 "--out", str(tmp_path / "signals.parquet")]  # fmt: skip
    assert main(arguments) == 0
    report = audit([tmp_path / "s.arrow", tmp_path / "signals.parquet"])
    assert report.broken == []
    found = open_states([tmp_path / "s.arrow"], segments)
    signals = tables.read(tmp_path / "signals.parquet", "signals")
    state = np.array(signals["state"].to_pylist(), dtype=np.float16)
    assert np.array_equal(found.take("last", np.arange(found.rows), -1)[:, 0], state)
    assert isinstance(signals, pa.Table) and found.model["prompt"] == model_config["prompt"]
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "s.arrow", "segments.parquet", "signals.parquet",
    ]  # fmt: skip
