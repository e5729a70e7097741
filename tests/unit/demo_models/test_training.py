"""The recipe of the demo's translators: what is learned, on which tokens, and what is kept."""

from __future__ import annotations

import json
import math
from itertools import pairwise
from pathlib import Path

import pytest
import torch

from routelmt.demo_models import train
from routelmt.demo_models.tokenizer import template_phrases, train_tokenizer
from routelmt.translate import prompts

LANGUAGES = {"en": "English", "zh": "Chinese"}
TEMPLATE = "Translate the following text from {src} into {tgt}:\n{src}: {text}\n{tgt}:"
ROWS = [("en-zh", "Delete the file", "删除文件"), ("zh-en", "删除文件", "Delete the file")]
SHAPE = {"hidden": 32, "layers": 2, "heads": 2, "kv_heads": 1, "head_dim": 16, "mlp": 48}
RECIPE = {
    "seed": 1,
    "epochs": 12,
    "learning_rate": 1e-2,
    "warmup_steps": 2,
    "weight_decay": 0.0,
    "label_smoothing": 0.0,
    "clip": 1.0,
    "evaluations_per_epoch": 1,
    "patience": 3,
}


@pytest.fixture(scope="module")
def tokenizer():
    phrases = template_phrases(TEMPLATE, LANGUAGES, ["en-zh", "zh-en"])
    return train_tokenizer([text for row in ROWS for text in row[1:]], phrases, 300)


def test_a_prompt_costs_four_tokens_more_than_its_text(tokenizer) -> None:
    (ids,) = prompts.encode(
        tokenizer, [prompts.render(TEMPLATE, LANGUAGES, "en-zh", "Delete the file")]
    )
    text = tokenizer("Delete the file", add_special_tokens=False)["input_ids"]
    assert len(ids) == len(text) + 4


def test_labels_are_the_next_tokens_of_the_target_alone() -> None:
    ids, labels = train.collate([([1, 2, 3], [7, 8]), ([1], [9, 9, 9])], pad=0)
    assert ids.tolist() == [[1, 2, 3, 7, 8], [1, 9, 9, 9, 0]]
    ignore = train.IGNORE
    assert labels.tolist() == [[ignore, ignore, 7, 8, ignore], [9, 9, 9, ignore, ignore]]


def test_the_loss_is_that_of_the_unpadded_rows(tokenizer) -> None:
    torch.manual_seed(0)
    model = train.build_model(SHAPE, tokenizer, 64).eval()
    rows = train.encode_rows(tokenizer, ROWS, TEMPLATE, LANGUAGES)
    total, count = train.target_loss(model, *train.collate(rows, 0), smoothing=0.0)
    expected = 0.0
    for prompt, target in rows:
        with torch.no_grad():
            logits = model(torch.tensor([prompt + target])).logits[0].log_softmax(-1)
        at = range(len(prompt) - 1, len(prompt) + len(target) - 1)
        expected -= sum(logits[i, t].item() for i, t in zip(at, target, strict=True))
    assert count == sum(len(t) for _, t in rows)
    assert total.item() == pytest.approx(expected, rel=0.02)  # bf16 autocast against float32


def test_the_best_weights_are_kept_and_worse_ones_stop_it(tokenizer, tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM

    torch.manual_seed(0)
    model = train.build_model(SHAPE, tokenizer, 64)
    rows = train.encode_rows(tokenizer, ROWS, TEMPLATE, LANGUAGES)
    # Trained to stop after one token: the loss on whole targets falls first, then rises.
    other = [(p, [t[0], tokenizer.eos_token_id]) for p, t in rows]
    training, validation = train.Corpus(other, 64, 0), train.Corpus(rows, 64, 0)
    summary = train.train(model, training, validation, RECIPE, tmp_path)
    history = [json.loads(line) for line in (tmp_path / "history.jsonl").read_text().splitlines()]
    losses = [entry["valid_loss"] for entry in history]
    assert summary["best_valid_loss"] == min(losses)
    assert len(losses) == losses.index(min(losses)) + 1 + RECIPE["patience"] or len(losses) == 12
    best = AutoModelForCausalLM.from_pretrained(tmp_path / "best")
    assert train.validation_loss(best, validation) == pytest.approx(min(losses), rel=0.02)


def test_the_learning_rate_warms_up_peaks_and_decays() -> None:
    rates = [train.learning_rate(step, 100, 10, 1.0) for step in range(100)]
    assert rates[0] == pytest.approx(0.1) and max(rates) == 1.0 and rates.index(1.0) in (9, 10)
    assert all(a >= b for a, b in pairwise(rates[10:]))
    assert rates[-1] == pytest.approx(0.05, abs=0.01) and not any(map(math.isnan, rates))


def test_rows_go_both_ways_and_only_from_known_packages() -> None:
    import pyarrow as pa

    corpus = pa.table(
        {
            "english": ["Save", "Open", "x" * 50],
            "translation": ["保存", "打开", "长"],
            "language": ["zh"] * 3,
            "split": ["translator-train", "test", "translator-train"],
            "package": ["a", "a", "a"],
        }
    )
    rows = train.direction_rows(corpus, "translator-train", ["a"], max_chars=20)
    assert rows == [("en-zh", "Save", "保存"), ("zh-en", "保存", "Save")]
    assert train.direction_rows(corpus, "translator-train", ["b"], max_chars=20) == []
