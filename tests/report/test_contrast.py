import numpy as np
import pytest

from r1lit.report.contrast import estimate


def values(*numbers):
    return {f"p{i:03d}": float(number) for i, number in enumerate(numbers)}


def test_paired_difference_ignores_what_is_hard_for_both():
    hard = np.random.default_rng(0).uniform(0, 0.8, 100)
    found = estimate("difference", [values(*(hard + 0.1))], [values(*hard)])
    assert found.value == pytest.approx(0.1)
    assert (found.low, found.high) == pytest.approx((0.1, 0.1)), "every problem gains the same"
    assert (found.problems, found.seeds) == (100, 1)


def test_interval_covers_the_truth_as_often_as_it_says():
    generator = np.random.default_rng(1)
    covered = 0
    for trial in range(200):
        before, after = generator.uniform(0, 1, (2, 40))
        found = estimate("difference", [values(*after)], [values(*before)], seed=trial)
        covered += found.low <= 0.0 <= found.high
    assert 0.88 < covered / 200 <= 0.99


def test_seeds_that_disagree_widen_the_interval():
    before = [values(*[0.5] * 50)] * 3
    agree = estimate("difference", [values(*[0.7] * 50)] * 3, before)
    differ = estimate("difference", [values(*[level] * 50) for level in (0.4, 0.7, 1.0)], before)
    assert agree.value == pytest.approx(differ.value)
    assert agree.high - agree.low < 1e-9
    assert differ.low < 0 < differ.high
    assert differ.seeds == 3


def test_ratio_and_plain_value():
    found = estimate("ratio", [values(*[6.0] * 9)], [values(*[2.0] * 9)])
    assert (found.value, found.low, found.high) == pytest.approx((3.0, 3.0, 3.0))
    alone = estimate("value", [values(0.2, 0.4, 0.6)], None)
    assert alone.value == pytest.approx(0.4)
    assert 0.2 <= alone.low < 0.4 < alone.high <= 0.6
    assert alone.before is None


def test_only_problems_that_all_have_count():
    found = estimate("difference", [{"a": 1.0, "b": 0.0}], [{"b": 0.5, "c": 1.0}])
    assert (found.value, found.problems) == (-0.5, 1)
    assert estimate("difference", [{"a": 1.0}], [{"c": 1.0}]) is None
    assert estimate("ratio", [{"a": 1.0}], [{"a": 0.0}]) is None
    assert estimate("difference", [], []) is None


def test_same_values_give_the_same_interval():
    ours, theirs = [values(0.1, 0.9, 0.4)], [values(0.3, 0.2, 0.4)]
    assert estimate("difference", ours, theirs) == estimate("difference", ours, theirs)
