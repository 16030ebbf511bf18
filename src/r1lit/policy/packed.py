"""Flat rows of tokens without padding, in which completions share the tokens of their prompt.

A row [T] is cut into segments: a document sees itself, and a segment with a prefix sees that earlier segment and then
itself, all causally. G completions of one prompt take P + C1 + ... + CG tokens instead of G times the longest P + C,
and have the same log-probabilities and gradients.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate, pairwise
from typing import NamedTuple

import torch
from torch import Tensor

from r1lit.policy.segments import Segment, SegmentAttention


class Piece(NamedTuple):
    """What becomes one segment of a row."""

    ids: Sequence[int]
    """Its tokens."""
    targets: Sequence[bool] | bool
    """Which of them want log-probabilities; True or False stands for all or none."""
    prefix: int | None = None
    """Index of an earlier piece whose tokens come before these, such as a completion's prompt."""


@dataclass(frozen=True)
class PackedBatch:
    """A flat row of T tokens with N targets; see :meth:`of`."""

    input_ids: Tensor
    """[T] int64."""
    position_ids: Tensor
    """[T] int64; they restart in each document and go on after the prefix where a segment has one."""
    target_mask: Tensor
    """[T] bool."""
    sources: Tensor
    """[N] int64, in the order of the targets: the position that predicts each."""
    segments: tuple[Segment, ...]

    @classmethod
    def of(cls, pieces: Sequence[Piece], device: torch.device | str = "cpu") -> "PackedBatch":
        """Lays pieces one after another.

        Raises:
            ValueError: If there is no token at all, a prefix is not an earlier piece without a prefix of its own, a
                prefix is empty, flags do not fit the tokens, or the first token of a document is a target.
        """
        edges = list(accumulate((len(piece.ids) for piece in pieces), initial=0))
        if not edges[-1]:
            raise ValueError("a packed row needs at least one token")
        segments = tuple(Segment(*edge, piece.prefix) for edge, piece in zip(pairwise(edges), pieces, strict=True))
        positions: list[int] = []
        sources: list[int] = []
        targets: list[bool] = []
        for index, (piece, segment) in enumerate(zip(pieces, segments, strict=True)):
            shared = _prefix(pieces, segments, index)
            length = segment.stop - segment.start
            wanted = [piece.targets] * length if isinstance(piece.targets, bool) else list(piece.targets)
            if len(wanted) != length:
                raise ValueError(f"piece {index}: {len(wanted)} target flags for {length} tokens")
            if shared is None and any(wanted[:1]):
                raise ValueError(f"piece {index}: the first token of a document has no log-probability")
            before = [segment.start - 1 if shared is None else shared.stop - 1]
            places = before + list(range(segment.start, segment.stop - 1))
            offset = 0 if shared is None else shared.stop - shared.start
            positions.extend(range(offset, offset + length))
            sources.extend(place for place, want in zip(places, wanted, strict=False) if want)
            targets.extend(wanted)
        return cls(
            input_ids=torch.tensor([i for piece in pieces for i in piece.ids], dtype=torch.long, device=device),
            position_ids=torch.tensor(positions, dtype=torch.long, device=device),
            target_mask=torch.tensor(targets, dtype=torch.bool, device=device),
            sources=torch.tensor(sources, dtype=torch.long, device=device),
            segments=segments,
        )

    @cached_property
    def attention(self) -> SegmentAttention:
        """Attention within and between the segments, shared by all layers."""
        return SegmentAttention(self.segments, self.input_ids.device)

    def unpacked(self, pad_id: int) -> tuple[Tensor, Tensor, Tensor]:
        """The same tokens as padded rows, for models that cannot compute packed ones.

        Returns:
            Token ids [B, L], attention mask [B, L] bool and target mask [B, L] bool, a row for each segment with its
            prefix; the targets are those of the packed row in the same order.
        """
        rows = []
        for segment in self.segments:
            shared = None if segment.prefix is None else self.segments[segment.prefix]
            places = [] if shared is None else list(range(shared.start, shared.stop))
            rows.append((places + list(range(segment.start, segment.stop)), len(places)))
        width = max(len(places) for places, _ in rows)
        shape, device = (len(rows), width), self.input_ids.device
        ids = torch.full(shape, pad_id, device=device)
        attention, targets = (torch.zeros(shape, dtype=torch.bool, device=device) for _ in range(2))
        for row, (places, own) in enumerate(rows):
            ids[row, : len(places)] = self.input_ids[places]
            attention[row, : len(places)] = True
            targets[row, own : len(places)] = self.target_mask[places[own:]]
        return ids, attention, targets


def _prefix(pieces: Sequence[Piece], segments: Sequence[Segment], index: int) -> Segment | None:
    number = pieces[index].prefix
    if number is None:
        return None
    if not 0 <= number < index or pieces[number].prefix is not None:
        raise ValueError(f"piece {index}: its prefix {number} is not an earlier piece without a prefix of its own")
    if not pieces[number].ids:
        raise ValueError(f"piece {index}: its prefix {number} is empty")
    return segments[number]
