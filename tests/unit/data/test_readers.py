"""Readers of the upstream layouts: all four directions, one group for one text, sides as asked."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from routelmt.data.readers.commt import group_of
from routelmt.data.registry import READERS
from routelmt.data.segments import read_segments
from routelmt.errors import UserError
from tests.hub.layouts import (
    sentences,
    write_bouquet,
    write_commt,
    write_flores_plus,
    write_flores_tarball,
    write_wmt24pp,
)

DIRECTIONS = ("en-zh", "en-ru", "zh-en", "ru-en")
ROWS = 24


def read(folder: Path, direction: str, **settings: Any) -> list[dict[str, Any]]:
    reader = READERS[settings["source"]].module
    return read_segments(reader, folder, settings, "mine", direction).to_pylist()


def texts(rows: list[dict[str, Any]]) -> list[tuple[str, str]]:
    return [(r["source"], r["reference"]) for r in rows]


def swapped(pairs: list[tuple[str, str]]) -> list[tuple[str, str]]:
    return [(b, a) for a, b in pairs]


def groups(rows: list[dict[str, Any]]) -> list[str]:
    return [r["group_id"] for r in rows]


@pytest.fixture(scope="module")
def upstream(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for each source in its upstream layout; not to be changed."""
    root = tmp_path_factory.mktemp("upstream")
    write_commt(root / "commt", ROWS)
    write_flores_tarball(root / "flores", ROWS)
    write_flores_plus(root / "flores_plus", ROWS)
    write_wmt24pp(root / "wmt24pp", ROWS, bad_every=8)
    write_bouquet(root / "bouquet", ROWS, test_rows=2 * ROWS)
    write_bouquet(root / "bouquet_pairs", ROWS, test_rows=2 * ROWS, layout="benchmark")
    return root


@pytest.fixture
def copy(upstream: Path, tmp_path: Path) -> Any:
    """A copy of a source that a test may damage."""
    return lambda name: shutil.copytree(upstream / name, tmp_path / name)


SETTINGS: list[tuple[str, dict[str, Any], int]] = [
    ("flores", {"source": "flores"}, ROWS),
    ("flores_plus", {"source": "flores", "origin": "flores_plus", "split": "dev"}, ROWS),
    ("wmt24pp", {"source": "wmt24pp"}, ROWS),
    ("wmt24pp", {"source": "wmt24pp", "keep_bad_source": False}, ROWS - 3),
    ("bouquet", {"source": "bouquet"}, 3 * ROWS),
    ("bouquet_pairs", {"source": "bouquet", "splits": ["test"]}, 2 * ROWS),
    ("commt", {"source": "commt", "split": "train"}, ROWS),
    ("commt", {"source": "commt", "split": "valid"}, ROWS // 5),
]


@pytest.mark.parametrize(("folder", "settings", "count"), SETTINGS)
def test_four_directions_share_groups_and_swap_sides(
    upstream: Path,
    folder: str,
    settings: dict[str, Any],
    count: int,
    capsys: pytest.CaptureFixture[str],
) -> None:
    rows = {d: read(upstream / folder, d, rows=count, **settings) for d in DIRECTIONS}
    for other in ("zh", "ru"):
        out, back = rows[f"en-{other}"], rows[f"{other}-en"]
        assert dict(zip(groups(out), texts(out), strict=True)) == dict(
            zip(groups(back), swapped(texts(back)), strict=True)
        )
        assert all(r["source"].isascii() and not r["reference"].isascii() for r in out)
    assert {g for r in rows["en-zh"] for g in [r["group_id"]]} == set(groups(rows["en-ru"]))
    assert all(r["domain"] for r in rows["en-zh"])
    assert capsys.readouterr().err == ""


def test_groups_of_different_datasets_never_collide(upstream: Path) -> None:
    found = [
        set(groups(read(upstream / folder, "en-zh", **settings)))
        for folder, settings, _ in SETTINGS
        if settings.get("keep_bad_source", True) and folder != "bouquet_pairs"
    ]
    assert sum(map(len, found)) == len(set().union(*found))


# --- FLORES -------------------------------------------------------------------------------------


def test_flores_is_what_the_files_hold(upstream: Path) -> None:
    expected = sentences(ROWS, "flores/devtest")
    rows = read(upstream / "flores", "zh-ru", source="flores")
    assert texts(rows) == [(s["zh"], s["ru"]) for s in expected]
    assert [r["segment_id"] for r in rows] == [str(i) for i in range(1, ROWS + 1)]
    assert rows[3]["group_id"] == "flores-devtest:4"
    assert {r["split"] for r in rows} == {"devtest"}
    assert rows[3]["doc_id"].endswith("Article_1") and rows[3]["domain"] == "wikivoyage"


@pytest.mark.parametrize("depth", ["devtest", "."])
def test_flores_is_found_without_its_outer_folders(
    upstream: Path, tmp_path: Path, depth: str
) -> None:
    inside = upstream / "flores/flores200_dataset"
    (tmp_path / depth).mkdir(exist_ok=True)
    for file in (inside / "devtest").iterdir():
        shutil.copy(file, tmp_path / depth)
    rows = read(tmp_path, "en-zh", source="flores")
    assert len(rows) == ROWS and rows[0]["doc_id"] is None
    shutil.copy(inside / "metadata_devtest.tsv", tmp_path)
    assert read(tmp_path, "en-zh", source="flores")[0]["domain"] == "wikinews"


def test_flores_plus_is_joined_by_id(copy: Any) -> None:
    folder = copy("flores_plus")
    before = read(folder, "en-zh", source="flores")
    assert texts(before) == [(s["en"], s["zh"]) for s in sentences(ROWS, "flores/devtest")]
    assert before[3]["doc_id"].endswith("Article_1")
    path = folder / "devtest/cmn_Hans.jsonl"
    path.write_text("\n".join(reversed(path.read_text().splitlines())))
    assert read(folder, "en-zh", source="flores") == before
    assert texts(read(folder, "zh-en", source="flores")) == swapped(texts(before))[::-1]


def test_codes_of_the_config_choose_the_file(copy: Any) -> None:
    folder = copy("flores")
    path = folder / "flores200_dataset/devtest/zho_Hans.devtest"
    path.rename(path.with_name("zho_Hant.devtest"))
    assert len(read(folder, "en-zh", source="flores", codes={"zh": "zho_Hant"})) == ROWS
    with pytest.raises(
        UserError, match=r"zho_Hans\.devtest: no such file.*'sources\.flores\.files'"
    ):
        read(folder, "en-zh", source="flores")


def test_the_message_names_the_source_the_dataset_is_read_from(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"eng_Latn\.devtest: no such file.*'sources\.fp\.local'"):
        read(tmp_path, "en-zh", source="flores", origin="fp")


# --- WMT24++ ------------------------------------------------------------------------------------


def test_wmt24pp_uses_the_post_edited_target(upstream: Path) -> None:
    lines = (upstream / "wmt24pp/en-ru_RU.jsonl").read_text().splitlines()
    expected = [json.loads(line) for line in lines]
    rows = read(upstream / "wmt24pp", "en-ru", source="wmt24pp")
    assert texts(rows) == [(e["source"], e["target"]) for e in expected]
    assert rows[0]["domain"] == "canary" and rows[5]["doc_id"] == expected[5]["document_id"]
    assert rows[5]["segment_id"] == str(expected[5]["segment_id"])
    assert rows[5]["group_id"] == f"wmt24pp:{expected[5]['segment_id']}"


# --- BOUQuET ------------------------------------------------------------------------------------


def test_both_bouquet_layouts_say_the_same(upstream: Path) -> None:
    for direction in DIRECTIONS:
        rows = [
            {r["segment_id"]: r for r in read(upstream / folder, direction, source="bouquet")}
            for folder in ("bouquet", "bouquet_pairs")
        ]
        assert rows[0] == rows[1] and len(rows[0]) == 3 * ROWS


def test_bouquet_keeps_paragraphs_and_splits(upstream: Path) -> None:
    rows = {r["segment_id"]: r for r in read(upstream / "bouquet", "en-zh", source="bouquet")}
    for split, letter, count in (("dev", "D", ROWS), ("test", "P", 2 * ROWS)):
        for i, sentence in enumerate(sentences(count, f"bouquet/{split}")):
            row = rows[f"{split}-{letter}{i // 4:03d}-S{i % 4 + 1}"]
            assert (row["source"], row["reference"]) == (sentence["en"], sentence["zh"])
            assert row["doc_id"] == f"{letter}{i // 4:03d}" and row["split"] == split


def test_a_bouquet_pair_in_one_order_serves_both(copy: Any) -> None:
    folder = copy("bouquet_pairs")
    before = read(folder, "en-zh", source="bouquet")
    for split in ("dev", "test"):
        (folder / f"benchmark_data/sentence_level/{split}/eng_Latn-cmn_Hans.parquet").unlink()
    after = read(folder, "en-zh", source="bouquet")
    assert sorted(texts(after)) == sorted(texts(before))


def test_two_other_languages_of_bouquet_are_joined(upstream: Path) -> None:
    rows = read(upstream / "bouquet", "zh-ru", source="bouquet", splits=["dev"])
    expected = sentences(ROWS, "bouquet/dev")
    assert sorted(texts(rows)) == sorted((s["zh"], s["ru"]) for s in expected)


def test_two_languages_of_bouquet_with_different_ids_are_refused(copy: Any) -> None:
    path = copy("bouquet") / "data/sentence_level/dev/rus_Cyrl.parquet"
    pq.write_table(pq.read_table(path).slice(2), path)
    with pytest.raises(UserError, match="2 uniq_ids are in one only, first: D0"):
        read(path.parents[3], "zh-ru", source="bouquet", splits=["dev"])


# --- ComMT --------------------------------------------------------------------------------------


def test_commt_training_file_serves_both_directions(upstream: Path) -> None:
    expected = sentences(ROWS, "commt/train/general_trans")
    rows = read(upstream / "commt", "en-zh", source="commt", split="train")
    assert texts(rows) == [(s["en"], s["zh"]) for s in expected]
    assert [r["segment_id"] for r in rows] == [str(i) for i in range(1, ROWS + 1)]
    assert {r["domain"] for r in rows} == {"general"} and rows[0]["doc_id"] is None


@pytest.mark.parametrize("task", ["domain_medical", "domain_colloquial", "general_trans"])
def test_commt_tests_have_a_file_each_way(upstream: Path, task: str) -> None:
    for direction in DIRECTIONS:
        source, target = direction.split("-")
        file = task if task.startswith("domain") else "general_trans.wmt23"
        expected = sentences(ROWS // 5, f"commt/test/{file}/{direction}")
        rows = read(upstream / "commt", direction, source="commt", split="test", task=task)
        assert texts(rows) == [(s[source], s[target]) for s in expected]
        assert {r["domain"] for r in rows} == {task.removeprefix("domain_").removesuffix("_trans")}


def test_the_exact_commt_name_comes_before_one_with_a_suffix(copy: Any) -> None:
    folder = copy("commt") / "zh-en"
    text = (folder / "test.en-zh.general_trans.wmt23.json").read_text()
    (folder / "test.en-zh.general_trans.json").write_text(text.splitlines()[0])
    rows = read(folder.parent, "en-zh", source="commt", split="test", task="general_trans")
    assert len(rows) == 1


def test_rows_of_other_commt_tasks_are_left_out_and_counted(
    copy: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = copy("commt")
    path = folder / "zh-en/train.zh-en.general_trans.json"
    other = (folder / "zh-en/train.zh-en.ape.json").read_text()
    path.write_text(other + path.read_text())
    rows = read(folder, "zh-en", source="commt", split="train")
    assert len(rows) == ROWS and rows[0]["segment_id"] == str(other.count("\n") + 1)
    assert f"{other.count(chr(10))} rows of other tasks" in capsys.readouterr().err


def test_one_english_text_is_one_commt_group() -> None:
    assert group_of("Delete the file.") == group_of("delete  THE file")
    assert group_of("!!!") != group_of("???")
    assert group_of("Delete the file.").startswith("commt:")
