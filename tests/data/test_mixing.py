"""Each source has its share of an epoch; what stands where depends on nothing but the place."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from r1lit.data.mixing import Mixture
from r1lit.errors import InputError


def test_without_weights_an_epoch_deals_each_row_once():
    mixture = Mixture([5, 1, 7], [None] * 3, seed=3)
    assert mixture.rows_per_epoch == 13
    for epoch in range(3):
        rows = mixture.rows(13 * epoch, 13)
        assert sorted(rows) == [(s, r) for s, n in enumerate([5, 1, 7]) for r in range(n)]
    assert mixture.rows(0, 13) != mixture.rows(13, 13)


def test_weights_give_exact_shares_and_small_sources_come_again_after_all_their_rows():
    mixture = Mixture([10, 90], [3.0, 1.0], seed=0)
    rows = mixture.rows(0, 400)
    for epoch in range(4):
        assert Counter(r.source for r in rows[100 * epoch : 100 * epoch + 100]) == {0: 75, 1: 25}
    small = [r.row for r in rows if r.source == 0]
    for start in range(0, 300, 10):
        assert sorted(small[start : start + 10]) == list(range(10))
    large = [r.row for r in rows if r.source == 1]
    assert len(set(large[:90])) == 90  # it goes on where it stopped, over epochs


def test_sources_are_mixed_throughout():
    rows = Mixture([50, 50], [None, None]).rows(0, 100)
    assert 10 < sum(r.source for r in rows[:50]) < 40


@given(
    sizes=st.lists(st.integers(1, 9), min_size=1, max_size=3),
    start=st.integers(0, 60),
    count=st.integers(1, 30),
    seed=st.integers(0, 3),
    weighted=st.booleans(),
)
def test_the_stream_is_a_function_of_the_place(sizes, start, count, seed, weighted):
    weights = [float(i + 1) for i in range(len(sizes))] if weighted else [None] * len(sizes)
    straight = Mixture(sizes, weights, seed).rows(0, start + count)
    assert Mixture(sizes, weights, seed).rows(start, count) == straight[start:]
    jumping = Mixture(sizes, weights, seed)
    jumping.rows(500, 7)
    assert jumping.rows(start, count) == straight[start:]


def test_seeds_differ_and_order_can_be_kept():
    assert Mixture([20], [None], seed=0).rows(0, 20) != Mixture([20], [None], seed=1).rows(0, 20)
    kept = Mixture([2, 3], [None, None], shuffle=False).rows(0, 7)
    assert kept == [(0, 0), (0, 1), (1, 0), (1, 1), (1, 2), (0, 0), (0, 1)]


@pytest.mark.parametrize(
    ("sizes", "weights", "told"), [([0], [None], "without rows"), ([1, 2], [1.0, None], "every source, or to none")]
)
def test_bad_mixtures(sizes, weights, told):
    with pytest.raises(InputError, match=told):
        Mixture(sizes, weights)
