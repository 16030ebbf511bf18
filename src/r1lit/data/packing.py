"""How the rows of an optimizer batch become the micro-batches of each rank.

Which rows come together changes memory and speed only: each row sees itself alone, and the loss is a sum over targets
divided by the targets of the whole optimizer batch.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from r1lit.data.store import StoredRow
from r1lit.policy.packed import PackedBatch, Piece


@dataclass(frozen=True, slots=True)
class PaddedBatch:
    """Rows as tensors [B, T], padded on the right."""

    input_ids: Tensor
    attention_mask: Tensor
    target_mask: Tensor
    """[B, T] bool."""


@dataclass(frozen=True, slots=True)
class ChatBatch:
    """One optimizer batch, as one rank sees it."""

    parts: tuple[PackedBatch | PaddedBatch, ...]
    """This rank's micro-batches: as many on every rank, at the end without targets where rows ran out."""
    index: int
    """Counter of the batch, from 0, over all epochs."""
    rows: int
    """Rows on all ranks."""
    tokens: int
    """Tokens on all ranks."""
    targets: int
    """Tokens to learn from, on all ranks: what the loss is divided by."""


def cut(lengths: Sequence[int], rank: int, ranks: int, tokens: int, packed: bool) -> list[list[int]]:
    """A rank's share of a batch, cut so that no micro-batch holds more than ``tokens``.

    The longest rows go first and to the ranks in turn, so that all have like work. Packed, each row goes to the first
    micro-batch with room for it; padded, rows of like length come together. A row longer than the budget stands alone.

    Args:
        lengths: Tokens of each row of the batch.
        rank: Whose share to return.
        ranks: How many ranks there are.
        tokens: The budget: of the row's own tokens where packed, of padded tokens otherwise.
        packed: Whether rows are laid one after another or padded to equal length.

    Returns:
        Places in ``lengths`` for each micro-batch; empty ones at the end where another rank has more.
    """
    ordered = sorted(range(len(lengths)), key=lambda place: (-lengths[place], place))
    fill = _first_fit if packed else _by_length
    shares = [fill(lengths, ordered[r::ranks], tokens) for r in range(ranks)]
    most = max(len(share) for share in shares)
    return shares[rank] + [[] for _ in range(most - len(shares[rank]))]


def _first_fit(lengths: Sequence[int], places: Sequence[int], tokens: int) -> list[list[int]]:
    parts: list[list[int]] = []
    room: list[int] = []
    for place in places:
        fits = next((number for number, free in enumerate(room) if free >= lengths[place]), None)
        if fits is None:
            parts.append([place])
            room.append(tokens - lengths[place])
        else:
            parts[fits].append(place)
            room[fits] -= lengths[place]
    return parts


def _by_length(lengths: Sequence[int], places: Sequence[int], tokens: int) -> list[list[int]]:
    parts: list[list[int]] = []
    for place in places:
        if parts and (len(parts[-1]) + 1) * lengths[parts[-1][0]] <= tokens:
            parts[-1].append(place)
        else:
            parts.append([place])
    return parts


def collate(rows: Sequence[StoredRow], packed: bool, pad_id: int) -> PackedBatch | PaddedBatch:
    """Makes a micro-batch; of no rows, one without targets, for ranks that must run along."""
    if packed:
        pieces = [Piece(row.input_ids.tolist(), _targets(row)) for row in rows] or [Piece([pad_id], False)]
        return PackedBatch.of(pieces)
    width = max((len(row.input_ids) for row in rows), default=2)
    shape = (max(1, len(rows)), width)
    ids = torch.full(shape, pad_id)
    attention = torch.zeros(shape, dtype=torch.long) if rows else torch.ones(shape, dtype=torch.long)
    targets = torch.zeros(shape, dtype=torch.bool)
    for number, row in enumerate(rows):
        length = len(row.input_ids)
        ids[number, :length] = torch.from_numpy(row.input_ids.astype("int64"))
        attention[number, :length] = 1
        targets[number, :length] = torch.tensor(_targets(row))
    return PaddedBatch(ids, attention, targets)


def _targets(row: StoredRow) -> list[bool]:
    flags = [bool(flag) for flag in row.loss_mask]
    flags[0] = False  # nothing predicts the first token
    return flags


def moved(part: PackedBatch | PaddedBatch, device: torch.device) -> PackedBatch | PaddedBatch:
    """The micro-batch on another device."""
    if isinstance(part, PaddedBatch):
        return PaddedBatch(part.input_ids.to(device), part.attention_mask.to(device), part.target_mask.to(device))
    return PackedBatch(
        part.input_ids.to(device),
        part.position_ids.to(device),
        part.target_mask.to(device),
        part.sources.to(device),
        part.segments,
    )
