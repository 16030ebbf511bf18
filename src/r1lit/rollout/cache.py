"""A key-value cache that is allocated once and loses rows as they finish."""

from typing import Any

import torch
from torch import Tensor
from transformers.cache_utils import Cache, CacheLayerMixin


class RowCacheLayer(CacheLayerMixin):
    """One layer's keys and values, [rows, heads, capacity, head_dim], filled from the left.

    transformers' dynamic layer concatenates, so each decoded token copies the whole cache; here a token is written in
    place. A layer with a sliding window keeps all positions and leaves the window to the attention mask.
    """

    is_sliding = False

    def __init__(self, capacity: int) -> None:
        super().__init__()
        self.capacity = capacity
        self.length = 0

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        """Allocates the buffers like the first states."""
        self.dtype, self.device = key_states.dtype, key_states.device
        self.keys = key_states.new_empty((*key_states.shape[:2], self.capacity, key_states.shape[-1]))
        self.values = value_states.new_empty((*value_states.shape[:2], self.capacity, value_states.shape[-1]))
        self.is_initialized = True

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        """Writes the new positions and returns views of all that are filled."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        assert self.keys is not None
        assert self.values is not None
        end = self.length + key_states.shape[-2]
        self.keys[:, :, self.length : end] = key_states
        self.values[:, :, self.length : end] = value_states
        self.length = end
        return self.keys[:, :, :end], self.values[:, :, :end]

    def select_rows(self, rows: Tensor) -> None:
        """Keeps the given rows, in that order; repeated rows are copied."""
        assert self.keys is not None
        assert self.values is not None
        self.keys = self._rows_of(self.keys, rows)
        self.values = self._rows_of(self.values, rows)

    def _rows_of(self, states: Tensor, rows: Tensor) -> Tensor:
        kept = states.new_empty((len(rows), *states.shape[1:]))
        kept[:, :, : self.length] = states[:, :, : self.length].index_select(0, rows)
        return kept

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        """Length and offset of the keys that the next ``query_length`` positions attend to."""
        # Older releases of transformers pass the positions themselves.
        new = query_length.shape[0] if isinstance(query_length, Tensor) else query_length
        return self.length + new, 0

    def get_seq_length(self) -> int:
        """Positions filled so far."""
        return self.length

    def get_max_length(self) -> int:
        """Positions there is room for."""
        return self.capacity

    def get_max_cache_shape(self) -> int:
        """The name that older releases of transformers give ``get_max_length``."""
        return self.capacity


class RowCache(Cache):
    """A cache of ``RowCacheLayer`` for a whole model."""

    def __init__(self, layer_count: int, capacity: int) -> None:
        super().__init__(layers=[RowCacheLayer(capacity) for _ in range(layer_count)])

    def select_rows(self, rows: Tensor) -> None:
        """Keeps the given rows of every layer, in that order; repeated rows are copied."""
        for layer in self.layers:
            if isinstance(layer, RowCacheLayer) and layer.is_initialized:
                layer.select_rows(rows)


def left_pad(rows: list[tuple[int, ...]], pad_id: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Pads on the left.

    Returns:
        Token ids [B, T] and the attention mask [B, T] (1 where a token stands).
    """
    width = max(len(row) for row in rows)
    ids = torch.tensor([[pad_id] * (width - len(row)) + list(row) for row in rows], device=device)
    mask = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in rows], device=device)
    return ids, mask
