import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from r1lit.errors import InputError
from r1lit.modules.minibatches import Batch, micro_batches, random_minibatches
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


@given(st.lists(st.integers(1, 50), min_size=1, max_size=40), st.integers(1, 5), st.integers(1, 200), st.data())
def test_micro_batches_cover_the_minibatch_within_the_budget(lengths, ranks, tokens, data):
    rows = data.draw(st.lists(st.integers(0, len(lengths) - 1), min_size=1, unique=True))
    shares = [micro_batches(lengths, rows, rank, ranks, tokens) for rank in range(ranks)]
    assert sorted(row for share in shares for part in share for row in part) == sorted(rows)
    assert len({len(share) for share in shares}) == 1  # every rank runs the same number of forwards
    for part in (part for share in shares for part in share if len(part) > 1):
        assert len(part) * max(lengths[row] for row in part) <= tokens
    counts = [sum(map(len, share)) for share in shares]
    assert max(counts) - min(counts) <= 1


def test_a_small_budget_makes_more_micro_batches_than_a_large_one():
    lengths = [10] * 8
    assert len(micro_batches(lengths, range(8), 0, 1, 20)) == 4
    assert len(micro_batches(lengths, range(8), 0, 1, 80)) == 1


def test_batch_pads_on_the_right_and_marks_the_completion():
    batch = Batch.of(
        [completion((5, 6, 7), (8, 9), (-1.0, -2.0)), completion((5,), (4,), (-3.0,))], 0, torch.device("cpu")
    )
    assert batch.input_ids.tolist() == [[5, 6, 7, 8, 9], [5, 4, 0, 0, 0]]
    assert batch.attention_mask.tolist() == [[1, 1, 1, 1, 1], [1, 1, 0, 0, 0]]
    assert batch.target_mask.int().tolist() == [[0, 0, 0, 1, 1], [0, 1, 0, 0, 0]]
    assert batch.logprobs.tolist() == [[0, 0, 0, -1, -2], [0, -3, 0, 0, 0]]


def test_a_batch_of_none_has_one_row_without_targets():
    batch = Batch.of([], 0, torch.device("cpu"))
    assert batch.input_ids.shape == (1, 2)
    assert batch.attention_mask.all()
    assert not batch.target_mask.any()
