"""Decoding gives what `model.generate` gives for each prompt alone, however rows are batched."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

LOGPROB = 1e-4  # float32 sums over some twenty steps, computed in differently shaped batches


def alone(engine: Any, prompt: list[int], beams: int = 1) -> list[int]:
    """The output of transformers' own generate, no padding, default attention."""
    import torch
    from transformers import AutoModelForCausalLM

    if not hasattr(engine, "plain"):
        engine.plain = AutoModelForCausalLM.from_pretrained(engine.model.name_or_path)
    with torch.inference_mode():
        whole = engine.plain.generate(
            torch.tensor([prompt]),
            max_new_tokens=engine.max_new_tokens,
            do_sample=False,
            num_beams=beams,
        )
    ids = whole[0, len(prompt) :].tolist()
    end = next((n + 1 for n, t in enumerate(ids) if t in engine.end_ids), len(ids))
    return ids[:end]


def teacher_forced(engine: Any, prompt: list[int], output: list[int]) -> float:
    """Mean log-probability of the output from one forward pass over prompt and output."""
    import torch

    with torch.inference_mode():
        logits = engine.plain(torch.tensor([prompt + output])).logits[0].double()
    logprobs = logits.log_softmax(-1)[len(prompt) - 1 : -1]
    return float(logprobs[torch.arange(len(output)), torch.tensor(output)].mean())


def decoded(engine: Any, prompts: list[list[int]]) -> list[Any]:
    pairs = list(engine.decode(prompts))
    assert sorted(row for row, _ in pairs) == list(range(len(prompts)))
    return [output for _, output in sorted(pairs, key=lambda pair: pair[0])]


def test_the_random_model_is_worth_testing_with(engine: Any, asked: list[list[int]]) -> None:
    outputs = decoded(engine, asked)
    assert len({len(o.ids) for o in outputs}) >= 4
    assert {o.stopped for o in outputs} == {True, False}
    assert len({len(p) for p in asked}) >= 8


@pytest.mark.parametrize("beams", [1, 4])
def test_each_output_is_that_of_the_prompt_alone(
    engine: Any, asked: list[list[int]], beams: int
) -> None:
    engine.beams = beams
    for prompt, output in zip(asked, decoded(engine, asked), strict=True):
        assert output.ids == alone(engine, prompt, beams)


@pytest.mark.parametrize("beams", [1, 3])
def test_logprob_is_that_of_a_forward_pass_over_the_output(
    engine: Any, asked: list[list[int]], beams: int
) -> None:
    engine.beams = beams
    for prompt, output in zip(asked, decoded(engine, asked), strict=True):
        alone(engine, prompt)
        expected = teacher_forced(engine, prompt, output.ids)
        assert output.logprob / len(output.ids) == pytest.approx(expected, abs=LOGPROB)


@pytest.mark.parametrize("budget", [1, 60, 150, 317, 1000, 10**6])
@pytest.mark.parametrize("steps_between_checks", [1, 3])
def test_outputs_do_not_depend_on_batching_or_order(
    engine: Any,
    asked: list[list[int]],
    budget: int,
    steps_between_checks: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from routelmt.translate import greedy

    rng = np.random.default_rng(budget)
    prompts = [asked[i] for i in rng.integers(0, len(asked), 40)]
    reference = {tuple(p): o for p, o in zip(asked, decoded(engine, asked), strict=True)}
    monkeypatch.setitem(greedy.STEPS_BETWEEN_CHECKS, "cpu", steps_between_checks)
    engine.batch_tokens = budget
    for prompt, output in zip(prompts, decoded(engine, prompts), strict=True):
        expected = reference[tuple(prompt)]
        assert (output.ids, output.stopped) == (expected.ids, expected.stopped)
        assert output.logprob == pytest.approx(expected.logprob, abs=20 * LOGPROB)


def test_beam_search_does_not_depend_on_batching(engine: Any, asked: list[list[int]]) -> None:
    engine.beams = 3
    found = []
    for budget in (1, 500):
        engine.batch_tokens = budget
        found.append([o.ids for o in decoded(engine, asked)])
    assert found[0] == found[1]


def test_any_of_several_end_tokens_stops_a_row(engine: Any, asked: list[list[int]]) -> None:
    assert len(engine.end_ids) > 1
    for output in decoded(engine, asked):
        assert output.stopped == (output.ids[-1] in engine.end_ids)
        assert not set(output.ids[:-1]) & set(engine.end_ids)
        assert output.stopped or len(output.ids) == engine.max_new_tokens


def test_one_new_token_at_most(engine: Any, asked: list[list[int]]) -> None:
    full = decoded(engine, asked)
    engine.max_new_tokens = 1
    assert [o.ids for o in decoded(engine, asked)] == [o.ids[:1] for o in full]


def test_nothing_to_decode(engine: Any) -> None:
    assert list(engine.decode([])) == []


def test_settings_of_the_checkpoint_do_not_leak_into_decoding(
    engine: Any,
    asked: list[list[int]],
    folder: Any,
    model_config: dict[str, Any],
    speed: dict[str, Any],
    tmp_path: Any,
) -> None:
    import json
    import shutil

    from routelmt.translate.engines import open_engine

    shutil.copytree(folder, tmp_path / "copy")
    path = tmp_path / "copy" / "generation_config.json"
    settings = json.loads(path.read_text())
    settings |= {"do_sample": True, "temperature": 5.0, "repetition_penalty": 3.0}
    path.write_text(json.dumps(settings))
    other: Any = open_engine({**model_config, "path": str(tmp_path / "copy")}, speed)
    for beams in (1, 2):
        engine.beams = other.beams = beams
        found = [[o.ids for o in decoded(e, asked)] for e in (engine, other)]
        assert found[0] == found[1]
