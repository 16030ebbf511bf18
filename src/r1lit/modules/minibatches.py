"""How a rollout is cut: minibatches of one update each, a rank's share of each, micro-batches by token budget.

All of it is a pure function of (lengths, seed, rollout, epoch, ranks), so every rank knows every other rank's share and
all agree on the number of forwards without a word.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from r1lit.errors import InputError
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


def micro_batches(lengths: Sequence[int], rows: Sequence[int], rank: int, ranks: int, tokens: int) -> list[list[int]]:
    """A rank's share of a minibatch, cut so that no micro-batch holds more than ``tokens`` when padded.

    Rows of like length come together and are dealt to the ranks in turn, so that all have like work. Where ranks differ
    in their number of micro-batches the shorter lists end with empty ones. A row longer than the budget stands alone.

    Args:
        lengths: Tokens of each completion with its prompt, by row.
        rows: The rows of the minibatch.
        rank: Whose share to return.
        ranks: How many ranks there are.
        tokens: The budget.
    """
    ordered = sorted(rows, key=lambda row: (-lengths[row], row))
    shares = [_cut(lengths, ordered[r::ranks], tokens) for r in range(ranks)]
    most = max(len(share) for share in shares)
    return shares[rank] + [[] for _ in range(most - len(shares[rank]))]


def _cut(lengths: Sequence[int], rows: Sequence[int], tokens: int) -> list[list[int]]:
    """Cuts rows, longest first: the first of a micro-batch sets its padded length."""
    parts: list[list[int]] = []
    for row in rows:
        if parts and (len(parts[-1]) + 1) * lengths[parts[-1][0]] <= tokens:
            parts[-1].append(row)
        else:
            parts.append([row])
    return parts


@dataclass(frozen=True, slots=True)
class Batch:
    """Completions as tensors, [B, T], padded on the right."""

    input_ids: Tensor
    attention_mask: Tensor
    target_mask: Tensor
    """True for the completion's tokens."""
    logprobs: Tensor
    """Those of the sampler, 0 outside the targets."""

    @classmethod
    def of(cls, completions: Sequence[Completion], pad_id: int, device: torch.device) -> "Batch":
        """Collates completions; of none, it makes one row without targets, for ranks that must run along."""
        if not completions:
            ids = torch.full((1, 2), pad_id)
            off = torch.zeros((1, 2), dtype=torch.bool)
            on = torch.ones((1, 2), dtype=torch.long)
            return cls(ids.to(device), on.to(device), off.to(device), torch.zeros((1, 2), device=device))
        width = max(len(c.prompt_ids) + len(c.token_ids) for c in completions)
        ids = torch.full((len(completions), width), pad_id)
        attention = torch.zeros((len(completions), width), dtype=torch.long)
        target = torch.zeros((len(completions), width), dtype=torch.bool)
        logprobs = torch.zeros((len(completions), width))
        for row, completion in enumerate(completions):
            start, end = len(completion.prompt_ids), len(completion.prompt_ids) + len(completion.token_ids)
            ids[row, :end] = torch.tensor(completion.prompt_ids + completion.token_ids)
            attention[row, :end] = 1
            target[row, start:end] = True
            logprobs[row, start:end] = torch.tensor(completion.logprobs)
        return cls(ids.to(device), attention.to(device), target.to(device), logprobs.to(device))
