"""Reasoning is taken off where it is a closed block; anything else beside a translation is flagged."""

from __future__ import annotations

import math
from typing import Any

import pytest

from routelmt.errors import UserError
from routelmt.translate import chatter
from routelmt.translate.degenerate import is_degenerate
from routelmt.translate.engines import Decoded


@pytest.mark.parametrize(
    ("text", "kept", "reason"),
    [
        ("<think>\nIt says: save.\n</think>\n\n保存", "保存", "stop"),
        ("<think>\n\n</think>\n\n保存 ", "保存 ", "stop"),
        ("<THINK>a</THINK> <thinking>b</thinking>保存", "保存", "stop"),
        ("<think>保存", "<think>保存", "reasoning"),
        ("It says: save.\n</think>\n\n保存", "保存", "stop"),
        ("</think>保存", "保存", "stop"),
        ("a</think><think>b</think>保存", "保存", "stop"),
        ("a</think>保存</think>b", "保存</think>b", "reasoning"),
        ("a<thinking>b</think>保存", "a<thinking>b</think>保存", "reasoning"),
        ("保存 <think>right?</think>", "保存 <think>right?</think>", "reasoning"),
        ("<think>a<think>b</think>c</think>保存", "c</think>保存", "reasoning"),
        ("think of 保存 <b>", "think of 保存 <b>", "stop"),
    ],
)
def test_closed_reasoning_is_taken_off(text: str, kept: str, reason: str) -> None:
    found = chatter.cleaned("Save", Decoded(text, 9, "stop", -0.5, 7))
    assert found == Decoded(kept, 9, reason, -0.5, 7)
    assert is_degenerate("Save", kept, "en-zh", reason) is (reason == "reasoning")


def test_tags_of_the_source_are_text() -> None:
    source, text = "<think>why</think> Save", "<think>为什么</think> 保存"
    assert chatter.cleaned(source, Decoded(text, 1, "stop", 0)).text == text
    assert not is_degenerate(source, text, "en-zh")


@pytest.mark.parametrize(
    ("source", "text", "expected"),
    [
        ("Save", "Sure! Here is the translation:\n\n保存", True),
        ("Save", "Here's the Chinese translation: 保存", True),
        ("Save", "Sure! Here is the translation.\n\n保存", True),
        ("1\n2", "Here the translator waits\n2", False),
        ("Error: none", "Sure, here is the text in Chinese:\n错误：无", True),
        ("Save", "当然！以下是翻译：保存", True),
        ("Save", "Конечно! Вот перевод:\nСохранить", True),
        ("Сохранить", "Translation: Save", True),
        ("Сохранить", "The translation of the text is: Save", True),
        ("当然！这是翻译：保存", "Sure! Here is the translation: save", False),
        ("Вот файл, как обещано", "Sure! Here is the file", False),
        ("好的，保存", "OK: save", False),
        ("这是文件。", "Here is the file: x", False),
        ("This is what matters - water", "Вот что важно: вода", False),
        ("This is what matters - water", "这是重点：水", False),
        ("The translator said yes", "The translator said: yes", False),
        ("Перевод", "Translation:", False),
    ],
)
def test_an_introduction_is_flagged_unless_the_source_has_one(
    source: str, text: str, expected: bool
) -> None:
    assert chatter.is_introduced(source, text) is expected
    assert is_degenerate(source, text, "xx-yy") is expected


def test_counts_are_said(capsys: Any) -> None:
    raw = [
        Decoded(t, 1, "stop", 0) for t in ("<think>a</think>b", "<think>a", "Translation: b", "b")
    ]
    kept = [chatter.cleaned("x", answer) for answer in raw]
    chatter.tell("large", ["x"] * 4, raw, kept)
    said = capsys.readouterr().err
    assert said.startswith("large: of 4 answers 1 with reasoning that was taken off; 1 that are or")
    assert "; 1 that begin with a sentence" in said
    chatter.tell("large", ["x"], kept[-1:], kept[-1:])
    assert not capsys.readouterr().err


def test_nothing_but_blank_answers_is_an_error() -> None:
    blank, long = Decoded("", 3, "reasoning", math.nan), Decoded("", 0, "too_long", math.nan)
    several = chatter.SEVERAL
    with pytest.raises(UserError, match=r"all 5 answers are blank \(finish_reason reasoning: 5\)"):
        chatter.refuse_blank("m", [*"x" * several, "z", ""], [*[blank] * several, long, blank], "f")
    chatter.refuse_blank("m", [*"x" * several, ""], [*[long] * several, blank], "f")
    chatter.refuse_blank("m", ["x", "y"], [blank, blank], "f")  # a shard's few, which are flagged
    answers = [*[blank] * several, Decoded("z", 1, "stop", 0)]
    chatter.refuse_blank("m", [*"x" * several, "y"], answers, "f")
