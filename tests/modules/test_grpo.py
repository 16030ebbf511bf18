"""One rollout after the other on a small real model: the update, its invariances, what it logs and when it stops."""

import math
from functools import partial

import pytest
import torch
from lightning.pytorch import Callback, Trainer
from torch.nn.utils import clip_grad_norm_

from r1lit import Policy
from r1lit.callbacks import RolloutCallback, RolloutCheckpoint
from r1lit.data.prompts import PromptDataModule
from r1lit.errors import InputError, TrainingError
from r1lit.modules import GRPOModule, Objective
from r1lit.rewards import UNSCORED, AccuracyReward, FormatReward, FunctionReward
from r1lit.tiny_world import TinyWorldPrompts
from r1lit.training.collector import Advantages, DynamicSampling
from r1lit.training.minibatches import random_minibatches
from r1lit.training.rollout_loop import Limits
from r1lit.types import SamplingParams


def even_share(completions):
    return [sum(i % 2 == 0 for i in c.token_ids) / len(c.token_ids) for c in completions]


class Recorder(RolloutCallback):
    """Keeps the rollouts."""

    def __init__(self):
        self.rollouts = []

    def on_rollout_end(self, trainer, pl_module, rollout):
        self.rollouts.append(rollout)


def keep(rollouts):
    return [[(c.prompt.id, c.sample, c.token_ids) for c in r.completions] for r in rollouts]


def close(found, wanted, atol=1e-6, rtol=1e-5):
    assert found.keys() == wanted.keys()
    for name, value in found.items():
        torch.testing.assert_close(value, wanted[name], atol=atol, rtol=rtol, msg=lambda m, n=name: f"{n}: {m}")


# The update against a plain loop


def plain_logprobs(lm, completion):
    ids = torch.tensor([completion.prompt_ids + completion.token_ids])
    logits = lm(input_ids=ids).logits[0].log_softmax(-1)
    start = len(completion.prompt_ids)
    return [logits[start + i - 1, token] for i, token in enumerate(completion.token_ids)]


def plain_update(lm, reference, rollout, rows, beta, learning_rate, clip_norm, old):
    """One update in float64, as the formulas are written."""
    total = 0.0
    for row in rows:
        c = rollout.completions[row]
        group = [s.total for s in rollout.scored if s.completion.prompt.id == c.prompt.id]
        mean = sum(group) / len(group)
        deviation = math.sqrt(sum((t - mean) ** 2 for t in group) / len(group))
        advantage = (rollout.scored[row].total - mean) / (deviation + 1e-6)
        terms = 0.0
        with torch.no_grad():
            theirs = plain_logprobs(reference, c)
        for t, logprob in enumerate(plain_logprobs(lm, c)):
            before = logprob.detach() if old is None else old[row][t]
            ratio = (logprob - before).exp()
            surrogate = torch.minimum(ratio * advantage, ratio.clamp(0.8, 1.2) * advantage)
            kl = (theirs[t] - logprob).exp() - (theirs[t] - logprob) - 1
            terms = terms + surrogate - beta * kl
        total = total - terms / len(c.token_ids)
    loss = total / len(rows)
    loss.backward()
    norm = clip_grad_norm_(lm.parameters(), clip_norm)
    with torch.no_grad():
        for parameter in lm.parameters():
            parameter -= learning_rate * parameter.grad
            parameter.grad = None
    return loss.item(), norm.item()


@pytest.mark.parametrize(
    ("minibatches", "inner_epochs", "source"), [(1, 1, "recompute"), (2, 2, "recompute"), (2, 2, "sampler")]
)
def test_updates_equal_a_plain_float64_loop(run, weights_of, model_dir, minibatches, inner_epochs, source):
    recorder = Recorder()
    module = run(
        rollouts=1, callbacks=[recorder], learning_rate=0.5, minibatches=minibatches, inner_epochs=inner_epochs,
        objective=Objective(beta=0.05, old_logprobs=source), gradient_clip_norm=0.3, micro_batch_tokens=100,
    )  # fmt: skip
    (rollout,) = recorder.rollouts
    lm = Policy.from_pretrained(model_dir).lm.double()
    reference = Policy.from_pretrained(model_dir).lm.double()
    with torch.no_grad():
        old = [[float(v) for v in plain_logprobs(reference, c)] for c in rollout.completions]
    losses, norms = [], []
    for epoch in range(inner_epochs):
        for rows in random_minibatches(16, minibatches, 0, 0, epoch):
            loss, norm = plain_update(lm, reference, rollout, rows, 0.05, 0.5, 0.3, old if losses else None)
            losses.append(loss)
            norms.append(norm)
    assert rollout.metrics["loss"] == pytest.approx(sum(losses) / len(losses), abs=1e-5)
    assert rollout.metrics["grad_norm"] == pytest.approx(sum(norms) / len(norms), rel=1e-4)
    assert max(norms) > 0.3  # so that clipping is part of what is compared
    start = dict(Policy.from_pretrained(model_dir).lm.named_parameters())
    for name, wanted in lm.named_parameters():
        moved = weights_of(module)[name] - start[name].detach()
        # Float32 weights lose digits of a small step, hence the tolerance beside the size of the step.
        torch.testing.assert_close(moved.double(), wanted - start[name].detach().double(), atol=2e-6, rtol=2e-3)
    assert module.updates == minibatches * inner_epochs


# Invariances


@pytest.mark.parametrize("aggregation", ["sequence", "token", "constant"])
def test_micro_batch_budget_changes_nothing(run, weights_of, aggregation):
    results = []
    for tokens in (1, 150, 100_000):
        recorder = Recorder()
        objective = Objective(beta=0.05, aggregation=aggregation)
        module = run(callbacks=[recorder], micro_batch_tokens=tokens, objective=objective, minibatches=2)
        results.append((recorder.rollouts, weights_of(module)))
    for rollouts, weights in results[1:]:
        assert keep(rollouts) == keep(results[0][0])
        close(weights, results[0][1])
        for rollout, first in zip(rollouts, results[0][0], strict=True):
            for name in ("loss", "kl", "ratio_mean", "clip_fraction", "grad_norm", "logprob_gap"):
                assert rollout.metrics[name] == pytest.approx(first.metrics[name], abs=1e-6, rel=1e-4), name


@pytest.mark.parametrize("aggregation", ["sequence", "token", "constant"])
def test_policy_lag_is_zero(run, aggregation):
    recorder = Recorder()
    objective = Objective(beta=0.0, aggregation=aggregation, old_logprobs="sampler")
    run(rollouts=3, callbacks=[recorder], micro_batch_tokens=150, learning_rate=1.0, objective=objective)
    for rollout in recorder.rollouts:
        assert rollout.metrics["ratio_mean"] == 1.0
        assert rollout.metrics["clip_fraction"] == 0.0
        # The sampler's own values are those of the weights trained on, in every rollout.
        assert rollout.metrics["logprob_gap"] < 1e-5
    assert keep(recorder.rollouts[:1]) != keep(recorder.rollouts[1:2])


def test_later_minibatches_are_off_policy(run):
    recorder = Recorder()
    run(rollouts=1, callbacks=[recorder], minibatches=4, learning_rate=1.0)
    assert abs(recorder.rollouts[0].metrics["ratio_mean"] - 1.0) > 1e-4


def test_old_logprobs_of_sampler_and_recomputed_give_the_same(run, weights_of):
    results = []
    for source in ("sampler", "recompute"):
        recorder = Recorder()
        objective = Objective(beta=0.0, old_logprobs=source)
        module = run(callbacks=[recorder], minibatches=2, inner_epochs=2, objective=objective)
        results.append((recorder.rollouts, weights_of(module)))
    (ours, weights), (others, other_weights) = results
    assert keep(ours) == keep(others)
    for a, b in zip(ours, others, strict=True):
        assert a.metrics["loss"] == pytest.approx(b.metrics["loss"], abs=1e-4)
    close(weights, other_weights, atol=1e-5, rtol=1e-4)


# Learning


def odd_share(completions):
    return [-score for score in even_share(completions)]


def learn(run, reward=even_share, **settings):
    """Returns the mean share of even tokens in the first and in the last two of 16 rollouts."""
    recorder = Recorder()
    optimizer = partial(torch.optim.AdamW, lr=2e-2, betas=(0.9, 0.95), weight_decay=0.0)
    sampling = SamplingParams(n=16, max_new_tokens=8)
    run(rollouts=16, callbacks=[recorder], rewards=[FunctionReward(reward)], optimizer=optimizer, sampling=sampling,
        per_rollout=4, **settings)  # fmt: skip
    shares = [sum(even_share(r.completions)) / len(r.completions) for r in recorder.rollouts]
    return sum(shares[:2]) / 2, sum(shares[-2:]) / 2


def test_a_reward_rises(run):
    before, after = learn(run)
    assert 0.4 < before < 0.6
    assert after > 0.85


def test_the_opposite_reward_falls_and_the_placebo_teaches_nothing(run):
    _, after = learn(run, odd_share)
    assert after < 0.15
    _, after = learn(run, placebo=True)
    assert 0.35 < after < 0.65


# What is left out


def test_unscored_completions_are_left_out_of_the_loss(run, weights_of, model_dir):
    def some(completions):
        return [UNSCORED if c.sample == 1 else s for c, s in zip(completions, even_share(completions), strict=True)]

    recorder = Recorder()
    module = run(rollouts=1, callbacks=[recorder], rewards=[FunctionReward(some)], learning_rate=0.5)
    (rollout,) = recorder.rollouts
    assert rollout.metrics["unscored"] == 4
    lm, reference = (Policy.from_pretrained(model_dir).lm.double() for _ in range(2))
    rows = [i for i, c in enumerate(rollout.completions) if c.sample != 1]
    assert all(rollout.scored[i].total is None for i in range(16) if i not in rows)
    kept = type(rollout)(0, tuple(rollout.scored[i] for i in rows), ())
    loss, _ = plain_update(lm, reference, kept, range(12), 0.0, 0.5, 1.0, None)
    assert rollout.metrics["loss"] == pytest.approx(loss, abs=1e-6)
    for name, value in weights_of(module).items():
        torch.testing.assert_close(value.double(), dict(lm.named_parameters())[name].detach(), atol=2e-6, rtol=1e-4)


def test_truncated_completions_can_be_left_out_of_the_loss(run, weights_of):
    start = weights_of(run(rollouts=1, learning_rate=0.0))
    module = run(rollouts=1, learning_rate=0.5, objective=Objective(beta=0.0, mask_truncated=True))
    moved = max(float((weights_of(module)[name] - value).abs().max()) for name, value in start.items())
    everything = run(rollouts=1, learning_rate=0.5)
    wanted = max(float((weights_of(everything)[name] - value).abs().max()) for name, value in start.items())
    assert moved < 0.2 * wanted  # of completions this short, nearly all are truncated


def half_right(completions):
    """Groups of every second prompt have a signal."""
    return [float(c.sample % 2 and c.prompt.meta["target"] % 2) for c in completions]


def test_dynamic_sampling_replaces_groups_without_a_signal(run):
    recorder = Recorder()
    sampling = DynamicSampling(reward="half_right", max_attempts=8)
    module = run(
        callbacks=[recorder],
        prompts=32,
        rewards=[FunctionReward(half_right)],
        advantages=Advantages(dynamic_sampling=sampling),
    )
    for rollout in recorder.rollouts:
        assert len(rollout.completions) == 16
        assert len({c.prompt.id for c in rollout.completions}) == 4
        assert all(c.prompt.meta["target"] % 2 for c in rollout.completions)
    assert sum(r.metrics["dropped_groups"] for r in recorder.rollouts) > 0
    # What was dropped was sampled all the same.
    assert module.tokens_sampled > sum(len(c.token_ids) for r in recorder.rollouts for c in r.completions)


def test_dynamic_sampling_ends_when_the_data_are_used_up(run):
    recorder = Recorder()

    def never(completions):
        return [0.0] * len(completions)

    sampling = DynamicSampling(reward="never", max_attempts=50)
    module = run(
        rollouts=1,
        callbacks=[recorder],
        rewards=[FunctionReward(never)],
        advantages=Advantages(dynamic_sampling=sampling),
    )
    (rollout,) = recorder.rollouts
    assert len(rollout.completions) == 16  # filled with dropped groups
    assert rollout.metrics["dropped_groups"] == 12  # of 16 prompts in all
    assert module.updates == 1


# Runs that must stop


class Poison(Callback):
    """Makes a parameter NaN once so many rollouts are done."""

    def __init__(self, rollouts):
        self.rollouts = rollouts

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        if pl_module.rollouts == self.rollouts:
            next(pl_module.policy.parameters()).data[:] = float("nan")


class PoisonGradient(RolloutCallback):
    """Makes a gradient NaN while the given rollout is trained on."""

    def __init__(self, rollouts):
        self.rollouts = rollouts

    def on_completions(self, trainer, pl_module, done, total, tokens):
        if pl_module.rollouts == self.rollouts and done == total:
            parameter = next(pl_module.policy.parameters())
            self.hook = parameter.register_hook(lambda gradient: gradient * float("nan"))


@pytest.mark.parametrize(("poison", "message"), [
    (Poison, r"^step 3 \(rollout 2\): logits: row \d+ holds NaN"),
    (PoisonGradient, r"^grad_norm is nan at step 3 \(rollout 2\); the update was not taken"),
])  # fmt: skip
def test_a_run_that_diverges_stops_and_resumes_from_the_last_good_checkpoint(
    run, weights_of, tmp_path, poison, message
):
    straight = weights_of(run(rollouts=4, folder=tmp_path / "straight"))
    with pytest.raises(TrainingError, match=message) as caught:
        run(rollouts=4, folder=tmp_path / "bad", callbacks=[poison(2), RolloutCheckpoint(1)])
    assert "\n" not in str(caught.value)
    saved = tmp_path / "bad" / "last.ckpt"
    assert torch.load(saved, weights_only=True)["r1lit"]["rollouts"] == 2
    resumed = weights_of(run(rollouts=4, folder=tmp_path / "bad", callbacks=[RolloutCheckpoint(1)], ckpt_path=saved))
    assert all(torch.equal(value, straight[name]) for name, value in resumed.items())


def test_a_huge_learning_rate_stops_the_run(run):
    with pytest.raises(TrainingError, match=r"step \d+ \(rollout \d+\)"):
        run(rollouts=20, learning_rate=1e30, gradient_clip_norm=None)


def test_a_reward_that_raises_stops_the_run_and_names_the_completion(run):
    def broken(completions):
        if any(c.sample == 2 for c in completions):
            raise KeyError("no such column")
        return [0.0] * len(completions)

    with pytest.raises(TrainingError, match=r"step 1 \(rollout 0\): reward 'broken' raised KeyError.*'tiny/.*sample 2"):
        run(rewards=[FunctionReward(broken)])


def test_max_rollouts_ends_training_across_epochs(run):
    module = run(rollouts=5, prompts=8)  # two rollouts an epoch
    assert (module.rollouts, module.updates) == (5, 5)
    assert module.tokens_sampled > 0


def test_a_finished_run_that_is_resumed_trains_no_more(run, weights_of, tmp_path):
    done = run(rollouts=4, prompts=8, callbacks=[RolloutCheckpoint(3)])  # 4 ends an epoch
    again = run(rollouts=4, prompts=8, callbacks=[RolloutCheckpoint(3)], ckpt_path=tmp_path / "last.ckpt")
    assert (again.rollouts, again.updates, again.tokens_sampled) == (4, 4, done.tokens_sampled)
    assert all(torch.equal(value, weights_of(done)[name]) for name, value in weights_of(again).items())


def test_memory_of_gradients_is_free_while_sampling(run):
    seen = []

    class Watch(RolloutCallback):
        def on_completions(self, trainer, pl_module, done, total, tokens):
            seen.append(any(p.grad is not None for p in pl_module.policy.parameters()))

    run(rollouts=2, callbacks=[Watch()])
    assert seen
    assert not any(seen)


# Learning rate, validation and test


def test_learning_rate_follows_the_schedule_by_update(run):
    recorder = Recorder()
    run(
        rollouts=3, callbacks=[recorder], minibatches=2, learning_rate=1.0,
        scheduler=partial(torch.optim.lr_scheduler.LambdaLR, lr_lambda=lambda step: 0.5**step),
    )  # fmt: skip
    found = [r.metrics["learning_rate"] for r in recorder.rollouts]
    assert found == pytest.approx([(1 + 0.5) / 2, (0.25 + 0.125) / 2, (1 / 16 + 1 / 32) / 2])
    assert [r.metrics["step"] for r in recorder.rollouts] == [2, 4, 6]


def test_validation_and_test_measure_the_held_out_prompts(run):
    val = TinyWorldPrompts("held_out", n=6)
    arguments = {"check_val_every_n_epoch": None, "val_check_interval": 1}
    module = run(rollouts=2, val=val, per_rollout=4, rewards=[AccuracyReward(), FormatReward()],
                 trainer_arguments=arguments)  # fmt: skip
    assert "val/pass@1" in module.trainer.callback_metrics
    module.trainer.test(module, datamodule=module.trainer.datamodule, verbose=False)
    assert {"pass@1", "cons@2", "pass@1_t1", "mean_length"} <= module.test_results.keys()
    assert module.test_results["pass@1"]["n"] == 6


# Settings


@pytest.mark.parametrize(("settings", "message"), [
    ({"rewards": []}, "model.rewards is empty"),
    ({"rewards": [FunctionReward(even_share), FunctionReward(even_share)]}, "two rewards are named 'even_share'"),
    ({"sampling": SamplingParams(n=1)}, "sampling.n is 1: a group of one"),
    ({"sampling": SamplingParams(n=4, top_p=0.9)}, "top_p and top_k must stay off"),
    ({"sampling": SamplingParams(n=4, top_k=5)}, "top_p and top_k must stay off"),
    ({"sampling": SamplingParams(n=4, temperature=0.0)}, "sampling.temperature is 0.0"),
    ({"sampling": SamplingParams(n=4, max_new_tokens=128)}, "sampling.max_new_tokens is 128, but the model's context"),
    ({"evaluation": SamplingParams()}, "evaluation.max_new_tokens is 1024, but the model's context has 128"),
    ({"minibatches": 0}, "model.minibatches is 0"),
    ({"inner_epochs": 0}, "model.inner_epochs is 0"),
    ({"micro_batch_tokens": 0}, "model.micro_batch_tokens is 0"),
    ({"minibatches": 3}, "minibatches is 3, which does not divide the rollout's 16 completions"),
    (
        {"advantages": Advantages(dynamic_sampling=DynamicSampling())},
        "dynamic_sampling.reward is 'accuracy', which is none of the rewards",
    ),
])  # fmt: skip
def test_settings_that_cannot_work_are_refused(run, settings, message):
    with pytest.raises(InputError, match=message) as caught:
        run(**settings)
    assert "\n" not in str(caught.value)


def test_max_attempts_must_be_positive():
    with pytest.raises(InputError, match="max_attempts is 0"):
        DynamicSampling(max_attempts=0)


def test_the_module_takes_the_papers_settings_by_default(model_dir):
    module = GRPOModule(Policy(model_dir, template="zero"), [FunctionReward(even_share)], torch.optim.AdamW)
    assert (module.sampling.n, module.sampling.temperature) == (16, 1.0)
    assert (module.evaluation.temperature, module.evaluation.top_p) == (0.6, 0.95)
    assert module.objective.beta == 0.001


def test_the_rollout_in_which_a_number_of_tokens_is_reached_is_the_last(run):
    recorder = Recorder()
    module = run(rollouts=None, callbacks=[recorder], limits=Limits(tokens_sampled=300))
    counts = [sum(len(c.token_ids) for c in rollout.completions) for rollout in recorder.rollouts]
    assert sum(counts[:-1]) < 300 <= sum(counts) == module.tokens_sampled


OPENS_TAG = (
    "{% for m in messages %}{% if m['role'] == 'user' %}User: {{ m['content'] }}\nAssistant:{% else %}"
    "{{ m['content'].split('</think>')[-1] }}<|end|>{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<think>{% endif %}"
)


def test_format_is_learnt_where_the_chat_template_opens_the_tag(tmp_path):
    (tmp_path / "opens.jinja").write_text(OPENS_TAG)
    policy = Policy("package:r1lit/assets/tiny/base", template=str(tmp_path / "opens.jinja"))
    recorder = Recorder()
    module = GRPOModule(
        policy,
        rewards=[FormatReward()],
        optimizer=partial(torch.optim.AdamW, lr=2e-3, weight_decay=0.0),
        sampling=SamplingParams(n=16, max_new_tokens=40),
        objective=Objective(beta=0.0),
        max_rollouts=14,
    )
    trainer = Trainer(
        accelerator="cpu", devices=1, max_epochs=-1, logger=False, enable_progress_bar=False, callbacks=[recorder],
        enable_model_summary=False, enable_checkpointing=False, default_root_dir=tmp_path, num_sanity_val_steps=0,
    )  # fmt: skip
    data = PromptDataModule(TinyWorldPrompts(n=64), prompts_per_rollout=4)
    trainer.fit(module, datamodule=data)
    think = policy.tokenizer.convert_tokens_to_ids("<think>")
    for completion in recorder.rollouts[0].completions:
        assert completion.prompt_ids[-1] == think
        assert completion.token_ids[0] != think
        assert completion.text.startswith("<think>")
    means = [sum(scored.total for scored in rollout.scored) / len(rollout.scored) for rollout in recorder.rollouts]
    assert 0.2 < means[0] < 0.8
    assert sum(means[-2:]) / 2 > 0.9
