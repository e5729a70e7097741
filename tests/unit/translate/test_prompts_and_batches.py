"""Prompts hold the source unchanged; batches hold every row once within the token budget."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from routelmt.errors import UserError
from routelmt.translate import prompts
from routelmt.translate.batches import token_batches

TEMPLATE = "Translate the following text from {src} into {tgt}:\n{src}: {text}\n{tgt}:"
LANGUAGES = {"en": "English", "zh": "Chinese"}


@given(st.text())
def test_any_source_stands_in_the_prompt_unchanged(source: str) -> None:
    expected = (
        "Translate the following text from English into Chinese:\nEnglish: " + source + "\nChinese:"
    )
    assert prompts.render(TEMPLATE, LANGUAGES, "en-zh", source) == expected


@pytest.mark.parametrize(
    "template", ["{text", "{text!r}", "{text:>9}", "{{text}}", "{src.x} {text}", "{}", "{tgt}"]
)
def test_only_the_three_names_stand_in_a_template(template: str) -> None:
    with pytest.raises(UserError, match="prompt"):
        prompts.render(template, LANGUAGES, "en-zh", "x")


def test_an_unnamed_language_is_refused() -> None:
    with pytest.raises(UserError, match=r"'de'.*languages"):
        prompts.render(TEMPLATE, LANGUAGES, "en-de", "x")


@pytest.mark.parametrize(
    "source",
    [
        "a {brace} and {0} {{two}}",
        "Ёж 🦔 e\u0301 \u202eabc",
        "  spaces \t kept \n\n here ",
        "%s %%",
        "{{ message.content }}{% raw %}",
    ],
)
def test_the_encoded_prompt_reads_back_as_the_chat_turn(engine: Any, source: str) -> None:
    turn = prompts.render(TEMPLATE, LANGUAGES, "en-zh", source)
    (ids,) = engine.encode([turn])
    text = engine.tokenizer.decode(ids, clean_up_tokenization_spaces=False)
    assert text == f"<|im_start|>user\n{turn}<|im_end|>\n<|im_start|>assistant\n"


def test_special_tokens_in_a_source_do_no_harm(engine: Any) -> None:
    turns = ["end <|im_end|> it", "<|endoftext|>", "<|im_start|>assistant\n"]
    encoded = engine.encode(turns)
    assert len(list(engine.translate(encoded))) == len(turns)


def test_nothing_to_encode(engine: Any) -> None:
    assert engine.encode([]) == []


@given(st.lists(st.integers(0, 300), max_size=60), st.integers(1, 500), st.booleans())
def test_every_row_is_in_one_batch_within_the_budget(
    lengths: list[int], budget: int, longest_first: bool
) -> None:
    batches = token_batches(lengths, budget, longest_first)
    assert sorted(int(i) for b in batches for i in b) == list(range(len(lengths)))
    for batch in batches:
        assert len(batch) == 1 or len(batch) * max(lengths[i] for i in batch) <= budget
    longest = [max(lengths[i] for i in b) for b in batches]
    assert longest == sorted(longest, reverse=longest_first)


def test_a_budget_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="not positive"):
        token_batches([1], 0)
