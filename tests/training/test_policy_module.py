from functools import partial

import torch
from lightning.pytorch import Trainer

from r1lit import Policy
from r1lit.data import PromptDataModule
from r1lit.modules import GRPOModule, Objective
from r1lit.rewards import AccuracyReward
from r1lit.tiny_world import TinyWorldPrompts
from r1lit.types import SamplingParams


def make(model_dir, beta=0.0, **settings):
    return GRPOModule(
        Policy(model_dir, template="{question}"), [AccuracyReward()], partial(torch.optim.SGD, lr=0.25),
        objective=Objective(beta=beta), sampling=SamplingParams(n=2, max_new_tokens=4),
        evaluation=SamplingParams(n=2, max_new_tokens=4), max_rollouts=1, **settings,
    )  # fmt: skip


def trainer(tmp_path):
    return Trainer(
        accelerator="cpu", devices=1, max_epochs=-1, logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False, default_root_dir=tmp_path,
    )  # fmt: skip


def test_construction_builds_no_model(model_dir):
    module = make(model_dir, beta=0.1)
    assert not module.policy.is_built
    assert not list(module.parameters())


def test_test_alone_builds_and_loads_once(model_dir, tmp_path):
    module = make(model_dir)
    data = PromptDataModule(val=TinyWorldPrompts("held_out", n=4), prompts_per_rollout=2)
    runner = trainer(tmp_path)
    runner.test(module, datamodule=data, verbose=False)
    lm = module.policy.lm
    loaded = Policy.from_pretrained(model_dir).lm.state_dict()
    assert all(torch.equal(value, loaded[name]) for name, value in lm.state_dict().items())
    runner.validate(module, datamodule=data, verbose=False)
    assert module.policy.lm is lm


def test_a_reference_policy_exists_only_for_the_kl_term_and_is_frozen(model_dir, tmp_path):
    module = make(model_dir, beta=0.1)
    trainer(tmp_path).fit(module, datamodule=PromptDataModule(TinyWorldPrompts(n=4), prompts_per_rollout=2))
    assert len(module.policies()) == 2
    assert not any(p.requires_grad for p in module.reference.parameters())
    trained = {id(p) for group in module.optimizers().param_groups for p in group["params"]}
    assert trained == {id(p) for p in module.policy.parameters()}


def test_without_beta_there_is_no_reference_policy(model_dir):
    module = make(model_dir)
    assert module.reference is None
    module.sync_reference()  # has nothing to do
    assert module.policies() == [module.policy]


def test_optimizer_and_schedule_are_the_injected_ones(model_dir):
    module = make(model_dir, scheduler=partial(torch.optim.lr_scheduler.StepLR, step_size=3))
    module.policy.build()
    (optimizer,), (schedule,) = module.configure_optimizers()
    assert isinstance(optimizer, torch.optim.SGD)
    assert optimizer.param_groups[0]["lr"] == 0.25
    assert schedule["scheduler"].optimizer is optimizer
