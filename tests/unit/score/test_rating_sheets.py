"""Translations out to raters, and their ratings back."""

from __future__ import annotations

import csv
from pathlib import Path

import pyarrow as pa
import pytest

from routelmt import tables
from routelmt.__main__ import main
from routelmt.errors import UserError
from routelmt.score.precomputed import scores, text_hash
from routelmt.score.rating_sheets import Row, scores_of, sheets, write_rows

IDS = ["a", "b", "c", "d", "e", "f"]
SMALL = ["=1+1", "zwei\tdrei", 'sagt "x"', "gleich", "", "sechs"]
LARGE = ["eins", "zwei", "drei", "gleich", "fünf", "sechs\nsieben"]


def segments(ids: list[str] = IDS) -> pa.Table:
    fixed = {"dataset": "mine", "direction": "en-de", "doc_id": None, "domain": None}
    texts = [f"text {i}" for i in ids]
    columns = {"segment_id": ids, "group_id": ids, "source": texts, "reference": texts}
    return tables.from_columns("segments", {**fixed, **columns, "split": "test"})


def hypotheses(model: str, texts: list[str], ids: list[str] = IDS) -> pa.Table:
    fixed = {
        "dataset": "mine",
        "direction": "en-de",
        "model": model,
        "prompt_tokens": None,
        "output_tokens": None,
        "finish_reason": None,
        "mean_logprob": float("nan"),
        "degenerate": False,
    }
    return tables.from_columns("hypotheses", {**fixed, "segment_id": ids, "hypothesis": texts})


def both() -> pa.Table:
    return pa.concat_tables([hypotheses("small", SMALL), hypotheses("large", LARGE)])


def rated(sheet: list[Row]) -> list[Row]:
    """What a rater makes of a sheet: the length of the translation as its score."""
    return [row | {"score": str(len(row["hypothesis"]))} for row in sheet]


def read(path: Path, model: str, texts: list[str]) -> list[float]:
    settings = {"path": str(path), "higher_is_better": True, "quoting": "csv"}
    found: list[float] = (
        scores(hypotheses(model, texts), "human", settings).column("score").to_pylist()
    )
    return found


@pytest.mark.parametrize("suffix", ["csv", "tsv"])
def test_a_sheet_comes_back_as_scores(tmp_path: Path, suffix: str) -> None:
    made = sheets(segments(), both(), seed=0, blind=False)
    assert len(made.sheet) == 12 and not made.key
    path = tmp_path / f"sheet.{suffix}"
    write_rows(rated(made.sheet), path)
    shown = [1 + len(SMALL[0]), *map(len, SMALL[1:])]  # the apostrophe before =
    assert read(path, "small", SMALL) == shown
    assert read(path, "large", LARGE) == list(map(len, LARGE))
    with pytest.raises(UserError, match=r"1 of 6 scores of model 'large' are of other texts"):
        read(path, "large", ["uno", *LARGE[1:]])


def test_a_sheet_has_hashes_of_the_texts_and_no_formula() -> None:
    made = sheets(segments(), both(), seed=0, blind=False)
    row = next(r for r in made.sheet if (r["segment_id"], r["model"]) == ("a", "small"))
    assert row == {
        "dataset": "mine",
        "direction": "en-de",
        "segment_id": "a",
        "model": "small",
        "source": "text a",
        "reference": "text a",
        "hypothesis": "'=1+1",
        "hypothesis_hash": text_hash("=1+1"),
        "score": "",
    }


def test_the_seed_decides_the_order_whatever_the_tables_order() -> None:
    first = sheets(segments(), both(), 0, False).sheet
    turned = both().take(list(range(11, -1, -1)))
    assert sheets(segments(), turned, 0, False).sheet == first
    other = sheets(segments(), both(), 1, False).sheet
    assert other != first and sorted(map(str, other)) == sorted(map(str, first))
    assert [row["model"] for row in first] != ["small"] * 6 + ["large"] * 6


def test_a_blind_sheet_tells_no_model_and_comes_back_through_its_key(tmp_path: Path) -> None:
    made = sheets(segments(), both(), 0, True)
    assert len(made.sheet) == 11 and len(made.key) == 12  # one pair of equal outputs
    assert list(made.sheet[0]) == ["item", "source", "reference", "hypothesis", "score"]
    assert [row["item"] for row in made.sheet] == [str(n) for n in range(1, 12)]
    sheet, key, back = (tmp_path / name for name in ("sheet.csv", "key.csv", "scores.csv"))
    answers = rated(made.sheet)
    answers = [row | {"score": ""} if row["hypothesis"] == "eins" else row for row in answers]
    write_rows(answers[::-1], sheet)
    write_rows(made.key, key)
    write_rows(scores_of(sheet, key), back)
    assert read(back, "small", SMALL) == [1 + len(SMALL[0]), *map(len, SMALL[1:])]
    with pytest.raises(UserError, match=r"1 of 6 translations .* no score .* first: segment a"):
        read(back, "large", LARGE)
    with back.open(encoding="utf-8", newline="") as handle:
        gleich = [r["score"] for r in csv.DictReader(handle) if r["segment_id"] == "d"]
    assert gleich == ["6.0", "6.0"]


def test_a_sheet_and_a_key_of_another_do_not_match(tmp_path: Path) -> None:
    made = sheets(segments(), both(), 0, True)
    sheet, key = tmp_path / "sheet.csv", tmp_path / "key.csv"
    write_rows(made.key, key)
    write_rows(
        [*rated(made.sheet)[:-1], rated(made.sheet)[0], made.sheet[1] | {"item": "99"}], sheet
    )
    message = (
        r"1 items twice; 1 items missing \(first: 11\); 1 items .* not in the key \(first: 99\)"
    )
    with pytest.raises(UserError, match=message):
        scores_of(sheet, key)


def test_ids_that_a_spreadsheet_would_run_need_a_blind_sheet() -> None:
    ids = ["=a", "-1"]
    own = hypotheses("small", ["x", "y"], ids)
    with pytest.raises(UserError, match=r"1 ids or names .* first: '=a'.*--blind"):
        sheets(segments(ids), own, 0, False)
    made = sheets(segments(ids), own, 0, True)
    assert {row["segment_id"] for row in made.key} == {"=a", "-1"}


def test_a_sheet_is_csv_or_tsv(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"sheet\.xlsx: name it \.csv or \.tsv"):
        write_rows([{"a": "b"}], tmp_path / "sheet.xlsx")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("blind", [True, False])
def test_the_commands_write_what_spreadsheets_read_and_read_it_back(
    tmp_path: Path, blind: bool
) -> None:
    record = {"stage": "segments", "settings": {}, "parents": []}
    own, said = tmp_path / "segments.parquet", tmp_path / "hypotheses.parquet"
    tables.write(segments(), own, "segments", record)
    tables.write(both(), said, "hypotheses", record)
    sheet, key, back = (tmp_path / name for name in ("sheet.tsv", "key.tsv", "back.csv"))
    arguments = ["export", "--segments", str(own), "--hypotheses", str(said), "--out", str(sheet)]
    assert main([*arguments, *(["--blind", str(key)] if blind else [])]) == 0
    assert sheet.read_bytes().startswith(b"\xef\xbb\xbf")
    with sheet.open(encoding="utf-8-sig", newline="") as handle:
        rows = list(csv.DictReader(handle, delimiter="\t"))
    write_rows(rated(rows), sheet, mark=True)
    if blind:
        files = ["--ratings", str(sheet), "--key", str(key), "--out", str(back)]
        assert main(["unblind", *files, "--quoting", "csv"]) == 0
    assert read(back if blind else sheet, "large", LARGE) == list(map(len, LARGE))
