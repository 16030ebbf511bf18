"""Attention over flat rows of segments: the one part of a transformer in which tokens of a row meet.

Linear layers see the row as it is. Attention gathers segments of like length, with their prefixes, into a few padded
batches of torch's ``scaled_dot_product_attention``, and puts the results back. It reaches the layers of any model that
looks its attention up in transformers' ``AttentionInterface`` and hands its keyword arguments on.
"""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import AttentionInterface, PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward

ATTENTION_NAME = "r1lit_segments"
_KNOWN_LAYERS = {"full_attention", "sliding_attention"}
_PADDED_SHARE = 0.25
"""Padding that attention may compute, as a share of what counts, to save calls."""
_CALL_SCORES = 1 << 15
"""Query-key pairs that cost about as much as one more call."""


class Segment(NamedTuple):
    """Consecutive tokens of a flat row."""

    start: int
    stop: int
    prefix: int | None = None
    """Index of the earlier segment whose tokens this one sees before its own; None: a document of its own."""


@dataclass(frozen=True, eq=False)
class _Bucket:
    """Segments that are attended to in one call: B rows of C queries, and K = P + C keys, of which P are prefixes."""

    queries: Tensor
    """[B * C] positions in the row; what is too short repeats its own last token."""
    keys: Tensor
    """[B * K]."""
    rows: int
    width: int
    prefix_lengths: tuple[int, ...]
    """[B]; prefixes are padded to the longest."""
    masks: dict[tuple[int | None, torch.dtype], Tensor | None] = field(default_factory=dict)

    def mask(self, window: int | None, dtype: torch.dtype) -> Tensor | None:
        """What is added to the scores, [1 or B, 1, C, K]; None where plain causal attention says it all."""
        if window is not None and window >= max(self.prefix_lengths) + self.width:
            window = None
        if (window, dtype) not in self.masks:
            self.masks[window, dtype] = self._mask(window, dtype)
        return self.masks[window, dtype]

    def _mask(self, window: int | None, dtype: torch.dtype) -> Tensor | None:
        longest = max(self.prefix_lengths)
        if not longest and window is None:
            return None
        device = self.queries.device
        lengths = torch.tensor(sorted(set(self.prefix_lengths)), device=device)
        if len(lengths) > 1:
            lengths = torch.tensor(self.prefix_lengths, device=device)
        columns = torch.arange(longest + self.width, device=device)  # [K]: the prefix, padding, the segment itself
        is_padding = (columns >= lengths[:, None]) & (columns < longest)  # [B, K]
        places = torch.where(columns < longest, columns, columns - longest + lengths[:, None])  # [B, K]
        distance = (torch.arange(self.width, device=device) + lengths[:, None])[:, :, None] - places[:, None]
        hidden = (distance < 0) | is_padding[:, None]  # [B, C, K]
        if window is not None:
            hidden |= distance >= window
        return torch.zeros(hidden.shape, dtype=dtype, device=device).masked_fill(hidden, -torch.inf)[:, None]


class SegmentAttention:
    """Attention over one flat row; made once for a row and used by all layers.

    Args:
        segments: Cover the row without gaps, in order.
        device: Where the row is.
    """

    def __init__(self, segments: Sequence[Segment], device: torch.device) -> None:
        self.layers = 0
        """Layers that have used it: tells whether a model's attention came here at all."""
        self.buckets: list[_Bucket] = []
        back = torch.zeros(segments[-1].stop, dtype=torch.long)
        offset = 0
        for part in _bucketed(segments):
            bucket, places = _bucket(segments, part, device)
            for row, index in enumerate(part):
                start, stop, _ = segments[index]
                first = offset + row * bucket.width
                back[start:stop] = torch.arange(first, first + stop - start)
            offset += places
            self.buckets.append(bucket)
        self.back = back.to(device)

    def __call__(self, query: Tensor, key: Tensor, value: Tensor, scaling: float | None, window: int | None) -> Tensor:
        """Attends.

        Args:
            query: [1, H, T, D].
            key: [1, H', T, D] with fewer heads where H' of them serve H queries.
            value: [1, H', T, D'].
            scaling: Of the scores; None is D ** -0.5.
            window: Tokens that a token sees, itself included; None is all before it.

        Returns:
            [1, T, H, D'].
        """
        heads, grouped = query.shape[1], query.shape[1] != key.shape[1]
        rows = [states[0].transpose(0, 1).flatten(1) for states in (query, key, value)]  # [T, heads * D]
        dims = [states.shape[-1] for states in (query, key, value)]
        found = []
        for bucket in self.buckets:
            places = (bucket.queries, bucket.keys, bucket.keys)
            q, k, v = (
                take_rows(states, place).view(bucket.rows, len(place) // bucket.rows, -1, dim).transpose(1, 2)
                for states, place, dim in zip(rows, places, dims, strict=True)
            )
            mask = bucket.mask(window, q.dtype)
            if grouped and mask is not None and q.device.type != "cpu":
                # With a mask, only the CPU's fused kernel takes grouped heads as they are.
                k, v = (states.repeat_interleave(heads // states.shape[1], dim=1) for states in (k, v))
            out = F.scaled_dot_product_attention(
                q, k, v, mask, is_causal=mask is None, scale=scaling, enable_gqa=k.shape[1] != heads
            )
            found.append(out.transpose(1, 2).reshape(-1, heads * dims[2]))  # [B * C, H * D']
        return take_rows(torch.cat(found), self.back).view(1, -1, heads, dims[2])


def take_rows(states: Tensor, index: Tensor) -> Tensor:
    """Rows [N, ...] of ``states`` [T, D] at ``index`` [N]; the backward pass adds repeated ones up in a fixed order."""
    return F.embedding(index, states)


def _bucketed(segments: Sequence[Segment]) -> list[list[int]]:
    """Deals segments into batches of like size: documents apart from segments with a prefix, empty ones nowhere."""

    def sizes(index: int) -> tuple[int, int]:
        start, stop, prefix = segments[index]
        return stop - start, 0 if prefix is None else segments[prefix].stop - segments[prefix].start

    filled = [index for index, segment in enumerate(segments) if segment.stop > segment.start]
    filled.sort(key=lambda index: (segments[index].prefix is None, *(-size for size in sizes(index)), index))
    parts: list[list[int]] = []
    exact = longest = 0  # query-key pairs that count, and the longest prefix, of the last part
    for index in filled:
        own, shared = sizes(index)
        pairs = own * (own + shared)
        if parts and (segments[parts[-1][0]].prefix is None) == (segments[index].prefix is None):
            width, longest_with = sizes(parts[-1][0])[0], max(longest, shared)
            padded = (len(parts[-1]) + 1) * width * (width + longest_with)
            if padded - exact - pairs <= max(_CALL_SCORES, _PADDED_SHARE * (exact + pairs)):
                parts[-1].append(index)
                exact, longest = exact + pairs, longest_with
                continue
        parts.append([index])
        exact, longest = pairs, shared
    return parts


def _bucket(segments: Sequence[Segment], part: Sequence[int], device: torch.device) -> tuple[_Bucket, int]:
    """Makes the bucket of the given segments. Returns it with its number of queries, padding included."""
    chosen = [segments[index] for index in part]
    prefixes = [None if segment.prefix is None else segments[segment.prefix] for segment in chosen]
    lengths = tuple(0 if shared is None else shared.stop - shared.start for shared in prefixes)
    width = max(segment.stop - segment.start for segment in chosen)
    starts = torch.tensor([segment.start for segment in chosen])[:, None]
    ends = torch.tensor([segment.stop - 1 for segment in chosen])[:, None]
    queries = torch.minimum(starts + torch.arange(width), ends)  # [B, C]
    firsts = torch.tensor([0 if shared is None else shared.start for shared in prefixes])[:, None]
    lasts = torch.tensor([0 if shared is None else shared.stop - 1 for shared in prefixes])[:, None]
    shared_keys = torch.minimum(firsts + torch.arange(max(lengths)), lasts)  # [B, P]
    keys = torch.cat([shared_keys, queries], dim=1).flatten()
    bucket = _Bucket(queries.flatten().to(device), keys.to(device), len(part), width, lengths)
    return bucket, queries.numel()


def _segment_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    sliding_window: int | None = None,
    segments: SegmentAttention | None = None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """What layers call under :func:`segment_attention`; without ``segments`` it is transformers' own."""
    if segments is None:
        return sdpa_attention_forward(
            module, query, key, value, attention_mask, scaling=scaling, sliding_window=sliding_window, **kwargs
        )
    segments.layers += 1
    return segments(query, key, value, scaling, sliding_window), None


AttentionInterface.register(ATTENTION_NAME, _segment_attention)


@contextmanager
def segment_attention(lm: PreTrainedModel) -> Iterator[None]:
    """Inside, the layers of ``lm`` take a ``segments`` argument, which its decoder hands on to them."""
    before = lm.config._attn_implementation
    lm.config._attn_implementation = ATTENTION_NAME
    try:
        yield
    finally:
        lm.config._attn_implementation = before


def recomputing(lm: PreTrainedModel) -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
    """What gradient checkpointing runs a layer in, first and again in the backward pass (its ``context_fn``)."""
    return nullcontext(), segment_attention(lm) if takes_segments(lm) else nullcontext()


def takes_segments(lm: PreTrainedModel) -> bool:
    """Whether :func:`segment_attention` serves ``lm``.

    It does not for recurrent layers, attention sinks, soft-capped scores, ALiBi, chunked attention, nor for another
    implementation of attention than transformers' ``sdpa``.
    """
    config = lm.config.get_text_config()
    return bool(
        lm.config._attn_implementation in ("sdpa", ATTENTION_NAME)
        and lm._supports_attention_backend
        and lm._supports_sdpa
        and set(getattr(config, "layer_types", None) or ()) <= _KNOWN_LAYERS
        and not getattr(config, "use_bidirectional_attention", False)
        and getattr(config, "attn_logit_softcapping", None) is None
    )
