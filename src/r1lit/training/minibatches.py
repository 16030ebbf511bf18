"""How a rollout is cut: minibatches of one update each, a rank's share of each, micro-batches by token budget.

All of it is a pure function of (lengths, seed, rollout, epoch, ranks), so every rank knows every other rank's share and
all agree on the number of forwards without a word.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from r1lit.errors import InputError
from r1lit.policy.packed import PackedBatch, Piece
from r1lit.types import Completion


def random_minibatches(size: int, count: int, seed: int, rollout: int, epoch: int) -> list[list[int]]:
    """Deals ``size`` completions at random into ``count`` minibatches of equal size (the paper's 16 random ones).

    Raises:
        InputError: If they cannot be of equal size.
    """
    if size % count:
        raise InputError(f"minibatches is {count}, which does not divide the rollout's {size} completions")
    order = list(range(size))
    random.Random(f"r1lit/minibatches/{seed}/{rollout}/{epoch}").shuffle(order)
    each = size // count
    return [order[start : start + each] for start in range(0, size, each)]


class Shape(NamedTuple):
    """What a completion takes in a packed row."""

    group: int
    """Completions of one group have the same prompt, which is computed once for those in a micro-batch."""
    prompt: int
    """Tokens of the prompt."""
    own: int
    """Tokens of the completion."""


def shapes_of(completions: Sequence[Completion]) -> list[Shape]:
    """The shape of each completion; those with equal prompt tokens are of one group."""
    groups: dict[tuple[int, ...], int] = {}
    return [
        Shape(groups.setdefault(c.prompt_ids, len(groups)), len(c.prompt_ids), len(c.token_ids)) for c in completions
    ]


def micro_batches(shapes: Sequence[Shape], rows: Sequence[int], rank: int, ranks: int, tokens: int) -> list[list[int]]:
    """A rank's share of a minibatch, cut so that no micro-batch holds more than ``tokens``.

    Groups stay together where the budget and a fair share for every rank allow it, so that prompts are computed seldom;
    the largest parts are dealt first, each to the rank that has the least. Where ranks differ in their number of
    micro-batches the shorter lists end with empty ones. A completion longer than the budget stands alone.

    Args:
        shapes: Of each completion, by row.
        rows: The rows of the minibatch.
        rank: Whose share to return.
        ranks: How many ranks there are.
        tokens: The budget; a prompt counts once in each micro-batch.

    Returns:
        Micro-batches of rows, in which those of one group are neighbours.
    """
    groups: dict[int, list[int]] = {}
    for row in sorted(rows, key=lambda row: (-shapes[row].own, row)):
        groups.setdefault(shapes[row].group, []).append(row)
    share = sum(_tokens(shapes, members) for members in groups.values()) // ranks
    limit = tokens if ranks == 1 else min(tokens, share + max(shapes[row].prompt for row in rows))
    parts = [part for members in groups.values() for part in _cut(shapes, members, limit)]
    parts.sort(key=lambda part: (-_tokens(shapes, part), part))
    shares: list[list[list[int]]] = [[] for _ in range(ranks)]
    loads = [0] * ranks
    for part in parts:
        least = loads.index(min(loads))
        shares[least].append(part)
        loads[least] += _tokens(shapes, part)
    filled = [_filled(shapes, share, tokens) for share in shares]
    most = max(len(share) for share in filled)
    return filled[rank] + [[] for _ in range(most - len(filled[rank]))]


def _tokens(shapes: Sequence[Shape], members: Sequence[int]) -> int:
    """Tokens of rows of one group."""
    return shapes[members[0]].prompt + sum(shapes[row].own for row in members)


def _cut(shapes: Sequence[Shape], members: Sequence[int], limit: int) -> list[list[int]]:
    """Cuts a group, longest completions first, into as few parts of like size as hold at most ``limit`` tokens each."""
    for count in range(1, len(members)):
        parts = [list(members[start::count]) for start in range(count)]
        if all(_tokens(shapes, part) <= limit for part in parts):
            return parts
    return [[row] for row in members]


def _filled(shapes: Sequence[Shape], parts: Sequence[list[int]], tokens: int) -> list[list[int]]:
    """Puts each part, largest first, where it is the first to fit."""
    bins: list[list[int]] = []
    loads: list[int] = []
    for part in parts:
        size = _tokens(shapes, part)
        place = next((i for i, load in enumerate(loads) if load + size <= tokens), len(bins))
        if place == len(bins):
            bins.append([])
            loads.append(0)
        bins[place].extend(part)
        loads[place] += size
    return bins


@dataclass(frozen=True, slots=True)
class MicroBatch:
    """Completions as a packed row, and what belongs to their tokens as [B, C], a row for each completion."""

    packed: PackedBatch
    mask: Tensor
    """[B, C] bool: True for a completion's tokens."""
    logprobs: Tensor
    """[B, C]: those of the sampler, 0 outside the mask."""

    @classmethod
    def of(cls, completions: Sequence[Completion], device: torch.device) -> "MicroBatch":
        """Collates completions, neighbours with one prompt behind one copy of it.

        Of none, it makes a row without targets, for ranks that must run along.
        """
        pieces: list[Piece] = []
        prompt = 0
        for before, completion in zip([None, *completions], completions, strict=False):
            if before is None or before.prompt_ids != completion.prompt_ids:
                prompt = len(pieces)
                pieces.append(Piece(completion.prompt_ids, False))
            pieces.append(Piece(completion.token_ids, True, prompt))
        lengths = [len(completion.token_ids) for completion in completions] or [0]
        mask = torch.arange(max(1, *lengths)) < torch.tensor(lengths)[:, None]
        sampled = torch.tensor([value for completion in completions for value in completion.logprobs])
        logprobs = torch.zeros(mask.shape).masked_scatter(mask, sampled)
        packed = PackedBatch.of(pieces or [Piece((0, 0), False)], device)
        return cls(packed, mask.to(device), logprobs.to(device))

    def by_row(self, values: Tensor) -> Tensor:
        """Puts values [T] of the packed row where they belong in [B, C], with 0 outside the mask."""
        return values.new_zeros(self.mask.shape).masked_scatter(self.mask, values[self.packed.target_mask])
