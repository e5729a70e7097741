"""Greedy decoding of many prompts: rows that finish leave the batch and waiting ones join it.

Translations differ in length by an order of magnitude, and in a fixed batch every row waits for
the longest. Here the batch stays full until nothing waits any more: a waiting prompt takes the slot
of a finished one. Prompts are padded on the left, so that all rows append to the key-value cache at
the same column; the longest prompts go first, so that a later one always fits into its slot.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from torch import Tensor

# Finished rows are replaced when they are this share of the batch: each replacing costs a prefill,
# and each wait computes finished rows in vain.
FINISHED_SHARE = 0.25
# On a GPU, asking whether rows have finished stalls the queue of kernels; ask every few steps.
STEPS_BETWEEN_CHECKS = {"cpu": 1, "cuda": 8}
# A row's share of the token budget: its prompt, and an output as long as the prompt plus this.
SPARE_OUTPUT = 16


@dataclass(frozen=True)
class Output:
    """Token ids without anything after the end of sequence, and their log-probabilities' sum."""

    ids: list[int]
    stopped: bool  # the last id ends the sequence
    logprob: float  # nats


@dataclass
class Batch:
    """Rows in the middle of decoding, one a slot. `width` columns of every slot are cached."""

    rows: list[int]
    cache: Any
    width: int
    padding: Tensor  # (slots,) unused columns on the left
    last: Tensor  # (slots,) token that goes in next
    ids: Tensor  # (slots, max_new_tokens + 1) tokens chosen so far
    count: Tensor  # (slots,) how many
    logprob: Tensor  # (slots,) nats
    done: Tensor  # (slots,)
    draws: Tensor  # (slots, max_new_tokens) uniform numbers, see sampling; greedy: (slots, 0)

    PER_SLOT = ("padding", "last", "ids", "count", "logprob", "done", "draws")

    def keep(self, slots: Tensor) -> None:
        """Drop all other slots; a slot that is named several times is copied."""
        self.rows = [self.rows[i] for i in slots.tolist()]
        self.cache.batch_select_indices(slots)
        for name in self.PER_SLOT:
            setattr(self, name, getattr(self, name)[slots])

    def add(self, other: Batch, slots: Tensor) -> None:
        """Put the other batch's rows into the given slots, and those left over into new ones.

        The other batch must not be wider.
        """
        import torch

        other.padding = other.padding + (self.width - other.width)
        n = len(slots)
        for mine, theirs in zip(self.cache.layers, other.cache.layers, strict=True):
            mine.put(slots, theirs)
            if n < len(other.rows):
                mine.append(theirs, n)
        for slot, row in zip(slots.tolist(), other.rows, strict=False):
            self.rows[slot] = row
        self.rows += other.rows[n:]
        for name in self.PER_SLOT:
            mine, theirs = getattr(self, name), getattr(other, name)
            mine[slots] = theirs[:n]
            if n < len(other.rows):
                setattr(self, name, torch.cat([mine, theirs[n:]]))

    def trim(self) -> None:
        """Forget the columns that no row uses."""
        unused = int(self.padding.min())
        if unused:
            for layer in self.cache.layers:
                layer.trim(unused)
            self.width -= unused
            self.padding = self.padding - unused


def room(length: int, max_new_tokens: int) -> int:
    """Columns that the token budget counts for a row with a prompt of this length.

    An estimate: rows that run on to max_new_tokens take more than it.
    """
    return length + min(max_new_tokens, length + SPARE_OUTPUT)


class GreedyDecoder:
    """Decodes with one model; `end_ids` end a sequence, `pad_id` fills the padding."""

    def __init__(
        self, model: Any, end_ids: Sequence[int], pad_id: int, max_new_tokens: int, budget: int
    ) -> None:
        import torch

        self.model, self.pad_id = model, pad_id
        self.max_new_tokens, self.budget = max_new_tokens, budget
        self.device = model.device
        self.end_ids = torch.tensor(sorted(end_ids), device=self.device)
        self.steps_between_checks = STEPS_BETWEEN_CHECKS.get(self.device.type, 8)

    def decode(self, prompts: Sequence[Sequence[int]]) -> Iterator[tuple[int, Output]]:
        """(row, output) of every prompt, as rows finish."""
        import torch

        lengths = np.array([len(p) for p in prompts], dtype=np.int64)
        waiting = [int(i) for i in np.argsort(lengths, kind="stable")]  # the longest is last
        batch: Batch | None = None
        while waiting or batch is not None:
            with torch.inference_mode():
                if batch is None:
                    batch = self._begin(self._take(waiting, lengths, 0, 1), prompts)
                slots = self._advance(batch)
                finished = self._outputs(batch, slots)
                batch = self._replace(batch, slots, waiting, prompts, lengths)
            yield from finished

    def _take(self, waiting: list[int], lengths: Any, present: int, width: int) -> list[int]:
        """Remove from `waiting` the rows that fit beside those present, longest first.

        At least one where none is present: a row longer than the budget goes alone.
        """
        if not waiting:
            return []
        columns = max(room(int(lengths[waiting[-1]]), self.max_new_tokens), width)
        free = self.budget // columns - present
        if not present:
            free = max(1, free)
        taken = waiting[len(waiting) - free :][::-1] if free > 0 else []
        del waiting[len(waiting) - len(taken) :]
        return taken

    def _begin(self, rows: list[int], prompts: Sequence[Sequence[int]]) -> Batch:
        """Prefill the rows and choose their first tokens."""
        batch, logits = self._prefill(rows, prompts)
        self._choose(batch, logits)
        return batch

    def _prefill(self, rows: list[int], prompts: Sequence[Sequence[int]]) -> tuple[Batch, Tensor]:
        """A batch of the rows before their first tokens, and the logits of those."""
        import torch

        from routelmt.translate.key_values import slot_cache

        width = max(len(prompts[i]) for i in rows)
        ids = np.full((len(rows), width), self.pad_id, dtype=np.int64)
        for n, i in enumerate(rows):
            ids[n, width - len(prompts[i]) :] = prompts[i]
        padding = torch.tensor([width - len(prompts[i]) for i in rows], device=self.device)
        n = len(rows)
        batch = Batch(
            rows,
            slot_cache(),
            width,
            padding,
            last=torch.zeros(n, dtype=torch.int64, device=self.device),
            ids=torch.zeros((n, self.max_new_tokens + 1), dtype=torch.int64, device=self.device),
            count=torch.zeros(n, dtype=torch.int64, device=self.device),
            logprob=torch.zeros(n, device=self.device),
            done=torch.zeros(n, dtype=torch.bool, device=self.device),
            draws=torch.zeros((n, 0), device=self.device),
        )
        columns = torch.arange(width, device=self.device)
        positions = (columns - padding[:, None]).clamp(min=0)
        return batch, self._logits(batch, torch.from_numpy(ids).to(self.device), positions)

    def _logits(self, batch: Batch, ids: Tensor, positions: Tensor) -> Tensor:
        """Next-token logits (rows, vocabulary) after `ids`, the cache's newest columns."""
        import torch

        columns = torch.arange(batch.width, device=self.device)
        logits: Tensor = self.model(
            input_ids=ids,
            attention_mask=(columns >= batch.padding[:, None]).long(),
            position_ids=positions,
            past_key_values=batch.cache,
            use_cache=True,
            logits_to_keep=1,
        ).logits[:, -1]
        return logits

    def _choose(self, batch: Batch, logits: Tensor) -> None:
        """Append each row's next token; rows that are done stay as they are."""
        import torch

        token, logprob = self._pick(batch, logits.float())
        batch.ids.scatter_(1, batch.count[:, None], token[:, None])
        batch.logprob += logprob.masked_fill_(batch.done, 0.0)
        batch.count += ~batch.done
        batch.done |= torch.isin(token, self.end_ids) | (batch.count >= self.max_new_tokens)
        batch.last = token

    def _pick(self, batch: Batch, logits: Tensor) -> tuple[Tensor, Tensor]:
        """Each row's most probable token, and its log-probability (nats)."""
        top, token = logits.max(dim=-1)
        # log p(top) = -log sum exp(logit - top): no log-probabilities of the other tokens needed.
        return token, -(logits - top[:, None]).exp_().sum(dim=-1).log_()

    def _advance(self, batch: Batch) -> Tensor:
        """Decode until enough rows have finished for replacing them; the slots of all finished."""
        enough = max(1, int(FINISHED_SHARE * len(batch.rows)))
        while (slots := batch.done.nonzero()[:, 0]).numel() < enough:
            for _ in range(self.steps_between_checks):
                batch.width += 1
                positions = (batch.width - 1 - batch.padding)[:, None]
                self._choose(batch, self._logits(batch, batch.last[:, None], positions))
        return slots

    def _replace(
        self,
        batch: Batch,
        slots: Tensor,
        waiting: list[int],
        prompts: Sequence[Sequence[int]],
        lengths: Any,
    ) -> Batch | None:
        """The batch with waiting rows in place of the finished, or None if none is left."""
        present = len(batch.rows) - len(slots)
        if not present:
            return None
        taken = self._take(waiting, lengths, present, batch.width)
        if taken:
            batch.add(self._begin(taken, prompts), slots[: len(taken)])
        if len(taken) < len(slots):
            empty = batch.done.new_zeros(len(batch.rows))
            empty[slots[len(taken) :]] = True
            batch.keep((~empty).nonzero()[:, 0])
        batch.trim()
        return batch

    def _outputs(self, batch: Batch, slots: Tensor) -> list[tuple[int, Output]]:
        """What stands in the given slots."""
        import torch

        counts = batch.count[slots]
        stopped = torch.isin(batch.ids[slots, counts - 1], self.end_ids)
        columns = (slots, counts, stopped, batch.logprob[slots], batch.ids[slots])
        return [
            (batch.rows[slot], Output(ids[:count], stop, logprob))
            for slot, count, stop, logprob, ids in zip(*(c.tolist() for c in columns), strict=True)
        ]
