"""Runs with LoRA: resumed, on two processes, with a reference that follows, and what they leave behind."""

import csv
from functools import partial

import pytest
import torch
from safetensors.torch import load_file

from r1lit import Policy
from r1lit.callbacks import ReferenceSync, RolloutCheckpoint
from r1lit.modules import GRPOModule, Objective
from r1lit.policy import LoraSettings

LORA = ("--model.policy.lora", '{"rank": 4}', "--model.optimizer.lr", "3.0e-2")
CLOCK = {"generate_s", "train_s", "tokens_per_s"}
FSDP2 = ("--trainer.devices", "2", "--trainer.strategy", "fsdp2")
DDP = ("--trainer.devices", "2", "--trainer.strategy", "ddp")


def metrics_of(stage):
    with (stage / "metrics.csv").open(newline="") as file:
        return [{name: value for name, value in row.items() if name not in CLOCK} for row in csv.DictReader(file)]


def model_of(stage):
    return load_file(stage / "model" / "model.safetensors")


def test_a_killed_run_equals_one_that_was_not(command_line, model_dir):
    straight, codes = command_line("straight", *LORA)
    assert codes == [0]
    killed, codes = command_line("killed", *LORA, kill_at="before checkpoint 4")  # the reference was synced before
    assert codes == [-9]
    state = torch.load(killed / "last.ckpt", weights_only=False)
    assert state["state_dict"]
    assert all(".lora_" in name for name in state["state_dict"])
    assert state["r1lit"]["reference_synced"]
    killed, codes = command_line("killed", *LORA)
    assert codes == [0]
    assert metrics_of(killed) == metrics_of(straight)
    ours, wanted = model_of(killed), model_of(straight)
    assert ours.keys() == wanted.keys()
    assert all(ours[name].equal(value) for name, value in wanted.items())
    base = Policy.from_pretrained(model_dir, template="{question}").lm.state_dict()
    assert max(float((wanted[name] - base[name]).abs().max()) for name in wanted) > 1e-3
    assert all(float(row["kl"]) > 0 for row in metrics_of(straight))


@pytest.mark.distributed
@pytest.mark.parametrize(
    "strategy", [pytest.param(DDP, id="ddp", marks=pytest.mark.slow), pytest.param(FSDP2, id="fsdp2")]
)
def test_two_processes_equal_one(command_line, strategy):
    single, codes = command_line("single", *LORA, "--model.max_rollouts", "4")
    assert codes == [0]
    double, codes = command_line(
        "double", *LORA, "--model.max_rollouts", "4", *strategy, ranks=2, kill_at="after checkpoint 2"
    )
    assert codes == [-9, -9]
    double, codes = command_line("double", *LORA, "--model.max_rollouts", "4", *strategy, ranks=2)
    assert codes == [0, 0]
    for ours, wanted in zip(metrics_of(double), metrics_of(single), strict=True):
        for name in ("loss", "kl", "grad_norm", "reward", "entropy", "step"):
            assert float(ours[name]) == pytest.approx(float(wanted[name]), abs=2e-5, rel=1e-3), name
    wanted = model_of(single)
    for name, value in model_of(double).items():
        torch.testing.assert_close(value, wanted[name], atol=2e-4, rtol=1e-3)


class Watch(ReferenceSync):
    """Notes whether the reference is still the base after each update."""

    def on_train_start(self, trainer, pl_module):
        self.synced, self.kl = [], []

    def on_policy_update(self, trainer, pl_module, step):
        super().on_policy_update(trainer, pl_module, step)
        self.synced.append(pl_module.policy.reference_synced)

    def on_rollout_end(self, trainer, pl_module, rollout):
        self.kl.append(rollout.metrics["kl"])


@pytest.fixture
def lora_run(run, model_dir, monkeypatch):
    """As ``run``, of a policy with adapters."""
    original = Policy.__init__
    monkeypatch.setattr(Policy, "__init__", lambda self, *a, **k: original(self, *a, **k, lora=LoraSettings(rank=4)))
    return partial(run, learning_rate=2.0, objective=Objective(beta=0.05))


def test_the_first_ratio_is_one_and_the_reference_is_no_second_model(lora_run):
    watch = Watch(2)
    module = lora_run(rollouts=4, callbacks=[watch])
    assert isinstance(module, GRPOModule)
    assert module.reference is None
    assert module.policies() == [module.policy]
    assert watch.synced == [False, True, True, True]
    assert watch.kl[0] == pytest.approx(0.0, abs=1e-6)  # the policy is its base
    assert watch.kl[1] > 1e-4  # it has moved away
    assert watch.kl[2] == pytest.approx(0.0, abs=1e-6)  # the reference has followed
    assert watch.kl[3] > 1e-4
    optimized = {id(p) for group in module.optimizers().param_groups for p in group["params"]}
    assert optimized == {id(p) for name, p in module.policy.named_parameters() if ".lora_" in name and p.requires_grad}


def test_generation_and_training_agree_after_updates(lora_run):
    gaps = []

    class Gap(RolloutCheckpoint):
        def on_rollout_end(self, trainer, pl_module, rollout):
            gaps.append(rollout.metrics["logprob_gap"])

    lora_run(rollouts=4, callbacks=[Gap(100)])
    assert len(gaps) == 4
    assert max(gaps) < 1e-5


@pytest.mark.slow
@pytest.mark.distributed
@pytest.mark.parametrize("adapters", [(), LORA], ids=["all-weights", "lora"])
def test_bf16_mixed_updates_float32_weights_under_fsdp2(command_line, model_dir, adapters):
    rate = ("--model.optimizer.lr", "3.0e-6", "--model.optimizer.weight_decay", "0.0")  # lost if rounded to bfloat16
    words = (*adapters, *(() if adapters else rate), "--model.max_rollouts", "2", "--trainer.precision", "bf16-mixed")
    stage, codes = command_line("mixed", *words, *FSDP2, ranks=2)
    assert codes == [0, 0]
    base = Policy.from_pretrained(model_dir, template="{question}").lm.state_dict()
    moved = {name: float((value - base[name]).abs().max()) for name, value in model_of(stage).items()}
    assert all(value.dtype == torch.float32 for value in model_of(stage).values())
    assert all(moved[name] > 1e-6 for name in moved if "proj" in name)
    assert adapters or max(moved.values()) < 2e-5
    assert max(float(row["logprob_gap"]) for row in metrics_of(stage)) < 0.05
