from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from r1lit.data.sampler import RolloutSampler
from r1lit.errors import InputError


@st.composite
def sizes(draw: st.DrawFn) -> tuple[int, int]:
    size = draw(st.integers(1, 40))
    return size, draw(st.integers(1, size))


@given(sizes(), st.integers(0, 5), st.booleans())
@settings(max_examples=60, deadline=None)
def test_each_epoch_deals_each_row_once_and_no_rollout_repeats_a_row(
    size_and_batch: tuple[int, int], seed: int, shuffle: bool
) -> None:
    size, batch = size_and_batch
    sampler = RolloutSampler(size, batch, seed, shuffle)
    rollouts = [sampler.rows_for_rollout(k) for k in range(4 * size)]
    assert all(len(rows) == batch == len(set(rows)) for rows in rollouts)
    stream = [row for rows in rollouts for row in rows]
    epochs = [stream[start : start + size] for start in range(0, len(stream) - size + 1, size)]
    assert all(sorted(epoch) == list(range(size)) for epoch in epochs)


@given(sizes(), st.integers(0, 60))
@settings(max_examples=60, deadline=None)
def test_a_rollout_does_not_depend_on_those_asked_for_before(size_and_batch: tuple[int, int], index: int) -> None:
    in_turn = RolloutSampler(*size_and_batch)
    for k in range(index):
        in_turn.rows_for_rollout(k)
    assert in_turn.rows_for_rollout(index) == RolloutSampler(*size_and_batch).rows_for_rollout(index)


def test_order_changes_with_epoch_and_seed_only() -> None:
    sampler = RolloutSampler(50, 10, seed=1)
    assert sampler.order(0) != sampler.order(1)
    assert sampler.order(0) == RolloutSampler(50, 25, seed=1).order(0)
    assert sampler.order(0) != RolloutSampler(50, 10, seed=2).order(0)
    assert RolloutSampler(5, 2, shuffle=False).rows_for_rollout(2) == [4, 0]


def test_order_is_the_same_on_every_machine() -> None:
    assert RolloutSampler(8, 4, seed=0).order(0) == [5, 6, 2, 1, 3, 0, 4, 7]


def test_more_rows_are_new_until_there_are_none() -> None:
    sampler = RolloutSampler(10, 4, seed=3)
    stream = [sampler.rows_for_rollout(k) for k in range(5)]
    calls = [sampler.rows_for_rollout(2)] + [sampler.more_rows(2, attempt) for attempt in range(3)]
    assert [len(rows) for rows in calls] == [4, 4, 2, 0]
    assert sorted(row for rows in calls for row in rows) == list(range(10))
    assert sampler.more_rows(2, 0) != sampler.more_rows(3, 0)
    assert [sampler.rows_for_rollout(k) for k in range(5)] == stream


def test_every_row_is_dealt_within_rollouts_per_epoch() -> None:
    sampler = RolloutSampler(7, 3)
    assert sampler.rollouts_per_epoch == 3
    assert {row for k in range(3) for row in sampler.rows_for_rollout(k)} == set(range(7))
    assert all(a != b for a, b in pairwise(sampler.order(e) for e in range(4)))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((3, 4), "prompts_per_rollout is 4, but there are only 3 training prompts"),
        ((3, 0), "prompts_per_rollout is 0"),
        ((3, 1, -1), "seed is -1"),
    ],
)
def test_impossible_numbers_are_refused(arguments: tuple[int, ...], message: str) -> None:
    with pytest.raises(InputError, match=message):
        RolloutSampler(*arguments)


def test_negative_indices_are_refused() -> None:
    with pytest.raises(InputError, match="rollout index is -1"):
        RolloutSampler(3, 1).rows_for_rollout(-1)
    with pytest.raises(InputError, match="attempt is -1"):
        RolloutSampler(3, 1).more_rows(0, -1)
