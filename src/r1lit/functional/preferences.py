"""Losses of reward models, and an interval for what is measured on rows that share prompts (paper, 3.1)."""

from collections.abc import Callable, Hashable, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from r1lit.errors import InputError
from r1lit.functional.estimators import Interval


def pairwise_loss(chosen: Tensor, rejected: Tensor) -> Tensor:
    """Negative log-likelihood that the chosen reply wins, by Bradley and Terry: -log sigmoid(chosen - rejected).

    The paper says "pairwise loss" without a formula; this is the usual one (Ouyang et al. 2022, eq. 1).

    Args:
        chosen: Scores [B].
        rejected: Scores [B] of the other replies to the same prompts.

    Returns:
        [B], in nats; no mean is taken.
    """
    return -F.logsigmoid(chosen - rejected)


def pointwise_loss(scores: Tensor, safe: Tensor) -> Tensor:
    """Binary cross-entropy of a score taken as the log odds of "safe".

    Args:
        scores: [B].
        safe: [B], bool or 0 and 1.

    Returns:
        [B], in nats; no mean is taken.
    """
    return F.binary_cross_entropy_with_logits(scores, safe.to(scores.dtype), reduction="none")


def clustered_interval(
    statistic: Callable[[Tensor], float],
    clusters: Sequence[Hashable],
    seed: int = 0,
    *,
    resamples: int = 1000,
    level: float = 0.95,
) -> Interval:
    """A statistic of rows with a percentile bootstrap interval over clusters, such as the prompts that rows share.

    ``bootstrap_interval`` is the faster case of a mean over prompts; this takes any statistic, such as an area under a
    curve.

    Args:
        statistic: Of the rows whose numbers [M] int64 it gets, some of them several times; NaN where it is not
            defined, such as an area under a curve of one class. Such resamples are left out.
        clusters: The cluster of each row.
        seed: Of the resampling.
        resamples: How often clusters are drawn anew.
        level: Coverage of the interval.

    Returns:
        ``{"value": ..., "low": ..., "high": ..., "n": number of clusters}``; NaN where the statistic is not defined.

    Raises:
        InputError: If there is no row.
    """
    if not clusters:
        raise InputError("bootstrap: no row given; at least 1 is needed")
    rows: dict[Hashable, list[int]] = {}
    for place, cluster in enumerate(clusters):
        rows.setdefault(cluster, []).append(place)
    members = [torch.tensor(places) for places in rows.values()]
    value = statistic(torch.arange(len(clusters)))
    generator = torch.Generator().manual_seed(seed)
    found = []
    for _ in range(resamples):
        drawn = torch.randint(len(members), (len(members),), generator=generator).tolist()
        found.append(statistic(torch.cat([members[number] for number in drawn])))
    values = torch.tensor(found, dtype=torch.float64)
    values = values[~values.isnan()]
    if value != value or not len(values):
        nan = float("nan")
        return Interval(value=value, low=nan, high=nan, n=len(members))
    tail = (1 - level) / 2
    low, high = values.quantile(torch.tensor([tail, 1 - tail], dtype=torch.float64)).tolist()
    return Interval(value=value, low=min(low, value), high=max(high, value), n=len(members))
