"""Does a noisy series rise or fall?"""

import math
from collections.abc import Sequence
from typing import NamedTuple


class Trend(NamedTuple):
    """A straight line through a series, or a step between two parts of it."""

    change: float
    """Of the line from the first value to the last; of a step, its height."""
    t: float
    """Change in units of its own standard error; infinite without any noise, 0 for a constant series."""


def trend(values: Sequence[float]) -> Trend:
    """Fits a line by least squares.

    The means of successive rollouts are not independent of each other: a policy drifts. So the standard error is
    widened by the square root of 1 + 2 * sum_k r_k, where r_k is the residuals' autocorrelation at lag k, up to the
    first that is not positive (after Geyer's initial positive sequence; each corrected by + 4 / n for what fitting the
    line takes away from it). Without that, drifting without direction would often look like a trend.

    Args:
        values: At least three, finite, equally spaced.

    Raises:
        ValueError: If there are fewer.
    """
    n = len(values)
    if n < 3:
        raise ValueError(f"{n} values have no trend; give at least 3")
    centre, mean = (n - 1) / 2, sum(values) / n
    spread = n * (n * n - 1) / 12  # sum of (i - centre)^2
    slope = sum((i - centre) * (value - mean) for i, value in enumerate(values)) / spread
    residuals = [value - mean - slope * (i - centre) for i, value in enumerate(values)]
    squares = sum(r * r for r in residuals)
    change = slope * (n - 1)
    if squares <= 1e-18 * n * max(1.0, mean * mean):
        return Trend(change, 0.0 if abs(change) <= 1e-9 * max(1.0, abs(mean)) else math.copysign(math.inf, change))
    error = math.sqrt(squares / (n - 2) / spread * _inflation(residuals, squares))
    return Trend(change, slope / error)


def step(before: Sequence[float], after: Sequence[float]) -> Trend:
    """The step between the means of two parts, with the standard error that the scatter within them gives.

    Args:
        before: At least two finite values.
        after: Likewise.

    Raises:
        ValueError: If there are fewer.
    """
    if min(len(before), len(after)) < 2:
        raise ValueError(f"{len(before)} and {len(after)} values make no step; give at least 2 each")
    means = [sum(part) / len(part) for part in (before, after)]
    squares = sum((v - mean) ** 2 for part, mean in zip((before, after), means, strict=True) for v in part)
    change = means[1] - means[0]
    error = math.sqrt(squares / (len(before) + len(after) - 2) * (1 / len(before) + 1 / len(after)))
    if error <= 1e-9 * max(1.0, abs(means[0])):
        return Trend(change, 0.0 if abs(change) <= 1e-9 * max(1.0, abs(means[0])) else math.copysign(math.inf, change))
    return Trend(change, change / error)


def _inflation(residuals: Sequence[float], squares: float) -> float:
    """How much larger the variance of a slope is than with independent residuals."""
    n, total = len(residuals), 1.0
    for lag in range(1, n // 2):
        r = sum(a * b for a, b in zip(residuals, residuals[lag:], strict=False)) / squares
        if r <= 0:
            break
        total += 2 * (r + 4 / n)
    return total
