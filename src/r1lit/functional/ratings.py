"""A rating in the manner of Codeforces, estimated from which problems were solved and how hard they are.

The paper reports a Codeforces rating and percentile over contests (second version, D.1). Without the contests' other
participants the rating is estimated from the problems' own: the strength r at which the results are likeliest, where a
problem rated d is solved with probability 1 / (1 + 10^((d - r) / 400)), the logistic curve of Elo.
"""

import math
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from r1lit.errors import InputError

LOWEST, HIGHEST = 0.0, 4000.0
"""Bounds of an estimate: who solves nothing, or everything, has no finite one."""
_SCALE = math.log(10) / 400
_HALVINGS = 40


@dataclass(frozen=True, slots=True)
class RatingEstimate:
    """A rating with a 95 % interval."""

    value: float
    low: float
    high: float
    problems: int
    percentile: float | None = None
    """Share of rated participants below the rating, in per cent, where a table was given."""


def solve_probability(rating: float, difficulty: float) -> float:
    """Chance that someone rated ``rating`` solves a problem rated ``difficulty``."""
    return 1 / (1 + 10 ** ((difficulty - rating) / 400))


def estimate_rating(
    solved: Sequence[float],
    difficulties: Sequence[float],
    *,
    samples: int = 1000,
    seed: int = 0,
    percentiles: Sequence[tuple[float, float]] | None = None,
) -> RatingEstimate:
    """The rating at which the results are likeliest.

    At the maximum of the likelihood the number of problems solved equals the number expected, which grows with the
    rating, so it is found by bisection, between 0 and 4000.

    Args:
        solved: For each problem the share of attempts that solved it (pass@1), in [0, 1].
        difficulties: The problems' ratings, in the same order.
        samples: Bootstrap samples of problems for the interval.
        seed: Of the bootstrap.
        percentiles: Pairs of a rating and the share of participants below it in per cent, by rating; between them the
            percentile is interpolated. None gives no percentile.

    Raises:
        InputError: If there are no problems, the lists differ in length, or a value is out of range.
    """
    results, ratings = torch.tensor(solved, dtype=torch.float64), torch.tensor(difficulties, dtype=torch.float64)
    if len(solved) != len(difficulties) or not len(solved):
        raise InputError(f"rating: {len(solved)} results for {len(difficulties)} problems; give as many, at least one")
    if not bool(((results >= 0) & (results <= 1)).all()):
        raise InputError("rating: a result is a share of attempts, from 0 to 1")
    if not bool(ratings.isfinite().all()):
        raise InputError("rating: a problem's rating is no finite number; leave out problems without one")
    if samples < 1:
        raise InputError(f"rating: samples is {samples}; give at least 1")
    count = results.numel()
    draws = torch.randint(count, (samples, count), generator=torch.Generator().manual_seed(seed))
    value = float(_likeliest(results[None], ratings[None])[0])
    likeliest = _likeliest(results[draws], ratings[draws])
    low, high = (float(likeliest.quantile(share)) for share in (0.025, 0.975))
    place = None if percentiles is None else percentile_of(value, percentiles)
    return RatingEstimate(value, min(low, value), max(high, value), count, place)


def _likeliest(results: Tensor, ratings: Tensor) -> Tensor:
    """[S, N] results and ratings -> [S] ratings of the solver."""
    solved = results.sum(dim=1)
    low, high = torch.full_like(solved, LOWEST), torch.full_like(solved, HIGHEST)
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        expected = torch.sigmoid(_SCALE * (middle[:, None] - ratings)).sum(dim=1)
        short = expected < solved
        low, high = torch.where(short, middle, low), torch.where(short, high, middle)
    # Nothing solved, or all: exactly the bounds rather than nearly.
    middle = torch.where(solved <= 0, LOWEST, (low + high) / 2)
    return torch.where(solved >= results.shape[1], HIGHEST, middle)


def percentile_of(rating: float, table: Sequence[tuple[float, float]]) -> float:
    """The percentile of a rating by a table of (rating, per cent below); beyond its ends, that of the end.

    Raises:
        InputError: If the table is empty, not in order of rating, or not of percentages.
    """
    ratings, shares = [row[0] for row in table], [row[1] for row in table]
    if not table or any(b <= a for a, b in pairwise(ratings)):
        raise InputError("percentiles: give pairs of a rating and a percentage, by rising rating")
    if not all(0 <= share <= 100 for share in shares):
        raise InputError("percentiles: a percentage is from 0 to 100")
    place = bisect_right(ratings, rating)
    if place in (0, len(ratings)):
        return float(shares[min(place, len(ratings) - 1)])
    part = (rating - ratings[place - 1]) / (ratings[place] - ratings[place - 1])
    return float(shares[place - 1] + part * (shares[place] - shares[place - 1]))
