"""The states of every layer, pooled while a forward pass runs: never all tokens of all layers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from routelmt.errors import UserError

HALF_MAX = 65504.0  # some models have a few activations beyond fp16: they are clipped


@dataclass(frozen=True)
class LayerStates:
    """States of some prompts, fp16 (n, layers, hidden): embeddings first, final norm last.

    last: at the last prompt token. mean: over the prompt's tokens, padding left out.
    """

    last: npt.NDArray[np.float16]
    mean: npt.NDArray[np.float16]


class LayerPooling:
    """Pools what goes into every layer of a decoder, and what comes out of its last one.

    decoder: a transformers decoder whose layers are `decoder.layers`. Prompts are padded on the
    right. Raises UserError for a model without such layers.
    """

    def __init__(self, decoder: Any) -> None:
        self._decoder = decoder
        self._found: list[tuple[Any, Any]] = []
        if not hasattr(decoder, "layers"):
            raise UserError(
                f"model type '{decoder.config.model_type}': its layers are not where routelmt "
                "looks for them, so their states cannot be read. Use routers that need no states."
            )

    @contextmanager
    def watching(self, lengths: Any) -> Iterator[None]:
        """Pool during one forward pass; lengths: (n,) tokens of each prompt, on the device."""
        self._found, self._lengths = [], lengths
        handles = [
            layer.register_forward_pre_hook(self._before, with_kwargs=True)
            for layer in self._decoder.layers
        ]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def _before(self, _: Any, positional: tuple[Any, ...], named: dict[str, Any]) -> None:
        self._found.append(self._pool(positional[0] if positional else named["hidden_states"]))

    def _pool(self, states: Any) -> tuple[Any, Any]:
        """(last, mean) of states (n, tokens, hidden), each (n, hidden) fp16."""
        import torch

        rows = torch.arange(len(states), device=states.device)
        real = torch.arange(states.shape[1], device=states.device) < self._lengths[:, None]
        weights = real.float() / self._lengths[:, None]
        mean = torch.bmm(weights[:, None], states.float()).squeeze(1)
        return _half(states[rows, self._lengths - 1]), _half(mean)

    def pooled(self, final: Any) -> LayerStates:
        """What was found, and `final` (n, tokens, hidden), the states after the final norm."""
        import torch

        pairs = [*self._found, self._pool(final)]
        self._found = []
        return LayerStates(*(torch.stack(p, dim=1).cpu().numpy() for p in zip(*pairs, strict=True)))


def _half(states: Any) -> Any:
    return states.float().clamp(-HALF_MAX, HALF_MAX).half()
