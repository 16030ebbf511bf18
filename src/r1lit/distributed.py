"""Ranks that work together: who this process is, and what all of them know. With one process each is a plain value.

The only module that asks ``torch.distributed`` how many there are; sharding and collective saving are the policy's.
"""

from typing import Any, TypeVar

import torch.distributed as dist
from torch import Tensor

Value = TypeVar("Value")


def rank_and_ranks() -> tuple[int, int]:
    """The rank of this process, and how many there are."""
    return (dist.get_rank(), dist.get_world_size()) if dist.is_available() and dist.is_initialized() else (0, 1)


def gathered(value: Value) -> list[Value]:
    """The value of each rank, in their order; every rank must call this."""
    _, ranks = rank_and_ranks()
    if ranks == 1:
        return [value]
    values: list[Any] = [None] * ranks
    dist.all_gather_object(values, value)
    return values


def summed(values: Tensor) -> Tensor:
    """Adds the values of all ranks, in place; every rank must call this."""
    if rank_and_ranks()[1] > 1:
        dist.all_reduce(values)
    return values


def raise_on_all_ranks(error: Exception | None) -> None:
    """Raises on every rank the error of any; the others would wait for a rank that is gone."""
    for found in gathered(error):
        if found is not None:
            raise found
