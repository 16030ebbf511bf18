"""pass@1, pass@k and the majority vote: by hand, and against brute force that shares no code with them."""

import itertools
import math
from collections import Counter
from fractions import Fraction

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from r1lit.errors import InputError
from r1lit.functional.estimators import mean_interval
from r1lit.metrics import ConsAtK, PassAt1, PassAtK, votes

NAN = math.nan


def computed(metric, *arguments, **named):
    metric.update(*arguments, **named)
    return metric.compute()


# By hand


def test_pass_at_1_is_the_mean_over_prompts_of_the_share_of_right_samples():
    found = computed(PassAt1(), [0, 1, 2], [[1, 0, 0, 0], [1, 1, 1, 1], [0, 0, 1, 1]])
    assert found["value"] == pytest.approx((0.25 + 1 + 0.5) / 3)
    assert found["n"] == 3
    assert 0.25 <= found["low"] < found["value"] < found["high"] <= 1


def test_samples_that_were_not_judged_count_nowhere():
    found = computed(PassAt1(), [0, 1, 2], [[1, NAN], [0, 0], [NAN, NAN]])
    assert (found["value"], found["n"]) == (0.5, 2)
    assert computed(PassAtK([2]), [0, 1], [[1, NAN], [0, 1]])["pass@2"] == {"value": 1, "low": 1, "high": 1, "n": 1}
    assert computed(ConsAtK(), [0], [["4", "5", "4"]], [[0, 1, NAN]])["value"] == 0.5


def test_nothing_judged_is_nan_of_no_prompt():
    found = computed(PassAt1(), [0], [[NAN]])
    assert found["n"] == 0
    assert math.isnan(found["value"])


def test_pass_at_k_by_hand():
    # 1 of 4 right: any pair holds it in 3 of 6; of 4 all. 2 of 4: pairs without a right one: 1 of 6.
    found = computed(PassAtK([1, 2, 4]), [0, 1], [[0, 0, 1, 0], [1, 0, 0, 1]])
    assert found["pass@1"]["value"] == pytest.approx(0.375)
    assert found["pass@2"]["value"] == pytest.approx((0.5 + 5 / 6) / 2)
    assert found["pass@4"]["value"] == 1


@pytest.mark.parametrize(
    ("answers", "correct", "wanted"),
    [
        (["7", "7", "8"], [1, 1, 0], 1),
        (["7", "8", "8"], [1, 0, 0], 0),
        (["7", "8"], [1, 0], 0.5),  # a tie by expectation
        (["1", "2", "3"], [0, 1, 0], 1 / 3),
        ([r"\frac12", "0.5", r"\boxed{1/2}", "3", "3"], [1, 1, 1, 0, 0], 1),
        ([r"\frac12", "0.5", "0.50", "3", "3", "3.0", "$3$"], [1, 1, 1, 0, 0, 0, 0], 0),
        ([None, None, None, "4"], [0, 0, 0, 1], 1),  # no answer is no vote
        ([None, None], [0, 0], 0),
        (["1,000", "1000", "$1000$", "999", "999"], [1, 1, 1, 0, 0], 1),
        (["x = 5", "5", "6", "6"], [1, 1, 0, 0], 0.5),
        (["Evelyn", "evelyn", "Bob"], [1, 1, 0], 1),
    ],
)
def test_majority_vote_by_hand(answers, correct, wanted):
    assert computed(ConsAtK(), [0], [answers], [correct])["value"] == pytest.approx(wanted)


def test_votes_on_options_and_puzzles():
    votes = ["(B)", "B.", "the answer is b", "C", "C"]
    assert computed(ConsAtK(), [0], [votes], [[1, 1, 1, 0, 0]], tasks=["choice"])["value"] == 1


# Against an independent implementation


def subsets_with_a_right_one(grades, k):
    """pass@k by its definition: the share of all subsets of k samples that hold a right one."""
    subsets = list(itertools.combinations(range(len(grades)), k))
    return Fraction(sum(any(grades[i] for i in subset) for subset in subsets), len(subsets))


@given(st.lists(st.integers(0, 1), min_size=1, max_size=9), st.data())
@settings(max_examples=40, deadline=None)
def test_pass_at_k_equals_enumeration(grades, data):
    k = data.draw(st.integers(1, len(grades)))
    found = computed(PassAtK([k]), [0], [grades])[f"pass@{k}"]["value"]
    assert found == pytest.approx(float(subsets_with_a_right_one(grades, k)), abs=1e-12)


def vote_by_enumeration(answers, right):
    """Every order of counting, the first of the most frequent wins: ties broken by drawing among all orders."""
    wins = Fraction(0)
    orders = list(itertools.permutations(range(len(answers))))
    for order in orders:
        voting = [answers[i] for i in order if answers[i] is not None]
        # Among the most frequent, one by lot: the order of distinct answers is permuted on its own.
        counts = Counter(voting)
        best = [answer for answer in counts if counts[answer] == max(counts.values())]
        chances = list(itertools.permutations(best))
        if best:
            wins += Fraction(sum(chance[0] == right for chance in chances), len(chances))
    return wins / len(orders)


@given(st.lists(st.sampled_from(["1", "2", "3", None]), min_size=1, max_size=4), st.sampled_from(["1", "2"]))
@settings(max_examples=40, deadline=None)
def test_vote_equals_enumeration(answers, right):
    grades = [float(answer == right) for answer in answers]
    found = computed(ConsAtK(), [0], [answers], [grades])["value"]
    assert found == pytest.approx(float(vote_by_enumeration(answers, right)), abs=1e-12)


@given(st.fractions(-50, 50, max_denominator=40), st.integers(1, 9))
@settings(max_examples=40, deadline=None)
def test_spellings_of_a_number_are_one_vote(value, factor):
    a, b = value.numerator * factor, value.denominator * factor
    spellings = [f"{a}/{b}", rf"\frac{{{a}}}{{{b}}}", rf"\boxed{{{a}/{b}}}", f"${a}/{b}$"]
    *same, other = votes([*spellings, f"{a + 1}/{b}"])
    assert len(set(same)) == 1
    assert other not in same


# Order, duplicates, arguments

TABLE = [[1, 0], [1, 1], [0, 0], [0, 1], [1, 0], [0, 0], [1, 1]]


@given(st.permutations(range(len(TABLE))), st.integers(1, 4))
@settings(max_examples=30, deadline=None)
def test_the_order_of_updates_does_not_matter(order, size):
    whole = PassAt1()
    whole.update(range(len(TABLE)), TABLE)
    parts = PassAt1()
    for start in range(0, len(TABLE), size):
        part = order[start : start + size]
        parts.update(torch.tensor(part), torch.tensor([TABLE[i] for i in part]))
    assert parts.compute() == whole.compute() == mean_interval([sum(row) / 2 for row in TABLE])


def test_a_prompt_reported_twice_counts_once():
    metric = PassAt1()
    metric.update([0, 1], [[1], [0]])
    metric.update([0], [[1]])
    assert metric.compute()["n"] == 2


def test_reset_forgets():
    metric = PassAt1()
    metric.update([0], [[1]])
    metric.reset()
    assert computed(metric, [0], [[0]])["value"] == 0


def test_bad_arguments():
    with pytest.raises(InputError, match="k is"):
        PassAtK([])
    with pytest.raises(InputError, match=r"grade is 0\.5"):
        PassAtK([1]).update([0], [[0.5]])
    with pytest.raises(ValueError, match="2 places for the values of 1 prompts"):
        PassAt1().update([0, 1], [[1]])
