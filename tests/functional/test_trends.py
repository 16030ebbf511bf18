import math
import random

import numpy as np
import pytest

from r1lit.functional.trends import step, trend


def noisy(slope, n=40, noise=0.05, seed=0):
    rng = random.Random(seed)
    return [0.5 + slope * i + rng.gauss(0, noise) for i in range(n)]


def test_change_is_that_of_the_least_squares_line():
    values = noisy(0.01)
    slope, _ = np.polyfit(range(40), values, 1)
    assert trend(values).change == pytest.approx(slope * 39)
    assert trend([-v for v in values]) == pytest.approx([-x for x in trend(values)])


def test_independent_noise_has_about_the_usual_standard_error():
    steep = [trend(noisy(0.004, seed=seed)).t for seed in range(200)]
    usual = 0.004 * math.sqrt(40 * (40**2 - 1) / 12) / 0.05
    assert 0.75 * usual < sum(steep) / 200 < 1.1 * usual
    flat = [trend(noisy(0.0, seed=seed)).t for seed in range(200)]
    assert sum(abs(t) > 4 for t in flat) == 0
    assert sum(abs(t) > 2 for t in flat) < 25


def test_drifting_without_direction_is_rarely_taken_for_a_trend():
    def naive(values):
        residuals = np.polyfit(range(len(values)), values, 1, full=True)[1][0]
        error = math.sqrt(residuals / (len(values) - 2) / (len(values) * (len(values) ** 2 - 1) / 12))
        return trend(values).change / (len(values) - 1) / error

    found, without = 0, 0
    for seed in range(200):
        rng, x, values = random.Random(seed), 0.0, []
        for _ in range(40):
            x = 0.9 * x + rng.gauss(0, 0.05)
            values.append(x)
        found += abs(trend(values).t) > 4
        without += abs(naive(values)) > 4
    assert without > 50
    assert found < without / 3


def test_series_without_noise():
    assert trend([0.5] * 10) == (0.0, 0.0)
    assert trend([0.1 * i for i in range(10)]).t == math.inf
    assert trend([-0.1 * i for i in range(10)]).t == -math.inf
    with pytest.raises(ValueError, match="at least 3"):
        trend([1.0, 2.0])


def test_a_step_is_students_t():
    before, after = noisy(0, 8, seed=1), [v + 0.2 for v in noisy(0, 6, seed=2)]
    pooled = (7 * np.var(before, ddof=1) + 5 * np.var(after, ddof=1)) / 12
    height = np.mean(after) - np.mean(before)
    assert step(before, after) == pytest.approx((height, height / np.sqrt(pooled * (1 / 8 + 1 / 6))))
    assert step([0.5, 0.5], [0.5, 0.5]) == (0.0, 0.0)
    assert step([0.5, 0.5], [0.25, 0.25]) == (-0.25, -math.inf)
    with pytest.raises(ValueError, match="at least 2"):
        step([1.0], [1.0, 2.0])
