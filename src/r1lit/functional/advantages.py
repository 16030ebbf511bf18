"""Advantages of completions within their group."""

from typing import Literal, get_args

import torch
from torch import Tensor

from r1lit.errors import InputError

Scale = Literal["group", "none", "batch"]

EQUAL_TOLERANCE = 1e-6
"""Rewards of a group that differ by no more than this, times the largest magnitude where above 1, count as equal."""


def group_advantages(rewards: Tensor, group_ids: Tensor, scale: Scale = "group", eps: float = 1e-6) -> Tensor:
    """Rewards less the mean of their group, by the group's standard deviation (paper, eq. 3).

    The paper does not say which standard deviation is meant, nor what becomes of a group with equal rewards. Here it
    is the population's (dividing by the number of scored completions), and a group whose rewards are equal up to
    rounding gets exactly 0: divided by its rounding noise it would get advantages of size 1.

    Args:
        rewards: [N]; NaN marks a completion without a score.
        group_ids: [N] integers, equal for completions of one prompt, in any order; groups may differ in size.
        scale: "group" divides by the standard deviation of the group, "batch" by that of all scored rewards, "none"
            by nothing (Dr. GRPO).
        eps: added to the standard deviation.

    Returns:
        [N] of the rewards' type; 0 for completions without a score, which no statistic sees.

    Raises:
        InputError: for an unknown scale or an infinite reward.
    """
    if scale not in get_args(Scale):
        raise InputError(f"scale: {scale!r} must be one of {', '.join(get_args(Scale))}")
    values, scored, index, count = _grouped(rewards, group_ids)
    centred = _centred(values, scored, index, count)
    if scale == "group":
        std = (_group_sum(centred.square(), index, count) / count.clamp(min=1)).sqrt()[index]  # [N]
    elif scale == "batch" and bool(scored.any()):
        std = values[scored].std(correction=0)
    else:
        return centred.to(_result_type(rewards))
    # A deviation of 0 belongs to rewards that are all equal: 0 stays 0, also where eps is 0.
    return torch.where(centred == 0, 0.0, centred / (std + eps)).to(_result_type(rewards))


def rloo_advantages(rewards: Tensor, group_ids: Tensor) -> Tensor:
    """Rewards less the mean reward of the *other* completions of the group (RLOO, arXiv 2402.14740).

    Args:
        rewards: [N]; NaN marks a completion without a score.
        group_ids: [N] integers, equal for completions of one prompt, in any order.

    Returns:
        [N] of the rewards' type; 0 for completions without a score or without another scored one in their group, and
        for groups with equal rewards.

    Raises:
        InputError: for an infinite reward.
    """
    values, scored, index, count = _grouped(rewards, group_ids)
    centred = _centred(values, scored, index, count)
    # r - (S - r) / (n - 1) = n / (n - 1) * (r - S / n)
    return (centred * (count / (count - 1).clamp(min=1))[index]).to(_result_type(rewards))


def _grouped(rewards: Tensor, group_ids: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Returns rewards as float64 [N] (0 if unscored), who is scored [N], group index [N], scored per group."""
    if rewards.ndim != 1 or rewards.shape != group_ids.shape:
        raise ValueError(f"rewards {tuple(rewards.shape)} and group_ids {tuple(group_ids.shape)} must both be [N]")
    if bool(torch.isinf(rewards).any()):
        row = int(torch.isinf(rewards).nonzero()[0])
        raise InputError(f"rewards: row {row} is infinite; a reward must return finite numbers")
    scored = ~torch.isnan(rewards)
    values = torch.where(scored, rewards.double(), 0.0)
    groups, index = torch.unique(group_ids, return_inverse=True)
    count = values.new_zeros(len(groups)).index_add(0, index, scored.double())
    return values, scored, index, count


def _centred(values: Tensor, scored: Tensor, index: Tensor, count: Tensor) -> Tensor:
    """Rewards less their group's mean, exactly 0 where unscored or in a group of equal rewards."""
    mean = _group_sum(values, index, count) / count.clamp(min=1)
    lowest = torch.full_like(count, torch.inf).scatter_reduce(0, index[scored], values[scored], "amin")
    highest = torch.full_like(count, -torch.inf).scatter_reduce(0, index[scored], values[scored], "amax")
    magnitude = torch.maximum(lowest.abs(), highest.abs()).clamp(min=1)
    varied = highest - lowest > EQUAL_TOLERANCE * magnitude
    return torch.where(scored & varied[index], values - mean[index], 0.0)


def _group_sum(values: Tensor, index: Tensor, count: Tensor) -> Tensor:
    return torch.zeros_like(count).index_add(0, index, values)


def _result_type(rewards: Tensor) -> torch.dtype:
    return rewards.dtype if rewards.is_floating_point() else torch.float32
