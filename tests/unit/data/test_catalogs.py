"""Catalogs become clean pairs, and no text is in two splits in any direction."""

from __future__ import annotations

import zipfile
from pathlib import Path

import polib
import pytest
from hypothesis import given
from hypothesis import strategies as st

from routelmt.data.catalogs import Splits, extract, is_clean, normalise, split_of, text_id
from routelmt.errors import UserError

SPLITS = Splits({"test": 0.3, "valid": 0.1, "router-train": 0.3}, 4, 240, "salt")


def entry(english: str, translation: str, **fields: object) -> polib.POEntry:
    return polib.POEntry(msgid=english, msgstr=translation, **fields)


def wheel(path: Path, catalogs: dict[str, list[polib.POEntry]], compiled: bool = False) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        for name, entries in catalogs.items():
            catalog = polib.POFile()
            catalog.metadata = {"Content-Type": "text/plain; charset=utf-8"}
            catalog.extend(entries)
            content = catalog.to_binary() if compiled else str(catalog).encode()
            archive.writestr(f"{name}.{'mo' if compiled else 'po'}", content)


def read(folder: Path, *packages: str, limits: dict[str, int] | None = None) -> list[dict]:
    files = [{"package": p, "file": f"{p}.whl"} for p in packages]
    columns = extract(folder, files, SPLITS, limits or {})
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


@pytest.mark.parametrize(
    ("english", "translation", "clean"),
    [
        ("Delete the %(name)s?", "删除 %(name)s？", True),
        ("Delete <b>all</b> rows", "删除<b>所有</b>行", True),
        ("month_feb_abbr", "二月", False),  # an identifier
        ("getValue", "取值", False),
        ("One line\nand another", "一行", False),
        ("Untranslated text here", "Untranslated text here", False),
        ("OK", "好", False),  # no lower-case word
        ("Reset", "重置", True),
        ("%s", "百", False),
    ],
)
def test_clean_entries(english: str, translation: str, clean: bool) -> None:
    assert is_clean(english, translation, "zh") is clean


@pytest.mark.parametrize("compiled", [False, True])
def test_entries_are_read_cleaned_and_counted_once(tmp_path: Path, compiled: bool) -> None:
    kept = entry("Save the file", "保存文件")
    dropped = (
        []
        if compiled
        else [
            entry("A fuzzy text", "模糊", flags=["fuzzy"]),
            entry("An obsolete text", "过时", obsolete=True),
        ]
    )
    plural = polib.POEntry(
        msgid="one row", msgid_plural="rows", msgstr_plural={0: "一行", 1: "多行"}
    )
    again = entry("save the FILE!", "保存该文件")
    where = "p/locale/zh_Hans/LC_MESSAGES/x"
    wheel(tmp_path / "a.whl", {where: [kept, again, plural, *dropped]}, compiled)
    wheel(tmp_path / "b.whl", {where: [entry("Save the file", "储存文件")]}, compiled)
    (row,) = read(tmp_path, "a", "b")
    assert (row["english"], row["translation"]) == ("Save the file", "保存文件")
    assert (row["package"], row["language"]) == ("a", "zh")


@pytest.mark.parametrize("locale", ["zh_CN", "zh-CN", "zh_Hans", "zh_Hans_CN", "ZH_hans"])
def test_locales_are_recognised(tmp_path: Path, locale: str) -> None:
    wheel(tmp_path / "a.whl", {f"locale/{locale}/LC_MESSAGES/x": [entry("Save it now", "保存")]})
    assert len(read(tmp_path, "a")) == 1


def test_traditional_chinese_is_left_out(tmp_path: Path) -> None:
    wheel(tmp_path / "a.whl", {"locale/zh_TW/LC_MESSAGES/x": [entry("Save it now", "儲存")]})
    assert read(tmp_path, "a") == []


def test_a_broken_catalog_is_named(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.whl", "w") as archive:
        archive.writestr("locale/ru/LC_MESSAGES/x.mo", b"not a catalog")
    with pytest.raises(UserError, match=r"a\.whl: locale/ru/LC_MESSAGES/x\.mo is not a gettext"):
        read(tmp_path, "a")


@given(
    st.lists(
        st.tuples(st.integers(0, 30), st.integers(0, 30), st.sampled_from(["zh", "ru"])),
        min_size=1,
        max_size=60,
    )
)
def test_no_text_is_in_two_splits_in_any_direction(pairs: list[tuple[int, int, str]]) -> None:
    import tempfile

    scripts = {"zh": "译文", "ru": "Перевод"}
    with tempfile.TemporaryDirectory() as folder:
        for language in ("zh", "ru"):
            entries = [
                entry(f"Number {e} of the texts", f"{scripts[language]} {t}")
                for e, t, code in dict.fromkeys(pairs)
                if code == language
            ]
            wheel(
                Path(folder) / f"{language}.whl",
                {
                    f"{language}_CN/LC_MESSAGES/x".replace("ru_CN", "ru")
                    if language == "ru"
                    else "zh_CN/LC_MESSAGES/x": entries
                },
            )
        rows = read(Path(folder), "zh", "ru")
    split_by_text: dict[str, str] = {}
    for row in rows:
        for text in (
            f"en:{normalise(row['english'])}",
            row["language"] + normalise(row["translation"]),
        ):
            assert split_by_text.setdefault(text, row["split"]) == row["split"]


def test_a_limit_sets_texts_aside_instead_of_training_on_them(tmp_path: Path) -> None:
    entries = [entry(f"Number {i} of the texts", f"第 {i} 个文本") for i in range(80)]
    wheel(tmp_path / "a.whl", {"zh_CN/LC_MESSAGES/x": entries})
    free, limited = read(tmp_path, "a"), read(tmp_path, "a", limits={"test": 5})
    assert sum(r["split"] == "test" for r in limited) == 5
    assert {r["text_id"] for r in limited if r["split"] == "translator-train"} == {
        r["text_id"] for r in free if r["split"] == "translator-train"
    }


def test_short_and_long_texts_train_translators() -> None:
    groups = [f"{i:016x}" for i in range(300)]
    assert {split_of(g, [(3, 20)], SPLITS) for g in groups} == {"translator-train"}
    assert {split_of(g, [(9, 241)], SPLITS) for g in groups} == {"translator-train"}
    drawn = [split_of(g, [(9, 50)], SPLITS) for g in groups]
    assert 60 < drawn.count("test") < 120  # 30 % of 300, three standard deviations


def test_normalisation_ignores_case_width_and_punctuation() -> None:
    assert normalise("Ｄelete: the  FILE…") == "delete the file"
    assert text_id("Delete the file") == text_id("DELETE, the file!")
