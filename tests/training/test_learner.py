"""What the learner computes, and how often."""

from contextlib import nullcontext

import pytest
import torch

from r1lit import Policy
from r1lit.training.learner import Learner
from r1lit.training.objective import Objective
from r1lit.types import Completion, Message, Prompt, Rollout, SamplingParams, ScoredCompletion

LENGTHS = [(9, [5, 12, 1, 7]), (4, [3, 3, 20, 8]), (15, [2, 6, 6, 30])]


class Counting(Policy):
    """A policy that notes the tokens of each forward, and whether a backward may follow."""

    def packed_logprobs(self, batch, *arguments):
        self.seen.append((len(batch.input_ids), torch.is_grad_enabled()))
        return super().packed_logprobs(batch, *arguments)


def make_policy(model_dir):
    policy = Counting.from_pretrained(model_dir, template="{question}")
    policy.seen = []
    return policy


def rollout_of(unscored=()):
    generator = torch.Generator().manual_seed(0)

    def draw(count):
        return tuple(torch.randint(10, 200, (count,), generator=generator).tolist())

    completions = []
    for number, (prompt_length, lengths) in enumerate(LENGTHS):
        prompt, ids = Prompt(f"p{number}", (Message("user", "?"),)), draw(prompt_length)
        completions += [
            Completion(prompt, sample, ids, draw(length), (-3.0,) * length, "", "length" if length > 9 else "stop")
            for sample, length in enumerate(lengths)
        ]
    totals = tuple(None if row in unscored else float(row % 3) for row in range(12))
    advantages = tuple(0.0 if total is None else total - 1.0 for total in totals)
    scored = tuple(ScoredCompletion(c, {}, total) for c, total in zip(completions, totals, strict=True))
    return Rollout(0, scored, advantages, sum(c.tokens for c in completions))


def learner(policy, reference=None, **settings):
    settings = {
        "objective": Objective(beta=0.1 if reference else 0.0),
        "minibatches": 1,
        "inner_epochs": 1,
        "micro_batch_tokens": 1000,
    } | settings
    opened = None if reference is None else lambda: nullcontext(reference)
    return Learner(policy, opened, sampling=SamplingParams(n=4, max_new_tokens=32), seed=0, **settings)


def backward(loss, is_last):
    loss.backward()


def gradients_of(policy, *arguments, **settings):
    """The metrics of each minibatch, and the gradient of each."""
    found = []
    made = learner(policy, **settings)
    for minibatch in made.minibatches_of(*arguments):
        metrics = made.gradient(*arguments, minibatch, backward)
        found.append((metrics, [p.grad.clone() for p in policy.parameters()]))
        policy.zero_grad()
    return found


def test_each_token_is_computed_once_and_a_prompt_once_for_its_group(model_dir):
    policy, reference = make_policy(model_dir), make_policy(model_dir)
    (_,) = gradients_of(policy, rollout_of(), reference=reference)
    tokens = sum(prompt + sum(lengths) for prompt, lengths in LENGTHS)
    assert policy.seen == [(tokens, True)]
    assert reference.seen == [(tokens, False)]


def test_what_no_update_changes_is_computed_once(model_dir):
    policy, reference = make_policy(model_dir), make_policy(model_dir)
    found = gradients_of(policy, rollout_of(), reference=reference, minibatches=2, inner_epochs=3)
    assert len(found) == 6
    assert [grad for _, grad in policy.seen] == [False] * 2 + [True] * 6  # the old log-probabilities come first
    assert [grad for _, grad in reference.seen] == [False] * 2
    policy.seen.clear()
    objective = Objective(beta=0.0, old_logprobs="sampler")
    gradients_of(policy, rollout_of(), minibatches=2, inner_epochs=3, objective=objective)
    assert [grad for _, grad in policy.seen] == [True] * 6


@pytest.mark.parametrize("tokens", [1, 40, 80])
def test_micro_batches_add_up_to_the_minibatch(model_dir, tokens):
    policy, reference = make_policy(model_dir), make_policy(model_dir)
    with torch.no_grad():
        for parameter in reference.parameters():
            parameter.mul_(1.1)
    whole, cut = (
        gradients_of(policy, rollout_of({2, 7}), reference=reference, minibatches=2, micro_batch_tokens=budget)
        for budget in (1000, tokens)
    )
    for (metrics, gradients), (other_metrics, other_gradients) in zip(whole, cut, strict=True):
        assert metrics == pytest.approx(other_metrics, abs=1e-6, rel=1e-5)
        torch.testing.assert_close(gradients, other_gradients, atol=1e-6, rtol=1e-4)
        assert metrics["kl"] > 0


def test_the_last_micro_batch_is_told_apart(model_dir):
    seen = []

    def note(loss, is_last):
        loss.backward()
        seen.append(is_last)

    parts = learner(make_policy(model_dir), minibatches=2, micro_batch_tokens=60)
    counts = []
    rollout = rollout_of()
    for minibatch in parts.minibatches_of(rollout):
        parts.gradient(rollout, minibatch, note)
        counts.append(len(seen))
        assert seen[-1]
    assert sum(seen) == 2
    assert counts[0] > 1


def test_what_the_loss_leaves_out_has_no_gradient(model_dir):
    policy = make_policy(model_dir)
    ((metrics, gradients),) = gradients_of(policy, rollout_of(set(range(12))))
    assert metrics["loss"] == metrics["logprob_gap"] == 0.0
    assert not any(gradient.any() for gradient in gradients)
    objective = Objective(beta=0.0, mask_truncated=True)
    ((_, masked),) = gradients_of(policy, rollout_of(), objective=objective)
    ((_, same),) = gradients_of(policy, rollout_of({1, 6, 11}), objective=objective)  # those that were cut
    torch.testing.assert_close(masked, same)
    assert any(gradient.any() for gradient in masked)
