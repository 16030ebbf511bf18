import random

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from r1lit.errors import InputError
from r1lit.training.minibatches import MicroBatch, Shape, micro_batches, random_minibatches, shapes_of
from r1lit.types import Completion, Message, Prompt


def completion(prompt_ids, token_ids, logprobs):
    prompt = Prompt("p", (Message("user", "?"),))
    return Completion(prompt, 0, prompt_ids, token_ids, logprobs, "", "stop")


def test_minibatches_deal_each_row_once_in_equal_parts():
    cut = random_minibatches(12, 3, seed=0, rollout=5, epoch=0)
    assert [len(part) for part in cut] == [4, 4, 4]
    assert sorted(row for part in cut for row in part) == list(range(12))
    assert cut != [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10, 11]]


@pytest.mark.parametrize("other", [(1, 5, 0), (0, 6, 0), (0, 5, 1)])
def test_minibatches_depend_on_seed_rollout_and_epoch_alone(other):
    assert random_minibatches(64, 4, 0, 5, 0) == random_minibatches(64, 4, 0, 5, 0)
    assert random_minibatches(64, 4, 0, 5, 0) != random_minibatches(64, 4, *other)


def test_minibatches_that_do_not_divide_are_refused():
    with pytest.raises(InputError, match=r"minibatches is 5, which does not divide the rollout's 12 completions"):
        random_minibatches(12, 5, 0, 0, 0)


@st.composite
def cuts(draw):
    """Shapes, some of their rows, and a number of ranks and a budget."""
    prompts = draw(st.lists(st.integers(1, 40), min_size=1, max_size=6))
    groups = draw(st.lists(st.integers(0, len(prompts) - 1), min_size=1, max_size=40))
    shapes = [Shape(group, prompts[group], draw(st.integers(0, 50))) for group in groups]
    rows = draw(st.lists(st.integers(0, len(shapes) - 1), min_size=1, unique=True))
    return shapes, rows, draw(st.integers(1, 5)), draw(st.integers(1, 300))


def tokens_of(shapes, part):
    """Tokens of a packed row: each prompt once."""
    prompts = {shapes[row].group: shapes[row].prompt for row in part}
    return sum(prompts.values()) + sum(shapes[row].own for row in part)


@given(cuts())
def test_micro_batches_cover_the_minibatch_within_the_budget(cut):
    shapes, rows, ranks, tokens = cut
    shares = [micro_batches(shapes, rows, rank, ranks, tokens) for rank in range(ranks)]
    assert sorted(row for share in shares for part in share for row in part) == sorted(rows)
    assert len({len(share) for share in shares}) == 1  # every rank runs the same number of forwards
    for part in (part for share in shares for part in share):
        assert len(part) <= 1 or tokens_of(shapes, part) <= tokens


def test_a_group_that_fits_is_not_torn_apart():
    shapes = [Shape(group, 100, 50) for group in range(6) for _ in range(4)]
    order = random.Random(0).sample(range(24), 24)
    for ranks, tokens in ((1, 300), (2, 300), (3, 650)):
        for rank in range(ranks):
            for part in micro_batches(shapes, order, rank, ranks, tokens):
                groups = [shapes[row].group for row in part]
                assert groups == sorted(groups, key=groups.index)
                assert all(groups.count(group) == 4 for group in groups)


def test_a_group_is_cut_where_a_rank_would_have_nothing_to_do():
    shapes = [Shape(0, 10, 20)] * 8
    shares = [micro_batches(shapes, range(8), rank, 2, 1000) for rank in range(2)]
    assert [sum(map(len, share)) for share in shares] == [4, 4]


def test_ranks_have_like_work():
    lengths = random.Random(1).choices(range(10, 200), k=64)
    shapes = [Shape(row // 8, 60, length) for row, length in enumerate(lengths)]
    for ranks in (2, 3, 4, 8):
        shares = [micro_batches(shapes, range(64), rank, ranks, 4000) for rank in range(ranks)]
        loads = [sum(tokens_of(shapes, part) for part in share) for share in shares]
        assert max(loads) <= 1.3 * sum(loads) / ranks
        assert sum(loads) <= 1.15 * tokens_of(shapes, range(64))


def test_a_small_budget_makes_more_micro_batches_than_a_large_one():
    shapes = [Shape(0, 4, 6)] * 8
    assert [len(micro_batches(shapes, range(8), 0, 1, tokens)) for tokens in (1, 16, 28, 52)] == [8, 4, 2, 1]


def test_completions_with_equal_prompt_tokens_are_of_one_group():
    prompts, sampled = [(5, 6), (5,), (5, 6)], [(8, 9), (8,), ()]
    completions = [completion(p, ids, (-1.0,) * len(ids)) for p, ids in zip(prompts, sampled, strict=True)]
    assert shapes_of(completions) == [Shape(0, 2, 2), Shape(1, 1, 1), Shape(0, 2, 0)]


def test_a_micro_batch_holds_each_prompt_once_and_puts_values_back_in_rows():
    batch = MicroBatch.of(
        [
            completion((5, 6, 7), (8, 9), (-1.0, -2.0)),
            completion((5, 6, 7), (), ()),
            completion((5, 6, 7), (3,), (-4.0,)),
            completion((5,), (4,), (-3.0,)),
        ],
        torch.device("cpu"),
    )
    assert batch.packed.input_ids.tolist() == [5, 6, 7, 8, 9, 3, 5, 4]
    assert batch.packed.target_mask.int().tolist() == [0, 0, 0, 1, 1, 1, 0, 1]
    assert batch.mask.int().tolist() == [[1, 1], [0, 0], [1, 0], [1, 0]]
    assert batch.logprobs.tolist() == [[-1, -2], [0, 0], [-4, 0], [-3, 0]]
    assert batch.by_row(torch.arange(8.0)).tolist() == [[3, 4], [0, 0], [5, 0], [7, 0]]


def test_a_micro_batch_of_none_has_one_row_without_targets():
    batch = MicroBatch.of([], torch.device("cpu"))
    assert batch.packed.input_ids.shape == (2,)
    assert not batch.packed.target_mask.any()
    assert batch.mask.shape == batch.by_row(torch.ones(2)).shape == (1, 1)
    assert not batch.mask.any()
