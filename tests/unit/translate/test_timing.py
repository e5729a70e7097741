"""Timings of a model: their arithmetic by hand, what is and what is not on the clock."""

from __future__ import annotations

import math
import os
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from routelmt.errors import UserError
from routelmt.translate import beams
from routelmt.translate.timing import Pass, in_a_process, rows_of_a_batch, time_model, token_seconds


def test_reading_and_decoding_add_up_to_translating() -> None:
    reading = [Pass(2.0, 1000, 0), Pass(3.0, 1000, 0)]
    translating = [Pass(9.0, 500, 400), Pass(1.0, 500, 400)]
    read, decoded = token_seconds(reading, translating)
    assert read == [0.002, 0.003]
    assert decoded == [(9.0 - 1.0) / 400, 0.0]  # of the second nothing is left: never below 0


@given(st.lists(st.integers(1, 50), min_size=1, max_size=30), st.integers(1, 400))
def test_a_reading_pass_fills_a_batch_where_it_can(lengths: list[int], budget: int) -> None:
    rows = rows_of_a_batch([[0] * n for n in lengths], budget)
    assert sum(lengths[: rows - 1]) < budget
    assert rows == len(lengths) or sum(lengths[:rows]) >= budget


def test_a_model_is_timed_in_full_and_says_how(
    segments: Any, model_config: dict[str, Any], speed: dict[str, Any], languages: Any
) -> None:
    timing = time_model(segments, model_config | {"beams": 3}, languages, speed, rows=2)
    assert len(timing.prefill) == len(timing.decode) == 3
    assert all(seconds > 0 for seconds in timing.prefill + timing.decode)
    assert timing.batches == "400 tokens"


def test_beam_search_is_timed_without_the_pass_that_scores_its_outputs(
    engine: Any, asked: list[list[int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    engine.beams = 2
    scored = dict(engine.translate(asked))
    monkeypatch.delattr(beams, "score")  # to call it now is an error
    bare = dict(engine.translate(asked, logprobs=False))
    assert {n: (d.text, d.output_tokens) for n, d in bare.items()} == {
        n: (d.text, d.output_tokens) for n, d in scored.items()
    }
    assert all(math.isnan(d.mean_logprob) for d in bare.values())
    assert not any(math.isnan(d.mean_logprob) for d in scored.values())


def test_prompts_that_are_too_long_are_not_timed(
    segments: Any, model_config: dict[str, Any], speed: dict[str, Any], languages: Any
) -> None:
    with pytest.raises(UserError, match=r"\d distinct prompts are too few"):
        time_model(segments, model_config | {"max_prompt_tokens": 12}, languages, speed, rows=2)


def first_of(choices: list[int]) -> int:
    """What another process runs."""
    if not choices:
        raise UserError("nothing to choose from")
    return choices[0]


def test_a_process_that_dies_is_an_error_and_what_it_refuses_is_told() -> None:
    with pytest.raises(UserError, match="ended early"):
        in_a_process(os._exit, 1)
    with pytest.raises(UserError, match="nothing to choose from"):
        in_a_process(first_of, [])
    assert in_a_process(first_of, [3, 1]) == 3


def test_a_model_behind_an_endpoint_is_not_timed(segments: Any) -> None:
    with pytest.raises(UserError, match="state its rates in the config"):
        time_model(segments, {"engine": "openai"}, {}, {}, rows=2)
