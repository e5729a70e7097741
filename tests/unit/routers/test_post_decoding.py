"""Routers that read what the small model says: its translation, samples, estimate, own rating."""

from __future__ import annotations

import math
import time
from collections import Counter
from itertools import combinations

import numpy as np
import pyarrow as pa
import pytest
from router_toys import LANGUAGES, PROMPT, SPEED, segments

from routelmt import tables
from routelmt.errors import UserError
from routelmt.routers import qe_deferral, self_ask, semantic_entropy, sequence_uncertainty
from routelmt.routers.inputs import RouterContext, RouterInputs

ROWS = [("en-ru", f"text {n}") for n in range(6)]
NOBODY = RouterContext({}, {}, SPEED, 0)
TEXTS = [
    ["Файл удалён", "Файл был удалён", "Файл удалён", "Удалить файл", "Сеть недоступна"],
    ["保存文件", "保存 文件", "儲存檔案", "保存该文件。", "打开文件"],
    ["", " \n", "a", "a", "b"],
    ["the same"] * 5,
    ["aaaa", "aaa", "aaaaaaaa", "ab", "🦔"],
    ["one two three four", "one two four three", "three four", "five", "one two three four five"],
]


def samples(texts: list[list[str]]) -> pa.Table:
    """Samples of the segments of ROWS."""
    table = segments(ROWS[: len(texts)])
    count = len(texts[0])
    keys = table.select(tables.JOIN_KEY).take([i for i in range(len(texts)) for _ in range(count)])
    return tables.from_columns(
        "samples",
        {
            **{k: keys.column(k) for k in tables.JOIN_KEY},
            "sample": list(range(count)) * len(texts), "model": "s",
            "hypothesis": [t for row in texts for t in row],
            "prompt_tokens": 3, "output_tokens": 4, "finish_reason": "stop", "mean_logprob": -1.0,
        },
    )  # fmt: skip


def hypotheses(logprobs: list[float], tokens: list[int | None]) -> pa.Table:
    table = segments(ROWS[: len(logprobs)])
    return tables.from_columns(
        "hypotheses",
        {
            **{k: table.column(k) for k in tables.JOIN_KEY},
            "model": "s", "hypothesis": "x", "prompt_tokens": 3, "output_tokens": tokens,
            "finish_reason": "stop", "mean_logprob": logprobs, "degenerate": False,
        },
    )  # fmt: skip


def similarity(one: str, other: str) -> float:
    """Symmetric chrF by sacreBLEU."""
    from sacrebleu import sentence_chrf

    if not one.strip() and not other.strip():
        return 1.0
    return (sentence_chrf(one, [other]).score + sentence_chrf(other, [one]).score) / 200


def clusters(texts: list[str], threshold: float) -> list[int]:
    """Sizes of the clusters, merged one link after the other."""
    groups = [{i} for i in range(len(texts))]
    for i, j in combinations(range(len(texts)), 2):
        if similarity(texts[i], texts[j]) >= threshold:
            one, other = (next(g for g in groups if n in g) for n in (i, j))
            if one is not other:
                groups.remove(other)
                one |= other
    return [len(g) for g in groups]


def test_similarity_is_the_mean_of_chrf_both_ways():
    found = semantic_entropy.similarities(TEXTS)
    for row, texts in enumerate(TEXTS):
        for i, j in combinations(range(5), 2):
            assert found[row, i, j] == found[row, j, i]
            assert found[row, i, j] == pytest.approx(similarity(texts[i], texts[j]), abs=1e-12)
    assert (np.diagonal(found, axis1=1, axis2=2) == 1).all()
    assert found[1, 0, 1] == found[2, 0, 1] == found[2, 2, 3] == 1.0  # exactly: 1 is a threshold
    assert found[2, 0, 2] == 0.0


@pytest.mark.parametrize("threshold", [0.1, 0.3, 0.55, 0.8, 1.0])
def test_semantic_entropy_is_that_of_single_linkage_clusters(threshold, monkeypatch):
    from scipy.stats import entropy

    monkeypatch.setattr(semantic_entropy, "_REQUESTS", 2)  # several parts
    inputs = RouterInputs.aligned(segments(ROWS), samples=samples(TEXTS))
    spec = {"type": "semantic-entropy", "threshold": threshold}
    found, priority = semantic_entropy.predict(spec, inputs, NOBODY)
    expected = [entropy(clusters(texts, threshold)) for texts in TEXTS]
    assert found == pytest.approx(expected, abs=1e-12)
    assert found is priority and found[3] == 0 and len(set(found.round(6))) > 2


def test_semantic_entropy_by_hand():
    # A chain: the ends are not alike, but each is like the middle.
    chain = ["abcdefgh", "abcdefghijklmnop", "ijklmnop"]
    alike = semantic_entropy.similarities([chain])[0]
    assert alike[0, 2] == 0 and min(alike[0, 1], alike[1, 2]) > 0.5
    assert semantic_entropy.entropies([chain], 0.5).tolist() == [0.0]
    assert semantic_entropy.entropies([chain], 0.95) == pytest.approx([math.log(3)])
    long = [[f"{chr(97 + n)}" * 9 for n in range(9)]]
    assert semantic_entropy.entropies(long, 0.3) == pytest.approx([math.log(9)])
    path = np.eye(9, dtype=bool) | np.eye(9, k=1, dtype=bool) | np.eye(9, k=-1, dtype=bool)
    assert semantic_entropy.size_entropies(path[None]).tolist() == [0.0]


def test_semantic_entropy_does_not_depend_on_the_order_of_samples_or_rows():
    rng = np.random.default_rng(0)
    order = [list(rng.permutation(5)) for _ in TEXTS]
    shuffled = [[t[i] for i in o] for t, o in zip(TEXTS, order, strict=True)][::-1]
    straight = semantic_entropy.entropies(TEXTS, 0.3)
    assert semantic_entropy.entropies(shuffled, 0.3)[::-1] == pytest.approx(straight, abs=1e-12)


def test_semantic_entropy_is_fast():
    rng = np.random.default_rng(0)
    words = [f"word{n:03d}" for n in range(300)]
    texts = [[" ".join(rng.choice(words, 15)) for _ in range(5)] for _ in range(420)]
    start = time.process_time()
    semantic_entropy.entropies(texts, 0.3)
    assert time.process_time() - start < 2  # a tenth of the paper's requests; 0.15 s on one core


def test_sequence_uncertainty_is_the_negated_mean_logprob():
    inputs = RouterInputs.aligned(
        segments(ROWS), hypotheses=hypotheses([-0.5, -2, -0.0, -1, -9, -3], [4] * 6)
    )
    found, priority = sequence_uncertainty.predict({"type": "sequence-uncertainty"}, inputs, NOBODY)
    assert found.tolist() == priority.tolist() == [0.5, 2, 0, 1, 9, 3]


def test_what_was_not_translated_goes_first():
    nan = float("nan")
    inputs = RouterInputs.aligned(
        segments(ROWS[:3]), hypotheses=hypotheses([-12.0, nan, -0.5], [4, 0, 2])
    )
    _, priority = sequence_uncertainty.predict({"type": "sequence-uncertainty"}, inputs, NOBODY)
    assert priority.argmax() == 1 and np.isfinite(priority).all()


@pytest.mark.parametrize("tokens", [7, None])
def test_translations_without_logprobs_are_named(tokens):
    nan = float("nan")
    inputs = RouterInputs.aligned(segments(ROWS[:2]), hypotheses=hypotheses([-1, nan], [4, tokens]))
    with pytest.raises(UserError, match=r"1 of 2 translations of model 's'.* segment s1.*logprobs"):
        sequence_uncertainty.predict({"type": "sequence-uncertainty"}, inputs, NOBODY)


def test_qe_deferral_sends_the_lowest_estimate_first():
    table = segments(ROWS)
    estimates = tables.from_columns(
        "scores",
        {
            **{k: table.column(k) for k in tables.JOIN_KEY}, "metric": "kiwi", "model": "s",
            "score": [80.0, 20, 99, 20.5, -3, 50], "truncated": False, "error_spans": None,
        },
    )  # fmt: skip
    inputs = RouterInputs.aligned(table, estimates=estimates)
    spec = {"type": "qe-deferral", "metric": "kiwi"}
    found, priority = qe_deferral.predict(spec, inputs, NOBODY)
    assert found.tolist() == [80, 20, 99, 20.5, -3, 50]
    assert np.argsort(-priority).tolist() == [4, 1, 3, 5, 0, 2]
    with pytest.raises(UserError, match=r"estimates by \['kiwi'\].*is 'other'"):
        qe_deferral.predict({**spec, "metric": "other"}, inputs, NOBODY)


@pytest.mark.parametrize("module", [semantic_entropy, sequence_uncertainty, qe_deferral])
def test_what_a_router_lacks_is_named(module):
    with pytest.raises(UserError, match=r"'x' .*: give it --"):
        module.predict({"type": "x", "metric": "m"}, RouterInputs.aligned(segments(ROWS)), NOBODY)


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("85", 85), (" 85.5\n", 85.5), ("Rating: 100", 100), ("0", 0), ("70/100", 70),
        ("12,5", 12.5), ("easy", None), ("", None), ("101", None), ("-5", None), ("2024", None),
        ("８５", 85), ("容易度：30。", 30),
    ],
)  # fmt: skip
def test_ratings_are_read_from_answers(answer, expected):
    found = self_ask.rating(answer)
    assert math.isnan(found) if expected is None else found == expected


def small(base, **changed):
    """Context of the tiny model, as the workflow hands it over."""
    model = {
        "engine": "transformers", "path": str(base), "revision": None, "dtype": "float32",
        "prompt": PROMPT, "beams": 3, "max_new_tokens": 64, "max_prompt_tokens": 400,
    }  # fmt: skip
    return RouterContext({**model, **changed}, LANGUAGES, SPEED, 0)


def answers(base, template, rows):
    """What transformers' own generate says, prompt by prompt."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(base)
    model = AutoModelForCausalLM.from_pretrained(base)
    for direction, text in rows:
        src, tgt = (LANGUAGES[c] for c in direction.split("-"))
        turn = template.format(src=src, tgt=tgt, text=text)
        ids = tokenizer.apply_chat_template(
            [{"role": "user", "content": turn}], add_generation_prompt=True, return_tensors="pt"
        )["input_ids"]
        with torch.inference_mode():
            whole = model.generate(ids, max_new_tokens=10, do_sample=False)
        yield tokenizer.decode(whole[0, ids.shape[1] :], skip_special_tokens=True)


def test_self_ask_rates_by_the_models_own_greedy_answer(base, monkeypatch, capsys):
    # The tiny model says no numbers: what it says is read as one.
    monkeypatch.setattr(self_ask, "rating", lambda a: float(sum(map(ord, a)) % 101 or "nan"))
    rows = [
        ("en-zh", "open the file"),
        ("en-ru", "open the file"),
        ("en-zh", "save"),
        ("en-zh", ""),
    ]
    template = "{src} {tgt} how easy: {text}"
    inputs = RouterInputs.aligned(segments([*rows, rows[0]]))
    context = small(base)
    found, priority = self_ask.predict({"type": "self-ask", "prompt": template}, inputs, context)
    expected = [self_ask.rating(a) / 100 for a in answers(base, template, [*rows, rows[0]])]
    assert found.tolist() == pytest.approx(np.nan_to_num(expected, nan=0.5).tolist())
    assert priority.tolist() == (-found).tolist() and len(set(found)) > 1
    assert "self-ask: " in capsys.readouterr().err and "unparsable" in context.notes


def test_self_ask_counts_what_is_no_number_and_what_is_too_long(base, capsys):
    rows = [("en-zh", "open"), ("en-zh", "save the file " * 60), ("en-ru", "print")]
    inputs, template, context = RouterInputs.aligned(segments(rows)), "{tgt} {text}", small(base)
    spec = {"type": "self-ask", "prompt": template}
    found, priority = self_ask.predict(spec, inputs, context)
    said = [self_ask.rating(a) for a in answers(base, template, rows[::2])]
    assert found[1] == 0.5 and priority[1] == -0.5
    assert found[::2].tolist() == [0.5 if math.isnan(r) else r / 100 for r in said]
    share = (1 + sum(map(math.isnan, said))) / 3
    assert context.notes["unparsable"] == pytest.approx(share)
    err = capsys.readouterr().err
    assert f"{share:.1%} of 3 answers unparsable" in err and "1 of 3 segments have prompts" in err


def test_self_ask_asks_each_prompt_once(base, monkeypatch):
    from routelmt.translate.transformers_engine import TransformersEngine

    asked: Counter[tuple[int, ...]] = Counter()
    original = TransformersEngine.translate

    def counted(self, prompts):
        asked.update(map(tuple, prompts))
        return original(self, prompts)

    monkeypatch.setattr(TransformersEngine, "translate", counted)
    rows = [("en-zh", "open"), ("en-zh", "open"), ("en-ru", "open"), ("en-zh", "save")]
    spec = {"type": "self-ask", "prompt": "{tgt} {text}"}
    self_ask.predict(spec, RouterInputs.aligned(segments(rows)), small(base))
    assert sorted(asked.values()) == [1, 1, 1]


def test_what_each_declares():
    from routelmt.routers.registry import router_type

    assert router_type("self-ask").decodes and router_type("self-ask").needs == {"model"}
    assert router_type("semantic-entropy").costs == ("samples",)
    assert router_type("sequence-uncertainty").needs == {"hypotheses"}
    assert router_type("qe-deferral").costs == ("decode", "estimate")
    for kind in ("self-ask", "semantic-entropy", "sequence-uncertainty", "qe-deferral"):
        assert router_type(kind).deployable and not router_type(kind).trained
