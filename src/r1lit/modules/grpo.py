"""GRPO as a LightningModule: prompts -> rollout -> rewards -> advantages -> loss.

One Lightning batch is one rollout. A training step samples completions from the policy as it is now, so data are never
stale; scores them; compares each with its group; and takes one optimizer step for each minibatch (paper, 2.1: 8,192
outputs, 16 random minibatches, one inner epoch). A checkpoint lies between rollouts, so no buffer needs saving.

Departures from the paper, which does not state them: the ratio is per token; gradients are clipped by norm; groups of
equal rewards give no signal and are kept.
"""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from lightning.pytorch.cli import LRSchedulerCallable, OptimizerCallable

from r1lit.errors import InputError
from r1lit.policy import Policy
from r1lit.policy.backbone import Backbone
from r1lit.policy.sharding import reshard
from r1lit.rewards import Reward
from r1lit.rewards.base import check_names
from r1lit.rollout import NativeEngine
from r1lit.training.collector import Advantages, RolloutCollector, describe
from r1lit.training.learner import Learner
from r1lit.training.measuring import Measuring
from r1lit.training.objective import Objective
from r1lit.training.rollout_loop import Limits, RolloutLoop, mean_metrics
from r1lit.training.stage import StageModule
from r1lit.types import Prompt, RolloutEngine, SamplingParams


class GRPOModule(StageModule):
    """Trains a policy by group-relative policy optimization.

    Args:
        policy: The policy to train.
        rewards: Score the completions; callbacks with distinct names.
        optimizer: Makes the optimizer; the paper's learning rate is 3e-6.
        scheduler: Makes the schedule, stepped at each policy update; None keeps the rate.
        sampling: How completions are drawn in training; its ``n`` is the group size G (16 in the paper).
        evaluation: How completions are drawn in validation and test; None takes the paper's temperature 0.6 and top-p
            0.95, 16 samples and the length limit of training.
        objective: The surrogate and its settings.
        max_rollouts: Where training ends; None leaves it to the other limits and the Trainer.
        limits: Where training ends as well.
        minibatches: Policy updates of one pass over a rollout.
        inner_epochs: Passes over a rollout.
        micro_batch_tokens: Tokens in one forward and backward, the memory budget; a prompt counts once for those of
            its completions that are together.
        advantages: How completions of a group are compared.
        gradient_clip_norm: Largest norm of the gradient; None does not clip.
        engine: Makes the rollout engine from the policy.
        seed: Of sampling noise and minibatches.
        placebo: Shuffle the rewards within each rollout: a control experiment that must not learn.

    Raises:
        InputError: For a group of one, sampling without noise or with filters, rewards that share a name, minibatches
            that do not divide the rollout (told when the data are known), or precision ``16-mixed``.
    """

    policy: Policy

    def __init__(
        self,
        policy: Policy,
        rewards: list[Reward],
        optimizer: OptimizerCallable,
        scheduler: LRSchedulerCallable | None = None,
        sampling: SamplingParams = SamplingParams(n=16),  # noqa: B008 - frozen
        evaluation: SamplingParams | None = None,
        objective: Objective = Objective(),  # noqa: B008 - frozen
        max_rollouts: int | None = None,
        limits: Limits = Limits(),  # noqa: B008 - frozen
        minibatches: int = 1,
        inner_epochs: int = 1,
        micro_batch_tokens: int = 16384,
        advantages: Advantages = Advantages(),  # noqa: B008 - frozen
        gradient_clip_norm: float | None = 1.0,
        engine: Callable[[Policy], RolloutEngine] = NativeEngine,
        seed: int = 0,
        placebo: bool = False,
    ) -> None:
        _check_settings(rewards, sampling, minibatches, inner_epochs, micro_batch_tokens)
        measuring = Measuring(policy, engine, rewards, evaluation, sampling.max_new_tokens, seed)
        collector = RolloutCollector(measuring.engine, rewards, advantages, placebo)
        super().__init__(
            policy,
            optimizer=optimizer,
            scheduler=scheduler,
            gradient_clip_norm=gradient_clip_norm,
            measuring=measuring,
            loop=RolloutLoop(
                collector,
                sampling,
                max_rollouts=max_rollouts,
                limits=limits,
                minibatches=minibatches,
                inner_epochs=inner_epochs,
                seed=seed,
            ),
            seed=seed,
        )
        self.objective, self.placebo = objective, placebo
        # With LoRA the policy is its own reference, by turning its adapter off; else that is a second model.
        self.policy.keeps_reference = bool(objective.beta)
        self.reference = policy.clone_unbuilt() if objective.beta and policy.lora is None else None
        self.learner = Learner(
            policy,
            self._opened_reference if objective.beta else None,
            objective,
            sampling,
            minibatches,
            inner_epochs,
            micro_batch_tokens,
            seed,
        )

    # Lightning

    def policies(self) -> list[Backbone]:
        """The policy, and the frozen reference policy where the KL term needs a second model."""
        return [self.policy] if self.reference is None else [self.policy, self.reference]

    def configure_model(self) -> None:
        """Builds the policies; the reference takes no gradient."""
        super().configure_model()
        if self.reference is not None:
            self.reference.requires_grad_(False)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Adds the counters."""
        super().on_save_checkpoint(checkpoint)
        checkpoint["r1lit"]["reference_synced"] = self.policy.reference_synced

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Takes the counters up again."""
        super().on_load_checkpoint(checkpoint)
        self.policy.reference_synced = bool(checkpoint["r1lit"].get("reference_synced", False))

    def training_step(self, prompts: list[Prompt], batch_idx: int) -> None:
        """One rollout: sample and score, advantages, then for each minibatch the loss and a step."""
        rollout = self.loop.sample(self, prompts)
        rollout = self.loop.collector.compare(rollout, self.sampling.n)
        updates = []
        for minibatch in self.learner.minibatches_of(rollout):
            metrics = self.learner.gradient(rollout, minibatch, self._backward)
            updates.append(self._step(metrics))
        self.loop.finish(self, rollout, mean_metrics(updates) | describe(rollout))

    # The reference policy

    def _opened_reference(self) -> AbstractContextManager[Policy]:
        return self.policy.reference() if self.reference is None else nullcontext(self.reference)

    def sync_reference(self) -> None:
        """Makes the reference policy a hard copy of the policy."""
        if self.policy.lora is not None and self.objective.beta:
            self.policy.sync_reference()
        if self.reference is None:
            return
        # A forward without a backward leaves parameters gathered, and what is written to those is lost.
        reshard(self.reference)
        reshard(self.policy)
        with torch.no_grad():
            for target, source in zip(self.reference.parameters(), self.policy.parameters(), strict=True):
                target.copy_(source)


def _check_settings(
    rewards: Sequence[Reward], sampling: SamplingParams, minibatches: int, inner_epochs: int, micro_batch_tokens: int
) -> None:
    if not rewards:
        raise InputError("model.rewards is empty; name at least one reward")
    check_names(rewards)
    if sampling.n < 2:
        raise InputError(f"sampling.n is {sampling.n}: a group of one has nothing to compare; give at least 2")
    if sampling.top_p < 1 or sampling.top_k:
        raise InputError(
            "sampling.top_p and top_k must stay off (1 and 0) in training: the loss knows the whole distribution only"
        )
    if not sampling.temperature > 0:
        raise InputError(f"sampling.temperature is {sampling.temperature}: equal samples teach nothing; give above 0")
    for name, value in (
        ("minibatches", minibatches),
        ("inner_epochs", inner_epochs),
        ("micro_batch_tokens", micro_batch_tokens),
    ):
        if value < 1:
            raise InputError(f"model.{name} is {value}; give at least 1")
