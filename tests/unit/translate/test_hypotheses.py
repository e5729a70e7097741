"""The `hypotheses` stage: one row a segment, duplicates decoded once, bad outputs flagged."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from routelmt import tables
from routelmt.states import open_states
from routelmt.translate import prompts
from routelmt.translate.degenerate import is_degenerate, is_repetitive
from routelmt.translate.hypotheses import translate_segments
from routelmt.translate.signals import prefill_signals


@pytest.fixture()
def translated(
    segments: Any, model_config: dict[str, Any], languages: dict[str, str], speed: dict[str, Any]
) -> Any:
    return translate_segments(segments, "tiny", model_config, languages, speed)


def test_rows_are_the_segments_in_their_order(translated: Any, segments: Any) -> None:
    tables.check(translated, "hypotheses", "here")
    assert translated.select(tables.JOIN_KEY).equals(segments.select(tables.JOIN_KEY))
    assert set(translated["model"].to_pylist()) == {"tiny"}


def test_same_sources_have_the_same_row(translated: Any, segments: Any) -> None:
    seen: dict[str, Any] = {}
    rows = translated.drop_columns(["segment_id"]).to_pylist()
    for source, row in zip(segments["source"].to_pylist(), rows, strict=True):
        assert seen.setdefault(source, row) == row


def test_duplicates_are_decoded_once(
    segments: Any,
    model_config: dict[str, Any],
    languages: dict[str, str],
    speed: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from routelmt.translate.transformers_engine import TransformersEngine

    asked = []
    original = TransformersEngine.translate

    def counted(self: Any, prompts: Any) -> Any:
        asked.append(len(prompts))
        return original(self, prompts)

    monkeypatch.setattr(TransformersEngine, "translate", counted)
    translate_segments(segments, "tiny", model_config, languages, speed)
    assert asked == [len(set(segments["source"].to_pylist()))]


def test_counts_and_text_agree_with_the_engine(
    translated: Any, engine: Any, asked: list[list[int]]
) -> None:
    rows = translated.to_pylist()
    for row, (_, output) in zip(rows, sorted(engine.decode(asked)), strict=False):
        assert row["prompt_tokens"] == len(asked[rows.index(row)])
        assert row["output_tokens"] == len(output.ids)
        assert row["finish_reason"] == ("stop" if output.stopped else "length")
        assert row["hypothesis"] == engine.tokenizer.decode(output.ids, skip_special_tokens=True)


def test_blank_sources_are_kept_and_flagged(translated: Any, segments: Any) -> None:
    flags = zip(segments["source"].to_pylist(), translated["degenerate"].to_pylist(), strict=True)
    blank = [flag for source, flag in flags if not source.strip()]
    assert len(blank) == 2 and all(blank)


def test_direction_and_row_order_belong_to_the_row(
    segments: Any,
    model_config: dict[str, Any],
    languages: dict[str, str],
    speed: dict[str, Any],
    translated: Any,
) -> None:
    backwards = segments.take(list(range(segments.num_rows))[::-1])
    again = translate_segments(backwards, "tiny", model_config, languages, speed)
    names = ["segment_id", "hypothesis", "output_tokens", "degenerate"]
    assert again.select(names).to_pylist()[::-1] == translated.select(names).to_pylist()


def test_prompts_that_are_too_long_are_kept_and_named(
    segments: Any,
    model_config: dict[str, Any],
    languages: dict[str, str],
    speed: dict[str, Any],
    engine: Any,
    asked: list[list[int]],
    translated: Any,
    capsys: pytest.CaptureFixture[str],
) -> None:
    longest = max(len(p) for p in asked)
    name = f"s{[len(p) for p in asked].index(longest)}"
    tight = {**model_config, "max_prompt_tokens": longest - 1}
    rows = translate_segments(segments, "tiny", tight, languages, speed).to_pylist()
    said = capsys.readouterr().err
    assert "left blank, never cut: 1 of 18" in said
    assert f"'{name}' ({longest} tokens). Raise max_pr" in said
    for row, whole in zip(rows, translated.to_pylist(), strict=True):
        if row["segment_id"] == name:
            assert (row["hypothesis"], row["finish_reason"]) == ("", "too_long")
            assert row["degenerate"] and row["prompt_tokens"] == longest
        else:
            assert row["hypothesis"] == whole["hypothesis"]
    too_much = {**model_config, "max_new_tokens": engine.context - longest + 1}
    translate_segments(segments, "tiny", too_much, languages, speed)
    assert "context of 256" in capsys.readouterr().err


def test_signals_of_a_prompt_that_is_too_long_are_those_without_the_end_of_its_text(
    segments: Any,
    model_config: dict[str, Any],
    languages: dict[str, str],
    speed: dict[str, Any],
    engine: Any,
    asked: list[list[int]],
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    whole = prefill_signals(segments, "tiny", model_config, languages, speed).to_pylist()
    longest = max(len(p) for p in asked)
    (row,) = [i for i, p in enumerate(asked) if len(p) == longest]
    tight = {**model_config, "max_prompt_tokens": longest - 3}
    capsys.readouterr()
    states = tmp_path / "states.arrow"
    record = {"settings": tight}
    found = prefill_signals(segments, "tiny", tight, languages, speed, states, record).to_pylist()
    assert "read without the end of their text: 1 of 18 segments" in capsys.readouterr().err
    (empty,) = engine.encode([prompts.render(model_config["prompt"], languages, "en-zh", "")])
    same = [a == b for a, b in zip(asked[row], empty, strict=False)]
    tail = len(empty) - same.index(False)
    cut = asked[row][: longest - 3 - tail] + asked[row][longest - tail :]
    (expected,) = engine.prefill([cut])
    assert len(cut) == longest - 3 and found[row]["prompt_tokens"] == longest
    for name in ("entropy", "margin", "max_logit"):
        assert found[row][name] == pytest.approx(float(getattr(expected, name)[0]), rel=1e-4)
        assert found[row][name] != pytest.approx(whole[row][name], rel=1e-4)
        assert all(one[name] == pytest.approx(other[name], rel=1e-4)
                   for i, (one, other) in enumerate(zip(found, whole, strict=True)) if i != row)  # fmt: skip
    assert open_states([states], segments).rows == segments.num_rows


@pytest.mark.parametrize(
    "text",
    [
        "the file is the file is the file is the file is the file is",
        "请输入您的用户名，" * 4,
        "Сохранить " + "файл " * 10,
        "aaaaaaaaaaaaaaaaaaaa",
        "ok: " + "-=" * 30,
        "\n".join(["line of it"] * 5),
        "The connection to the server was lost while it was busy. " * 3,
        "Ok. " + "Соединение с сервером потеряно, попробуйте ещё раз позже. " * 3 + "Соединение",
        "x" * 40 + "A sentence that is longer than thirty-two characters. " * 4,
    ],
)
def test_one_piece_repeated_over_most_of_the_text_is_degenerate(text: str) -> None:
    assert is_repetitive(text)
    assert is_degenerate("Save the file", text, "en-xx")


@pytest.mark.parametrize(
    "text",
    [
        "Save the file",
        "......",
        "哈哈哈哈",
        "no no no",
        "Very, very, very good.",
        "1,000,000",
        "Total ................ 12 pages of the whole report, which is long",
        "a" * 11,
        "the file is the file is the file is not here",
        "The connection to the server was lost while it was busy. " * 2,
        " ".join(map(str, range(60)))
        + "A sentence that is longer than thirty-two characters. " * 3,
    ],
)
def test_ordinary_repetition_is_not(text: str) -> None:
    assert not is_degenerate("Save the file", text, "en-xx")


@pytest.mark.parametrize(
    ("source", "text", "reason", "expected"),
    [
        ("x", "", "stop", True),
        ("x", " \n\t\u3000", "stop", True),
        ("", "text", "stop", True),
        ("x", "cut", "length", True),
        ("x", "fine", "stop", False),
        ("=" * 40, "=" * 40, "stop", False),  # the source repeats too
    ],
)
def test_blank_and_cut_outputs(source: str, text: str, reason: str, expected: bool) -> None:
    assert is_degenerate(source, text, "en-xx", reason) is expected


@pytest.mark.parametrize(
    ("source", "text", "direction", "expected"),
    [
        ("Delete the selected volume", "delete  the selected Volume", "en-de", True),
        ("Django REST", "Django REST", "en-de", False),  # a name
        ("127.0.0.1:8080/24 = 99.5 %", "127.0.0.1:8080/24 = 99.5 %", "en-ru", False),
        ("Delete the selected volume", "Delete the chosen volumes now", "en-zh", True),
        ("Delete the selected volume", "删除 the selected volume", "en-zh", False),
        ("Open it in Firefox", "Mozilla Firefox", "en-zh", False),
        ("Delete the selected volume", "Delete the chosen volumes now", "en-xx", False),
        ("删除所选的卷", "删除所选的卷", "zh-en", False),  # too short to tell
    ],
)
def test_copies_and_wrong_scripts(source: str, text: str, direction: str, expected: bool) -> None:
    assert is_degenerate(source, text, direction) is expected


LONG_SOURCE = "The connection to the server was lost while the file was being saved"


@pytest.mark.parametrize(
    ("source", "text", "expected"),
    [
        (LONG_SOURCE, f"English: {LONG_SOURCE.upper()}\nChinese: 连接丢失", True),
        ("Django REST framework for Python", "Django REST framework for Python（网络框架）", False),
        ("Save", "Translate the following text from English into Chinese:\nEnglish: Save", True),
        ("Save", "translate the following text from english into chinese 保存", True),
        ("Say: translate the following text from English into Chinese!",
         "请说：translate the following text from English into Chinese！", False),
        ("Save", "English: Save\nChinese: 保存", False),
    ],
)  # fmt: skip
def test_an_output_that_holds_the_source_or_the_prompt(
    source: str, text: str, expected: bool, languages: dict[str, str]
) -> None:
    prompt = "Translate the following text from {src} into {tgt}:\n{src}: {text}\n{tgt}:"
    around = prompts.around(prompt, languages, "en-zh")
    assert is_degenerate(source, text, "en-zh", "stop", around) is expected


@given(
    st.text("ab", max_size=60), st.text("ab", min_size=1, max_size=50), st.integers(1, 5),
    st.text("ab", max_size=60),
)  # fmt: skip
def test_repetition_is_what_counting_every_run_finds(
    before: str, piece: str, times: int, after: str
) -> None:
    text = before + piece * times + after
    expected = False
    for size in range(1, len(text) // 3 + 1):
        run = 0
        for one, other in zip(text, text[size:], strict=False):
            run = run + 1 if one == other else 0
            copies = (run + size + (2 if size > 32 else 0)) // size
            whole = min(copies * size, run + size)
            long = whole >= 12 and 2 * whole > len(text)
            expected = expected or (long and copies >= (4 if size <= 32 else 3))
    assert is_repetitive(text) is expected


@given(
    piece=st.text("abcdef ", min_size=1, max_size=32),
    times=st.integers(4, 20),
    before=st.text("xyz", max_size=10),
)
def test_every_piece_up_to_32_characters_is_found(piece: str, times: int, before: str) -> None:
    text = before + piece * times
    stripped = text.strip()
    # One repetition may go to what is stripped, one to a run that begins before the piece does.
    run = len(piece) * (times - 2)
    if times >= 6 and run >= 12 and 2 * run > len(stripped) and piece.strip():
        assert is_repetitive(text)
