"""Small invented texts in the layouts of the upstream data sets.

Each `write_*` takes an empty or missing folder and a number of rows; the folder then looks like the
downloaded repository (or the unpacked tarball). Same arguments, same bytes. Sentences are drawn
from the word lists below; no text of an upstream data set is here.
"""

from __future__ import annotations

import json
import random
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

# (English, Chinese, Russian); any combination makes a sentence in each language.
TIMES = [
    ("On Monday", "星期一", "В понедельник"),
    ("Last winter", "去年冬天", "Прошлой зимой"),
    ("Before dawn", "黎明之前", "Перед рассветом"),
    ("After the storm", "暴风雨过后", "После бури"),
    ("Two years ago", "两年前", "Два года назад"),
    ("This morning", "今天早上", "Сегодня утром"),
    ("During the festival", "节日期间", "Во время праздника"),
    ("In early spring", "初春时节", "Ранней весной"),
    ("Late at night", "深夜里", "Поздней ночью"),
    ("At the weekend", "周末", "В выходные"),
    ("Once a month", "每月一次", "Раз в месяц"),
    ("Without any warning", "毫无预兆地", "Без всякого предупреждения"),
]
PEOPLE = [
    ("the fishermen", "渔民们", "рыбаки"),
    ("our neighbours", "我们的邻居", "наши соседи"),
    ("three students", "三名学生", "трое студентов"),
    ("the engineers", "工程师们", "инженеры"),
    ("many travellers", "许多旅客", "многие путешественники"),
    ("the librarians", "图书管理员们", "библиотекари"),
    ("young musicians", "年轻的音乐家们", "молодые музыканты"),
    ("the farmers", "农民们", "фермеры"),
    ("some doctors", "一些医生", "некоторые врачи"),
    ("the drivers", "司机们", "водители"),
    ("both sisters", "两姐妹", "обе сестры"),
    ("the volunteers", "志愿者们", "добровольцы"),
]
ACTIONS = [
    ("repaired", "修好了", "починили"),
    ("photographed", "拍摄了", "сфотографировали"),
    ("painted", "粉刷了", "покрасили"),
    ("sold", "卖掉了", "продали"),
    ("measured", "测量了", "измерили"),
    ("found", "找到了", "нашли"),
    ("described", "描述了", "описали"),
    ("cleaned", "清理了", "вычистили"),
    ("carried away", "搬走了", "унесли"),
    ("examined", "检查了", "осмотрели"),
    ("forgot", "忘记了", "забыли"),
    ("admired", "欣赏了", "рассматривали"),
]
THINGS = [
    ("the wooden bridge", "木桥", "деревянный мост"),
    ("an old map", "一张旧地图", "старую карту"),
    ("the red boat", "红色的小船", "красную лодку"),
    ("a heavy piano", "一架沉重的钢琴", "тяжёлое пианино"),
    ("the broken clock", "坏掉的钟", "сломанные часы"),
    ("a stone lantern", "一盏石灯", "каменный фонарь"),
    ("the empty warehouse", "空仓库", "пустой склад"),
    ("a small telescope", "一台小望远镜", "маленький телескоп"),
    ("the garden gate", "花园的门", "садовую калитку"),
    ("a box of letters", "一箱信件", "коробку писем"),
    ("the water mill", "水磨坊", "водяную мельницу"),
    ("a green bicycle", "一辆绿色自行车", "зелёный велосипед"),
]
PLACES = [
    ("near the harbour", "在港口附近", "возле гавани"),
    ("behind the station", "在车站后面", "за вокзалом"),
    ("on the hill", "在山坡上", "на холме"),
    ("in the village", "在村子里", "в деревне"),
    ("by the river", "在河边", "у реки"),
    ("at the market", "在市场上", "на рынке"),
    ("under the lighthouse", "在灯塔下", "под маяком"),
    ("inside the museum", "在博物馆里", "в музее"),
    ("across the valley", "在山谷对面", "через долину"),
    ("beside the school", "在学校旁边", "рядом со школой"),
    ("in the cellar", "在地下室里", "в подвале"),
    ("along the coast", "在海岸边", "вдоль побережья"),
]
LANGUAGES = ("en", "zh", "ru")
_OF_CODE = {"eng": "en", "zho": "zh", "cmn": "zh", "rus": "ru"}


def sentences(rows: int, salt: str) -> list[dict[str, str]]:
    """`rows` distinct sentences, each in English, Chinese and Russian; `salt` chooses which."""
    generator = random.Random(salt)
    found: dict[str, dict[str, str]] = {}
    while len(found) < rows:
        sentence = _sentence(generator)
        found.setdefault(sentence["en"], sentence)
    return list(found.values())


def _sentence(generator: random.Random) -> dict[str, str]:
    parts = [TIMES, PEOPLE, ACTIONS, THINGS, PLACES, PEOPLE, ACTIONS, THINGS]
    time, who, did, what, where, who2, did2, what2 = (generator.choice(part) for part in parts)
    return {
        "en": f"{time[0]} {who[0]} {did[0]} {what[0]} {where[0]}, and {who2[0]} {did2[0]} {what2[0]}.",
        "zh": f"{time[1]}，{who[1]}{where[1]}{did[1]}{what[1]}，而{who2[1]}{did2[1]}{what2[1]}。",
        "ru": f"{time[2]} {who[2]} {did[2]} {what[2]} {where[2]}, а {who2[2]} {did2[2]} {what2[2]}.",
    }


def language_of(code: str) -> str:
    """en, zh or ru from a FLORES or BOUQuET code such as cmn_Hans."""
    return _OF_CODE[code.partition("_")[0]]


def _write_lines(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    path.write_text(lines, encoding="utf-8", newline="\n")


def write_commt(
    folder: Path,
    rows: int,
    *,
    pairs: Sequence[str] = ("zh-en", "ru-en"),
    valid_rows: int | None = None,
    test_rows: int | None = None,
    salt: str = "commt",
) -> None:
    """NiuTrans/ComMT: `rows` training pairs per language pair, `valid_rows` and `test_rows` (each
    a fifth of them, at least 2, by default) per validation and test file.

    Beside general_trans there is an `ape` training file (its rows have `mt_gen`), and the tests
    of both domains and of WMT23 in both directions.
    """
    fewer = max(2, rows // 5)
    valid_rows = fewer if valid_rows is None else valid_rows
    test_rows = fewer if test_rows is None else test_rows
    for pair in pairs:
        other = pair.partition("-")[0]
        for split, count, task in (
            ("train", rows, "general_trans"),
            ("valid", valid_rows, "general_trans"),
            ("train", fewer, "ape"),
        ):
            texts = sentences(count, f"{salt}/{split}/{task}")
            lines = [_commt_row(text, other, task) for text in texts]
            _write_lines(folder / pair / f"{split}.{pair}.{task}.json", lines)
        for direction in (f"en-{other}", f"{other}-en"):
            for task in ("domain_medical", "domain_colloquial", "general_trans.wmt23"):
                texts = sentences(test_rows, f"{salt}/test/{task}/{direction}")
                lines = [_commt_row(text, other, task.partition(".")[0]) for text in texts]
                _write_lines(folder / pair / f"test.{direction}.{task}.json", lines)
    (folder / "README.md").write_text("---\nlicense: mit\n---\n# ComMT\n", encoding="utf-8")


def _commt_row(text: Mapping[str, str], other: str, task: str) -> dict[str, Any]:
    row: dict[str, Any] = {
        "translation": {other: text[other], "en": text["en"]},
        "task_type": task,
    }
    return row | {"mt_gen": text["en"].lower()} if task == "ape" else row


def write_flores_tarball(
    folder: Path,
    rows: int,
    *,
    languages: Sequence[str] = ("eng_Latn", "zho_Hans", "rus_Cyrl"),
    splits: Sequence[str] = ("dev", "devtest"),
    salt: str = "flores",
) -> None:
    """The unpacked FLORES-200 tarball: flores200_dataset/SPLIT/CODE.SPLIT, a line a sentence, and
    flores200_dataset/metadata_SPLIT.tsv with a header; articles are runs of three sentences."""
    root = folder / "flores200_dataset"
    for split in splits:
        texts = sentences(rows, f"{salt}/{split}")
        (root / split).mkdir(parents=True, exist_ok=True)
        for code in languages:
            lines = "".join(text[language_of(code)] + "\n" for text in texts)
            (root / split / f"{code}.{split}").write_text(lines, encoding="utf-8", newline="\n")
        header = "URL\tdomain\ttopic\thas_image\thas_hyperlink\n"
        body = "".join("\t".join(_flores_metadata(i)) + "\n" for i in range(rows))
        (root / f"metadata_{split}.tsv").write_text(header + body, encoding="utf-8", newline="\n")
    (root / "README").write_text("Sentences in the same order in every file.\n", encoding="utf-8")


def _flores_metadata(row: int) -> tuple[str, str, str, str, str]:
    article = row // 3
    domain = ("wikinews", "wikivoyage", "wikibooks")[article % 3]
    image, link = ("yes", "no")[row % 2], ("no", "yes")[row % 3 == 0]
    return (
        f"https://en.{domain}.org/wiki/Article_{article}",
        domain,
        "harbour, music",
        image,
        link,
    )


def pack_tarball(folder: Path, archive: Path) -> None:
    """A .tar.gz of what is in `folder`, members named ./NAME as in the FLORES-200 tarball."""
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(folder, arcname=".")


def write_flores_plus(
    folder: Path,
    rows: int,
    *,
    languages: Sequence[str] = ("eng_Latn", "cmn_Hans", "rus_Cyrl"),
    splits: Sequence[str] = ("dev", "devtest"),
    salt: str = "flores",
) -> None:
    """openlanguagedata/flores_plus: SPLIT/CODE.jsonl, the same sentences as the tarball's."""
    glottocodes = {"en": "stan1293", "zh": "beij1234", "ru": "russ1263"}
    for split in splits:
        texts = sentences(rows, f"{salt}/{split}")
        for code in languages:
            iso, _, script = code.partition("_")
            lines = []
            for i, text in enumerate(texts):
                url, domain, topic, image, link = _flores_metadata(i)
                lines.append(
                    {
                        "id": i,
                        "iso_639_3": iso,
                        "iso_15924": script,
                        "glottocode": glottocodes[language_of(code)],
                        "text": text[language_of(code)],
                        "url": url,
                        "domain": domain,
                        "topic": topic,
                        "has_image": image,
                        "has_hyperlink": link,
                        "last_updated": "1.0",
                    }
                )
            _write_lines(folder / split / f"{code}.jsonl", lines)
    (folder / "README.md").write_text("---\nlicense: cc-by-sa-4.0\n---\n", encoding="utf-8")


def write_wmt24pp(
    folder: Path,
    rows: int,
    *,
    locales: Sequence[str] = ("zh_CN", "ru_RU"),
    bad_every: int = 25,
    salt: str = "wmt24pp",
) -> None:
    """google/wmt24pp: en-LOCALE.jsonl. The first row is the canary; it and each `bad_every`th row
    after it have a bad source. Every literary row is a paragraph of three sentences."""
    texts = sentences(rows, salt)
    for locale in locales:
        language = locale.partition("_")[0]
        lines = [_wmt24pp_row(i, texts, locale, language, bad_every) for i in range(rows)]
        _write_lines(folder / f"en-{locale}.jsonl", lines)
    (folder / "README.md").write_text("---\nlicense: apache-2.0\n---\n", encoding="utf-8")


def _wmt24pp_row(
    row: int, texts: Sequence[Mapping[str, str]], locale: str, language: str, bad_every: int
) -> dict[str, Any]:
    domain = ("news", "literary", "social", "speech")[row // 4 % 4] if row else "canary"
    span = [texts[row]]
    if domain == "literary":
        span += [texts[(row + step) % len(texts)] for step in (1, 2)]
    source, target = (" ".join(text[name] for text in span) for name in ("en", language))
    return {
        "lp": f"en-{locale}",
        "domain": domain,
        "document_id": f"test-en-{domain}_{row // 4}",
        "segment_id": row + 1,
        "is_bad_source": row % bad_every == 0,
        "source": source,
        "target": target,
        "original_target": target.rstrip(".。"),
    }


def write_bouquet(
    folder: Path,
    rows: int,
    *,
    layout: str = "data",
    languages: Sequence[str] = ("cmn_Hans", "rus_Cyrl"),
    splits: Sequence[str] = ("dev", "test"),
    test_rows: int | None = None,
    salt: str = "bouquet",
) -> None:
    """facebook/bouquet, sentence level; `rows` in each split (`test_rows` in test, if given).

    layout "data": data/sentence_level/SPLIT/CODE.parquet, that language as source and English as
    target. "benchmark": benchmark_data/sentence_level/SPLIT/SOURCE-TARGET.parquet in both orders.
    Paragraphs are runs of four sentences; rows are not in the order of the text.
    """
    if layout not in ("data", "benchmark"):
        raise ValueError(f"layout {layout!r}: 'data' or 'benchmark'")
    root = "data" if layout == "data" else "benchmark_data"
    for split in splits:
        count = test_rows if split == "test" and test_rows is not None else rows
        texts = sentences(count, f"{salt}/{split}")
        for code in languages:
            orders = [(code, "eng_Latn")]
            if layout == "benchmark":
                orders.append(("eng_Latn", code))
            for source, target in orders:
                name = code if layout == "data" else f"{source}-{target}"
                path = folder / root / "sentence_level" / split / f"{name}.parquet"
                _write_bouquet_file(path, texts, source, target, split)
    (folder / "README.md").write_text("---\nlicense: cc-by-sa-4.0\n---\n", encoding="utf-8")


def _write_bouquet_file(
    path: Path, texts: Sequence[Mapping[str, str]], source: str, target: str, split: str
) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = [_bouquet_row(i, text, source, target, split) for i, text in enumerate(texts)]
    random.Random(source).shuffle(rows)  # files of different languages are in different orders
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows), path)


def _bouquet_row(
    row: int, text: Mapping[str, str], source: str, target: str, split: str
) -> dict[str, Any]:
    paragraph = f"{'D' if split == 'dev' else 'P'}{row // 4:03d}"
    domain = ("narration", "conversation", "how-to", "website", "reflection")[row // 4 % 5]
    return {
        "level": "sentence_level",
        "split": split,
        "uniq_id": f"{paragraph}-S{row % 4 + 1}",
        "src_lang": source,
        "tgt_lang": target,
        "src_text": text[language_of(source)],
        "tgt_text": text[language_of(target)],
        "orig_text": text["en"],
        "par_comment": None if row % 3 else "An invented comment.",
        "sent_comment": None,
        "has_hashtag": False,
        "has_emoji": False,
        "has_12p": row % 2 == 0,
        "has_speaker_tag": False,
        "newline_next": row % 4 == 3,
        "par_id": paragraph,
        "domain": domain,
        "register": "mnbs",
        "tags": "harbour, village",
    }
