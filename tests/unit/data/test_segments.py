"""What every dataset goes through on its way into the segments table, whoever reads it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from routelmt import tables
from routelmt.data.languages import LANGUAGES, upstream_code
from routelmt.data.segments import in_part, read_segments
from routelmt.errors import UserError
from routelmt.scripts import letters_of, written_in

OWN = "routelmt.data.readers.own_rows"
TEXTS = {"en": "Word number {}", "zh": "第{}个词", "ru": "Слово {}", "de": "Wort {}"}


def row(i: int, direction: str = "en-zh", **changes: Any) -> dict[str, Any]:
    source, target = (TEXTS[language].format(i) for language in direction.split("-"))
    base = {"segment_id": i, "direction": direction, "source": source, "reference": target}
    return base | changes


def save(path: Path, rows: Sequence[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(r, ensure_ascii=False) + "\n" for r in rows))
    return path


def read(path: Path, direction: str = "en-zh", **settings: Any) -> list[dict[str, Any]]:
    table = read_segments(OWN, path, {"source": "jsonl", **settings}, "mine", direction)
    tables.check(table, "segments", "test")
    return table.to_pylist()


def test_own_rows_become_segments_of_the_direction(tmp_path: Path) -> None:
    extra = {"group_id": "g", "doc_id": "d", "domain": "news"}
    rows = [row(1, **extra), row(2), row(1, "zh-en"), row(3, "en-ru")]
    path = save(tmp_path / "a.jsonl", rows)
    first, second = read(path)
    assert first == {
        "dataset": "mine",
        "direction": "en-zh",
        "segment_id": "1",
        **extra,
        "split": "test",
        "source": "Word number 1",
        "reference": "第1个词",
    }
    assert second["doc_id"] is None and second["domain"] is None
    assert [r["source"] for r in read(path, "zh-en")] == ["第1个词"]


def test_without_group_ids_one_id_in_two_directions_is_one_group(tmp_path: Path) -> None:
    a = save(tmp_path / "a.jsonl", [row(1), row(1, "zh-en"), row(2)])
    assert read(a)[0]["group_id"] == read(a, "zh-en")[0]["group_id"]
    assert [r["group_id"] for r in read(a)] == ["1", "2"]


def test_without_group_ids_rows_that_share_a_source_are_one_group(tmp_path: Path) -> None:
    rows = [
        row("a", source="OK"),
        row("b"),
        row("c", source="OK"),
        row("d", "zh-en", source="OK"),  # Chinese that looks the same is another text
        row("b", "zh-en"),
        row("c", "en-ru"),
        row("e", "en-ru", source="Word number b"),
        row("f", source="OK", group_id="own"),
    ]
    path = save(tmp_path / "a.jsonl", rows)
    assert [r["group_id"] for r in read(path)] == ["a", "b", "a", "own"]
    assert [r["group_id"] for r in read(path, "zh-en")] == ["d", "b"]
    assert [r["group_id"] for r in read(path, "en-ru")] == ["a", "b"]


# --- blanks, ids, counts ------------------------------------------------------------------------


def test_blank_texts_stop_or_are_dropped_and_counted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [row(i, **({"reference": "\u3000"} if i % 2 else {})) for i in range(6)]
    path = save(tmp_path / "a.jsonl", rows)
    with pytest.raises(UserError) as error:
        read(path)
    assert str(error.value) == (
        f"{path}:2: 'reference' is blank. Fill or drop the row, or set 'datasets.mine.drop_blank' "
        f"to true. 3 such problems, the next: {path}:4, {path}:6."
    )
    assert [r["segment_id"] for r in read(path, drop_blank=True, rows=3)] == ["0", "2", "4"]
    assert "3 of 6 rows dropped, their source or reference is blank" in capsys.readouterr().err


def test_an_id_may_occur_once(tmp_path: Path) -> None:
    path = save(tmp_path / "a.jsonl", [row(1), row(2), row(1, "zh-en"), row(2)])
    with pytest.raises(UserError) as error:
        read(path)
    assert str(error.value).startswith(f"{path}:4: the segment_id '2' stands in {path}:2 already")
    assert len(read(path, "zh-en")) == 1


@pytest.mark.parametrize("expected", [3, {"en-zh": 3, "zh-en": 1}, {"zh-en": 1}, None])
def test_expected_rows_are_a_number_or_one_for_each_direction(
    tmp_path: Path, expected: Any
) -> None:
    path = save(tmp_path / "a.jsonl", [*map(row, range(3)), row(0, "zh-en")])
    assert len(read(path, rows=expected)) == 3
    if isinstance(expected, dict):
        assert len(read(path, "zh-en", rows=expected)) == 1


@pytest.mark.parametrize("expected", [4, {"en-zh": 4}])
def test_another_number_of_rows_is_told_with_both(tmp_path: Path, expected: Any) -> None:
    path = save(tmp_path / "a.jsonl", [row(i) for i in range(3)])
    with pytest.raises(UserError, match=r"3 segments in .*expects 4 \('datasets\.mine\.rows'\)"):
        read(path, rows=expected)


def test_readers_that_do_not_read_rows_are_checked_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "plain_reader.py").write_text(
        "def read(origin, settings, direction):\n"
        "    texts = ['fine', settings['text']]\n"
        "    return {'segment_id': ['a', 'b'], 'group_id': ['a', 'b'], 'doc_id': [None] * 2,\n"
        "            'domain': [None] * 2, 'source': texts, 'reference': ['x', 'y']}\n"
    )
    monkeypatch.syspath_prepend(tmp_path)

    def load(text: str) -> int:
        settings = {"text": text, "split": "dev"}
        return read_segments("plain_reader", Path("corpus"), settings, "mine", "en-zh").num_rows

    assert load("also fine") == 2
    for text, what in (("a\0b", "a NUL"), ("a\ud83d", "half of a surrogate"), (" ", "is blank")):
        with pytest.raises(UserError, match=f"corpus, segment b: 'source' .*{what}|{what}"):
            load(text)


# --- languages ----------------------------------------------------------------------------------


def test_swapped_languages_are_an_error_from_half_of_the_rows_on(tmp_path: Path) -> None:
    right, wrong = row(0), row(0)
    wrong["source"], wrong["reference"] = wrong["reference"], wrong["source"]
    path = save(tmp_path / "a.jsonl", [right | {"segment_id": 1}, wrong | {"segment_id": 2}])
    with pytest.raises(UserError, match=r"a\.jsonl:2: .*1 of 2 rows .*They are swapped"):
        read(path)


def test_a_few_swapped_rows_are_one_remark(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [row(i) for i in range(10)]
    for i in (3, 7):
        rows[i]["source"], rows[i]["reference"] = rows[i]["reference"], rows[i]["source"]
    assert len(read(save(tmp_path / "a.jsonl", rows))) == 10
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 1 and "2 of 10 rows" in said[0] and said[0].endswith("look at 3, 7")


def test_one_side_in_the_wrong_script_is_not_swapped(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [row(i, reference="OK", source="OK") for i in range(4)]
    assert len(read(save(tmp_path / "a.jsonl", rows))) == 4
    assert capsys.readouterr().err == ""


def test_languages_of_one_script_or_unknown_ones_are_not_compared(tmp_path: Path) -> None:
    rows = [row(1, "de-en"), row(1) | {"direction": "en-xx"}]
    rows[0]["source"], rows[0]["reference"] = rows[0]["reference"], rows[0]["source"]
    path = save(tmp_path / "a.jsonl", rows)
    assert len(read(path, "de-en")) == len(read(path, "en-xx")) == 1


def test_the_script_of_a_text_is_that_of_most_letters() -> None:
    assert written_in("Das Wort 词 und ein Слово") == "LATIN"
    assert written_in("用 PDF 打开这个文件夹") == "CJK"
    assert written_in("Откройте файл PDF") == "CYRILLIC"
    assert written_in("ひらがなの文") == "HIRAGANA"
    assert written_in("افتح الملف") == "ARABIC"
    assert written_in("파일을 여세요") == "HANGUL"
    assert written_in("12,5 % …") is None
    assert written_in("2024") is None


def test_every_language_has_codes_and_letters() -> None:
    for language, codes in LANGUAGES.items():
        assert all(codes) and letters_of(language)
    assert letters_of("xx") == frozenset()


def test_codes_of_the_config_come_first() -> None:
    assert upstream_code("zh", "flores", {}) == "zho_Hans"
    assert upstream_code("zh", "flores_plus", {}) == "cmn_Hans"
    assert upstream_code("zh", "bouquet", {}) == "cmn_Hans"
    assert upstream_code("ko", "bouquet", {}) == "kor_Kore"
    assert upstream_code("zh", "flores", {"zh": "zho_Hant"}) == "zho_Hant"
    with pytest.raises(UserError, match=r"'sv'.*codes: \{sv: de_DE\}"):
        upstream_code("sv", "wmt24pp", {})


# --- parts --------------------------------------------------------------------------------------

_edges = st.lists(st.floats(0, 1, exclude_min=True, exclude_max=True), max_size=5, unique=True)


@given(st.lists(st.text(max_size=12), min_size=1, max_size=30), _edges, st.text(max_size=5))
def test_parts_are_disjoint_and_cover(groups: list[str], inner: list[float], salt: str) -> None:
    edges = [0.0, *sorted(inner), 1.0]
    for group in groups:
        assert sum(in_part(group, low, high, salt) for low, high in pairwise(edges)) == 1


def test_a_hash_at_the_very_end_belongs_to_the_last_part(monkeypatch: pytest.MonkeyPatch) -> None:
    class Digest:
        def digest(self) -> bytes:
            return b"\xff" * 8  # divided by 2**64 it would round to 1

    monkeypatch.setattr("hashlib.blake2b", lambda *_, **__: Digest())
    assert in_part("g", 0.5, 1.0) and not in_part("g", 0.0, 0.5)


def test_datasets_cut_from_one_file_share_no_group_in_any_direction(tmp_path: Path) -> None:
    rows = [row(i, d, group_id=f"g{i // 2}") for i in range(400) for d in ("en-zh", "zh-en")]
    path = save(tmp_path / "a.jsonl", rows)
    cut: dict[str, list[set[str]]] = {}
    for name, part in {"train": [0, 0.7], "valid": [0.7, 0.8], "test": [0.8, 1]}.items():
        cut[name] = [
            {r["group_id"] for r in read(path, direction, part=part, salt="s")}
            for direction in ("en-zh", "zh-en")
        ]
        assert cut[name][0] == cut[name][1]
    sets = [groups[0] for groups in cut.values()]
    assert sum(map(len, sets)) == len(set().union(*sets)) == 200
    assert 110 < len(sets[0]) < 170  # 140 expected, six standard deviations would be 39


def test_the_salt_moves_groups_and_rows_are_counted_after_the_cut(tmp_path: Path) -> None:
    path = save(tmp_path / "a.jsonl", [row(i, group_id=f"g{i}") for i in range(100)])
    one, two = (read(path, part=[0, 0.5], salt=salt) for salt in ("a", "b"))
    assert {r["segment_id"] for r in one} != {r["segment_id"] for r in two}
    assert read(path, part=[0, 0.5], salt="a", rows=len(one)) == one
    with pytest.raises(
        UserError, match=f"{len(one)} segments .* expects 100 .*'part: \\[0, 0.5\\]'"
    ):
        read(path, part=[0, 0.5], salt="a", rows=100)


@pytest.mark.parametrize("part", [[0.5, 0.5], [0.6, 0.2], [-1, 1], [0, 2]])
def test_a_part_is_an_interval(tmp_path: Path, part: list[float]) -> None:
    path = save(tmp_path / "a.jsonl", [row(1)])
    with pytest.raises(UserError, match=r"'datasets\.mine\.part'"):
        read(path, part=part)


@given(
    groups=st.lists(st.integers(0, 9), min_size=1, max_size=30),
    limits=st.tuples(st.integers(2, 12), st.integers(2, 12)).map(sorted),
)
def test_a_limit_takes_whole_groups_the_same_in_every_direction(
    tmp_path_factory: pytest.TempPathFactory, groups: list[int], limits: list[int]
) -> None:
    both = ("en-zh", "zh-en")
    rows = [row(i, d, group_id=f"g{g}") for d in both for i, g in enumerate(groups)]
    path = save(tmp_path_factory.mktemp("rows") / "a.jsonl", rows)
    kept = [{d: read(path, d, limit=limit) for d in both} for limit in limits]
    for limit, of in zip(limits, kept, strict=True):
        taken = {r["group_id"] for r in of["en-zh"]}
        assert taken == {r["group_id"] for r in of["zh-en"]}
        assert len(taken) == min(limit, len(set(groups)))
        assert len(of["en-zh"]) == sum(f"g{g}" in taken for g in groups)
    small, large = ({r["segment_id"] for r in of["en-zh"]} for of in kept)
    assert small <= large
