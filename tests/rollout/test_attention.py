"""Attention to a shared prompt and a row's own tokens, against transformers' attention to a copy of both."""

import pytest
import torch
from transformers.models.gemma2.modeling_gemma2 import eager_attention_forward

from r1lit.rollout.attention import NAME, Batch, attending, decode_attention
from r1lit.rollout.cache import SlotCache
from r1lit.rollout.completion import Request
from r1lit.rollout.schedule import Group, Plan, Row
from r1lit.types import Message, Prompt

SIZE = 6
PROMPTS = [5, 9, 7]
"""Tokens of each prompt, by slot."""


class Layer(torch.nn.Module):
    """What attention asks of the module that calls it."""

    layer_idx = 0

    def __init__(self, served):
        super().__init__()
        self.num_key_value_groups = served
        self.training = False


def make_rows(groups, lengths):
    """Rows of the given prompts with ``lengths`` of their own tokens in the cache."""
    prompt = Prompt("p", (Message("user", "?"),))
    made = [Group(Request(prompt, (7,) * n, range(9)), list(range(9)), slot=i) for i, n in enumerate(PROMPTS)]
    return [
        Row(made[g], i, 0, slot=i, token_ids=[1] * (n + 1))
        for i, (g, n) in enumerate(zip(groups, lengths, strict=True))
    ]


def fill(cache, groups, lengths, heads, generator):
    """Writes random states; returns each row's keys and values, prompt and own tokens together, the new one too."""

    def states(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    prompts = [states(2, heads, n, SIZE) for n in PROMPTS]
    for slot, (keys, values) in enumerate(prompts):
        cache.expect_prompts(torch.tensor([slot]))
        cache.update(keys[None], values[None], 0)
    own = [states(2, heads, n + 1, SIZE) for n in lengths]
    for position in range(max(lengths) + 1):
        cache.reserve(len(lengths), len(lengths), position + 1)
        at = [min(position, n) for n in lengths]
        cache.expect_tokens(torch.tensor(at), position + 1)
        new = torch.stack([row[:, :, n] for row, n in zip(own, at, strict=True)], dim=1)[:, :, :, None]
        cache.update(*new, 0)
    return [torch.cat([prompts[g], row], dim=2) for g, row in zip(groups, own, strict=True)]


def reference(query, whole, scaling, window, softcap, served):
    """Row by row, without padding, with repeated heads."""
    out = []
    for q, (keys, values) in zip(query, whole, strict=True):
        start = 0 if window is None else max(0, keys.shape[1] - window)
        keys, values = keys[None, :, start:], values[None, :, start:]
        # Its softmax is in float32.
        out.append(
            eager_attention_forward(Layer(served), q[None], keys, values, None, scaling=scaling, softcap=softcap)[0]
        )
    return torch.cat(out)


CASES = {
    "equal": ([0, 0, 0, 0], [4, 4, 4, 4]),
    "one row": ([1], [0]),
    "mixed": ([2, 0, 0, 1, 2, 0], [3, 0, 11, 6, 6, 1]),
    "a prompt without rows": ([2, 0, 2], [2, 8, 0]),
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize(
    ("window", "softcap"), [(None, None), (1, None), (4, None), (9, None), (10, None), (12, 2.0), (100, 0.5)]
)
@pytest.mark.parametrize(("heads", "served"), [(2, 3), (1, 4), (3, 1)])
def test_shared_prompt_equals_copied_prompt(heads, served, window, softcap, case):
    groups, lengths = CASES[case]
    generator = torch.Generator().manual_seed(3)
    cache = SlotCache(1, heads, Plan(rows=8, prompts=4, own=64, prefix=9), torch.device("cpu"))
    whole = fill(cache, groups, lengths, heads, generator)
    query = torch.randn(len(groups), heads * served, 1, SIZE, generator=generator, dtype=torch.float64)
    batch = Batch(make_rows(groups, lengths), cache, len(groups))
    assert batch.positions.tolist() == [PROMPTS[g] + n for g, n in zip(groups, lengths, strict=True)]
    batch.begin_step()
    last = torch.stack([keys_and_values[:, :, -1:] for keys_and_values in whole], dim=1)
    keys, values = cache.update(*last, 0)
    out, weights = decode_attention(
        Layer(served), query, keys, values, None, 0.3, batch, sliding_window=window, softcap=softcap
    )
    batch.end_step()
    assert weights is None
    expected = reference(query, whole, 0.3, window, softcap, served)
    torch.testing.assert_close(out, expected, atol=1e-6, rtol=1e-5)
    if softcap is None:
        exact = torch.cat([
            torch.nn.functional.scaled_dot_product_attention(
                q[None], *(kv[None, :, 0 if window is None else max(0, kv.shape[1] - window) :] for kv in row),
                scale=0.3, enable_gqa=True,
            )
            for q, row in zip(query, whole, strict=True)
        ])  # fmt: skip
        torch.testing.assert_close(out, exact.transpose(1, 2), atol=1e-12, rtol=1e-12)


def test_half_precision():
    groups, lengths = CASES["mixed"]
    cache = SlotCache(1, 2, Plan(rows=8, prompts=4, own=64, prefix=9), torch.device("cpu"))
    whole = fill(cache, groups, lengths, 2, torch.Generator().manual_seed(3))
    for layer in cache.slot_layers:
        for name in ("keys", "values", "prefix_keys", "prefix_values"):
            setattr(layer, name, getattr(layer, name).bfloat16())
    query = torch.randn(len(groups), 4, 1, SIZE, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    batch = Batch(make_rows(groups, lengths), cache, len(groups))
    batch.begin_step()
    last = torch.stack([row[:, :, -1:] for row in whole], dim=1).bfloat16()
    out, _ = decode_attention(Layer(2), query.bfloat16(), *cache.update(*last, 0), None, 0.3, batch)
    assert out.dtype == torch.bfloat16
    torch.testing.assert_close(out.double(), reference(query, whole, 0.3, None, None, 2), atol=2e-2, rtol=2e-2)


def test_the_models_own_attention_comes_back(make_policy):
    lm = make_policy().lm
    with attending(lm):
        assert lm.config._attn_implementation == NAME
    assert lm.config._attn_implementation == "sdpa"
    with pytest.raises(KeyError, match="mine"), attending(lm):
        raise KeyError("mine")
    assert lm.config._attn_implementation == "sdpa"
