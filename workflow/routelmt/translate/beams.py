"""Beam search through transformers' own `generate`, on batches of similar prompts."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from routelmt.translate.batches import LOGIT_ROWS, token_batches
from routelmt.translate.greedy import Output, room


def decode(
    model: Any,
    prompts: Sequence[Sequence[int]],
    end_ids: Sequence[int],
    pad_id: int,
    max_new_tokens: int,
    beams: int,
    budget: int,
    logprobs: bool = True,
) -> Iterator[tuple[int, Output]]:
    """(row, best hypothesis) of every prompt; every beam counts against the token budget.

    logprobs: whether outputs are read once more for their log-probabilities, which else are NaN.
    Length penalty 1 (the mean log-probability ranks finished beams), no early stopping: the
    defaults of transformers, written out.
    """
    import torch
    from transformers import GenerationConfig

    config = GenerationConfig(
        num_beams=beams,
        do_sample=False,
        max_new_tokens=max_new_tokens,
        length_penalty=1.0,
        early_stopping=False,
        eos_token_id=list(end_ids),
        pad_token_id=pad_id,
    )
    sizes = [beams * room(len(p), max_new_tokens) for p in prompts]
    for rows in token_batches(sizes, budget):
        width = max(len(prompts[i]) for i in rows)
        ids = np.full((len(rows), width), pad_id, dtype=np.int64)
        mask = np.zeros((len(rows), width), dtype=np.int64)
        for n, i in enumerate(rows):
            ids[n, width - len(prompts[i]) :] = prompts[i]
            mask[n, width - len(prompts[i]) :] = 1
        with torch.inference_mode():
            found = model.generate(
                input_ids=torch.from_numpy(ids).to(model.device),
                attention_mask=torch.from_numpy(mask).to(model.device),
                generation_config=config,
            )
            outputs = [until_end(o, end_ids) for o in found[:, width:].tolist()]
            scores = [math.nan] * len(rows)
            if logprobs:
                scores = score(model, [prompts[i] for i in rows], outputs, pad_id)
        for row, output, logprob in zip(rows, outputs, scores, strict=True):
            yield int(row), Output(output, output[-1] in end_ids, logprob)


def until_end(ids: list[int], end_ids: Sequence[int]) -> list[int]:
    """The tokens up to the first that ends the sequence, that one included."""
    length = next((n + 1 for n, token in enumerate(ids) if token in end_ids), len(ids))
    return ids[:length]


def score(
    model: Any, prompts: Sequence[Sequence[int]], outputs: Sequence[Sequence[int]], pad_id: int
) -> list[float]:
    """Log-probability (nats) of each output after its prompt, from one forward pass.

    Beam search can return its own scores, but only with the whole vocabulary's scores of every
    beam at every step: tens of gigabytes at 150,000 entries.
    """
    import torch

    width = max(len(p) + len(o) for p, o in zip(prompts, outputs, strict=True))
    ids = np.full((len(prompts), width), pad_id, dtype=np.int64)
    for n, (prompt, output) in enumerate(zip(prompts, outputs, strict=True)):
        ids[n, : len(prompt) + len(output)] = [*prompt, *output]
    rows = np.repeat(np.arange(len(outputs)), [len(o) for o in outputs])
    before = np.concatenate(
        [len(p) - 1 + np.arange(len(o)) for p, o in zip(prompts, outputs, strict=True)]
    )
    tokens = torch.from_numpy(ids[rows, before + 1]).to(model.device)
    decoder, head = model.get_decoder(), model.get_output_embeddings()
    with torch.inference_mode():
        states = decoder(
            input_ids=torch.from_numpy(ids).to(model.device), use_cache=False
        ).last_hidden_state[torch.from_numpy(rows), torch.from_numpy(before)]
        parts = [
            -torch.nn.functional.cross_entropy(head(some).float(), wanted, reduction="none")
            for some, wanted in zip(states.split(LOGIT_ROWS), tokens.split(LOGIT_ROWS), strict=True)
        ]
    found = torch.cat(parts).double().cpu().numpy()
    return [float(x) for x in np.bincount(rows, weights=found, minlength=len(outputs))]
