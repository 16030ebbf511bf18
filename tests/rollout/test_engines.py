"""What holds for every in-process engine: the same completions, their log-probabilities, and how they end."""

from dataclasses import replace

import pytest
import torch

from r1lit import Policy
from r1lit.errors import InputError, TrainingError
from r1lit.rollout import NativeEngine, RolloutEngine, TransformersEngine
from r1lit.types import Message, Prompt, SamplingParams

ENGINES = [NativeEngine, TransformersEngine]
FAMILIES = ["llama", "qwen2", "qwen2-window", "qwen3", "gemma3"]
engines = pytest.mark.parametrize("engine", ENGINES)
families = pytest.mark.parametrize("family", FAMILIES)


def sampled(engine, prompts, sampling):
    """Completions by prompt id and sample; each comes once."""
    completions = list(engine.generate(prompts, sampling))
    table = {(c.prompt.id, c.sample): c for c in completions}
    assert len(table) == len(completions) == len(prompts) * sampling.n
    return table


def assert_same(one, other, tolerance=1e-9):
    assert one.keys() == other.keys()
    for key, expected in one.items():
        got = other[key]
        assert got.token_ids == expected.token_ids, key
        assert got.logprobs == pytest.approx(expected.logprobs, abs=tolerance), key
        assert replace(got, logprobs=()) == replace(expected, logprobs=()), key


def plain_greedy(policy, prompt, count):
    """Greedy decoding without cache, batch or padding."""
    ids = policy.encode_prompt(prompt)
    start = len(ids)
    with torch.no_grad():
        while len(ids) < start + count and (len(ids) == start or ids[-1] not in policy.eos_ids):
            ids.append(int(policy.lm.eval()(torch.tensor([ids]), use_cache=False).logits[0, -1].argmax()))
    return tuple(ids[start:])


@engines
@families
def test_greedy_is_that_of_plain_decoding(family, engine, make_policy, prompts):
    policy = make_policy(family, ends=True, double=False)
    done = sampled(engine(policy), prompts, SamplingParams(temperature=0.0, max_new_tokens=30))
    for prompt in prompts:
        assert done[prompt.id, 0].token_ids == plain_greedy(policy, prompt, 30)


@families
def test_completions_do_not_depend_on_their_company(family, make_policy, prompts):
    policy = make_policy(family, ends=True)
    sampling = SamplingParams(n=4, max_new_tokens=16, seed=3, rollout=5)
    alone = {}
    for prompt in prompts:
        alone |= sampled(NativeEngine(policy), [prompt], sampling)
    lengths = sorted(len(c.token_ids) for c in alone.values())
    assert lengths[0] < 5, "some rows must end early"
    assert lengths[-1] == 16, "and some must not end"

    wide = replace(sampling, n=13)  # 65 rows, of which the first samples are the same
    for engine in (NativeEngine, TransformersEngine):
        assert_same(alone, sampled(engine(policy), prompts, sampling))
        many = sampled(engine(policy), prompts, wide)
        assert_same(alone, {key: many[key] for key in alone})
    assert_same(alone, sampled(NativeEngine(policy), prompts[::-1], sampling))
    for max_rows in (1, 3, 9):  # rows that wait take the slots of those that end
        assert_same(alone, sampled(NativeEngine(policy, max_rows), prompts, sampling))
    assert_same(alone, sampled(TransformersEngine(policy, max_rows=9), prompts, sampling))


@pytest.mark.parametrize(
    "settings", [{"temperature": 0.6, "top_p": 0.95}, {"top_k": 7}, {"temperature": 1.5, "top_k": 50, "top_p": 0.7}]
)
def test_engines_filter_alike(settings, make_policy, prompts):
    policy = make_policy("qwen2", ends=True)
    sampling = SamplingParams(n=3, max_new_tokens=16, **settings)
    assert_same(
        sampled(NativeEngine(policy), prompts, sampling), sampled(TransformersEngine(policy), prompts, sampling)
    )


def test_one_row_at_a_time(make_policy, prompts):
    policy = make_policy(ends=True)
    sampling = SamplingParams(n=2, max_new_tokens=8)
    expected = sampled(NativeEngine(policy), prompts, sampling)
    for engine in ENGINES:
        assert_same(expected, sampled(engine(policy, max_rows=1), prompts, sampling))


def test_seed_rollout_sample_and_prompt_change_what_is_sampled(make_policy, prompts):
    engine = NativeEngine(make_policy())
    base = SamplingParams(n=2, max_new_tokens=8)
    twin = replace(prompts[0], id="another")
    runs = [
        sampled(engine, [prompts[0], twin], sampling)
        for sampling in (base, replace(base, seed=1), replace(base, rollout=1))
    ]
    texts = [c.token_ids for run in runs for c in run.values()]
    assert len(set(texts)) == len(texts)


@engines
@families
@pytest.mark.parametrize("double", [False, True])
def test_logprobs_are_those_of_the_policy(double, family, engine, make_policy, prompts):
    policy = make_policy(family, ends=True, double=double)
    # top-p and top-k must not show: what training computes knows nothing of them.
    sampling = SamplingParams(n=3, temperature=0.7, top_p=0.9, top_k=40, max_new_tokens=20)
    for c in engine(policy).generate(prompts, sampling):
        assert_logprobs(policy, c, 0.7, 1e-10 if double else 3e-5)


@engines
def test_greedy_keeps_logprobs_at_temperature_one(engine, make_policy, prompts):
    policy = make_policy()
    for c in engine(policy).generate(prompts, SamplingParams(temperature=0.0, max_new_tokens=6)):
        assert_logprobs(policy, c, 1.0, 1e-10)


def assert_logprobs(policy, c, temperature, tolerance):
    ids = torch.tensor([c.prompt_ids + c.token_ids])
    target = torch.arange(ids.shape[1])[None] >= len(c.prompt_ids)
    with torch.no_grad():
        expected = policy.token_logprobs(ids, torch.ones_like(ids), target, temperature).logprobs[target]
    assert len(c.logprobs) == len(c.token_ids)
    torch.testing.assert_close(
        torch.tensor(c.logprobs, dtype=torch.float64).to(expected), expected, atol=tolerance, rtol=0
    )


@engines
@pytest.mark.parametrize("n", [1, 16])
def test_ends(n, engine, make_policy, prompts):
    policy = make_policy(ends=True)
    reasons = set()
    for c in sampled(engine(policy), prompts, SamplingParams(n=n, max_new_tokens=20)).values():
        ended = c.token_ids[-1] in policy.eos_ids
        assert not set(c.token_ids[:-1]) & set(policy.eos_ids)
        assert c.finish_reason == ("stop" if ended else "length")
        assert ended or len(c.token_ids) == 20
        assert c.prompt_ids == tuple(policy.encode_prompt(c.prompt))
        assert c.text == policy.decode(c.token_ids)
        reasons.add(c.finish_reason)
    assert reasons == {"stop", "length"}


@engines
def test_a_single_token(engine, make_policy, prompts):
    policy = make_policy(ends=True)
    done = sampled(engine(policy), prompts, SamplingParams(n=16, max_new_tokens=1))
    assert {len(c.token_ids) for c in done.values()} == {1}
    assert {c.finish_reason for c in done.values()} == {"stop", "length"}
    for c in done.values():
        assert (c.finish_reason == "stop") == (c.token_ids[0] in policy.eos_ids)


def test_stop_strings(make_policy, prompts):
    policy = make_policy()
    free = sampled(NativeEngine(policy), prompts, SamplingParams(n=8, max_new_tokens=24))
    # Two characters out of the middle of a text: they may lie in one token or in two, or cut a token.
    texts = sorted(c.text for c in free.values())
    middles = [text[len(text) // 2 :][:2] for text in texts]
    stop = ("e", "\n", *[text for text in middles if len(text) == 2 and "\ufffd" not in text][:6])
    assert len(stop) == 8
    sampling = SamplingParams(n=8, max_new_tokens=24, stop=stop)
    done = sampled(NativeEngine(policy), prompts, sampling)
    assert_same(done, sampled(TransformersEngine(policy), prompts, sampling))
    assert {c.finish_reason for c in done.values()} == {"stop", "length"}
    for key, c in done.items():
        assert c.token_ids == free[key].token_ids[: len(c.token_ids)], "a stop string changes no token"
        assert any(text in c.text for text in stop) == (
            c.finish_reason == "stop" and c.token_ids[-1] != policy.eos_ids[0]
        )
        assert not any(text in policy.decode(c.token_ids[:-1]) for text in stop)


def test_stop_string_at_the_limit_is_a_stop(make_policy, prompts):
    policy = make_policy()
    free = sampled(NativeEngine(policy), prompts[:1], SamplingParams(max_new_tokens=12))["q0", 0]
    stop = (policy.decode(free.token_ids[9:]),)
    assert len(stop[0]) > 1
    for engine in ENGINES:
        done = sampled(engine(policy), prompts[:1], SamplingParams(max_new_tokens=12, stop=stop))["q0", 0]
        assert (done.token_ids, done.finish_reason) == (free.token_ids, "stop")


def test_prefilled_text_comes_first(make_policy, prompts):
    policy = make_policy(ends=True)
    policy.template = replace(policy.template, prefill="<think>\n")
    sampling = SamplingParams(n=2, max_new_tokens=5)
    for engine in ENGINES:
        for c in engine(policy).generate(prompts, sampling):
            assert c.text == "<think>\n" + policy.decode(c.token_ids)
            assert policy.decode(c.prompt_ids).endswith("<think>\n")


@engines
def test_no_prompts_no_completions(engine, make_policy):
    assert list(engine(make_policy()).generate([], SamplingParams())) == []


@engines
def test_context_is_filled_to_the_last_token(engine, make_policy, prompts):
    policy = make_policy()
    room = policy.max_context - len(policy.encode_prompt(prompts[1]))
    done = sampled(engine(policy), prompts[1:2], SamplingParams(max_new_tokens=room))
    assert len(done["q1", 0].token_ids) == room
    with pytest.raises(
        InputError, match=rf"^prompt 'q1' has \d+ tokens; with max_new_tokens={room + 1} .* 128: [^\n]*$"
    ):
        list(engine(policy).generate(prompts, SamplingParams(max_new_tokens=room + 1)))


@engines
def test_a_prompt_without_tokens_is_refused(engine, make_policy, prompts):
    nothing = Prompt("blank", (Message("user", ""),))
    with pytest.raises(InputError, match=r"^prompt 'blank' is empty[^\n]*$"):
        list(engine(make_policy()).generate([*prompts, nothing], SamplingParams(max_new_tokens=4)))


@engines
@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("n", 0),
        ("temperature", -0.1),
        ("temperature", float("nan")),
        ("top_p", 0.0),
        ("top_p", 1.1),
        ("top_k", -1),
        ("max_new_tokens", 0),
        ("stop", ("ok", "")),
    ],
)
def test_bad_settings_are_named(key, value, engine, make_policy, prompts):
    with pytest.raises(InputError, match=rf"^sampling\.{key} is [^\n]*; it must be [^\n]*$"):
        list(engine(make_policy()).generate(prompts, SamplingParams(**{key: value})))


@engines
def test_max_rows_must_be_positive(engine, make_policy):
    with pytest.raises(InputError, match=r"^engine\.max_rows is 0"):
        engine(make_policy(), max_rows=0)


def test_native_engine_refuses_layers_without_keys_and_values(make_policy):
    policy = make_policy()
    policy.config.layer_types = ["full_attention", "linear_attention", "full_attention"]
    with pytest.raises(InputError, match=r"linear_attention layers .*TransformersEngine$"):
        NativeEngine(policy)


@engines
def test_new_weights_are_seen(engine, make_policy, prompts):
    policy = make_policy()
    subject, sampling = engine(policy), SamplingParams(n=2, max_new_tokens=8)
    before = sampled(subject, prompts, sampling)
    with torch.no_grad():
        for weight in policy.lm.parameters():
            weight.mul_(1.1)
    after = sampled(subject, prompts, sampling)
    assert any(after[key].token_ids != before[key].token_ids for key in before)
    for c in after.values():
        assert_logprobs(policy, c, 1.0, 1e-10)
    with torch.no_grad():
        for weight in policy.lm.parameters():
            weight.copy_(torch.full_like(weight, float("nan")))
    with pytest.raises(TrainingError, match="diverged"):
        list(subject.generate(prompts, sampling))


@engines
@pytest.mark.parametrize("training", [True, False])
def test_the_policy_is_left_as_it_was(training, engine, make_policy, prompts):
    policy = make_policy(ends=True).train(training)
    config = policy.lm.generation_config.to_dict()
    sampling = SamplingParams(n=2, max_new_tokens=8)

    def untouched():
        modes = {module.training for module in policy.modules()}
        own = policy.lm.config._attn_implementation == "sdpa" and policy.lm.generation_config.to_dict() == config
        return modes == {training} and own and torch.is_grad_enabled()

    list(engine(policy).generate(prompts, sampling))
    assert untouched()
    running = engine(policy).generate(prompts, sampling)  # the consumer stops early
    next(running)
    assert torch.is_grad_enabled(), "gradients are off inside the engine only"
    assert policy.lm.config._attn_implementation == "sdpa", "and so is its attention"
    running.close()
    assert untouched()
    running = engine(policy).generate(prompts, sampling)  # an exception comes from the consumer's side
    next(running)
    with pytest.raises(KeyError, match="mine"):
        running.throw(KeyError("mine"))
    assert untouched()
    with torch.no_grad():
        next(policy.lm.parameters()).fill_(float("nan"))
    with pytest.raises(TrainingError):  # or from the engine itself
        list(engine(policy).generate(prompts, sampling))
    assert untouched()
    assert not policy.lm._forward_hooks


@engines
def test_engines_are_rollout_engines(engine, make_policy):
    assert isinstance(engine(make_policy()), RolloutEngine)
    assert not isinstance(make_policy(), RolloutEngine)


@pytest.mark.parametrize(
    "own",
    [{"num_beams": 2}, {"min_new_tokens": 6}, {"stop_strings": ["e"]}, {"max_time": 0.0}, {"suppress_tokens": [5]}],
)
def test_the_models_own_generation_config_is_not_followed(own, make_policy, prompts):
    policy = make_policy(ends=True)
    sampling = SamplingParams(n=3, max_new_tokens=8)
    expected = sampled(NativeEngine(policy), prompts, sampling)
    policy.lm.generation_config.update(**own)
    assert_same(expected, sampled(NativeEngine(policy), prompts, sampling))
    assert_same(expected, sampled(TransformersEngine(policy), prompts, sampling))


@engines
def test_ids_beyond_the_tokenizer_are_never_sampled(engine, tmp_path):
    """Qwen2.5 and others have rows for more tokens than there are; here those rows are the most likely by far."""
    small = Policy.from_pretrained("package:r1lit/assets/tiny/base", template="{question}")
    tokens = len(small.tokenizer)
    small.lm.resize_token_embeddings(tokens + 24, mean_resizing=False)
    with torch.no_grad():
        head = small.lm.get_output_embeddings().weight
        head[tokens:] = 9 * head[:tokens].abs().max()
        head[tokens + 12 :] *= -1
    small.lm.save_pretrained(tmp_path)
    small.tokenizer.save_pretrained(tmp_path)
    policy = Policy.from_pretrained(str(tmp_path), template="{question}")
    assert policy.lm.config.vocab_size == tokens + 24
    ask = [Prompt(f"p{i}", (Message("user", f"Calculate {i} + 2"),)) for i in range(4)]
    completions = list(engine(policy).generate(ask, SamplingParams(n=8, max_new_tokens=12)))
    assert max(i for c in completions for i in c.token_ids) < tokens
    # And the trainer's probabilities are those of the tokens alone.
    c = completions[0]
    ids = torch.tensor([[*c.prompt_ids, *c.token_ids]])
    mask = torch.zeros_like(ids, dtype=torch.bool)
    mask[:, len(c.prompt_ids) :] = True
    with torch.no_grad():
        found = policy.token_logprobs(ids, torch.ones_like(ids), mask).logprobs[mask]
    torch.testing.assert_close(found, torch.tensor(c.logprobs), atol=1e-4, rtol=1e-4)
