"""Attention of one new token per row to a prompt that its group shares, and to what the row has sampled itself.

transformers' modules call this in place of their own while the native engine decodes (``AttentionInterface``). The
prompt's keys are read once for all rows of its group, and no key-value head is repeated for the query heads it serves.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, PreTrainedModel

from r1lit.errors import InputError
from r1lit.rollout.cache import SlotCache, SlotLayer
from r1lit.rollout.schedule import Row

NAME = "r1lit_decode"


class Batch:
    """The rows of the next decoding steps; made anew when rows come or go.

    Args:
        rows: They have slots 0, 1, 2... and at least one token each, the last of which is not in the cache yet.
        cache: Holds their keys and values.
        slots: How many rows there may be before the cache's room for own tokens grows again.
    """

    def __init__(self, rows: Sequence[Row], cache: SlotCache, slots: int) -> None:
        device = cache.device
        self.rows, self.cache, self.slots = rows, cache, slots
        prompt_lengths = [len(row.group.request.prompt_ids) for row in rows]
        lengths = [len(row.token_ids) - 1 for row in rows]
        self.tokens = torch.tensor([row.token_ids[-1] for row in rows], device=device)
        self.keys = torch.tensor([row.key for row in rows], device=device)
        self.prompt_lengths = torch.tensor(prompt_lengths, device=device)
        self.lengths = torch.tensor(lengths, device=device)
        self.width, self.longest = max(prompt_lengths), max(lengths)
        self.prompts = max(row.group.slot for row in rows) + 1
        self._is_level = min(lengths) == self.longest and min(prompt_lengths) == self.width
        self._masks: dict[int | None, Tensor | None] = {}
        self._attended = 0
        self._regroup([row.group.slot for row in rows])

    def _regroup(self, groups: Sequence[int]) -> None:
        """Tells where each row's queries go in [prompts, heads, members], and back."""
        members: list[list[int]] = [[] for _ in range(self.prompts)]
        places = []
        for row, group in enumerate(groups):
            places.append((group, len(members[group])))
            members[group].append(row)
        most = max(map(len, members))
        # Smaller groups are filled up with row 0, whose results nobody fetches.
        grouped = torch.tensor([[*rows, *[0] * (most - len(rows))] for rows in members])  # [prompts, members]
        group, member = torch.tensor(places).T[:, :, None]  # [rows, 1]
        heads = self.cache.heads
        head = torch.arange(heads)
        self.to_groups = (grouped[:, None] * heads + head[:, None]).flatten().to(self.cache.device)
        self.to_rows = ((group * heads + head) * most + member).flatten().to(self.cache.device)

    @property
    def positions(self) -> Tensor:
        """[rows] position of each row's last token in its sequence."""
        return self.prompt_lengths + self.lengths

    def begin_step(self) -> None:
        """Makes room for each row's last token."""
        self._masks.clear()
        self._attended = 0
        self.cache.reserve(self.slots, len(self.rows), self.longest + 1)
        self.cache.expect_tokens(self.lengths, self.longest + 1)

    def end_step(self) -> None:
        """Each row's last token is in the cache now.

        Raises:
            InputError: If a layer has not come here for its attention.
        """
        if self._attended != len(self.cache):
            raise InputError(
                "engine: NativeEngine cannot decode this model, whose layers do not attend through transformers' "
                "AttentionInterface; use r1lit.rollout.TransformersEngine"
            )
        self.lengths = self.lengths + 1
        self.longest += 1

    def layer(self, index: int) -> SlotLayer:
        """The cache of a layer that is about to attend."""
        self._attended += 1
        return self.cache.slot_layers[index]

    def mask(self, window: int | None, like: Tensor) -> Tensor | None:
        """What to add to the scores, [rows, 1, 1, width + span]: -inf where a row sees nothing; None if it sees all."""
        if window not in self._masks:
            self._masks[window] = self._make_mask(window, like)
        return self._masks[window]

    def _make_mask(self, window: int | None, like: Tensor) -> Tensor | None:
        if self._is_level and (window is None or self.width + self.longest < window):
            return None
        prompt, own = self.prompt_lengths[:, None], self.lengths[:, None]
        prefix = torch.arange(self.width, device=like.device)  # positions
        tokens = torch.arange(self.longest + 1, device=like.device)
        seen = [prefix < prompt, tokens <= own]
        if window is not None:
            seen = [seen[0] & (prompt + own - prefix < window), seen[1] & (own - tokens < window)]
        mask = torch.zeros(len(own), self.width + len(tokens), dtype=like.dtype, device=like.device)
        return mask.masked_fill_(~torch.cat(seen, dim=1), float("-inf"))[:, None, None]


def decode_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float,
    r1lit_batch: Batch,
    sliding_window: int | None = None,
    softcap: float | None = None,
    s_aux: Tensor | None = None,
    **kwargs: object,
) -> tuple[Tensor, None]:
    """Attention in the form that transformers asks for.

    Args:
        module: The layer's attention, for its ``layer_idx``.
        query: [R, heads, 1, D]: one new token of each row.
        key: [R, kv_heads, span, D], each row's own tokens, from ``SlotLayer.update``.
        value: likewise.
        attention_mask: Not used: ``r1lit_batch`` knows what each row sees.
        scaling: Multiplies the scores.
        r1lit_batch: The rows; it comes through the model's keyword arguments.
        sliding_window: Positions that a token sees, itself included; None for all.
        softcap: Bounds the scores by ``softcap * tanh(scores / softcap)`` (Gemma).
        s_aux: Attention sinks, which are not supported.
        kwargs: Not used (dropout is off).

    Returns:
        [R, 1, heads, D], and None for the weights.
    """
    if s_aux is not None:
        raise NotImplementedError("NativeEngine: attention sinks; use r1lit.rollout.TransformersEngine")
    batch = r1lit_batch
    rows, heads, _, size = query.shape
    kv_heads, span = key.shape[1], key.shape[2]
    served = heads // kv_heads  # query heads of each key-value head; query head h belongs to h // served
    layer = batch.layer(int(module.layer_idx))  # type: ignore[arg-type]
    prefix_keys = layer.prefix_keys[: batch.prompts, :, : batch.width].flatten(0, 1)  # [G * kv_heads, P, D]
    prefix_values = layer.prefix_values[: batch.prompts, :, : batch.width].flatten(0, 1)

    query = (query * scaling).view(rows * kv_heads, served, size)
    grouped = query.index_select(0, batch.to_groups).view(len(prefix_keys), -1, size)  # [G * kv_heads, n * served, D]
    on_prefix = torch.bmm(grouped, prefix_keys.transpose(1, 2)).view(-1, served * batch.width)
    on_prefix = on_prefix.index_select(0, batch.to_rows).view(rows, kv_heads, served, batch.width)
    on_own = torch.bmm(query, key.flatten(0, 1).transpose(1, 2)).view(rows, kv_heads, served, span)
    scores = torch.cat([on_prefix, on_own], dim=-1)  # [R, kv_heads, served, P + span]
    if softcap is not None:
        scores = torch.tanh(scores / softcap) * softcap
    mask = batch.mask(sliding_window, scores)
    if mask is not None:
        scores += mask
    weights = scores.softmax(dim=-1).to(value.dtype)

    of_prefix, of_own = weights.view(rows * kv_heads, served, -1).split([batch.width, span], dim=-1)
    grouped = of_prefix.reshape(rows * kv_heads, -1).index_select(0, batch.to_groups)
    grouped = torch.bmm(grouped.view(len(prefix_values), -1, batch.width), prefix_values)
    out = grouped.view(-1, served * size).index_select(0, batch.to_rows).view(-1, served, size)
    out = torch.baddbmm(out, of_own, value.flatten(0, 1))  # [R * kv_heads, served, D]
    return out.view(rows, 1, heads, size), None


AttentionInterface.register(NAME, decode_attention)


@contextmanager
def attending(lm: PreTrainedModel) -> Iterator[None]:
    """Inside, the model's layers attend with :func:`decode_attention`."""
    config = lm.config.get_text_config()
    own = config._attn_implementation
    config._attn_implementation = NAME
    try:
        yield
    finally:
        config._attn_implementation = own
