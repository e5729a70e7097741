"""Routers without training say what their definitions say."""

from __future__ import annotations

import importlib
import math

import numpy as np
import pytest
from router_toys import gains, segments, signals

from routelmt.errors import UserError
from routelmt.routers.inputs import RouterInputs
from routelmt.routers.registry import ROUTERS

ROWS = [
    ("en-zh", "The quick brown fox jumps over the lazy dog."),
    ("en-ru", "It's a well-known error,  isn't it?"),
    ("ru-en", "Не удалось открыть файл конфигурации."),
    ("zh-en", "无法打开 Django 配置文件。"),
    ("de-en", "Die Datei ist leer."),
    ("en-zh", "..."),
]


def predict(kind, inputs, seed=0, **spec):
    module = importlib.import_module(ROUTERS[kind].module)
    prediction, priority = module.predict({"type": kind, **spec}, inputs, seed)
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


def test_rarity_is_the_mean_surprise_of_the_rarest_three_tenths():
    import wordfreq

    inputs = RouterInputs.aligned(segments(ROWS))
    found, _ = predict("rarity", inputs)
    for value, (direction, text) in zip(found, ROWS, strict=True):
        code = direction[:2]
        tokens = wordfreq.tokenize(text, code)
        frequencies = sorted(max(wordfreq.word_frequency(t, code), 1e-9) for t in tokens)
        rarest = frequencies[: max(1, -(-3 * len(tokens) // 10))]
        expected = -sum(map(math.log, rarest)) / len(rarest) if tokens else 0.0
        assert value == pytest.approx(expected, rel=1e-12)


def test_rarity_by_hand():
    import wordfreq

    rows = [("en-zh", "the of zzqxv"), ("en-zh", "the"), ("en-zh", "the of and zzqxv " * 5)]
    found, _ = predict("rarity", RouterInputs.aligned(segments(rows)))
    the, unseen = -math.log(wordfreq.word_frequency("the", "en")), -math.log(1e-9)
    of, conj = (-math.log(wordfreq.word_frequency(w, "en")) for w in ("of", "and"))
    # 20 tokens: the 6 rarest are the 5 unseen ones and one of the next rarest word.
    assert found == pytest.approx([unseen, the, (5 * unseen + max(of, conj)) / 6])


def test_rarity_names_the_language_it_cannot_do():
    with pytest.raises(UserError, match="language 'qq'"):
        predict("rarity", RouterInputs.aligned(segments([("qq-en", "a b")])))


def test_chinese_routers_are_silent():
    import subprocess
    import sys

    code = (
        "from routelmt.routers.length import token_counter\n"
        "from routelmt.routers.rarity import rarity\n"
        "token_counter('zh')('无法打开'); rarity('无法打开', 'zh')\n"
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
        signals(table, entropy).take(shuffle),
        gains(table, gain, 50 - gain).take(shuffle),
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


@pytest.mark.parametrize("kind", [k for k, v in ROUTERS.items() if v.module.endswith("available")])
def test_planned_routers_say_what_they_need(kind):
    module = importlib.import_module(ROUTERS[kind].module)
    run = module.train if ROUTERS[kind].trained else module.predict
    with pytest.raises(UserError, match=f"'{kind}': not available yet: needs"):
        run({"type": kind}, None, 0)


def test_the_registry_imports_nothing_heavy():
    import subprocess
    import sys

    code = (
        "import sys, routelmt.routers.registry; assert not {'numpy', 'pyarrow'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
