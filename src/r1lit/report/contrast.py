"""Comparisons between stages over problems and seeds: a difference or a ratio of means with its interval."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np

RESAMPLES = 4000

Kind = Literal["difference", "ratio", "value"]
Values = Mapping[str, float]
"""A measure's value by problem."""


@dataclass(frozen=True)
class Estimate:
    """A number with its 95 % interval."""

    value: float
    low: float
    high: float
    problems: int
    seeds: int
    before: float | None
    """Mean of what is compared with."""
    after: float


@lru_cache(maxsize=8)
def _draws(seeds: int, problems: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """How often each seed and each problem is drawn: [RESAMPLES, seeds] and [RESAMPLES, problems]."""
    generator = np.random.default_rng(seed)
    by_seed = generator.multinomial(seeds, [1 / seeds] * seeds, size=RESAMPLES)
    return by_seed, generator.multinomial(problems, [1 / problems] * problems, size=RESAMPLES)


def estimate(kind: Kind, after: Sequence[Values], before: Sequence[Values] | None, seed: int = 0) -> Estimate | None:
    """Compares two stages by a paired percentile bootstrap.

    Problems and seeds are drawn anew, each with replacement and independently; both stages are taken at the same
    draws, so that what is hard for both is no noise. With one seed, only problems are drawn.

    Args:
        kind: ``after - before``, ``after / before``, or ``after`` alone.
        after: for each seed the values by problem.
        before: the same of what it is compared with, in the order of seeds.
        seed: of the drawing.

    Returns:
        None where no problem has a value in all of them, or the ratio has no denominator.
    """
    tables = [*after, *(before or [])]
    problems = sorted(set.intersection(*(set(table) for table in tables))) if tables else []
    if not problems:
        return None
    seeds, size = len(after), len(problems)
    by_seed, by_problem = _draws(seeds, size, seed)

    def means(tables: Sequence[Values]) -> tuple[float, np.ndarray]:
        matrix = np.array([[table[problem] for problem in problems] for table in tables])  # [seeds, problems]
        return float(matrix.mean()), ((by_seed @ matrix) * by_problem).sum(axis=1) / (seeds * size)

    ours, drawn = means(after)
    theirs = None
    value = ours
    if before is not None:
        theirs, drawn_before = means(before)
        if kind == "difference":
            value, drawn = ours - theirs, drawn - drawn_before
        elif kind == "ratio":
            if theirs == 0:
                return None
            with np.errstate(divide="ignore"):
                value, drawn = ours / theirs, drawn / drawn_before
    low, high = np.quantile(drawn, [0.025, 0.975], method="inverted_cdf")
    return Estimate(value, min(float(low), value), max(float(high), value), size, seeds, theirs, ours)
