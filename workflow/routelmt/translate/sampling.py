"""Sampled decoding: what is drawn belongs to the prompt, not to the batch or the order of work.

A token is the inverse of the distribution function at a uniform number, and that number comes from
the seed, the prompt's tokens, the sample's index and the step alone. The same row therefore draws
the same tokens in any batch, but for draws that fall within rounding of the border of two tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from routelmt.translate.greedy import Batch, GreedyDecoder
from routelmt.translate.seeds import seed_of

if TYPE_CHECKING:
    from torch import Tensor

_MANTISSA = 53  # bits of a float64 in [0, 1) that can all be random
_ROWS = 64  # whose distributions are in memory at a time


def uniforms(seed: int, prompt: Sequence[int], sample: int, steps: int) -> npt.NDArray[np.float64]:
    """Numbers in [0, 1), one a step, shape (steps,): Philox keyed by seed, prompt and sample."""
    # The bits of a bit generator are the same in every release of numpy.
    bits = np.random.Philox(key=seed_of(seed, prompt, sample, bits=128)).random_raw(steps)
    return np.ldexp((bits >> np.uint64(64 - _MANTISSA)).astype(np.float64), -_MANTISSA)


def inverse_cdf(logits: Tensor, temperature: float, draws: Tensor) -> Tensor:
    """The token of each row that a uniform number selects from softmax(logits / temperature).

    logits (rows, vocabulary); draws (rows,) in [0, 1), float64. Tokens stand in the order of their
    ids, each on an interval as long as its probability.
    """
    import torch

    found = []
    for some, drawn in zip(logits.split(_ROWS), draws.split(_ROWS), strict=True):
        weights = ((some - some.amax(dim=-1, keepdim=True)) / temperature).exp_()
        # In float64: a float32 sum over 150,000 entries is off by more than rare tokens weigh.
        borders = weights.cumsum(dim=-1, dtype=torch.float64)
        # The first whose upper border lies above the number; a token without weight never is.
        found.append(torch.searchsorted(borders, (drawn * borders[:, -1])[:, None], right=True))
    return torch.cat(found)[:, 0].clamp_(max=logits.shape[-1] - 1)


class SamplingDecoder(GreedyDecoder):
    """Decodes one sample a row. Samples of equal prompts that start together share one prefill.

    samples: index of each row's sample; rows with equal prompts need different ones.
    """

    def __init__(
        self,
        model: Any,
        end_ids: Sequence[int],
        pad_id: int,
        max_new_tokens: int,
        budget: int,
        *,
        temperature: float,
        seed: int,
        samples: Sequence[int],
    ) -> None:
        super().__init__(model, end_ids, pad_id, max_new_tokens, budget)
        self.temperature, self.seed, self.samples = temperature, seed, samples

    def _prefill(self, rows: list[int], prompts: Sequence[Sequence[int]]) -> tuple[Batch, Tensor]:
        """As in greedy decoding, over the distinct prompts; then a slot for every row."""
        import torch

        first = {tuple(prompts[row]): row for row in reversed(rows)}
        slot_of = {prompt: slot for slot, prompt in enumerate(first)}
        batch, logits = super()._prefill(list(first.values()), prompts)
        slots = torch.tensor([slot_of[tuple(prompts[row])] for row in rows], device=self.device)
        batch.keep(slots)
        batch.rows = rows
        drawn = [
            uniforms(self.seed, prompts[row], self.samples[row], self.max_new_tokens)
            for row in rows
        ]
        batch.draws = torch.from_numpy(np.stack(drawn)).to(self.device)
        return batch, logits[slots]

    def _pick(self, batch: Batch, logits: Tensor) -> tuple[Tensor, Tensor]:
        """Each row's drawn token, and its log-probability (nats) at temperature 1."""
        import torch

        step = batch.count.clamp(max=self.max_new_tokens - 1)  # rows that are done draw in vain
        draws = batch.draws.gather(1, step[:, None])[:, 0]
        token = inverse_cdf(logits, self.temperature, draws)
        chosen = logits.gather(1, token[:, None])[:, 0]
        return token, chosen - torch.logsumexp(logits, dim=-1)
