"""What is sampled follows the model's own distribution, by a chi-square test against plain forward passes."""

import pytest
import torch

from r1lit.rollout import NativeEngine
from r1lit.types import SamplingParams

SAMPLES = 4000
ACCEPT, REJECT = 1e-3, 1e-6
"""p-values: the right distribution must stay above the first, a wrong one must fall below the second.

All noise is fixed by the seed, so these tests give the same p-values each time.
"""


def filtered_softmax(logits, temperature, top_k, top_p):
    """The sampled distribution by its definition, [V] float64: temperature, then top-k, then top-p."""
    probs = (logits.double() / temperature).softmax(-1)
    order = probs.argsort(descending=True)
    ranked = probs[order]
    if top_k:
        ranked[top_k:] = 0
    share = ranked / ranked.sum()
    ranked[(share.cumsum(0) - share) >= top_p] = 0  # the token that crosses top_p stays
    kept = torch.zeros_like(probs).scatter(0, order, ranked)
    return kept / kept.sum()


def p_value(tokens, probs):
    """Chi-square test of goodness of fit; tokens expected less than 5 times are one class."""
    expected = probs * len(tokens)
    counts = torch.bincount(tokens, minlength=len(probs)).double()
    assert counts[probs == 0].sum() == 0, "a token came that the filters leave out"
    own = expected >= 5
    expected = torch.cat([expected[own], expected[~own].sum()[None]])
    counts = torch.cat([counts[own], counts[~own].sum()[None]])
    used = expected > 0
    statistic = ((counts - expected)[used] ** 2 / expected[used]).sum()
    freedom = used.sum() - 1.0
    return float(torch.special.gammaincc(freedom.double() / 2, statistic / 2))


def next_logits(policy, ids):
    with torch.no_grad():
        return policy.lm.eval()(torch.tensor([ids]), use_cache=False).logits[0, -1]


@pytest.mark.parametrize(
    ("family", "temperature", "top_k", "top_p"),
    [("llama", 1.0, 0, 1.0), ("qwen2", 0.6, 0, 0.95), ("gemma3", 1.3, 12, 1.0), ("llama", 0.8, 40, 0.8)],
)
def test_first_tokens_follow_the_model(family, temperature, top_k, top_p, make_policy, prompts):
    policy = make_policy(family)
    sampling = SamplingParams(n=SAMPLES, temperature=temperature, top_k=top_k, top_p=top_p, max_new_tokens=2, seed=11)
    done = list(NativeEngine(policy, max_rows=SAMPLES).generate(prompts[:1], sampling))
    ids = list(done[0].prompt_ids)
    first = torch.tensor([c.token_ids[0] for c in done])
    probs = filtered_softmax(next_logits(policy, ids), temperature, top_k, top_p)
    assert p_value(first, probs) > ACCEPT

    usual = int(first.mode().values)
    second = torch.tensor([c.token_ids[1] for c in done if c.token_ids[0] == usual and len(c.token_ids) == 2])
    assert len(second) > 100
    after = next_logits(policy, [*ids, usual])
    assert p_value(second, filtered_softmax(after, temperature, top_k, top_p)) > ACCEPT


def test_the_test_tells_other_distributions_apart(make_policy, prompts):
    policy = make_policy()
    sampling = SamplingParams(n=SAMPLES, max_new_tokens=1, seed=11)
    done = list(NativeEngine(policy, max_rows=SAMPLES).generate(prompts[:1], sampling))
    first = torch.tensor([c.token_ids[0] for c in done])
    logits = next_logits(policy, list(done[0].prompt_ids))
    assert p_value(first, filtered_softmax(logits, 1.0, 0, 1.0)) > ACCEPT
    assert p_value(first, filtered_softmax(logits, 1.25, 0, 1.0)) < REJECT
    assert p_value(first, filtered_softmax(next_logits(policy, policy.encode_prompt(prompts[2])), 1.0, 0, 1.0)) < REJECT


def test_first_tokens_of_many_prompts_and_rollouts_follow_the_model(make_policy, prompts):
    policy = make_policy("qwen2")
    engine = NativeEngine(policy, max_rows=2000)
    tokens = {prompt.id: [] for prompt in prompts}
    for rollout in range(10):
        for c in engine.generate(prompts, SamplingParams(n=100, max_new_tokens=1, seed=2, rollout=rollout)):
            tokens[c.prompt.id].append(c.token_ids[0])
    for prompt in prompts:
        probs = next_logits(policy, policy.encode_prompt(prompt)).softmax(-1)
        assert p_value(torch.tensor(tokens[prompt.id]), probs) > ACCEPT
