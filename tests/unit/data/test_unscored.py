"""Segments that a file of scores leaves out: dropped from the dataset, and counted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from routelmt.data.unscored import scored_everywhere
from routelmt.errors import UserError

HEAD = "dataset,direction,segment_id,model,score\n"
# a: both; b: small is null; c: no row of large; d: NaN; e: NA; f: both; g: of another dataset.
ROWS = """mine,en-de,a,small,1
mine,en-de,a,large,2
mine,en-de,b,small,
mine,en-de,b,large,2
mine,en-de,c,small,0
mine,en-de,d,small,NaN
mine,en-de,d,large,2
mine,en-de,e,small,3
mine,en-de,e,large,NA
mine,en-de,f,small,0
mine,en-de,f,large,-1
mine,en-de,b,huge,
other,en-de,b,small,1
mine,de-en,b,small,1
"""


def scored(path: Path, *models: str) -> dict[str, Any]:
    return {"human": {"path": str(path), "quoting": None, "models": list(models)}}


def test_a_segment_stays_if_all_models_are_scored(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "a.csv"
    path.write_text(HEAD + ROWS)
    both = scored_everywhere(list("abcdef"), scored(path, "small", "large"), "mine", "en-de")
    assert both == [True, False, False, False, False, True]
    said = capsys.readouterr().err
    assert "dataset 'mine', direction en-de: 4 of 6 segments dropped" in said
    assert "metric 'human'" in said and "small or large" in said
    small = scored_everywhere(list("abcdef"), scored(path, "small"), "mine", "en-de")
    assert small == [True, False, True, False, True, True]


def test_several_files_must_all_have_scored(tmp_path: Path) -> None:
    one, two = tmp_path / "a.csv", tmp_path / "b.csv"
    one.write_text(HEAD + ROWS)
    two.write_text("direction,segment_id,model,score\nen-de,c,small,1\nen-de,f,small,1\n")
    files = scored(one, "small") | {"other": scored(two, "small")["human"]}
    assert scored_everywhere(["a", "c", "f"], files, "mine", "en-de") == [False, True, True]


def test_none_left_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text(HEAD + ROWS)
    with pytest.raises(UserError, match=r"no segment has a score of every model in .*a\.csv"):
        scored_everywhere(["a"], scored(path, "sytem"), "mine", "en-de")


def test_what_is_neither_a_number_nor_absent_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text(HEAD + "mine,en-de,a,small,good\n")
    with pytest.raises(UserError, match=r"a\.csv:2: 'score' is 'good'"):
        scored_everywhere(["a"], scored(path, "small"), "mine", "en-de")
