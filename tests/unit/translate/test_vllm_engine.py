"""The vllm engine without vLLM: what it refuses at once, and the rules of its beam search."""

from __future__ import annotations

import itertools
import math
import sys
from typing import Any

import numpy as np
import pytest

from routelmt.errors import UserError
from routelmt.translate import vllm_engine
from routelmt.translate.vllm_beams import Search

END, VOCABULARY, LIMIT = 0, 4, 5


def test_its_module_needs_no_vllm() -> None:
    assert vllm_engine.load and "vllm" not in sys.modules


def test_several_copies_in_one_job_are_refused() -> None:
    with pytest.raises(UserError, match="'shards'"):
        vllm_engine.load({"path": "x"}, {"data_parallel": 2, "device": "auto", "threads": 1})


def test_a_missing_folder_is_named() -> None:
    with pytest.raises(UserError, match=r"model '\./nowhere': no such folder"):
        vllm_engine.load({"path": "./nowhere"}, {"device": "auto", "threads": 1})


def random_model(seed: int) -> Any:
    """Next-token log-probabilities, shape (vocabulary,), from the last two tokens."""
    tables = np.random.default_rng(seed).normal(size=(VOCABULARY + 1, VOCABULARY + 1, VOCABULARY))
    tables -= np.log(np.exp(tables).sum(axis=-1, keepdims=True))

    def following(tokens: tuple[int, ...]) -> Any:
        last = (-1, -1, *tokens)[-2:]
        return tables[last]

    return following


def search(following: Any, beams: int) -> Search:
    found = Search(0, ())
    while True:
        options = [list(enumerate(following(tokens))) for _, tokens in found.open]
        if found.advance(options, beams, [END], LIMIT):
            return found


@pytest.mark.parametrize("seed", range(20))
def test_a_search_as_wide_as_all_outputs_finds_the_best(seed: int) -> None:
    following = random_model(seed)
    best = -math.inf
    for length in range(1, LIMIT + 1):
        for tokens in itertools.product(range(VOCABULARY), repeat=length):
            if END in tokens[:-1] or (tokens[-1] != END and length < LIMIT):
                continue
            parts = [following(tokens[:n])[token] for n, token in enumerate(tokens)]
            best = max(best, sum(parts) / length)
    found = search(following, VOCABULARY**LIMIT)
    assert found.finished[0][0] == pytest.approx(best)


@pytest.mark.parametrize("seed", range(20))
def test_one_beam_is_greedy(seed: int) -> None:
    following = random_model(seed)
    tokens: tuple[int, ...] = ()
    while len(tokens) < LIMIT and END not in tokens:
        tokens = (*tokens, int(np.argmax(following(tokens))))
    assert search(following, 1).finished[0][1] == tokens
