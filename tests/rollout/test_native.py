"""What the native engine alone promises: nothing computed twice, slots refilled, memory kept to, short ones first."""

from dataclasses import replace

import pytest
import torch

from r1lit.errors import InputError
from r1lit.rollout import NativeEngine
from r1lit.rollout import native as native_module
from r1lit.types import SamplingParams


def table(completions):
    return {(c.prompt.id, c.sample): (c.token_ids, c.finish_reason) for c in completions}


@pytest.fixture
def watch():
    """Notes the shapes of what goes through the decoder."""

    def start(policy):
        calls = []

        def note(module, args, kwargs):
            assert not torch.is_grad_enabled()
            calls.append(tuple(kwargs["input_ids"].shape))

        policy.lm.get_decoder().register_forward_pre_hook(note, with_kwargs=True)
        return calls

    return start


@pytest.fixture
def caches(monkeypatch):
    """Collects the caches that engines make."""
    made = []

    class Noted(native_module.SlotCache):
        def __init__(self, *args):
            super().__init__(*args)
            made.append(self)

    monkeypatch.setattr(native_module, "SlotCache", Noted)
    return made


def held_bytes(cache):
    return sum(
        buffer.nbytes
        for layer in cache.slot_layers
        for buffer in (layer.keys, layer.values, layer.prefix_keys, layer.prefix_values)
    )


def test_prompts_are_computed_once_and_finished_rows_not_at_all(make_policy, prompts, watch):
    policy = make_policy(ends=True)
    calls = watch(policy)
    done = list(NativeEngine(policy).generate(prompts, SamplingParams(n=8, max_new_tokens=24)))
    assert calls[0] == (len(prompts), max(len(c.prompt_ids) for c in done))
    assert len(calls) == 24, "the last token needs no further pass"
    for position, shape in enumerate(calls[1:], start=1):
        assert shape == (sum(len(c.token_ids) > position for c in done), 1)


def test_waiting_samples_take_the_slots_of_finished_rows(make_policy, prompts, watch):
    policy = make_policy(ends=True)
    calls = watch(policy)
    done = list(NativeEngine(policy, max_rows=4).generate(prompts, SamplingParams(n=8, max_new_tokens=24)))
    widths = [width for _, width in calls if width > 1]
    assert sum(rows for rows, width in calls if width > 1) == len(prompts) == len(widths), "each prompt once"
    steps = [rows for rows, width in calls if width == 1]
    assert sum(steps) == sum(len(c.token_ids) - 1 for c in done), "no row is computed in vain"
    full = [rows for rows in steps if rows == 4]
    assert len(full) > 0.8 * len(steps), "the slots stay taken until nobody waits"


def test_short_completions_come_before_long_ones(make_policy, prompts):
    policy = make_policy(ends=True)
    lengths = [len(c.token_ids) for c in NativeEngine(policy).generate(prompts, SamplingParams(n=8, max_new_tokens=24))]
    assert lengths == sorted(lengths)
    assert lengths[0] < lengths[-1]


def test_completions_come_while_others_are_computed(make_policy, prompts, watch):
    policy = make_policy(ends=True)
    calls = watch(policy)
    running = NativeEngine(policy).generate(prompts, SamplingParams(n=8, max_new_tokens=24))
    first = next(running)
    assert len(calls) == len(first.token_ids)
    assert len(list(running)) == 8 * len(prompts) - 1


@pytest.mark.parametrize("rows", [1, 2, 5, 17])
def test_little_memory_makes_rows_wait_and_changes_nothing(rows, make_policy, prompts, caches):
    policy = make_policy(ends=True)
    sampling = SamplingParams(n=5, max_new_tokens=16, seed=3)
    expected = table(NativeEngine(policy).generate(prompts, sampling))
    longest = max(len(policy.encode_prompt(prompt)) for prompt in prompts)
    policy.dtype = torch.float64  # as it is
    token_bytes = 2 * 3 * 2 * 8 * 8
    memory_gb = (rows * 16 + -(-rows // 5) * longest) * token_bytes / 1e9 * 1.001
    assert table(NativeEngine(policy, memory_gb=memory_gb).generate(prompts, sampling)) == expected
    cache = caches[-1]
    assert cache.plan.rows == rows
    assert cache.capacity == 16
    assert held_bytes(cache) <= memory_gb * 1e9
    assert held_bytes(cache) <= held_bytes(caches[0])


def test_long_rows_that_are_left_take_no_memory_for_those_that_went(make_policy, prompts, caches, monkeypatch):
    monkeypatch.setattr("r1lit.rollout.cache.FIRST_CAPACITY", 2)
    policy = make_policy(ends=True)
    done = list(NativeEngine(policy).generate(prompts, SamplingParams(n=8, max_new_tokens=24)))
    assert caches[0].capacity == 24
    at_growth = sum(len(c.token_ids) > 17 for c in done)  # when 16 were not enough any more
    assert len(caches[0].slot_layers[0].keys) == at_growth < len(done) / 2


def test_too_little_memory_names_what_to_raise(make_policy, prompts):
    policy = make_policy()
    with pytest.raises(InputError, match=r"^engine\.memory_gb is 1e-06; .*'q1' .*max_new_tokens=16\) takes [\d.e-]+: "):
        list(NativeEngine(policy, memory_gb=1e-6).generate(prompts, SamplingParams(max_new_tokens=16)))
    for memory_gb in (0, -1.0, float("nan")):
        with pytest.raises(InputError, match=r"^engine\.memory_gb is [^\n]*; it must be positive"):
            NativeEngine(policy, memory_gb=memory_gb)


def test_prompts_of_very_different_lengths_and_many_of_them(make_policy, prompts):
    policy = make_policy(ends=True)
    many = [replace(prompts[i % 5], id=f"m{i}") for i in range(40)]
    sampling = SamplingParams(n=1, max_new_tokens=16)
    expected = table(NativeEngine(policy).generate(many, sampling))
    for max_rows in (1, 6, 16):
        assert table(NativeEngine(policy, max_rows).generate(many, sampling)) == expected


@pytest.mark.parametrize(
    ("key", "value", "kind"),
    [
        ("layer_types", ["full_attention", "linear_attention", "full_attention"], "linear_attention"),
        ("layer_types", ["full_attention", "chunked_attention", "full_attention"], "chunked_attention"),
        ("num_kv_shared_layers", 2, "key-sharing"),
    ],
)
def test_layers_that_keep_something_else_are_refused(key, value, kind, make_policy):
    policy = make_policy()
    setattr(policy.config, key, value)
    with pytest.raises(InputError, match=rf"{kind} layers .*TransformersEngine$"):
        NativeEngine(policy)


def test_a_layer_that_attends_on_its_own_is_noticed(make_policy, prompts):
    policy = make_policy()
    layer = policy.lm.get_decoder().layers[1].self_attn
    layer.config = replace_attention(layer.config)
    with pytest.raises(InputError, match=r"AttentionInterface; use r1lit\.rollout\.TransformersEngine$"):
        list(NativeEngine(policy).generate(prompts[:1], SamplingParams(max_new_tokens=4)))
    assert policy.lm.config._attn_implementation == "sdpa"


def replace_attention(config):
    """A configuration of the layer's own, which the engine does not see."""
    own = type(config)(**config.to_dict())
    own._attn_implementation = "eager"
    return own


def test_engines_may_take_turns_on_one_model(make_policy, prompts):
    """Two calls under way at once, and a plain forward pass between their completions."""
    policy = make_policy(ends=True)
    sampling = SamplingParams(n=4, max_new_tokens=16)
    expected = table(NativeEngine(policy).generate(prompts, sampling))
    ids = torch.tensor([policy.encode_prompt(prompts[0])])
    with torch.no_grad():
        logits = policy.lm.eval()(ids).logits
    one, two = (NativeEngine(policy).generate(prompts, sampling) for _ in range(2))
    seen = [[], []]
    for pair in zip(one, two, strict=True):
        for got, completion in zip(seen, pair, strict=True):
            got.append(completion)
        with torch.no_grad():
            assert torch.equal(policy.lm(ids).logits, logits)
    assert table(seen[0]) == table(seen[1]) == expected
