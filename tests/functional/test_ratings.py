import math
import random

import pytest

from r1lit.errors import InputError
from r1lit.functional.ratings import estimate_rating, percentile_of, solve_probability


def test_probability():
    assert solve_probability(1500, 1500) == 0.5
    assert solve_probability(1900, 1500) == pytest.approx(10 / 11)
    assert solve_probability(1500, 1900) == pytest.approx(1 / 11)


def test_closed_cases():
    # Half of equally hard problems: their rating. A share p of them: 400 * log10(p / (1 - p)) above.
    assert estimate_rating([1, 0], [1500, 1500]).value == pytest.approx(1500, abs=1e-6)
    assert estimate_rating([0.5], [1700]).value == pytest.approx(1700, abs=1e-6)
    for share in (0.1, 0.75, 0.9):
        expected = 1200 + 400 * math.log10(share / (1 - share))
        assert estimate_rating([share] * 3, [1200] * 3).value == pytest.approx(expected, abs=1e-6)
    # One of two problems 800 apart: half-way, by symmetry.
    assert estimate_rating([1, 0], [1000, 1800]).value == pytest.approx(1400, abs=1e-6)


def test_none_or_all_solved_is_a_bound():
    assert estimate_rating([0, 0], [800, 1600]).value == 0
    found = estimate_rating([1, 1], [800, 1600])
    assert (found.value, found.low, found.high) == (4000, 4000, 4000)


def test_at_the_estimate_as_much_is_expected_as_was_solved():
    rng = random.Random(1)
    solved, hard = [rng.random() for _ in range(20)], [rng.uniform(800, 3000) for _ in range(20)]
    value = estimate_rating(solved, hard).value
    assert sum(solve_probability(value, d) for d in hard) == pytest.approx(sum(solved), abs=1e-6)


@pytest.mark.parametrize("true", [900, 1600, 2400])
def test_simulated_solvers_are_recovered(true):
    rng = random.Random(true)
    hard = [rng.uniform(800, 3000) for _ in range(300)]
    covered, values = 0, []
    for run in range(20):
        solved = [float(rng.random() < solve_probability(true, d)) for d in hard]
        found = estimate_rating(solved, hard, samples=200, seed=run)
        values.append(found.value)
        covered += found.low <= true <= found.high
    assert abs(sum(values) / len(values) - true) < 40
    assert covered >= 16


def test_the_same_seed_gives_the_same_interval():
    arguments = [1.0, 0.0, 0.5, 1.0], [900, 2000, 1500, 1100]
    assert estimate_rating(*arguments, seed=3) == estimate_rating(*arguments, seed=3)
    found = estimate_rating(*arguments)
    assert found.low <= found.value <= found.high
    assert found.problems == 4
    assert found.percentile is None


def test_percentile():
    table = [(1000, 20.0), (1400, 60.0), (2000, 96.0)]
    assert percentile_of(1200, table) == pytest.approx(40)
    assert percentile_of(1400, table) == 60
    assert (percentile_of(500, table), percentile_of(3000, table)) == (20, 96)
    assert estimate_rating([0.5], [1700], percentiles=table).percentile == pytest.approx(78)


@pytest.mark.parametrize(
    ("solved", "hard", "message"),
    [
        ([], [], "0 results for 0 problems"),
        ([1.0], [1, 2], "1 results for 2 problems"),
        ([2.0], [1500], "from 0 to 1"),
        ([1.0], [math.nan], "no finite number"),
    ],
)
def test_bad_input(solved, hard, message):
    with pytest.raises(InputError, match=message):
        estimate_rating(solved, hard)


@pytest.mark.parametrize("table", [[], [(2, 1), (1, 2)], [(1, 101)]])
def test_bad_tables(table):
    with pytest.raises(InputError, match="percentiles"):
        percentile_of(1, table)
