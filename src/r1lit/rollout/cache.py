"""The key-value cache of the native engine: each prompt is kept once, each row has a slot for its own tokens."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from transformers.cache_utils import Cache, CacheLayerMixin

from r1lit.rollout.schedule import Plan

FIRST_CAPACITY = 64
"""Tokens that the rows' slots hold at first; then twice as many each time that the longest row needs more."""


class SlotLayer(CacheLayerMixin):
    """One layer: ``prefix_keys`` [prompts, heads, prefix, head_dim], ``keys`` [rows, heads, capacity, head_dim].

    A position is an index: the first token of a prompt, or of a completion, lies at 0, and room is left on the right.
    Layers with a sliding window keep all positions and leave the window to the attention.
    """

    is_sliding = False
    keys: Tensor
    values: Tensor
    prefix_keys: Tensor
    prefix_values: Tensor

    def __init__(self, cache: "SlotCache") -> None:
        super().__init__()
        self.cache = cache

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        """Allocates the buffers, with heads, type and device of the first states."""
        plan = self.cache.plan
        self.dtype, self.device = key_states.dtype, key_states.device
        for name, states in (("keys", key_states), ("values", value_states)):
            heads, size = states.shape[1], states.shape[3]
            # Zeros, because a mask does not hide the NaN that free memory may hold.
            setattr(self, name, states.new_zeros((0, heads, 0, size)))
            setattr(self, f"prefix_{name}", states.new_zeros((plan.prompts, heads, plan.prefix, size)))
        self.is_initialized = True

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        """Writes prompts, or one token for each row.

        Args:
            key_states: [prompts, heads, width, head_dim] while prompts are computed, [rows, heads, 1, head_dim] else.
            value_states: likewise.
            args: not used.
            kwargs: not used.

        Returns:
            The keys and values that attention shall see: the prompts' as they came; else those of the rows' own
            tokens, the new ones included, [rows, heads, span, head_dim].
        """
        cache = self.cache
        if cache.prefilled is not None:
            if not self.is_initialized:
                self.lazy_initialization(key_states, value_states)
            width = key_states.shape[2]
            self.prefix_keys[cache.prefilled, :, :width] = key_states
            self.prefix_values[cache.prefilled, :, :width] = value_states
            return key_states, value_states
        rows = len(key_states)
        for buffer, states in ((self.keys, key_states), (self.values, value_states)):
            size = buffer.shape[3]
            buffer.view(-1, size).index_copy_(0, cache.places, states.reshape(-1, size))
        return self.keys[:rows, :, : cache.span], self.values[:rows, :, : cache.span]

    def grow(self, rows: int, used: int, capacity: int) -> None:
        """Gives ``rows`` slots room for ``capacity`` tokens; what the first ``used`` hold is kept."""
        for name in ("keys", "values"):
            old = getattr(self, name)
            new = old.new_zeros((rows, old.shape[1], capacity, old.shape[3]))
            new[:used, :, : old.shape[2]] = old[:used]
            setattr(self, name, new)

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        """Length and offset of the keys that the next ``query_length`` positions attend to; asked for prompts only."""
        # Older releases of transformers pass the positions themselves.
        return (query_length.shape[0] if isinstance(query_length, Tensor) else query_length), 0

    def get_seq_length(self) -> int:
        """Positions before the ones that are computed: none, as prompts are computed whole."""
        return 0

    def get_max_length(self) -> int:
        """Positions there is room for."""
        return self.cache.plan.prefix + self.cache.plan.own

    def get_max_cache_shape(self) -> int:
        """The name that older releases of transformers give ``get_max_length``."""
        return self.get_max_length()


class SlotCache(Cache):
    """The layers of a whole model, and where their next states go.

    Args:
        layer_count: Decoder layers.
        heads: Key-value heads, the same in every layer.
        plan: How many slots, and how long they may get.
        device: Of the model.
    """

    def __init__(self, layer_count: int, heads: int, plan: Plan, device: torch.device) -> None:
        self.heads, self.plan, self.device = heads, plan, device
        self.prefilled: Tensor | None = None
        self.rows = self.capacity = self.span = 0
        self.places = torch.empty(0, dtype=torch.long, device=device)
        self.slot_layers = [SlotLayer(self) for _ in range(layer_count)]
        super().__init__(layers=list(self.slot_layers))

    def expect_prompts(self, slots: Tensor) -> None:
        """The next states are those of prompts, which go to the given slots."""
        self.prefilled = slots

    def reserve(self, rows: int, used: int, span: int) -> None:
        """Sees to it that ``rows`` slots have room for ``span`` tokens; the first ``used`` keep what they hold."""
        if rows <= self.rows and span <= self.capacity:
            return
        while self.capacity < span:
            self.capacity = min(self.plan.own, max(FIRST_CAPACITY, 2 * self.capacity))
        self.rows = rows
        for layer in self.slot_layers:
            layer.grow(rows, min(used, len(layer.keys)), self.capacity)

    def expect_tokens(self, lengths: Tensor, span: int) -> None:
        """The next states are one token's for each of the first rows, which has ``lengths`` [rows] before it.

        ``span`` is the largest length, plus one.
        """
        self.prefilled = None
        self.span = span
        row_and_head = torch.arange(len(lengths) * self.heads, device=self.device).view(-1, self.heads)
        self.places = (row_and_head * self.capacity + lengths[:, None]).flatten()

    def move_rows(self, sources: Sequence[int], targets: Sequence[int], length: int) -> None:
        """Copies the first ``length`` own tokens of some rows into other slots."""
        for layer in self.slot_layers:
            _move((layer.keys, layer.values), sources, targets, length)

    def move_prompts(self, sources: Sequence[int], targets: Sequence[int]) -> None:
        """Copies prompts into other slots."""
        for layer in self.slot_layers:
            _move((layer.prefix_keys, layer.prefix_values), sources, targets, self.plan.prefix)


def _move(buffers: Sequence[Tensor], sources: Sequence[int], targets: Sequence[int], length: int) -> None:
    """Several slots at once: one copy more, but on an accelerator or a small model calls cost more than bytes."""
    if length == 0:  # before the first step, when there are no buffers yet
        return
    for buffer in buffers:
        buffer[targets, :, :length] = buffer[sources, :, :length]
