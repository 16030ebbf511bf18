import torch

from r1lit.rollout.cache import RowCache, left_pad


def states(rows, length, seed):
    return torch.randn(rows, 2, length, 3, generator=torch.Generator().manual_seed(seed))


def test_cache_gives_back_what_was_written():
    cache = RowCache(layer_count=2, capacity=6)
    prompt, token = states(2, 4, 0), states(2, 1, 1)
    for layer in range(2):
        cache.update(prompt + layer, -prompt, layer)
        keys, values = cache.update(token + layer, -token, layer)
        assert torch.equal(keys, torch.cat([prompt, token], dim=2) + layer)
        assert torch.equal(values, -torch.cat([prompt, token], dim=2))
    assert cache.get_seq_length() == 5


def test_rows_are_kept_repeated_and_ordered():
    cache = RowCache(layer_count=2, capacity=5)
    prompt = states(3, 4, 0)
    cache.update(prompt, -prompt, 0)  # the second layer stays empty, as layers that share keys do
    cache.select_rows(torch.tensor([2, 0, 0]))
    keys, values = cache.update(states(3, 1, 1), states(3, 1, 2), 0)
    assert torch.equal(keys[:, :, :4], prompt[[2, 0, 0]])
    assert torch.equal(values[:, :, :4], -prompt[[2, 0, 0]])
    assert torch.equal(keys[:, :, 4:], states(3, 1, 1))
    assert torch.equal(values[:, :, 4:], states(3, 1, 2))


def test_copies_of_a_row_are_independent():
    cache = RowCache(layer_count=1, capacity=4)
    cache.update(states(1, 2, 0), states(1, 2, 0), 0)
    cache.select_rows(torch.tensor([0, 0]))
    keys, _ = cache.update(states(2, 1, 1), states(2, 1, 1), 0)
    assert not torch.equal(keys[0, :, 2], keys[1, :, 2])


def test_left_pad():
    ids, mask = left_pad([(5,), (6, 7, 8)], pad_id=9, device=torch.device("cpu"))
    assert ids.tolist() == [[9, 9, 5], [6, 7, 8]]
    assert mask.tolist() == [[0, 0, 1], [1, 1, 1]]
