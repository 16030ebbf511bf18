"""On the tiny base: the reference policy is the policy of the last multiple of N updates, to the bit."""

from functools import partial

import pytest
import torch
from lightning.pytorch import Trainer

from r1lit import Policy
from r1lit.callbacks import ReferenceSync, RolloutCallback, RolloutCheckpoint
from r1lit.data import PromptDataModule
from r1lit.errors import InputError
from r1lit.modules import GRPOModule, Objective
from r1lit.rewards import FunctionReward
from r1lit.tiny_world import TinyWorldPrompts
from r1lit.types import SamplingParams

BASE = "package:r1lit/assets/tiny/base"


def even_share(completions):
    return [sum(i % 2 == 0 for i in c.token_ids) / len(c.token_ids) for c in completions]


def copies(policy):
    return [p.detach().clone() for p in policy.parameters()]


def equal(one, other):
    return all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


class Watch(RolloutCallback):
    """Keeps the policy and its reference after each update; stands after ``ReferenceSync``."""

    def __init__(self):
        self.policy, self.reference, self.kl = {}, {}, []

    def on_train_start(self, trainer, pl_module):
        self.reference[pl_module.updates] = copies(pl_module.reference)

    def on_policy_update(self, trainer, pl_module, step):
        self.policy[step], self.reference[step] = copies(pl_module.policy), copies(pl_module.reference)

    def on_rollout_end(self, trainer, pl_module, rollout):
        self.kl.append(rollout.metrics["kl"])


def run(folder, rollouts, every, ckpt_path=None):
    watch = Watch()
    module = GRPOModule(
        Policy(BASE, template="{question}"), [FunctionReward(even_share)], partial(torch.optim.SGD, lr=0.5),
        sampling=SamplingParams(n=4, temperature=3.0, max_new_tokens=6), evaluation=SamplingParams(max_new_tokens=6),
        objective=Objective(beta=0.1), minibatches=2, max_rollouts=rollouts,
    )  # fmt: skip
    trainer = Trainer(
        accelerator="cpu", devices=1, max_epochs=-1, logger=False, enable_progress_bar=False, default_root_dir=folder,
        enable_model_summary=False, callbacks=[ReferenceSync(every), watch, RolloutCheckpoint(1)],
    )  # fmt: skip
    trainer.fit(module, datamodule=PromptDataModule(TinyWorldPrompts(n=4), prompts_per_rollout=2), ckpt_path=ckpt_path)
    return watch


def test_the_reference_is_a_hard_copy_at_every_nth_update_and_travels_in_the_checkpoint(tmp_path):
    base = copies(Policy.from_pretrained(BASE, template="{question}"))
    watch = run(tmp_path / "straight", 4, every=3)
    assert sorted(watch.policy) == list(range(1, 9))
    for step in range(1, 9):
        last = step - step % 3
        assert equal(watch.reference[step], watch.policy[last] if last else base)
        assert not equal(watch.policy[step], watch.policy.get(step - 1, base))
    run(tmp_path / "killed", 2, every=3)  # four updates: the last copy was after the third
    resumed = run(tmp_path / "killed", 4, every=3, ckpt_path=tmp_path / "killed" / "last.ckpt")
    assert equal(resumed.reference[4], watch.policy[3])
    assert equal(resumed.policy[8], watch.policy[8])
    assert resumed.kl == watch.kl[2:]


def test_without_it_the_reference_stays_the_start(tmp_path):
    watch = run(tmp_path, 2, every=400)
    assert equal(watch.reference[4], copies(Policy.from_pretrained(BASE, template="{question}")))
    assert watch.kl[1] > watch.kl[0] > 0


def test_an_interval_below_one_is_refused():
    with pytest.raises(InputError, match=r"reference_sync\.every_n_steps is 0"):
        ReferenceSync(0)
