"""Key-value cache and attention for decoding many short rows one token at a time.

The defaults of transformers copy the whole cache at every step, once to append a column and once
more to repeat the key-value heads for grouped queries: over a third of the time of a small model.
This module loads torch and transformers: import it inside functions.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.cache_utils import Cache, DynamicLayer
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

ATTENTION = "routelmt_grouped"
# Columns allocated ahead; the cache is copied once in so many steps.
SPARE_COLUMNS = 32


class SlotLayer(DynamicLayer):  # type: ignore[misc]
    """One layer's keys and values, (slots, heads, columns, size), with room to append columns.

    `keys` and `values` are views of larger buffers. What stands in a slot's columns before its
    row's first is never attended to, but it must be finite.
    """

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *_: Any, **__: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Append columns to every slot; returns all keys and values."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
            self.keys, self.values = key_states[:, :, :0], value_states[:, :, :0]
            self._buffers = (self.keys, self.values)
        used, new = self.keys.shape[2], key_states.shape[2]
        if used + new > self._buffers[0].shape[2]:
            self._buffers = (_longer(self.keys, new), _longer(self.values, new))
        for buffer, states in zip(self._buffers, (key_states, value_states), strict=True):
            buffer[:, :, used : used + new] = states
        self._view(used + new)
        return self.keys, self.values

    def _view(self, columns: int) -> None:
        self.keys, self.values = (b[:, :, :columns] for b in self._buffers)

    def trim(self, columns: int) -> None:
        """Forget the first columns; nothing is copied."""
        used = self.keys.shape[2]
        keys, values = self._buffers
        self._buffers = (keys[:, :, columns:], values[:, :, columns:])
        self._view(used - columns)

    def batch_select_indices(self, indices: torch.Tensor) -> None:
        """Keep only the given slots."""
        columns = self.keys.shape[2]
        keys, values = self._buffers
        self._buffers = (keys[indices], values[indices])
        self._view(columns)

    def put(self, slots: torch.Tensor, other: SlotLayer) -> None:
        """Replace the rows in the given slots by the first of another layer's rows, in order."""
        first = self.keys.shape[2] - other.keys.shape[2]
        self.keys[slots, :, first:] = other.keys[: len(slots)]
        self.values[slots, :, first:] = other.values[: len(slots)]

    def append(self, other: SlotLayer, skip: int) -> None:
        """Add slots for the other layer's rows, but for the first `skip`."""
        columns = self.keys.shape[2]
        self._buffers = (
            _taller(self._buffers[0], other.keys[skip:], columns),
            _taller(self._buffers[1], other.values[skip:], columns),
        )
        self._view(columns)


def _longer(tensor: torch.Tensor, columns: int) -> torch.Tensor:
    slots, heads, used, size = tensor.shape
    buffer = tensor.new_empty((slots, heads, used + columns + SPARE_COLUMNS, size))
    buffer[:, :, :used] = tensor
    return buffer


def _taller(tensor: torch.Tensor, rows: torch.Tensor, columns: int) -> torch.Tensor:
    below = tensor.new_zeros((len(rows), *tensor.shape[1:]))
    below[:, :, columns - rows.shape[2] : columns] = rows
    return torch.cat([tensor, below])


def slot_cache() -> Cache:
    """An empty cache of SlotLayers, one for every layer that asks for one."""
    return Cache(layer_class_to_replicate=SlotLayer)


def grouped_attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float | None = None,
    **kwargs: Any,
) -> tuple[torch.Tensor, None]:
    """SDPA; for one query token, the queries that share a key-value head stand as one sequence.

    That needs no repeated keys and values. query: (rows, heads, 1, size), key and value:
    (rows, key-value heads, columns, size), mask: (rows, 1, 1, columns).
    """
    plain = kwargs.get("position_bias") is None and (
        attention_mask is None or attention_mask.shape[1:3] == (1, 1)
    )
    if query.shape[2] != 1 or not plain:
        output: tuple[torch.Tensor, None] = sdpa_attention_forward(
            module, query, key, value, attention_mask, scaling=scaling, **kwargs
        )
        return output
    rows, heads, _, size = query.shape
    grouped = query.reshape(rows, key.shape[1], heads // key.shape[1], size)
    found = scaled_dot_product_attention(
        grouped, key, value, attn_mask=attention_mask, scale=scaling
    )
    return found.reshape(rows, 1, heads, value.shape[-1]), None


def register_attention() -> str:
    """Make `grouped_attention` known to transformers; returns its name."""
    AttentionInterface.register(ATTENTION, grouped_attention)
    AttentionMaskInterface.register(ATTENTION, sdpa_mask)
    return ATTENTION
