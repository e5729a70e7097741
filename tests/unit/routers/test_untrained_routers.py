"""Routers without training say what their definitions say."""

from __future__ import annotations

import importlib
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from router_toys import LANGUAGES, SPEED, gains, segments, signals

from routelmt.errors import UserError
from routelmt.routers.inputs import RouterContext, RouterInputs
from routelmt.routers.registry import ROUTERS, router_type
from routelmt.routers.words import plain_word

ROWS = [
    ("en-zh", "The quick brown fox jumps over the lazy dog."),
    ("en-ru", "It's a well-known error,  isn't it?"),
    ("ru-en", "Не удалось открыть файл конфигурации."),
    ("zh-en", "无法打开 Django 配置文件。"),
    ("de-en", "Die Datei ist leer."),
    ("en-zh", "..."),
]


def predict(kind, inputs, seed=0, **spec):
    module = importlib.import_module(ROUTERS[kind])
    context = RouterContext({}, LANGUAGES, SPEED, seed)
    prediction, priority = module.predict({"type": kind, **spec}, inputs, context)
    assert prediction.shape == priority.shape == (inputs.segments.num_rows,)
    assert prediction.dtype == priority.dtype == np.float64
    return prediction, priority


def test_length_counts_the_tokens_of_spacy_and_jieba():
    import jieba
    import spacy

    found, priority = predict("length", RouterInputs.aligned(segments(ROWS)))
    codes = ["en", "en", "ru", None, "xx", "en"]
    expected = [
        len(spacy.blank(code)(text)) if code else len(jieba.lcut(text))
        for code, (_, text) in zip(codes, ROWS, strict=True)
    ]
    assert found.tolist() == priority.tolist() == expected


# What tokenisers stumble over: spaces of all kinds, special cases of spaCy with and without a
# space in them, marks, joiners and signs that belong to their neighbours, and plain words.
SPACES = [" ", "  ", "\t", "\n", " \n", "\r\n", "\u00a0", "\u2003", "\u3000", "\u202f", "\u200b",
          "\x1c", "\x85", "\u2028"]  # fmt: skip
WORDS = {
    "en": ["word", "A", "U.S.", "Mr.", "don't", "Don't", "can't", "it's", "'s", "'S", "°C.", "25°C.",
           "a.m.", "etc.", "xD", "XD", "im", "cant", ":)", ":-)", "))", ":", ")", "(", "\"", "'", ".",
           "...", "—", "-", "well-known", "3.5", "10km", "$5", "US$", "e.g.", "o.O", "a@b.c", "@", "@s",
           "http://x.y/z?q", "it’s", "l'arc", "'h", "I.", "Co.", "Co.,", "8)", "\\n", "1/2", "#", "_"],
    "ru": ["слово", "и", "т.д.", "т.", "д.", "др.", "см.", "также", "наст.", "время", "д-р", "ист.",
           "наук", "ж/д", "ст.", "г.", "В.", "ГСК", "тер.", "до", "н.э.", "°C.", "«", "»", "“", "ООО",
           "№", "5", "руб.,", "всё", "ё", "Й", "кое-как", ":)", "т.п.)", "\"", ",", "—", ".", "и др."],
}  # fmt: skip
ODD = ["\u0301", "\u0308", "\u200d", "\u200c", "\u00ad", "\u0600", "\u0d4e", "\uff9e", "\u0e33",
       "\U0001f3fb", "\U0001f1e6", "\U0001f600", "\u3042", "中文", "Ａ", "ﬁ", "ß", "İ", "é", "e\u0301",
       "\ufeff", "\u2060", "0", "１", "²", "½", "\u05d0"]  # fmt: skip


def texts(code):
    pieces = st.sampled_from(WORDS[code] + SPACES * 2 + ODD) | st.text(max_size=3)
    return st.lists(pieces, max_size=12).map("".join)


@pytest.fixture(scope="module", params=["en", "ru", "xx"])
def counters(request):
    """(code for the words, our counter, spaCy's tokeniser)."""
    import spacy

    from routelmt.routers.length import token_counter

    code = request.param
    return code if code in WORDS else "en", token_counter(code), spacy.blank(code).tokenizer


def check_counts(counters, data, examples):
    code, count, tokenizer = counters

    @settings(max_examples=examples, deadline=None, database=None)
    @given(data(code))
    def same(text):
        assert count(text) == len(tokenizer(text))

    same()


def test_length_is_spacys_count_for_any_text(counters):
    check_counts(counters, texts, 400)


def test_length_is_spacys_count_around_every_special_case(counters):
    """Every rule of the tokeniser with every mark that may stand beside a plain word."""
    _, count, tokenizer = counters
    for rule in tokenizer.rules:
        for text in (rule, f"({rule}", f'"{rule},', f"{rule}.", f"x {rule} y", f"«{rule}»"):
            assert count(text) == len(tokenizer(text)), text


def test_spaces_are_spacys_spaces():
    import re

    differ = [i for i in range(0x110000) if chr(i).isspace() != bool(re.match(r"\s", chr(i)))]
    assert differ == []


def test_a_plain_word_has_letters_of_one_script_and_single_marks():
    assert plain_word("word") == ("", "word", "")
    assert plain_word("«Слово»") == ("«", "Слово", "»")
    assert plain_word("end.") == ("", "end", ".")
    for other in (
        "",
        "U.S.",
        "A.",
        "Mr.",
        "don't",
        "well-known",
        "b2b",
        "wоrd",
        "naïve",
        "end.)",
        "!",
    ):
        assert plain_word(other) is None, other


def naive_rarity(text, code, share=0.3, floor=1e-9):
    import wordfreq

    frequencies = (
        wordfreq.word_frequency(token, code, minimum=floor)
        for token in wordfreq.tokenize(text, code)
    )
    surprise = sorted((-math.log(f) for f in frequencies), reverse=True)
    rarest = surprise[: max(1, math.ceil(round(share * len(surprise), 9)))]
    return math.fsum(rarest) / len(rarest) if rarest else 0.0


def test_rarity_is_the_mean_surprise_of_the_rarest_three_tenths():
    inputs = RouterInputs.aligned(segments(ROWS))
    found, priority = predict("rarity", inputs)
    assert found.tolist() == priority.tolist()
    assert found.tolist() == [naive_rarity(text, direction[:2]) for direction, text in ROWS]
    other, _ = predict("rarity", inputs, share=0.5, floor=1e-6)
    assert other.tolist() == [naive_rarity(t, d[:2], 0.5, 1e-6) for d, t in ROWS]


@pytest.mark.parametrize("code", ["en", "ru", "de", "zh"])
def test_rarity_is_wordfreqs_for_any_text(code):
    from routelmt.routers.rarity import rarity_of

    rarity = rarity_of(code)

    @settings(max_examples=400, deadline=None, database=None)
    @given(texts(code if code in WORDS else "en"))
    def same(text):
        assert rarity(text) == naive_rarity(text, code)

    same()


def test_what_is_remembered_is_bounded(monkeypatch):
    from routelmt.routers import length, rarity

    monkeypatch.setattr(length, "_REMEMBERED", 3)
    monkeypatch.setattr(rarity, "_REMEMBERED", 3)
    count, surprise = length.token_counter.__wrapped__("en"), rarity.rarity_of("en")
    text = "one two three four five six, seven."
    assert count(text) == 9
    assert surprise(text) == naive_rarity(text, "en")
    assert len(count._counts) <= 3


def test_rarity_by_hand():
    import wordfreq

    rows = [("en-zh", "the of zzqxv"), ("en-zh", "the"), ("en-zh", "the of and zzqxv " * 5)]
    found, _ = predict("rarity", RouterInputs.aligned(segments(rows)))
    the, unseen = -math.log(wordfreq.word_frequency("the", "en")), -math.log(1e-9)
    of, conj = (-math.log(wordfreq.word_frequency(w, "en")) for w in ("of", "and"))
    # 20 tokens: the 6 rarest are the 5 unseen ones and one of the next rarest word.
    assert found == pytest.approx([unseen, the, (5 * unseen + max(of, conj)) / 6])


@pytest.mark.parametrize(
    ("code", "known"),
    [("zh_Hans", "zh"), ("cmn_Hans", "zh"), ("pt_BR", "pt"), ("es_419", "es"), ("no", "nb"),
     ("sr_Latn", "sh"), ("en", "en")],
)  # fmt: skip
def test_rarity_knows_a_language_by_its_other_names(code, known):
    from routelmt.routers.rarity import list_of, rarity_of

    assert list_of(code) == known
    text = "Datei 文件 archivo ola fil datoteka"
    assert rarity_of(code)(text) == naive_rarity(text, known)


@pytest.mark.parametrize(
    "code", ["te", "km", "lo", "hy", "bo", "az", "kk", "eu", "gl", "be", "zh_Hant", "qq"]
)
def test_rarity_takes_no_other_languages_words(code):
    from routelmt.routers.rarity import list_of

    with pytest.raises(UserError, match=f"no word frequencies for language '{code}'.* there: ar,"):
        list_of(code)


def test_rarity_says_what_cuts_japanese(monkeypatch):
    from routelmt.routers import rarity

    monkeypatch.setattr(rarity, "_MECAB", frozenset({"en"}))
    if importlib.util.find_spec("MeCab") is None:
        with pytest.raises(UserError, match=r"pip install 'wordfreq\[cjk\]'"):
            rarity.list_of("en_GB")


@pytest.mark.parametrize("code", ["zh", "zh_Hans", "zh_Hant", "zho_Hans", "cmn_Hans", "zh_TW"])
def test_chinese_is_counted_by_its_words_whatever_its_code(code):
    from routelmt.routers.length import token_counter

    assert token_counter(code)("无法打开文件") == token_counter("zh")("无法打开文件") > 2


def test_the_config_refuses_a_language_that_rarity_cannot_read():
    from routelmt.routers.registry import check_settings

    check_settings({"type": "rarity"}, ["en", "zh_Hans"])
    with pytest.raises(UserError, match="language 'te'"):
        check_settings({"type": "rarity"}, ["en", "te"])


def test_rarity_names_the_language_it_cannot_do():
    with pytest.raises(UserError, match="language 'qq'"):
        predict("rarity", RouterInputs.aligned(segments([("qq-en", "a b")])))


def test_chinese_routers_are_silent():
    import subprocess
    import sys

    code = (
        "from routelmt.routers.length import token_counter\n"
        "from routelmt.routers.rarity import rarity_of\n"
        "token_counter('zh')('无法打开'); rarity_of('zh')('无法打开')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == done.stderr == ""


def test_random_is_uniform_and_belongs_to_the_request_not_to_the_row():
    table = segments([("en-zh", f"text {i}") for i in range(4000)])
    inputs = RouterInputs.aligned(table)
    values, _ = predict("random", inputs, seed=0)
    from scipy.stats import kstest

    assert kstest(values, "uniform").pvalue > 0.001  # fixed data: no flicker
    order = np.random.default_rng(0).permutation(len(values))
    again, _ = predict("random", RouterInputs.aligned(table.take(order)), seed=0)
    assert np.array_equal(again, values[order])
    other, _ = predict("random", inputs, seed=1)
    assert abs(np.corrcoef(values, other)[0, 1]) < 0.05
    elsewhere, _ = predict("random", RouterInputs.aligned(segments(ROWS, "other")), seed=0)
    assert not np.isin(elsewhere, values).any()


def test_entropy_and_oracles_read_their_columns_whatever_their_order():
    table = segments(ROWS)
    gain, entropy = np.array([3.0, -1, 0, 8, 2, 5]), np.arange(6.0)
    shuffle = [3, 1, 0, 2, 5, 4]
    inputs = RouterInputs.aligned(
        table,
        signals=signals(table, entropy).take(shuffle),
        gains=gains(table, gain, 50 - gain).take(shuffle),
    )
    assert predict("entropy", inputs)[1].tolist() == entropy.tolist()
    assert predict("gain-oracle", inputs)[1].tolist() == gain.tolist()
    prediction, priority = predict("quality-oracle", inputs)
    assert prediction.tolist() == (50 - gain).tolist()
    assert priority.tolist() == (gain - 50).tolist()


@pytest.mark.parametrize(("kind", "missing"), [("entropy", "signals"), ("gain-oracle", "gains")])
def test_what_a_router_lacks_is_named(kind, missing):
    with pytest.raises(UserError, match=f"router '{kind}' .* {missing}"):
        predict(kind, RouterInputs.aligned(segments(ROWS)))


def test_rows_that_do_not_match_are_counted_and_named():
    table = segments(ROWS)
    labels = gains(table, np.zeros(6))
    with pytest.raises(UserError, match=r"lack rows \(2.*s4"):
        RouterInputs.aligned(table, gains=labels.slice(0, 4))
    with pytest.raises(UserError, match=r"extra rows \(1.*s5"):
        RouterInputs.aligned(table.slice(0, 5), gains=labels)
    with pytest.raises(UserError, match="twice"):
        RouterInputs.aligned(table, gains=labels.take([0, 1, 2, 3, 4, 5, 5]))


def test_what_the_untrained_routers_declare():
    assert router_type("random").seeded
    for kind in ("random", "length", "rarity"):
        assert not router_type(kind).needs and not router_type(kind).costs
    for kind in ("gain-oracle", "quality-oracle"):
        assert router_type(kind).needs == {"gains"} and not router_type(kind).deployable


def test_the_registry_imports_nothing_heavy():
    import subprocess
    import sys

    code = (
        "import sys, routelmt.routers.registry; assert not {'numpy', 'pyarrow'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
