"""Real public text, where it is at hand: counts, sides and groups against a second reading.

None of it is part of the project; without the folder these tests are skipped.
"""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from routelmt.data.registry import READERS
from routelmt.data.segments import read_segments

SHARED = Path(__file__).parents[3].parent / "shared" / "data"
DIRECTIONS = ("en-zh", "en-ru", "zh-en", "ru-en")
FLORES = {"en": "eng_Latn", "zh": "zho_Hans", "ru": "rus_Cyrl"}
COLUMNS = ("segment_id", "direction", "source", "reference", "doc_id")

pytestmark = pytest.mark.skipif(
    not SHARED.is_dir(), reason=f"needs the public test sets in {SHARED}"
)


def read(folder: Path, direction: str, **settings: Any) -> list[dict[str, Any]]:
    reader = READERS[settings["source"]].module
    return read_segments(reader, folder, settings, "shared", direction).to_pylist()


def plain(path: Path) -> list[str]:
    """Lines of a file, read apart from the package."""
    with path.open(encoding="utf-8", newline="\n") as handle:
        return [line.removesuffix("\n") for line in handle]


def pairs(rows: list[dict[str, Any]]) -> list[tuple[str, str]]:
    return [(r["source"], r["reference"]) for r in rows]


@pytest.fixture(scope="module")
def flores(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """FLORES-200 devtest as the tarball unpacks it."""
    root = tmp_path_factory.mktemp("flores")
    devtest = root / "flores200_dataset/devtest"
    devtest.mkdir(parents=True)
    for code in FLORES.values():
        (devtest / f"{code}.devtest").symlink_to(SHARED / f"flores200/{code}.devtest")
    shutil.copy(SHARED / "flores200/metadata_devtest.tsv", devtest.parent)
    return root


def test_flores_devtest_has_1012_rows_in_every_direction(
    flores: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with (SHARED / "flores200/metadata_devtest.tsv").open(encoding="utf-8") as handle:
        metadata = list(csv.DictReader(handle, delimiter="\t", quoting=csv.QUOTE_NONE))
    groups = set()
    for direction in DIRECTIONS:
        rows = read(flores, direction, source="flores", split="devtest", rows=1012)
        sides = (plain(SHARED / f"flores200/{FLORES[x]}.devtest") for x in direction.split("-"))
        assert pairs(rows) == list(zip(*sides, strict=True))
        assert [r["doc_id"] for r in rows] == [m["URL"] for m in metadata]
        assert [r["domain"] for r in rows] == [m["domain"] for m in metadata]
        groups.add(tuple(r["group_id"] for r in rows))
    assert len(groups) == 1 and len(set(groups.pop())) == 1012
    assert capsys.readouterr().err == ""


def test_flores_as_it_lies_here(flores: Path) -> None:
    rows = read(SHARED / "flores200", "zh-ru", source="flores", rows=1012)
    assert rows == read(flores, "zh-ru", source="flores")
    assert len(read(SHARED / "flores200", "en-zh", source="flores", split="dev")) == 997


LOCALES = {"zh": "zh_CN", "ru": "ru_RU"}


@pytest.fixture(scope="module")
def wmt24pp(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """WMT24 in the layout of WMT24++; the first row is the canary."""
    root = tmp_path_factory.mktemp("wmt24pp")
    for language, locale in LOCALES.items():
        sources = plain(SHARED / f"wmt24/sources/en-{language}.txt")
        references = plain(SHARED / f"wmt24/references/en-{language}.refA.txt")
        documents = plain(SHARED / f"wmt24/documents/en-{language}.docs")
        found = zip(sources, references, documents, strict=True)
        lines = [
            {
                "lp": f"en-{locale}",
                "domain": document.split("\t")[0],
                "document_id": document.split("\t")[1],
                "segment_id": i + 1,
                "is_bad_source": i == 0,
                "source": source,
                "target": reference,
                "original_target": reference,
            }
            for i, (source, reference, document) in enumerate(found)
        ]
        text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
        (root / f"en-{locale}.jsonl").write_text(text, encoding="utf-8", newline="\n")
    return root


def test_wmt24_has_998_rows_with_its_canary(wmt24pp: Path) -> None:
    groups = set()
    for direction in DIRECTIONS:
        rows = read(wmt24pp, direction, source="wmt24pp", rows=998)
        other = direction.replace("en", "").strip("-")
        english = plain(SHARED / f"wmt24/sources/en-{other}.txt")
        translated = plain(SHARED / f"wmt24/references/en-{other}.refA.txt")
        sides = (english, translated) if direction.startswith("en") else (translated, english)
        assert pairs(rows) == list(zip(*sides, strict=True))
        assert rows[0]["domain"] == "canary"
        groups.add(tuple(r["group_id"] for r in rows))
        assert len(read(wmt24pp, direction, source="wmt24pp", keep_bad_source=False)) == 997
    assert len(groups) == 1


def own_rows(stem: str, direction: str, sides: tuple[str, str]) -> list[list[str]]:
    sources, references = (plain(SHARED / f"{stem}.{side}") for side in sides)
    return [
        [str(i), direction, source, reference, stem]
        for i, (source, reference) in enumerate(zip(sources, references, strict=True), 1)
    ]


@pytest.mark.parametrize(
    ("stem", "direction", "sides", "count"),
    [
        ("newstest/en-ru/newstest2020", "en-ru", ("eng", "rus"), 2002),
        ("newstest/ru-en/newstest2020", "ru-en", ("rus", "eng"), 991),
        ("newstest/en-zh/newstest2020", "en-zh", ("eng", "zho"), 1418),
        ("newstest/zh-en/newstest2020", "zh-en", ("zho", "eng"), 2000),
    ],
)
def test_newstest_as_own_json_lines(
    tmp_path: Path, stem: str, direction: str, sides: tuple[str, str], count: int
) -> None:
    rows = own_rows(stem, direction, sides)
    path = tmp_path / "my.jsonl"
    lines = (dict(zip(COLUMNS, row, strict=True)) for row in rows)
    path.write_text("".join(json.dumps(x, ensure_ascii=False) + "\n" for x in lines))
    found = read(path, direction, source="jsonl", rows=count)
    assert pairs(found) == [(r[2], r[3]) for r in rows]
    assert {r["doc_id"] for r in found} == {stem}


@pytest.mark.parametrize(
    ("stem", "direction", "sides", "count"),
    [
        ("tatoeba/en-ru.tatoeba-test-v2021-08-07", "en-ru", ("eng", "rus"), 19425),
        ("tatoeba/en-ru.tatoeba-test-v2021-08-07", "ru-en", ("rus", "eng"), 19425),
        ("tatoeba/en-zh.tatoeba-test-v2021-08-07", "en-zh", ("eng", "zho"), 10390),
    ],
)
def test_tatoeba_as_own_tsv(
    tmp_path: Path, stem: str, direction: str, sides: tuple[str, str], count: int
) -> None:
    rows = own_rows(stem, direction, sides)
    path = tmp_path / "my.tsv"
    path.write_text("\n".join("\t".join(row) for row in [list(COLUMNS), *rows]) + "\n")
    found = read(path, direction, source="tsv", rows=count)
    assert pairs(found) == [(r[2], r[3]) for r in rows]


def test_a_file_of_32_028_pairs_cut_in_three(tmp_path: Path) -> None:
    """Several translations of one English text are one group, if the user says so."""
    texts = [line.split("\t") for line in plain(SHARED / "tatoeba/en-zh.manythings-cmn.tsv")]
    path = tmp_path / "my.csv"
    with path.open("w", encoding="utf-8", newline="") as handle:
        writer = csv.writer(handle, lineterminator="\n")
        writer.writerow(["segment_id", "direction", "group_id", "source", "reference"])
        writer.writerows([i, "en-zh", en, en, zh] for i, (en, zh) in enumerate(texts))
    parts = [
        read(path, "en-zh", source="csv", part=part, salt="tatoeba")
        for part in ([0, 0.8], [0.8, 0.9], [0.9, 1])
    ]
    assert sum(map(len, parts)) == len(texts) == 32_028
    english = [{r["source"] for r in rows} for rows in parts]
    assert sum(map(len, english)) == len(set().union(*english))
