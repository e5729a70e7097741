"""Beam search on vLLM, by the rules of transformers' `generate`.

vLLM's own `beam_search` counts the prompt's tokens in the length penalty, knows one end of
sequence, and takes max_new_tokens steps whatever the beams say. Here the mean log-probability of
the output ranks finished beams, and a search ends when no open beam can better the worst of them,
as in `beams.decode` of the transformers engine. Prefixes shared by beams are in vLLM's cache.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

Output = tuple[int, Sequence[int], float]  # row, output tokens, their log-probability
Beam = tuple[float, tuple[int, ...]]  # score, output tokens


def candidates(beams: int, end_ids: Collection[int]) -> int:
    """Continuations looked at in a step: enough to go on with if the best of them all end."""
    return max(2, 1 + len(end_ids)) * beams


def run(llm: Any, prompts: Sequence[Sequence[int]], params: Any) -> Iterator[tuple[int, Any]]:
    """(row, vLLM's output) as rows finish; params: of all rows, or a list with those of each."""
    from vllm import TokensPrompt

    asked = [TokensPrompt(prompt_token_ids=list(p)) for p in prompts]
    names = llm.enqueue(asked, params, use_tqdm=False)
    rows = {name.partition("-")[0]: row for row, name in enumerate(names)}
    engine = llm.llm_engine
    while engine.has_unfinished_requests():
        for output in engine.step():
            if output.finished:
                yield rows[output.request_id.partition("-")[0]], output


@dataclass
class Search:
    """One prompt's search: open beams by summed, finished ones by mean log-probability."""

    row: int
    prompt: tuple[int, ...]
    open: list[Beam] = field(default_factory=lambda: [(0.0, ())])
    finished: list[Beam] = field(default_factory=list)

    def advance(
        self,
        options: Sequence[Sequence[tuple[int, float]]],
        beams: int,
        end_ids: Collection[int],
        max_new_tokens: int,
    ) -> bool:
        """Take a step, given (token, log-probability) continuations of each open beam.

        Returns whether the search is over; then `finished` is not empty, best first.
        """
        longer = (
            (score + logprob, (*tokens, token))
            for (score, tokens), found in zip(self.open, options, strict=True)
            for token, logprob in found
        )
        best = heapq.nlargest(candidates(beams, end_ids), longer, key=lambda beam: beam[0])
        length = len(best[0][1])
        last = length >= max_new_tokens
        ended = [last or tokens[-1] in end_ids for _, tokens in best]
        # Those behind the first `beams` are only there to go on with.
        new = [(s / length, t) for (s, t), end in zip(best[:beams], ended, strict=False) if end]
        self.finished = heapq.nlargest(beams, [*self.finished, *new], key=lambda beam: beam[0])
        self.open = [beam for beam, end in zip(best, ended, strict=True) if not end][:beams]
        worst = self.finished[-1][0] if len(self.finished) == beams else -math.inf
        return not self.open or self.open[0][0] / length <= worst


def decode(
    llm: Any,
    prompts: Sequence[Sequence[int]],
    end_ids: Collection[int],
    max_new_tokens: int,
    beams: int,
) -> Iterator[Output]:
    """(row, tokens of the best hypothesis, their log-probability) as searches end."""
    from vllm import SamplingParams

    params = SamplingParams(
        temperature=0,
        max_tokens=1,
        ignore_eos=True,
        logprobs=candidates(beams, end_ids),
        detokenize=False,
    )
    # As many searches at a time as vLLM runs sequences side by side.
    room = max(1, llm.llm_engine.vllm_config.scheduler_config.max_num_seqs // beams)
    waiting = iter([Search(row, tuple(p)) for row, p in enumerate(prompts)])
    active: list[Search] = []
    while True:
        active += [search for _, search in zip(range(room - len(active)), waiting, strict=False)]
        if not active:
            return
        options = _continuations(llm, active, params)
        going = []
        for search, found in zip(active, options, strict=True):
            if search.advance(found, beams, end_ids, max_new_tokens):
                mean, tokens = search.finished[0]
                yield search.row, tokens, mean * len(tokens)
            else:
                going.append(search)
        active = going


def _continuations(
    llm: Any, searches: Sequence[Search], params: Any
) -> list[list[list[tuple[int, float]]]]:
    """For each search and each of its open beams, the best next tokens and log-probabilities."""
    asked = [(*s.prompt, *tokens) for s in searches for _, tokens in s.open]
    found: list[list[tuple[int, float]]] = [[] for _ in asked]
    for n, output in run(llm, asked, params):
        found[n] = [
            (token, entry.logprob) for token, entry in output.outputs[0].logprobs[0].items()
        ]
    each = iter(found)
    return [[next(each) for _ in s.open] for s in searches]
