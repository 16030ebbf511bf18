import torch

from r1lit.rollout.cache import FIRST_CAPACITY, SlotCache
from r1lit.rollout.schedule import Plan

HEADS, SIZE = 2, 3
CPU = torch.device("cpu")


def make_cache(rows=4, prompts=2, own=200, prefix=5, layers=2):
    return SlotCache(layers, HEADS, Plan(rows, prompts, own, prefix), CPU)


def states(rows, length, seed):
    return torch.randn(rows, HEADS, length, SIZE, generator=torch.Generator().manual_seed(seed))


def write(cache, lengths, keys, layer=0, slots=4):
    """One token for each row; returns what attention sees."""
    cache.reserve(slots, len(lengths), max(lengths) + 1)
    cache.expect_tokens(torch.tensor(lengths), max(lengths) + 1)
    return cache.update(keys, -keys, layer)


def filled(lengths, layers=2):
    """A cache whose rows hold ``lengths`` tokens, and these tokens."""
    cache, tokens = make_cache(layers=layers), states(len(lengths), max(lengths), 5)
    for layer in range(layers):
        cache.expect_prompts(torch.tensor([0]))
        cache.update(states(1, 3, 0), states(1, 3, 1), layer)
    for position in range(max(lengths)):
        for layer in range(layers):
            write(cache, [min(position, n - 1) for n in lengths], tokens[:, :, position : position + 1] + layer, layer)
    return cache, tokens


def test_prompts_are_kept_once_in_their_slots():
    cache, prompt = make_cache(), states(2, 4, 0)
    for layer in range(2):
        cache.expect_prompts(torch.tensor([1, 0]))
        keys, values = cache.update(prompt + layer, -prompt, layer)
        assert torch.equal(keys, prompt + layer), "the prompts attend to themselves"
        assert torch.equal(values, -prompt)
    for layer, slots in enumerate(cache.slot_layers):
        assert torch.equal(slots.prefix_keys[:, :, :4], (prompt + layer)[[1, 0]])
        assert torch.equal(slots.prefix_values[:, :, :4], -prompt[[1, 0]])
        assert not slots.prefix_keys[:, :, 4:].any(), "padding is finite"
    assert (cache.get_seq_length(), cache.get_mask_sizes(4, 0)) == (0, (4, 0))


def test_each_row_writes_at_its_own_length():
    cache, _ = filled([3, 3])
    before = cache.slot_layers[1].keys.clone()
    token = states(2, 1, 9)
    keys, values = write(cache, [3, 1], token, layer=1)
    assert keys.shape == values.shape == (2, HEADS, 4, SIZE)
    assert torch.equal(keys[0, :, 3], token[0, :, 0])
    assert torch.equal(keys[1, :, 1], token[1, :, 0])
    assert torch.equal(values[1, :, 1], -token[1, :, 0])
    assert torch.equal(keys[0, :, :3], before[0, :, :3])
    assert torch.equal(keys[1, :, [0, 2]], before[1, :, [0, 2]])


def test_room_grows_and_keeps_what_is_held():
    length = FIRST_CAPACITY + 2
    cache, tokens = filled([length, length], layers=1)
    assert cache.slot_layers[0].keys.shape == (4, HEADS, 2 * FIRST_CAPACITY, SIZE)
    assert torch.equal(cache.slot_layers[0].keys[:2, :, :length], tokens)
    cache.reserve(1, 1, 2 * FIRST_CAPACITY + 1)  # fewer rows, longer ones, but no longer than they may get
    assert cache.slot_layers[0].keys.shape == (1, HEADS, 200, SIZE)
    assert torch.equal(cache.slot_layers[0].keys[:, :, :length], tokens[:1])
    assert torch.equal(cache.slot_layers[0].values[:, :, :length], -tokens[:1])


def test_rows_and_prompts_move():
    cache, tokens = filled([4, 4, 4])
    cache.move_rows([2], [0], 4)
    for layer, slots in enumerate(cache.slot_layers):
        assert torch.equal(slots.keys[:3, :, :4], tokens[[2, 1, 2]] + layer)
        assert torch.equal(slots.values[:3, :, :4], -tokens[[2, 1, 2]] - layer)
    cache.move_prompts([0], [1])
    assert torch.equal(cache.slot_layers[1].prefix_keys[1, :, :3], states(1, 3, 0)[0])
    assert torch.equal(cache.slot_layers[1].prefix_values[1, :, :3], states(1, 3, 1)[0])
