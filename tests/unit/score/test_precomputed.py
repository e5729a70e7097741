"""Scores that a user brings: tied to the texts that they are of."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest

from routelmt import tables
from routelmt.errors import UserError
from routelmt.score.precomputed import scores, text_hash

TEXTS = ["Guten Tag", "", "=2+2", "Ende"]
IDS = ["a", "b", "c", "d"]


def hypotheses(texts: list[str]) -> pa.Table:
    fixed = {
        "dataset": "mine",
        "direction": "en-de",
        "model": "small",
        "prompt_tokens": None,
        "output_tokens": None,
        "finish_reason": None,
        "mean_logprob": float("nan"),
        "degenerate": False,
    }
    return tables.from_columns("hypotheses", {**fixed, "segment_id": IDS, "hypothesis": texts})


def read(path: Path, texts: list[str]) -> list[float]:
    settings = {"path": str(path), "higher_is_better": True}
    found: list[float] = scores(hypotheses(texts), "human", settings).column("score").to_pylist()
    return found


def save(path: Path, name: str | None, cells: list[str]) -> Path:
    head = ["direction", "segment_id", "model", "score", *([name] if name else [])]
    rows = [
        ["en-de", i, "small", str(n), *([cell] if name else [])]
        for n, (i, cell) in enumerate(zip(IDS, cells, strict=True))
    ]
    path.write_text("".join("\t".join(row) + "\n" for row in [head, *rows]), encoding="utf-8")
    return path


def test_the_hash_of_a_text() -> None:
    assert text_hash("Guten Tag") == "6b973d266dfceb93"
    assert text_hash("Guten Tag ") != text_hash("Guten Tag")


@pytest.mark.parametrize("name", ["hypothesis", "hypothesis_hash"])
def test_scores_of_the_same_texts_are_taken(
    tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    cells = TEXTS if name == "hypothesis" else list(map(text_hash, TEXTS))
    assert read(save(tmp_path / "a.tsv", name, cells), TEXTS) == [0, 1, 2, 3]
    assert "nothing ties" not in capsys.readouterr().err


@pytest.mark.parametrize("name", ["hypothesis", "hypothesis_hash"])
def test_scores_of_other_texts_are_refused(tmp_path: Path, name: str) -> None:
    cells = TEXTS if name == "hypothesis" else list(map(text_hash, TEXTS))
    edited = [*TEXTS[:2], "vier", "Schluss"]
    with pytest.raises(UserError, match=r"2 of [34] scores of model 'small' .* segment c, d"):
        read(save(tmp_path / "a.tsv", name, cells), edited)


def test_a_hash_is_believed_before_a_text_that_a_program_has_changed(tmp_path: Path) -> None:
    path = save(tmp_path / "a.tsv", "hypothesis_hash", list(map(text_hash, TEXTS)))
    head, *rows = path.read_text().splitlines()
    changed = [f"{row}\t{text}" for row, text in zip(rows, ["x", "", "'=2+2", "Ende"], strict=True)]
    path.write_text("\n".join([f"{head}\thypothesis", *changed]) + "\n")
    assert read(path, TEXTS) == [0, 1, 2, 3]


def test_without_texts_it_is_said_that_nothing_ties_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert read(save(tmp_path / "a.tsv", None, TEXTS), TEXTS) == [0, 1, 2, 3]
    assert "nothing ties its scores to the texts of model 'small'" in capsys.readouterr().err
