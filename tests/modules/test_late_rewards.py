"""Preference rewards and general prompts that enter late, in real runs (paper 3.2.2: the last 400 of 1,700 updates)."""

import pytest
import torch

from r1lit.callbacks import HackingGuard, RolloutCallback, RolloutCheckpoint
from r1lit.data import PromptMix, PromptPart
from r1lit.errors import InputError, TrainingError
from r1lit.rewards import FormatReward, FunctionReward, RewardModelReward
from r1lit.tasks import PromptSource
from r1lit.types import Message, Prompt


class Chats(PromptSource):
    def __init__(self, kind, count=8):
        self.kind, self.count = kind, count

    def load(self):
        return [
            Prompt(f"{self.kind}/{i}", (Message("user", f"{i} + 1 ="),), "1", kind=self.kind, task="chat")
            for i in range(self.count)
        ]


class Even:
    """Scores by the share of even token ids; counts what it is asked."""

    def __init__(self):
        self.asked, self.loaded = [], 0

    def load(self):
        self.loaded += 1

    def score(self, completions):
        self.asked.append(len(completions))
        return [even(c) for c in completions]


def even(completion):
    return sum(i % 2 == 0 for i in completion.token_ids) / len(completion.token_ids)


def odd(completions):
    return [1.0 - even(c) for c in completions]


class Watch(RolloutCallback):
    def __init__(self):
        self.rollouts = []

    def on_rollout_end(self, trainer, pl_module, rollout):
        self.rollouts.append(rollout)


def totals_by_kind(rollout):
    found = {}
    for completion, total in [(s.completion, s.total) for s in rollout.scored]:
        found.setdefault(completion.prompt.kind, []).append(total)
    return found


def start(run, rewards, parts, rollouts, **options):
    watch = Watch()

    def prepare(module):
        watch.module = module

    callbacks = [watch, *options.pop("callbacks", [])]
    options = {"per_rollout": 4} | options
    run(rollouts, callbacks, rewards=rewards, source=PromptMix(parts), prepare=prepare, **options)
    return watch


def test_from_step_counts_policy_updates_and_prompts_without_a_reward_are_left_out(run):
    scorer = Even()
    rewards = [
        FunctionReward(odd, kinds=["reasoning"]),
        RewardModelReward(scorer, "helpful", kinds=["helpful"], scale="none", from_step=4),
    ]
    parts = {"r": PromptPart(Chats("reasoning")), "h": PromptPart(Chats("helpful"))}
    watch = start(run, rewards, parts, rollouts=3, minibatches=2)
    assert scorer.loaded == 1
    assert scorer.asked == [8]  # once, when generation of the third rollout was over: 2 updates a rollout
    for rollout in watch.rollouts[:2]:
        totals = totals_by_kind(rollout)
        assert totals["helpful"] == [None] * 8
        assert None not in totals["reasoning"]
        assert rollout.metrics["unscored"] == 8
        late = [a for c, a in zip(rollout.completions, rollout.advantages, strict=True) if c.prompt.kind == "helpful"]
        assert late == [0.0] * 8
    assert None not in totals_by_kind(watch.rollouts[2])["helpful"]
    assert watch.rollouts[2].metrics["unscored"] == 0


def test_what_is_left_out_has_no_part_in_the_loss(run, weights_of):
    """Training beside prompts that no reward is for yet is training without them."""

    def trained(from_step, *kinds):
        late = RewardModelReward(Even(), "helpful", kinds=["helpful"], from_step=from_step)
        parts = {kind: PromptPart(Chats(kind, 2)) for kind in kinds}
        rewards = [FunctionReward(odd, kinds=["reasoning"]), late]
        return weights_of(start(run, rewards, parts, 1, per_rollout=2 * len(kinds)).module)

    def distance(one, other):
        return max(float((one[name] - other[name]).abs().max()) for name in one)

    alone = trained(100, "reasoning")
    torch.testing.assert_close(trained(100, "reasoning", "helpful"), alone, atol=1e-6, rtol=0)
    assert distance(trained(0, "reasoning", "helpful"), alone) > 1e-4


def test_a_rollout_of_which_nothing_counts_yet_changes_nothing(run):
    rewards = [RewardModelReward(Even(), "helpful", from_step=100)]
    watch = Watch()
    module = run(1, [watch], rewards=rewards, source=PromptMix({"h": PromptPart(Chats("helpful"))}))
    assert watch.rollouts[0].metrics["loss"] == 0.0
    assert watch.rollouts[0].metrics["grad_norm"] == 0.0
    assert module.updates == 1


def test_general_prompts_enter_from_their_rollout_on_also_after_a_resume(run, tmp_path):
    def rewards():
        return [FormatReward("think"), FunctionReward(odd, weight=0.0), RewardModelReward(Even(), kinds=["helpful"])]

    def parts():
        return {"r": PromptPart(Chats("reasoning"), 3), "h": PromptPart(Chats("helpful"), 1, from_rollout=2)}

    def guard():
        return HackingGuard("reward_model", "odd", window=6)

    def kinds(watch):
        return [sorted(c.prompt.id for c in r.completions) for r in watch.rollouts]

    guards = [guard(), guard()]
    whole = start(run, rewards(), parts(), 5, folder=tmp_path / "a", callbacks=guards[:1])
    assert [len(totals_by_kind(r).get("helpful", [])) for r in whole.rollouts] == [0, 0, 4, 4, 4]
    saved = RolloutCheckpoint(every_n_rollouts=1)
    first = start(run, rewards(), parts(), 3, folder=tmp_path / "b", callbacks=[guards[1], saved])
    (checkpoint,) = (tmp_path / "b").rglob("*.ckpt")
    second = guard()
    rest = start(run, rewards(), parts(), 5, folder=tmp_path / "c", callbacks=[second], ckpt_path=str(checkpoint))
    assert kinds(first) + kinds(rest) == kinds(whole)
    assert second.series == guards[0].series
    assert len(second.series) == 3


def test_a_scorer_that_fails_stops_the_run_with_the_completion(run):
    class Broken(Even):
        def score(self, completions):
            return [float("nan")] * len(completions)

    parts = {"h": PromptPart(Chats("helpful"))}
    with pytest.raises(TrainingError, match=r"step 1 \(rollout 0\): reward 'reward_model' its scorer gave nan"):
        start(run, [RewardModelReward(Broken())], parts, 1)


def test_a_guard_of_unknown_rewards_is_refused_before_the_first_rollout(run):
    parts = {"h": PromptPart(Chats("helpful"))}
    scorer = Even()
    with pytest.raises(InputError, match="check is 'accuracy', which is none of the rewards: reward_model"):
        start(run, [RewardModelReward(scorer)], parts, 1, callbacks=[HackingGuard("reward_model", "accuracy")])
    assert scorer.asked == []
