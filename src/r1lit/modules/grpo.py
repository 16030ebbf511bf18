"""GRPO as a LightningModule: prompts -> rollout -> rewards -> advantages -> loss.

One Lightning batch is one rollout. A training step samples completions from the policy as it is now, so data are never
stale; scores them; compares each with its group; and takes one optimiser step for each minibatch (paper, 2.1: 8,192
outputs, 16 random minibatches, one inner epoch). A checkpoint lies between rollouts, so no buffer needs saving.

Departures from the paper, which does not state them: the ratio is per token; gradients are clipped by norm; groups of
equal rewards give no signal and are kept.
"""

import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from typing import Any

import torch
from lightning.pytorch.cli import LRSchedulerCallable, OptimizerCallable

from r1lit.callbacks.base import rollout_callbacks
from r1lit.data.prompts import PromptDataModule
from r1lit.errors import InputError, TrainingError
from r1lit.modules.experience import AdvantageScale, Collector, DynamicSampling, Experience, for_rollout
from r1lit.modules.learner import Learner
from r1lit.modules.minibatches import random_minibatches
from r1lit.modules.objective import Objective
from r1lit.modules.stage import StageModule
from r1lit.policy import Policy
from r1lit.policy.sharding import reshard
from r1lit.rewards import Reward
from r1lit.rewards.base import check_names
from r1lit.rollout import NativeEngine
from r1lit.types import Prompt, Rollout, RolloutEngine, SamplingParams


class GRPOModule(StageModule):
    """Trains a policy by group-relative policy optimisation.

    Args:
        policy: The policy to train.
        rewards: Score the completions; callbacks with distinct names.
        optimizer: Makes the optimiser; the paper's learning rate is 3e-6.
        scheduler: Makes the schedule, stepped at each policy update; None keeps the rate.
        sampling: How completions are drawn in training; its ``n`` is the group size G (16 in the paper).
        evaluation: How completions are drawn in validation and test; None takes the paper's temperature 0.6 and top-p
            0.95, 16 samples and the length limit of training.
        objective: The surrogate and its settings.
        max_rollouts: Where training ends; None leaves it to the Trainer.
        minibatches: Policy updates of one pass over a rollout.
        inner_epochs: Passes over a rollout.
        micro_batch_tokens: Tokens in one forward and backward, the memory budget; a prompt counts once for those of
            its completions that are together.
        advantage_scale: How advantages are scaled; see ``Collector``.
        overlong_buffer: Tokens of DAPO's soft penalty for long completions; 0 has none, as the paper.
        dynamic_sampling: Replace groups without a signal; off as in the paper.
        gradient_clip_norm: Largest norm of the gradient; None does not clip.
        engine: Makes the rollout engine from the policy.
        seed: Of sampling noise and minibatches.
        placebo: Shuffle the rewards within each rollout: a control experiment that must not learn.

    Raises:
        InputError: For a group of one, sampling without noise or with filters, rewards that share a name, minibatches
            that do not divide the rollout (told when the data are known), or precision ``16-mixed``.
    """

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
        minibatches: int = 1,
        inner_epochs: int = 1,
        micro_batch_tokens: int = 16384,
        advantage_scale: AdvantageScale = "group",
        overlong_buffer: int = 0,
        dynamic_sampling: DynamicSampling | None = None,
        gradient_clip_norm: float | None = 1.0,
        engine: Callable[[Policy], RolloutEngine] = NativeEngine,
        seed: int = 0,
        placebo: bool = False,
    ) -> None:
        _check_settings(rewards, sampling, minibatches, inner_epochs, micro_batch_tokens)
        evaluation = evaluation or SamplingParams(
            n=16, temperature=0.6, top_p=0.95, max_new_tokens=sampling.max_new_tokens
        )
        super().__init__(policy, optimizer, scheduler, rewards, evaluation, gradient_clip_norm, engine, seed)
        self.sampling = sampling
        self.objective = objective
        self.max_rollouts = max_rollouts
        self.placebo = placebo
        self.collector = Collector(self.engine, rewards, advantage_scale, placebo, overlong_buffer, dynamic_sampling)
        # With LoRA the policy is its own reference, by turning its adapter off; else that is a second model.
        self.policy.keeps_reference = bool(objective.beta)
        self.reference = policy.twin() if objective.beta and policy.lora is None else None
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

    def policies(self) -> list[Policy]:
        """The policy, and the frozen reference policy where the KL term needs a second model."""
        return [self.policy] if self.reference is None else [self.policy, self.reference]

    def configure_model(self) -> None:
        """Builds the policies; the reference takes no gradient."""
        super().configure_model()
        if self.reference is not None:
            self.reference.requires_grad_(False)

    def setup(self, stage: str) -> None:
        """Tells the data what the policy can read."""
        super().setup(stage)
        self._check_context("sampling", self.sampling.max_new_tokens)
        data = getattr(self.trainer, "datamodule", None)
        if isinstance(data, PromptDataModule):
            longest = max(self.sampling.max_new_tokens, self.evaluation.max_new_tokens)
            data.connect(self.policy.encode_prompt, self.policy.max_context - longest)
            if stage == "fit":
                rows = data.prompts_per_rollout * self.sampling.n
                random_minibatches(rows, self.learner.minibatches, self.seed, 0, 0)

    def total_updates(self) -> int | None:
        """Those of ``max_rollouts``."""
        if self.max_rollouts is None:
            return None
        return self.max_rollouts * self.learner.minibatches * self.learner.inner_epochs

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Adds the counters."""
        super().on_save_checkpoint(checkpoint)
        checkpoint["r1lit"]["reference_synced"] = self.policy.reference_synced

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Takes the counters up again."""
        super().on_load_checkpoint(checkpoint)
        self.policy.reference_synced = bool(checkpoint["r1lit"].get("reference_synced", False))

    def on_train_start(self) -> None:
        """Stops at once where a resumed run had all its rollouts."""
        self._stop_when_done()

    def _stop_when_done(self) -> None:
        if self.max_rollouts is not None and self.rollouts >= self.max_rollouts:
            self.trainer.should_stop = True

    def training_step(self, prompts: list[Prompt], batch_idx: int) -> None:
        """One rollout: generate, score, compare, update."""
        start = time.perf_counter()
        experience = self._collect(prompts)
        generated = time.perf_counter()
        self.tokens_sampled += experience.tokens
        metrics = self._learn(experience)
        ended = time.perf_counter()
        metrics |= experience.summary()
        metrics |= {
            "step": float(self.updates),
            "generate_s": generated - start,
            "train_s": ended - generated,
            "tokens_per_s": experience.tokens / max(ended - start, 1e-9),
        }
        rollout = Rollout(
            index=self.rollouts,
            completions=experience.completions,
            rewards=experience.rewards,
            totals=experience.totals,
            advantages=experience.advantages,
            metrics=metrics,
        )
        for callback in rollout_callbacks(self.trainer):
            metrics |= callback.measure_rollout(rollout)
        rollout = replace(rollout, metrics=metrics)
        self.rollouts += 1
        self.log_dict(metrics, batch_size=len(prompts))
        for callback in rollout_callbacks(self.trainer):
            callback.on_rollout_end(self.trainer, self, rollout)
        self._stop_when_done()

    # The parts of a step

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

    def _collect(self, prompts: list[Prompt]) -> Experience:
        data = getattr(self.trainer, "datamodule", None)
        index = self.rollouts

        def more(attempt: int) -> list[Prompt]:
            return data.more_prompts(index, attempt) if isinstance(data, PromptDataModule) else []

        def heard(done: int, total: int, tokens: int) -> None:
            for callback in rollout_callbacks(self.trainer):
                callback.on_completions(self.trainer, self, done, total, tokens)

        sampling = for_rollout(self.sampling, self.seed, index)
        try:
            return self.collector.collect(prompts, sampling, self.updates, more, heard)
        except TrainingError as error:
            raise TrainingError(f"step {self.updates + 1} (rollout {index}): {error}") from error

    def _learn(self, experience: Experience) -> dict[str, float]:
        """Takes all updates on a rollout. Returns the means of their metrics."""
        found: dict[str, list[float]] = {}
        for metrics in self.learner.gradients(experience, self.rollouts, self._backward):
            for name, value in self._step(metrics).items():
                found.setdefault(name, []).append(value)
        return {name: sum(values) / len(values) for name, values in found.items()}

    def _where(self) -> str:
        return f" (rollout {self.rollouts})"


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
