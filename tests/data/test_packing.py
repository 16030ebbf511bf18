"""Micro-batches hold every row once, within the budget, as many on every rank."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from r1lit.data.packing import PaddedBatch, collate, cut, moved
from r1lit.data.store import StoredRow


def row(ids, targets):
    return StoredRow(np.array(ids, np.int32), np.array(targets, np.uint8), "")


ROWS = [row([5, 6, 7, 8], [0, 0, 1, 1]), row([9, 4], [0, 1])]


@given(
    lengths=st.lists(st.integers(1, 40), min_size=1, max_size=20),
    ranks=st.integers(1, 4),
    tokens=st.integers(1, 90),
    packed=st.booleans(),
)
def test_every_row_is_dealt_once_within_the_budget(lengths, ranks, tokens, packed):
    shares = [cut(lengths, rank, ranks, tokens, packed) for rank in range(ranks)]
    assert sorted(i for share in shares for part in share for i in part) == list(range(len(lengths)))
    assert len({len(share) for share in shares}) == 1
    for part in (part for share in shares for part in share if len(part) > 1):
        size = [lengths[i] for i in part]
        assert (sum(size) if packed else max(size) * len(size)) <= tokens


def test_packing_takes_fewer_micro_batches_than_padding():
    lengths = [100, 60, 40, 30, 30, 20, 10, 10]
    assert len(cut(lengths, 0, 1, 100, packed=True)) == 3
    assert len(cut(lengths, 0, 1, 100, packed=False)) > 3


def test_ranks_have_like_work():
    shares = [cut(list(range(1, 101)), rank, 4, 10**6, packed=True) for rank in range(4)]
    work = [sum(i + 1 for part in share for i in part) for share in shares]
    assert max(work) - min(work) <= 75


def test_padded_rows():
    batch = collate(ROWS, packed=False, pad_id=0)
    assert batch.input_ids.tolist() == [[5, 6, 7, 8], [9, 4, 0, 0]]
    assert batch.attention_mask.tolist() == [[1, 1, 1, 1], [1, 1, 0, 0]]
    assert batch.target_mask.tolist() == [[False, False, True, True], [False, True, False, False]]


def test_packed_rows_restart_their_positions():
    batch = collate(ROWS, packed=True, pad_id=0)
    assert batch.input_ids.tolist() == [5, 6, 7, 8, 9, 4]
    assert batch.position_ids.tolist() == [0, 1, 2, 3, 0, 1]
    assert batch.target_mask.tolist() == [False, False, True, True, False, True]
    assert [(s.start, s.stop, s.prefix) for s in batch.segments] == [(0, 4, None), (4, 6, None)]


@pytest.mark.parametrize("packed", [True, False])
def test_no_rows_make_a_batch_without_targets(packed):
    batch = collate([], packed, pad_id=3)
    assert not batch.target_mask.any()
    assert batch.input_ids.numel() > 0
    assert set(batch.input_ids.flatten().tolist()) == {3}


@pytest.mark.parametrize("packed", [True, False])
def test_batches_move_between_devices(packed):
    batch = moved(collate(ROWS, packed, 0), torch.device("meta"))
    assert isinstance(batch, PaddedBatch) != packed
    assert {batch.input_ids.device.type, batch.target_mask.device.type} == {"meta"}
