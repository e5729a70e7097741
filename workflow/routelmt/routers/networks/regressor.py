"""Numbers from a prompt: one prefill of a causal decoder, and a linear head on its last token."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt

from routelmt.progress import progress
from routelmt.translate.batches import pass_tokens, token_batches

# Of a head that starts with random weights.
HEAD_DEVIATION = 0.02


class PromptRegressor:
    """W h + b, h the final hidden state (after the final norm) at the last prompt token.

    causal: a causal language model, with a LoRA from peft or without; its vocabulary projection
    is never computed. head: float32 torch.nn.Linear(hidden, outputs). Rows are padded on the right
    without a mask: a causal decoder's state at the last real token cannot see what follows it.
    checkpointing: compute a layer's activations again in the backward pass instead of keeping them.
    """

    def __init__(
        self, causal: Any, head: Any, dtype: str, device: str, checkpointing: bool = False
    ) -> None:
        self.causal, self.head, self.dtype, self.device = causal, head, dtype, device
        wrapped = causal.get_base_model() if hasattr(causal, "get_base_model") else causal
        self.decoder = wrapped.get_decoder()
        if checkpointing:
            wrapped.gradient_checkpointing_enable({"use_reentrant": False})

    def outputs(self, rows: Sequence[Sequence[int]]) -> Any:
        """Float32 tensor (rows, outputs) in the head's unit."""
        import torch

        ids, last = pad_right(rows)
        ids, last = (torch.from_numpy(a).to(self.device, non_blocking=True) for a in (ids, last))
        reduced = self.dtype != "float32"
        with torch.autocast(self.device.split(":")[0], torch.bfloat16, enabled=reduced):
            states = self.decoder(**self._read(ids), use_cache=False).last_hidden_state
        final = states[torch.arange(len(last), device=self.device), last]
        return self.head(final.float())

    def _read(self, ids: Any) -> dict[str, Any]:
        """The decoder's input. In bfloat16 a prediction adds up the layers' states in float32, by
        starting from float32 embeddings: what it owes to the batch it stands in is then halved."""
        if self.dtype == "float32" or self.causal.training:
            return {"input_ids": ids}
        return {"inputs_embeds": self.decoder.get_input_embeddings()(ids).float()}

    def trainable(self) -> dict[str, Any]:
        """Parameters that training changes, by name: the LoRA's and the head's."""
        found = {n: p for n, p in self.causal.named_parameters() if p.requires_grad}
        return found | {f"head.{n}": p for n, p in self.head.named_parameters()}

    @contextmanager
    def running(self, training: bool) -> Iterator[None]:
        """Train or eval mode, as it was before at the end, and no casts that autocast does.

        peft would cast the input of every LoRA to float32, and autocast back again.
        """
        from peft.helpers import disable_input_dtype_casting

        before = self.causal.training
        self.causal.train(training)
        with disable_input_dtype_casting(self.causal, active=self.dtype != "float32"):
            yield
        self.causal.train(before)

    def predict(
        self, ids: Sequence[Sequence[int]], batch_tokens: int, what: str | None = None
    ) -> npt.NDArray[np.float64]:
        """Outputs of each prompt, (prompts, outputs); with a progress bar called `what`."""
        import torch

        lengths = np.array([len(row) for row in ids], dtype=np.int64)
        values = np.empty((len(ids), self.head.out_features), dtype=np.float64)
        batches = token_batches(lengths, self.batch_tokens(batch_tokens))
        with torch.inference_mode(), self.running(training=False):
            for batch in progress(batches, what, "batch") if what else batches:
                values[batch] = self.outputs([ids[i] for i in batch]).cpu().numpy()
        return values

    def batch_tokens(self, wanted: int) -> int:
        """The token budget of one forward pass on this device."""
        return pass_tokens(wanted, self.device)


def fresh_head(hidden: int, outputs: int, init: str = "zeros", seed: int = 0) -> Any:
    """A float32 linear head, its bias 0: `zeros` says the label's mean for every row at first;
    `normal` draws the weights as transformers' classification heads are, deviation 0.02."""
    import torch

    head = torch.nn.Linear(hidden, outputs, dtype=torch.float32)
    torch.nn.init.zeros_(head.bias)
    if init == "zeros":
        torch.nn.init.zeros_(head.weight)
    else:
        drawn = torch.Generator().manual_seed(seed)
        torch.nn.init.normal_(head.weight, std=HEAD_DEVIATION, generator=drawn)
    return head


def pad_right(
    rows: Sequence[Sequence[int]],
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """(ids, last): ids (rows, longest), last (rows,) the position of each row's last token.

    The padding is token 0: any token would do, nothing looks at it.
    """
    last = np.array([len(row) - 1 for row in rows], dtype=np.int64)
    ids = np.zeros((len(rows), int(last.max()) + 1), dtype=np.int64)
    for i, row in enumerate(rows):
        ids[i, : len(row)] = row
    return ids, last
