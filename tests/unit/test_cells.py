"""Texts of others in files that spreadsheets, viewers and TeX open."""

from __future__ import annotations

import pyarrow as pa
import pytest

from routelmt.cells import neutral, neutral_column, visible


@pytest.mark.parametrize(
    "text", ["=2+2", "+cmd|' /C calc'!A0", "-1+1", "@SUM(A1)", "\t=1", " =1", "\uff1d1", "- Ja."]
)
def test_what_a_spreadsheet_would_run_is_a_text(text: str) -> None:
    assert neutral(text) == f"'{text}"


@pytest.mark.parametrize("text", ["", "a=b", "-1", "+2.5e-3", "-.5", "'=1", "5 - 3", "x@y"])
def test_numbers_and_other_texts_stay(text: str) -> None:
    assert neutral(text) == text


def test_a_column_of_texts_is_made_neutral_and_no_other() -> None:
    texts = pa.chunked_array([["=1", None, "-2"], ["x"]])
    assert neutral_column(texts).to_pylist() == ["'=1", None, "-2", "x"]
    numbers = pa.chunked_array([[-1.5, 2.0]])
    assert neutral_column(numbers) is numbers


def test_what_breaks_or_reorders_a_line_is_spelt() -> None:
    assert visible("a\nb\x1b[31m\0\u202ec\u2028d\r") == (r"a\nb\x1b[31m\x00\u202ec\u2028d\r")
    for text in (
        "plain",
        "\u00a0",
        "e\u0301",
        "\u0645\u06cc\u200c\u0634\u0648\u062f",
        "\U0001f468\u200d\U0001f4bb",
    ):
        assert visible(text) == text
