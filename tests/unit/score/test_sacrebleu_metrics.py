"""chrF, BLEU and TER against sacreBLEU's own functions."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest
import sacrebleu
from sacrebleu.metrics import BLEU

from routelmt.errors import UserError
from routelmt.score import tokenisers
from routelmt.score.registry import METRICS
from routelmt.score.scorers import open_scorer, target_language

SPEED = {"batch_tokens": 100, "device": "cpu", "threads": 1}
PAIRS = [  # hypothesis, reference
    ("The kettle is on the stove.", "The kettle stands on the stove."),
    ("", "The kettle stands on the stove."),
    ("锅在炉子上。", "锅子放在炉子上面。"),
    ("stove the on stands kettle The", "The kettle stands on the stove."),
    ("Чайник стоит на плите.", "Чайник стоит на плите."),
    ("x", "A sentence of quite a few more words than one."),
]
TRIPLES = [("source is not read", hypothesis, reference) for hypothesis, reference in PAIRS]


def scorer(language: str = "en", **settings: Any) -> Any:
    settings = {"language": language, "tokenize": None} | settings
    return open_scorer(METRICS[settings["type"]].module, settings, SPEED)


@pytest.mark.parametrize("word_order", [0, 2])
def test_chrf(word_order: int) -> None:
    found = scorer(type="chrf", word_order=word_order).score(TRIPLES)
    assert found.values == [
        sacrebleu.sentence_chrf(h, [r], word_order=word_order).score for h, r in PAIRS
    ]
    assert found.truncated == [False] * len(PAIRS) and found.spans is None


@pytest.mark.parametrize("tokenize", ["13a", "intl", "zh", "char"])
def test_bleu_counts_only_orders_that_a_sentence_has(tokenize: str) -> None:
    found = scorer(type="bleu", tokenize=tokenize).score(TRIPLES).values
    assert found == [
        sacrebleu.sentence_bleu(h, [r], tokenize=tokenize, use_effective_order=True).score
        for h, r in PAIRS
    ]
    assert found[4] == pytest.approx(100)


def test_ter_is_negated_so_that_higher_is_better() -> None:
    found = scorer(type="ter").score(TRIPLES).values
    assert found == [
        -sacrebleu.sentence_ter(h, [r], normalized=True, asian_support=True).score for h, r in PAIRS
    ]
    assert found[4] == 0 and found[1] == -100


def test_signatures_tell_settings_apart() -> None:
    signatures = [
        scorer(type="chrf", word_order=0).signature(),
        scorer(type="chrf", word_order=2).signature(),
        scorer(type="bleu", tokenize="13a").signature(),
        scorer(type="bleu", tokenize="zh").signature(),
        scorer(type="ter").signature(),
    ]
    texts = [s["signature"] for s in signatures]
    assert len(set(texts)) == len(texts)
    assert all(f"version:{sacrebleu.__version__}" in text for text in texts)
    assert "nw:2" in texts[1] and "eff:yes" in texts[2] and "tok:zh" in texts[3]


def test_what_is_scored_before_the_text_changes_nothing() -> None:
    alone = [scorer(type="bleu", tokenize="13a").score([t]).values[0] for t in TRIPLES]
    backwards = scorer(type="bleu", tokenize="13a").score(TRIPLES[::-1]).values
    assert backwards[::-1] == alone


NEAR = {  # hypothesis and reference that differ in one word
    "zh": ("请把文件保存到您的文件夹中。", "请把文件保存到您的目录中。"),
    "th": ("กรุณาบันทึกไฟล์ลงในโฟลเดอร์ของคุณ", "กรุณาบันทึกไฟล์ลงในไดเรกทอรีของคุณ"),
    "my": ("ဖိုင်ကို သိမ်းဆည်းပါ", "ဖိုင်ကို သိမ်းပါ"),
    "ja": ("これはわたしのあたらしいパンです。", "これはわたしのあたらしいペンです。"),
    "ko": ("파일을 폴더에 저장하십시오.", "파일을 디렉터리에 저장하십시오."),
}
FAR = {"zh": "天气很好", "th": "สวัสดี", "my": "မင်္ဂလာ", "ja": "きょうはさむい"}


@pytest.mark.parametrize(
    ("kind", "code", "language"),
    [
        ("bleu", "zh", "zh"),
        ("bleu", "zh_Hant", "zh"),
        ("bleu", "cmn_Hans", "zh"),
        ("bleu", "yue", "zh"),
        ("bleu", "th", "th"),
        ("bleu", "my", "my"),
        ("ter", "zh", "zh"),
        ("ter", "th", "th"),
        ("ter", "my", "my"),
        ("ter", "ja", "ja"),
        ("ter", "jpn_Jpan", "ja"),
    ],
)
def test_one_other_word_costs_part_of_the_score_where_words_have_no_spaces(
    kind: str, code: str, language: str
) -> None:
    hypothesis, reference = NEAR[language]
    triples = [("", text, reference) for text in (reference, hypothesis, FAR[language])]
    same, near, far = scorer(code, type=kind).score(triples).values
    if kind == "ter":
        same, near, far = 100 + same, 100 + near, 100 + far
    assert same == pytest.approx(100)
    assert 50 < near < same and far < near / 2


def test_tokenisers_are_those_of_sacrebleus_own_command() -> None:
    for code in ("zh", "en", "de", "ru", "ar", "hi", "vi"):  # those that need no package
        command = BLEU(trg_lang=code, effective_order=True)
        command.num_refs = 1
        said = scorer(code, type="bleu").signature()["signature"]
        assert said == str(command.get_signature())
    assert tokenisers.BY_LANGUAGE == BLEU._TOKENIZER_MAP


def test_signatures_say_what_was_counted() -> None:
    said = {
        (kind, code): scorer(code, type=kind).signature()["signature"]
        for kind in ("bleu", "ter")
        for code in ("zh_Hans", "th", "en")
    }
    tokens = {key: dict(p.split(":", 1) for p in s.split("|"))["tok"] for key, s in said.items()}
    assert tokens == {
        ("bleu", "zh_Hans"): "zh",
        ("bleu", "th"): "char",
        ("bleu", "en"): "13a",
        ("ter", "zh_Hans"): "tercom",
        ("ter", "th"): "tercom-char",
        ("ter", "en"): "tercom",
    }


@pytest.mark.parametrize("tokenize", ["13a", "char"])
def test_a_tokeniser_that_is_set_stays(tokenize: str) -> None:
    hypothesis, reference = NEAR["zh"]
    scored = scorer("zh", type="bleu", tokenize=tokenize).score([("", hypothesis, reference)])
    expected = sacrebleu.sentence_bleu(
        hypothesis, [reference], tokenize=tokenize, use_effective_order=True
    )
    assert scored.values == [expected.score]


@pytest.mark.parametrize(
    ("code", "tokenize", "named"),
    [
        ("ja", None, "sacrebleu[ja]"),
        ("jpn_Jpan", None, "sacrebleu[ja]"),
        ("ko", None, "sacrebleu[ko]"),
        ("en", "ko-mecab", "sacrebleu[ko]"),
    ],
)
def test_a_tokeniser_that_is_not_installed_is_named_with_what_to_install(
    code: str, tokenize: str | None, named: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tokenisers.importlib.util, "find_spec", lambda module: None)
    with pytest.raises(UserError) as caught:
        scorer(code, type="bleu", tokenize=tokenize)
    assert f"pip install '{named}'" in str(caught.value) and "tokenize: char" in str(caught.value)
    scorer(code, type="bleu", tokenize="char")


@pytest.mark.parametrize(("code", "module"), [("ja", "MeCab"), ("ko", "mecab_ko")])
def test_japanese_and_korean_are_cut_by_mecab(code: str, module: str) -> None:
    pytest.importorskip(module)
    mecab = scorer(code, type="bleu")
    assert f"tok:{code}-mecab" in mecab.signature()["signature"]
    hypothesis, reference = NEAR[code]
    assert 20 < mecab.score([("", hypothesis, reference)]).values[0] < 95


def test_segments_of_several_directions_have_no_one_language() -> None:
    assert target_language(pa.table({"direction": ["en-zh_Hans"] * 2})) == "zh_Hans"
    with pytest.raises(UserError, match=r"one direction expected, found \['en-th', 'en-zh'\]"):
        target_language(pa.table({"direction": ["en-zh", "en-th"]}))
