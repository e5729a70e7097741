"""The contamination audit finds what brute force over plain Python sets finds, and no more."""

from __future__ import annotations

import random
import unicodedata
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from routelmt import tables
from routelmt.__main__ import main
from routelmt.data import overlaps
from routelmt.data.normalise import normalise
from routelmt.data.overlaps import find_overlaps, lsh_shape
from routelmt.errors import UserError

SETTINGS = {"threshold": 0.8, "ngram": 5, "ngram_han": 2, "permutations": 128, "action": "remove"}
COLUMNS = ("dataset", "direction", "segment_id", "group_id", "source", "reference")
LETTERS = {
    "en": "abcdefghiklmnoprstuw",
    "ru": "абвгдежзиклмнопрстуя",
    "zh": "".join(map(chr, range(0x4E00, 0x4F00))),
}
Rows = list[tuple[str, ...]]


def segments(rows: Rows) -> pa.Table:
    columns = {name: [row[i] for row in rows] for i, name in enumerate(COLUMNS)}
    nothing = pa.nulls(len(rows), pa.string())
    return tables.from_columns(
        "segments", columns | {"doc_id": nothing, "domain": nothing, "split": "any"}
    )


def one(dataset: str, direction: str, source: str, reference: str, number: str = "1") -> pa.Table:
    return segments([(dataset, direction, number, f"g{number}", source, reference)])


# --- brute force: every pair of rows and sides, with sets ------------------------------------------


def grams(text: str, settings: dict[str, Any]) -> tuple[int, set[str]]:
    letters = [c for c in text if c != " "]
    east = sum(
        unicodedata.name(c, "").startswith(("CJK UNIFIED", "HIRAGANA", "KATAKANA")) for c in letters
    )
    length = settings["ngram_han" if east > len(letters) / 2 else "ngram"]
    return length, {text[i : i + length] for i in range(len(text) - length + 1)}


def compare(a: str, b: str, settings: dict[str, Any]) -> tuple[int, float] | None:
    if a == b:
        return 0, 1.0
    (n, one), (m, other) = grams(a, settings), grams(b, settings)
    if n != m or not one or not other:
        return None
    similarity = len(one & other) / len(one | other)
    return (1, similarity) if similarity >= settings["threshold"] else None


def brute_force(train: Rows, valid: Rows, test: Rows, settings: dict[str, Any]) -> list[dict]:
    found: dict[tuple[str, ...], tuple] = {}
    groups: dict[tuple[str, ...], list[tuple]] = {}

    def texts(row: tuple[str, ...]) -> list[tuple[str, str, str]]:
        languages = row[1].split("-")
        sides = zip(languages, ("source", "reference"), row[4:], strict=True)
        return [(lang, side, normalise(text)) for lang, side, text in sides if normalise(text)]

    for role, rows, held_out in (("train", train, valid + test), ("valid", valid, test)):
        for row in rows:
            for language, side, text in texts(row):
                for held in held_out:
                    for other_language, _, other in texts(held):
                        hit = compare(text, other, settings) if language == other_language else None
                        if hit:
                            key = (*row[:3], held[0])
                            match = (hit[0], -hit[1], held[2], side != "source", role)
                            found[key] = min(found.get(key, match), match)
        for row in rows:
            for key, match in [(k, m) for k, m in found.items() if k[:3] == row[:3]]:
                groups.setdefault((row[0], row[3], key[3]), []).append(match)
        for row in rows:
            for dataset, group, held_out_name in groups:
                key = (*row[:3], held_out_name)
                if (dataset, group) == (row[0], row[3]) and key not in found:
                    best = min(groups[dataset, group, held_out_name])
                    found[key] = (2, *best[1:3], None, role)
    return [
        {
            "dataset": key[0], "direction": key[1], "segment_id": key[2], "role": match[4],
            "held_out": key[3], "kind": ("exact", "near", "group")[match[0]],
            "side": None if match[3] is None else ("source", "reference")[match[3]],
            "similarity": -match[1], "held_out_id": match[2],
        }
        for key, match in sorted(found.items(), key=lambda item: (item[1][4], item[0]))
    ]  # fmt: skip


# --- generated data with planted overlap -----------------------------------------------------------


def sentence(chance: random.Random, language: str, words: int) -> str:
    lengths = (1, 3) if language == "zh" else (2, 8)
    parts = [
        "".join(chance.choices(LETTERS[language], k=chance.randint(*lengths))) for _ in range(words)
    ]
    return ("" if language == "zh" else " ").join(parts)


def edited(chance: random.Random, text: str, edits: int, language: str) -> str:
    letters = list(text)
    for _ in range(edits):
        letters[chance.randrange(len(letters))] = chance.choice(LETTERS[language])
    return "".join(letters)


def disguised(chance: random.Random, text: str) -> str:
    """The same text: other case, other punctuation, full-width letters."""
    if chance.random() < 0.5:
        text = "".join(chr(ord(c) + 0xFEE0) if "a" <= c <= "z" else c for c in text)
    return f"«{text.upper().replace(' ', ' – ')}»!"


def generated(seed: int) -> tuple[Rows, Rows, Rows]:
    """(train, valid, test) with twins, copies, near copies of every degree, short and blank texts."""
    chance = random.Random(seed)
    made: dict[str, Rows] = {"test": [], "valid": [], "train": []}
    pool: list[tuple[str, str]] = []
    for role, names, size in (
        ("test", ("test-a", "test-b"), 18),
        ("valid", ("valid",), 15),
        ("train", ("train-a", "train-b"), 70),
    ):
        fresh = []
        for name in names:
            for i in range(size):
                languages = ["en", chance.choice(["zh", "ru"])]
                texts = []
                for language in languages:
                    copied = [t for lang, t in pool if lang == language]
                    if copied and chance.random() < 0.4:
                        text = edited(
                            chance, chance.choice(copied), chance.choice(range(6)), language
                        )
                        text = disguised(chance, text) if chance.random() < 0.3 else text
                    else:
                        text = sentence(chance, language, chance.choice([1, 2, 8, 20, 30]))
                    texts.append(chance.choice([text] * 19 + [" ...! "]))
                    fresh.append((language, text))
                group = f"g{i if chance.random() < 0.8 else 0}"
                both = [("-".join(languages), texts), ("-".join(languages[::-1]), texts[::-1])]
                for direction, (source, reference) in both[: chance.choice([1, 2])]:
                    made[role].append((name, direction, f"{i:03d}", group, source, reference))
        pool += fresh
    return made["train"], made["valid"], made["test"]


def found_in(train: Rows, valid: Rows, test: Rows, **settings: Any) -> list[dict[str, Any]]:
    parts = [segments(rows) if rows else None for rows in (train, valid, test)]
    found = find_overlaps(*parts, SETTINGS | settings)
    tables.check(found, "overlaps", "overlaps")
    return found.to_pylist()


@pytest.mark.parametrize("seed", range(4))
def test_generated_data_overlap_as_brute_force_says(seed: int) -> None:
    data = generated(seed)
    expected = brute_force(*data, SETTINGS)
    kinds = {row["kind"] for row in expected}
    assert kinds == {"exact", "near", "group"}
    assert {row["role"] for row in expected} == {"train", "valid"}
    assert found_in(*data) == expected


@pytest.mark.parametrize("change", [{"threshold": 0.6}, {"threshold": 1.0}, {"permutations": 16},
                                    {"ngram": 3, "ngram_han": 3}])  # fmt: skip
def test_settings_mean_what_they_say(change: dict[str, Any]) -> None:
    data = generated(11)
    assert found_in(*data, **change) == brute_force(*data, SETTINGS | change)


short_texts = st.text(alphabet="abAB .世界ж", max_size=14)
pairs = st.lists(
    st.tuples(st.sampled_from(["en-zh", "zh-en", "en-ru"]), st.sampled_from("pq"), short_texts,
              short_texts),
    max_size=8,
)  # fmt: skip


def rows_of(dataset: str, pairs: list[tuple[str, str, str, str]]) -> Rows:
    return [(dataset, d, f"{i}", group, *texts) for i, (d, group, *texts) in enumerate(pairs)]


@hypothesis_settings(max_examples=60, derandomize=True)
@given(pairs, pairs, pairs)
def test_any_short_texts_overlap_as_brute_force_says(train: Any, valid: Any, test: Any) -> None:
    data = rows_of("a", train), rows_of("b", valid), rows_of("c", test)
    small = {"ngram": 3}
    assert found_in(*data, **small) == brute_force(*data, SETTINGS | small)


@pytest.mark.parametrize("seed", [21, 22])
def test_removing_every_overlap_leaves_none(seed: int) -> None:
    train, valid, test = generated(seed)
    gone = {(r["dataset"], r["direction"], r["segment_id"]) for r in found_in(train, valid, test)}
    kept = [[row for row in rows if row[:3] not in gone] for rows in (train, valid)]
    assert gone and all(kept)
    assert found_in(*kept, test) == []


def test_the_order_of_the_input_changes_nothing() -> None:
    data = generated(31)
    expected = found_in(*data)
    for seed in range(3):
        chance = random.Random(seed)
        assert found_in(*(chance.sample(rows, len(rows)) for rows in data)) == expected


def test_overlap_is_mutual() -> None:
    """Every row a dataset of its own, so that the held-out set names the row that matched."""
    train, _, test = (
        [(f"{row[0]}-{row[1]}-{row[2]}", *row[1:]) for row in rows] for rows in generated(41)
    )

    def matched(found: list[dict[str, Any]]) -> dict[tuple[str, str], tuple[str, float]]:
        return {(r["dataset"], r["held_out"]): (r["kind"], r["similarity"]) for r in found}

    there, back = matched(found_in(train, [], test)), matched(found_in(test, [], train))
    assert {kind for kind, _ in there.values()} == {"exact", "near"}
    assert there == {(b, a): match for (a, b), match in back.items()}


def similar_pair(chance: random.Random, language: str) -> tuple[str, str, float]:
    text = sentence(chance, language, 25)
    other = edited(chance, text, chance.randint(1, 4), language)
    hit = compare(normalise(text), normalise(other), SETTINGS | {"threshold": 0.0})
    return text, other, hit[1] if hit else 0.0


@pytest.mark.parametrize("language", ["en", "ru", "zh"])
def test_recall_just_above_the_threshold(language: str) -> None:
    """400 pairs of similarity 0.80 to 0.84; at most 5e-5 of them may be missed, so none here."""
    chance = random.Random(7)
    wanted: list[tuple[str, str]] = []
    while len(wanted) < 400:
        text, other, similarity = similar_pair(chance, language)
        if 0.8 <= similarity < 0.84:
            wanted.append((text, other))
    train = [("a", f"{language}-xx", f"{i}", f"{i}", t, "") for i, (t, _) in enumerate(wanted)]
    test = [("b", f"xx-{language}", f"{i}", f"{i}", "", t) for i, (_, t) in enumerate(wanted)]
    found = found_in(train, [], test)
    assert [(r["segment_id"], r["held_out_id"]) for r in found] == sorted(
        (f"{i}", f"{i}") for i in range(400)
    )
    assert {row["side"] for row in found} == {"source"}


def test_bands_and_rows_of_the_default() -> None:
    bands, rows = lsh_shape(0.8, 128)
    assert (bands, rows) == (25, 5)
    assert (1 - 0.8**rows) ** bands == pytest.approx(4.9e-5, rel=0.01)


@given(st.floats(0.05, 1.0), st.integers(16, 1024))
def test_bands_miss_little_and_fit_the_permutations(threshold: float, permutations: int) -> None:
    bands, rows = lsh_shape(threshold, permutations)
    assert bands >= 2
    assert bands * rows <= permutations
    assert rows == 1 or (1 - threshold**rows) ** bands <= overlaps.MISS


# --- single statements -----------------------------------------------------------------------------


def test_case_punctuation_and_width_do_not_hide_a_copy() -> None:
    train = one("a", "en-zh", "ＨＥＬＬＯ,  brave   world?!", "与此无关")
    [row] = find_overlaps(
        train, None, one("t", "ru-en", "-", "«Hello» – brave world"), SETTINGS
    ).to_pylist()
    assert (row["kind"], row["side"], row["similarity"]) == ("exact", "source", 1.0)


def test_equal_texts_of_different_languages_are_no_overlap() -> None:
    train, test = one("a", "en-de", "radio station", "-"), one("t", "de-en", "radio station", "-")
    assert find_overlaps(train, None, test, SETTINGS).num_rows == 0


def test_a_text_shorter_than_its_ngram_is_compared_as_exact_only() -> None:
    test = one("t", "en-ru", "stop", "стоп")
    assert find_overlaps(one("a", "ru-en", "стой", "Stop!"), None, test, SETTINGS).num_rows == 1
    assert find_overlaps(one("a", "ru-en", "стой", "stops"), None, test, SETTINGS).num_rows == 0


@pytest.mark.parametrize(
    ("text", "han"),
    [
        ("世界", True), ("世界abc", False), ("世界ab", False), ("世 界 a", True), ("世界平和 usb", True),
        ("かなカナ", True), ("привет", False), ("abc", False), ("서울", False), ("", False),
    ],
)  # fmt: skip
def test_a_text_is_han_if_most_of_it_is(text: str, han: bool) -> None:
    assert overlaps.is_han(text) is han


def test_blank_texts_match_nothing() -> None:
    train, test = one("a", "en-ru", "...", "!"), one("t", "en-ru", "...", "!")
    assert find_overlaps(train, None, test, SETTINGS).num_rows == 0


def test_the_group_of_a_match_overlaps_in_its_own_dataset_only() -> None:
    text = "a sentence that both of them have"
    train = segments(
        [
            ("a", "en-zh", "1", "g", text, "甲"),
            ("a", "ru-zh", "2", "g", "совсем другое", "乙"),
            ("b", "ru-zh", "3", "g", "и это другое", "丙"),
        ]
    )
    found = find_overlaps(train, None, one("t", "en-ru", text, "нечто", "9"), SETTINGS).to_pylist()
    assert [(r["segment_id"], r["kind"], r["side"], r["held_out_id"]) for r in found] == [
        ("1", "exact", "source", "9"), ("2", "group", None, "9"),
    ]  # fmt: skip


def test_a_text_in_two_held_out_sets_has_a_row_for_each() -> None:
    text = "one text in three places at once"
    train, valid, test = (one(name, "en-ru", text, f"{name} здесь") for name in ("a", "v", "t"))
    found = find_overlaps(train, valid, test, SETTINGS).to_pylist()
    assert [(r["dataset"], r["role"], r["held_out"]) for r in found] == [
        ("a", "train", "t"), ("a", "train", "v"), ("v", "valid", "t"),
    ]  # fmt: skip


def test_exact_beats_near_and_the_smallest_id_wins() -> None:
    text = "the quick brown dog sleeps under a very old tree"
    test = segments(
        [
            ("t", "en-ru", "1", "1", f"{text} s", "раз"),
            ("t", "en-ru", "3", "3", text, "два"),
            ("t", "en-ru", "2", "2", text, "три"),
        ]
    )
    [row] = find_overlaps(one("a", "en-ru", text, "нет"), None, test, SETTINGS).to_pylist()
    assert (row["kind"], row["held_out_id"]) == ("exact", "2")


@pytest.mark.parametrize("roles", [(None, None, None), ("a", None, None), (None, None, "t"),
                                   (None, "v", None), ("a", "v", None), (None, "v", "t")])  # fmt: skip
def test_roles_may_be_missing_or_empty(roles: tuple[str | None, ...]) -> None:
    text = "a sentence in every one of them"
    data = [one(name, "en-ru", text, "одно") if name else None for name in roles]
    found = find_overlaps(*data, SETTINGS)
    assert found.schema == tables.arrow_schema("overlaps")
    expected = {("a", "v"), ("v", "t"), ("a", "t")} & {(x, y) for x in roles for y in roles}
    assert {(r["dataset"], r["held_out"]) for r in found.to_pylist()} == expected
    empty = [table if table is not None else segments([]) for table in data]
    assert find_overlaps(*empty, SETTINGS).equals(found)


def test_a_dataset_with_two_roles_is_refused() -> None:
    data = one("same", "en-ru", "some text", "текст")
    with pytest.raises(UserError, match="dataset 'same' is both train and test data"):
        find_overlaps(data, None, data, SETTINGS)


def test_hashes_depend_on_the_ngram_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    chance = random.Random(0)
    texts = [sentence(chance, "ru", 5) for _ in range(9)] + ["абвгд", "абвгде"]
    whole = [h.tolist() for h in overlaps.ngram_hashes(texts, 5)]
    monkeypatch.setattr(overlaps, "CHUNK", 3)
    assert [h.tolist() for h in overlaps.ngram_hashes(texts, 5)] == whole
    alone = {}
    for text, hashes in zip(texts, whole, strict=True):
        assert len(hashes) == len(text) - 4
        for i, value in enumerate(hashes):
            assert alone.setdefault(text[i : i + 5], value) == value
    assert len(set(alone.values())) == len(alone)
    assert np.mean(list(alone.values())) == pytest.approx(2**31, rel=0.2)


def test_the_command_writes_the_table_and_a_line_for_each_pair(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = "a sentence that was copied into training"
    data = {"train": one("a", "en-ru", text, "одно"), "valid": one("v", "en-ru", "else", "иное"),
            "test": one("t", "en-ru", text, "другое")}  # fmt: skip
    options = []
    for role, table in data.items():
        tables.write(table, tmp_path / f"{role}.parquet", "segments", {})
        options += [f"--{role}", str(tmp_path / f"{role}.parquet")]
    out = tmp_path / "overlaps.parquet"
    settings = '{"threshold": 0.8, "ngram": 5, "ngram_han": 2, "permutations": 128}'
    assert main(["overlaps", *options, "--settings", settings, "--out", str(out)]) == 0
    assert tables.read(out, "overlaps").num_rows == 1
    record = tables.record_of(out)
    assert record["stage"] == "overlaps"
    assert len(record["parents"]) == 3
    assert record["packages"]["datasketch"]
    lines = capsys.readouterr().err.splitlines()
    assert "a in t: 1 exact, 0 near and 0 by group of 1 rows" in lines
    assert "a in v: 0 exact, 0 near and 0 by group of 1 rows" in lines
    assert "v in t: 0 exact, 0 near and 0 by group of 1 rows" in lines
    nothing = ["overlaps", "--settings", settings, "--out", str(tmp_path / "none.parquet")]
    assert main(nothing) == 0
    assert tables.read(tmp_path / "none.parquet", "overlaps").num_rows == 0
