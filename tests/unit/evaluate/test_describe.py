"""The datasheet and the contamination table count what pandas and plain Python count."""

from __future__ import annotations

import csv
import random
import statistics
import unicodedata
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from routelmt import tables
from routelmt.__main__ import main
from routelmt.data.overlaps import find_overlaps
from routelmt.data.words import words
from routelmt.errors import UserError
from routelmt.evaluate import describe
from routelmt.evaluate.describe import contamination, datasheet
from routelmt.views.layouts import blocks
from routelmt.views.render import latex, markdown

SETTINGS = {"threshold": 0.8, "ngram": 5, "ngram_han": 2, "permutations": 128}
COLUMNS = ("dataset", "direction", "segment_id", "group_id", "doc_id", "domain", "source",
           "reference")  # fmt: skip


def segments(rows: list[tuple[Any, ...]]) -> pa.Table:
    columns = {name: [row[i] for row in rows] for i, name in enumerate(COLUMNS)}
    return tables.from_columns("segments", columns | {"split": "any"})


def generated(dataset: str, seed: int, size: int = 40) -> pa.Table:
    chance = random.Random(seed)
    rows = []
    for direction in ("en-zh", "zh-en", "ru-en"):
        for i in range(size):
            texts = [
                "".join(chance.choices("白日依山尽黄河", k=chance.randint(1, 30)))
                if language == "zh"
                else " ".join(
                    chance.choices(["ещё", "one", "two-three", "x_1"], k=chance.randint(1, 30))
                )
                for language in direction.split("-")
            ]
            rows.append(
                (dataset, direction, f"{i}", f"g{i // 2}", chance.choice([None, "d1", "d2", "d3"]),
                 chance.choice([None, "news", "news", "speech"]), *texts)
            )  # fmt: skip
    return segments(rows)


# --- words -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("", 0), ("  ...!  ", 0), ("one", 1), ("It's a test.", 4), ("snake_case counts once", 3),
        ("3.5 kg", 3), ("большой дом", 2), ("早上好", 3), ("早上好，世界。", 5), ("用 USB 线", 3),
        ("用USB线", 3), ("こんにちは", 5), ("カタカナ", 4), ("ｶﾞ", 1), ("서울 특별시", 2),
        ("cafe\u0301 noir", 2), ("हिन्दी भाषा", 2), ("नमस्ते", 1), ("e\u0323\u0301", 1), ("か\u3099", 1),
    ],
)  # fmt: skip
def test_words(text: str, count: int) -> None:
    assert words(text) == count


@given(st.lists(st.text(alphabet="abcжё123", min_size=1, max_size=5), max_size=8),
       st.sampled_from([" ", ", ", " – ", "\u3000"]))  # fmt: skip
def test_separated_words_are_counted_whatever_separates_them(parts: list[str], mark: str) -> None:
    assert words(mark.join(parts)) == len(parts)


@given(st.text(max_size=40))
def test_words_do_not_depend_on_the_normal_form(text: str) -> None:
    assert words(unicodedata.normalize("NFD", text)) == words(unicodedata.normalize("NFC", text))


# --- datasheet -------------------------------------------------------------------------------------


def test_the_datasheet_has_pandas_numbers() -> None:
    data = {"train": generated("a", 1), "valid": generated("b", 2), "test": generated("c", 3)}
    found = datasheet(**data)
    tables.check(found, "datasheet", "datasheet")
    frame = pd.concat([t.to_pandas().assign(role=role) for role, t in data.items()])
    rows = found.to_pylist()
    for row in rows:
        own = frame[(frame["dataset"] == row["dataset"]) & (frame["direction"] == row["direction"])]
        own = own if row["domain"] == "all" else own[own["domain"] == row["domain"]]
        assert set(own["role"]) == {row["role"]}
        assert row["segments"] == len(own)
        assert row["groups"] == own["group_id"].nunique()
        assert row["documents"] == own["doc_id"].nunique()
        for side in ("source", "reference"):
            lengths = own[side].map(words)
            assert row[f"{side}_words_mean"] == pytest.approx(statistics.fmean(lengths))
            for percent in (5, 25, 50, 75, 95):
                expected = lengths.quantile(percent / 100)
                assert row[f"{side}_words_p{percent:02d}"] == pytest.approx(expected)
            assert row[f"{side}_chars_mean"] == pytest.approx(own[side].str.len().mean())
    assert len(rows) == 3 * 3 * 3


def test_the_datasheet_is_ordered_by_role_and_size() -> None:
    data = segments(
        [("d", "en-ru", f"{i}", f"{i}", None, domain, "x", "y")
         for i, domain in enumerate(["b", "c", "c", None, "a", "b", "c"])]
    )  # fmt: skip
    rows = datasheet(generated("z", 0), None, data).to_pylist()
    assert [r["domain"] for r in rows if r["dataset"] == "d"] == ["all", "c", "b", "a"]
    assert [r["segments"] for r in rows if r["dataset"] == "d"] == [7, 3, 2, 1]
    assert [r["role"] for r in rows] == ["train"] * 9 + ["test"] * 4
    assert {r["documents"] for r in rows if r["dataset"] == "d"} == {0}


def test_a_domain_called_all_is_refused() -> None:
    data = segments([("d", "en-ru", "1", "1", None, "all", "x", "y")])
    with pytest.raises(UserError, match="dataset 'd': a domain is called 'all'"):
        datasheet(None, None, data)


def test_a_text_is_counted_once_however_often_it_stands_there() -> None:
    data = segments([("d", "en-ru", f"{i}", "g", None, None, "a text", "текст") for i in range(9)])
    asked: list[str] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(describe, "words", lambda text: asked.append(text) or words(text))
        [row] = datasheet(data, None, None).to_pylist()
    assert sorted(asked) == ["a text", "текст"]
    assert (row["segments"], row["groups"], row["source_words_mean"]) == (9, 1, 2.0)


# --- contamination ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def overlapping() -> dict[str, pa.Table]:
    """Train a and b, valid v, tests t and u; a and v share texts with others, b does not."""
    test = generated("t", 1)
    copied = pa.concat_tables([generated("a", 5, 30), test.slice(10, 25)])
    copied = copied.set_column(0, "dataset", pa.repeat("a", copied.num_rows))
    ids = pa.array([f"{i}" for i in range(copied.num_rows)])
    clean = segments([("b", "en-ru", f"{i}", f"{i}", None, None, f"nothing {i * 977}", f"ничего {i * 991}")
                      for i in range(9)])  # fmt: skip
    valid = test.slice(0, 3).set_column(0, "dataset", pa.repeat("v", 3))
    other = generated("u", 9)
    schema = tables.arrow_schema("segments")
    train = pa.concat_tables([copied.set_column(2, "segment_id", ids).cast(schema), clean])
    return {"train": train, "valid": valid.cast(schema), "test": pa.concat_tables([test, other])}


@pytest.mark.parametrize("action", ["remove", "count"])
def test_contamination_counts_each_row_once(overlapping: dict[str, pa.Table], action: str) -> None:
    found = find_overlaps(**overlapping, settings=SETTINGS)
    table = contamination(**overlapping, overlaps=found, action=action)
    tables.check(table, "contamination", "contamination")
    frame = found.to_pandas()
    strength = {"exact": 0, "near": 1, "group": 2}
    rows = table.to_pylist()
    for row in rows:
        data = overlapping[row["role"]].to_pandas()
        data = data[data["dataset"] == row["dataset"]]
        own = frame[frame["dataset"] == row["dataset"]]
        if row["held_out"] != "any":
            own = own[own["held_out"] == row["held_out"]]
        if row["direction"] != "all":
            own = own[own["direction"] == row["direction"]]
            data = data[data["direction"] == row["direction"]]
        best: dict[tuple[str, str], str] = {}
        for key in own.itertuples():
            place = (key.direction, key.segment_id)
            best[place] = min(best.get(place, key.kind), key.kind, key=strength.__getitem__)
        assert row["rows"] == len(data)
        for kind in strength:
            assert row[kind] == list(best.values()).count(kind)
        assert row["removed"] == (len(best) if action == "remove" else 0)
    assert {(r["dataset"], r["held_out"]) for r in rows} == {
        ("a", "v"), ("a", "t"), ("a", "u"), ("a", "any"), ("b", "v"), ("b", "t"), ("b", "u"),
        ("b", "any"), ("v", "t"), ("v", "u"), ("v", "any"),
    }  # fmt: skip
    whole = {(r["dataset"], r["held_out"]): r for r in rows if r["direction"] == "all"}
    assert whole["a", "any"]["exact"] >= 25
    assert whole["b", "any"]["exact"] == 0


def test_overlaps_of_other_data_are_refused(overlapping: dict[str, pa.Table]) -> None:
    found = find_overlaps(**overlapping, settings=SETTINGS)
    with pytest.raises(UserError, match="rows of the overlaps table are not in the training"):
        contamination(None, overlapping["valid"], overlapping["test"], found, "remove")


def test_an_experiment_without_training_data_has_an_empty_table() -> None:
    nothing = tables.from_columns("overlaps", {c: [] for c in tables.TABLES["overlaps"].columns})
    table = contamination(None, None, generated("t", 1), nothing, "remove")
    tables.check(table, "contamination", "contamination")
    assert table.num_rows == 0
    assert blocks(table, "contamination") == []


# --- renderings ------------------------------------------------------------------------------------


def test_the_printed_datasheet_has_a_block_of_domains_and_no_word_of_intervals() -> None:
    layout = blocks(datasheet(generated("a", 1), None, generated("t", 2)), "datasheet")
    assert [block.title for block in layout] == ["The data", "The data by domain"]
    assert [names for names, _ in layout[0].rows][:2] == [
        ("a", "train", "en-zh"), ("a", "train", "zh-en"),
    ]  # fmt: skip
    for text in (markdown(layout), latex(layout)):
        assert "bootstrap" not in text
        assert "Chinese or Japanese character" in text
    plain = blocks(datasheet(None, None, segments([("d", "en-ru", "1", "1", None, None, "x", "y")])),
                   "datasheet")  # fmt: skip
    assert [block.title for block in plain] == ["The data"]


def test_printed_shares_are_of_the_rows(overlapping: dict[str, pa.Table]) -> None:
    found = find_overlaps(**overlapping, settings=SETTINGS)
    table = contamination(**overlapping, overlaps=found, action="remove")
    whole, by_direction = blocks(table, "contamination")
    row = next(r for r in table.to_pylist()
               if (r["dataset"], r["held_out"], r["direction"]) == ("a", "any", "all"))  # fmt: skip
    cells = dict(whole.rows)["a", "train", "any"]
    assert [cell.value for cell in cells] == [
        *(f"{row[name]:,}" for name in ("rows", "exact", "near", "group", "removed")),
        *(f"{100 * row[name] / row['rows']:.2f}" for name in ("exact", "near", "group", "removed")),
    ]
    assert len(by_direction.rows) == table.num_rows - len(whole.rows)


# --- the command -----------------------------------------------------------------------------------


def command(folder: Path, data: dict[str, pa.Table], table: str, *more: str) -> int:
    options = ["table", table, "--out", str(folder / f"{table}.parquet"), *more]
    for role, rows in data.items():
        tables.write(rows, folder / f"{role}.parquet", "segments", {})
        options += [f"--{role}", str(folder / f"{role}.parquet")]
    return main(options)


def test_the_command_writes_both_tables_and_their_renderings(
    overlapping: dict[str, pa.Table], tmp_path: Path
) -> None:
    found = tmp_path / "overlaps.parquet"
    tables.write(find_overlaps(**overlapping, settings=SETTINGS), found, "overlaps", {})
    assert command(tmp_path, overlapping, "datasheet", "--settings", "{}") == 0
    settings = ["--settings", '{"action": "remove"}', "--overlaps", str(found)]
    assert command(tmp_path, overlapping, "contamination", *settings) == 0
    for name, parents in (("datasheet", 3), ("contamination", 4)):
        written = tables.read(tmp_path / f"{name}.parquet", name)
        record = tables.record_of(tmp_path / f"{name}.parquet")
        assert main(["render", str(tmp_path / f"{name}.parquet")]) == 0
        assert (record["stage"], len(record["parents"])) == ("tables", parents)
        with (tmp_path / f"{name}.csv").open(newline="") as handle:
            assert len(list(csv.DictReader(handle))) == written.num_rows
        assert (tmp_path / f"{name}.md").read_text().startswith("### ")
        assert r"\begin{tabular}" in (tmp_path / f"{name}.tex").read_text()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--settings", '{"action": "remove"}'], "--overlaps: the table is made of these"),
        (
            ["--settings", "{}", "--overlaps", "x.parquet"],
            "'action' is None; allowed: remove, count",
        ),
    ],
)
def test_the_command_says_what_is_missing(
    options: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command(tmp_path, {}, "contamination", *options) == 1
    assert message in capsys.readouterr().err
