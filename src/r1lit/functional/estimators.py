"""What is reported of sampled answers: pass@k, consensus, and intervals."""

from collections import defaultdict
from collections.abc import Hashable, Sequence
from math import comb, isnan, nan
from typing import TypedDict

import torch

from r1lit.errors import InputError

_RESAMPLED_AT_ONCE = 2_000_000  # drawn values held in memory at a time


class Interval(TypedDict):
    """A mean with its interval, ready for JSON; n counts prompts."""

    value: float
    low: float
    high: float
    n: int


def pass_at_k(n: int, c: int, k: int) -> float:
    """Unbiased estimate of the chance that any of k samples is correct: 1 - C(n - c, k) / C(n, k).

    Source: Chen et al., arXiv 2107.03374, eq. 1. The paper's pass@1 (section 3) is the case k = 1, which is c / n.

    Args:
        n: samples drawn for the prompt.
        c: how many of them are correct.
        k: samples allowed.

    Returns:
        A number from 0 to 1.

    Raises:
        InputError: unless 0 <= c <= n and 1 <= k <= n.
    """
    if not (0 <= c <= n and 1 <= k <= n):
        raise InputError(f"pass@{k}: needs 1 <= k <= n and 0 <= c <= n, but n is {n} and c is {c}; sample at least k")
    return 1.0 - comb(n - c, k) / comb(n, k)


def cons_at_k(answers: Sequence[Hashable | None], correct: Sequence[float]) -> float:
    """Correctness of the majority vote over the k samples of one prompt (paper, section 3: cons@64).

    Args:
        answers: for each sample a key that is equal for equal answers; None (no answer found) does not vote.
        correct: for each sample 1 or 0; if a grader is not of one mind on equal answers, their mean counts.

    Returns:
        From 0 to 1: where several answers have the most votes, the expectation of choosing one at random, so that
        the order of samples does not matter. 0 if no sample has an answer.

    Raises:
        InputError: if the lists are empty or differ in length.
    """
    if not answers or len(answers) != len(correct):
        raise InputError(f"cons@k: {len(answers)} answers and {len(correct)} grades; both must be as many, at least 1")
    votes: defaultdict[Hashable, list[float]] = defaultdict(list)
    for answer, grade in zip(answers, correct, strict=True):
        if answer is not None:
            votes[answer].append(float(grade))
    if not votes:
        return 0.0
    most = max(map(len, votes.values()))
    winners = [sum(grades) / most for grades in votes.values() if len(grades) == most]
    return sum(winners) / len(winners)


def bootstrap_interval(
    values: Sequence[float], seed: int = 0, *, resamples: int = 2000, level: float = 0.95
) -> Interval:
    """The mean with a percentile bootstrap interval over prompts.

    Prompts are drawn anew, not samples: the samples of one prompt are not independent of each other.

    Args:
        values: one number for each prompt, such as its share of correct samples.
        seed: of the resampling; the same values and seed give the same interval.
        resamples: how often prompts are drawn anew.
        level: coverage of the interval.

    Returns:
        ``{"value": mean, "low": ..., "high": ..., "n": number of prompts}``. The interval always holds the mean.

    Raises:
        InputError: if there is no value, or one is not finite.
    """
    data = torch.tensor(values, dtype=torch.float64)
    n = len(data)
    if n == 0 or not bool(torch.isfinite(data).all()):
        raise InputError(f"bootstrap: {n} values given; at least 1 is needed and each must be finite")
    generator = torch.Generator().manual_seed(seed)
    means = []
    for start in range(0, resamples, rows := max(1, _RESAMPLED_AT_ONCE // n)):
        draws = torch.randint(n, (min(rows, resamples - start), n), generator=generator)
        means.append(data[draws].mean(dim=1))
    tail = (1 - level) / 2
    low, high = torch.cat(means).quantile(torch.tensor([tail, 1 - tail], dtype=torch.float64)).tolist()
    value = float(data.mean())
    return Interval(value=value, low=min(low, value), high=max(high, value), n=n)


def mean_interval(values: Sequence[float], seed: int = 0) -> Interval:
    """The mean of the values that are not NaN, as :func:`bootstrap_interval`; of none, n is 0 and the figures are NaN.

    Args:
        values: one number for each prompt; NaN where it has none.
        seed: of the resampling.
    """
    known = [value for value in values if not isnan(value)]
    return bootstrap_interval(known, seed) if known else Interval(value=nan, low=nan, high=nan, n=0)
