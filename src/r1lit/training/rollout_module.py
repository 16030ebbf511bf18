"""What stages share whose training batch is a rollout: prompts -> completions -> updates, until a limit is reached.

A training step samples completions from the policy as it is now, so data are never stale, and takes one or more
optimizer steps on them. Checkpoints are taken between rollouts, so no buffer needs saving.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from lightning.pytorch.cli import LRSchedulerCallable, OptimizerCallable

from r1lit.callbacks.base import rollout_callbacks
from r1lit.data.prompts import PromptDataModule
from r1lit.errors import InputError, TrainingError
from r1lit.policy import Policy
from r1lit.rewards import Reward
from r1lit.training.collector import RolloutCollector, RolloutRequest, for_rollout
from r1lit.training.minibatches import random_minibatches
from r1lit.training.stage import StageModule
from r1lit.types import Prompt, Rollout, RolloutEngine, SamplingParams


class RolloutModule(StageModule):
    """A stage that learns from its own samples.

    A subclass sets ``collector``, and its ``training_step`` begins with :meth:`sample` and ends with :meth:`finish`.

    Training ends after the first rollout at whose end one of the limits is reached. What counts towards them is what
    the checkpoint knows: a rollout that was lost to a kill counts neither its tokens nor its time.

    Args:
        policy: The policy to train.
        optimizer: Makes the optimizer.
        scheduler: Makes the schedule, stepped at each policy update; None keeps the rate.
        rewards: Score completions.
        sampling: How completions are drawn in training.
        evaluation: How they are drawn in validation and test; None takes the paper's temperature 0.6 and top-p 0.95,
            16 samples and the length limit of training.
        max_rollouts: Where training ends; None leaves it to the other limits and the Trainer.
        max_tokens_sampled: The same in tokens sampled.
        max_wall_s: The same in seconds of training; what ended is then no longer a function of the seed alone.
        minibatches: Policy updates of one pass over a rollout.
        inner_epochs: Passes over a rollout.
        gradient_clip_norm: Largest norm of the gradient; None does not clip.
        engine: Makes the rollout engine from the policy.
        seed: Of sampling noise and minibatches.

    Raises:
        InputError: For a number out of range, or minibatches that do not divide the rollout (told when the data are
            known).
    """

    collector: RolloutCollector

    def __init__(
        self,
        policy: Policy,
        *,
        optimizer: OptimizerCallable,
        scheduler: LRSchedulerCallable | None,
        rewards: Sequence[Reward],
        sampling: SamplingParams,
        evaluation: SamplingParams | None,
        max_rollouts: int | None,
        max_tokens_sampled: int | None,
        max_wall_s: float | None,
        minibatches: int,
        inner_epochs: int,
        gradient_clip_norm: float | None,
        engine: Callable[[Policy], RolloutEngine],
        seed: int,
    ) -> None:
        evaluation = evaluation or SamplingParams(
            n=16, temperature=0.6, top_p=0.95, max_new_tokens=sampling.max_new_tokens
        )
        super().__init__(
            policy,
            optimizer=optimizer,
            scheduler=scheduler,
            rewards=rewards,
            evaluation=evaluation,
            gradient_clip_norm=gradient_clip_norm,
            engine=engine,
            seed=seed,
        )
        for name, value in (("max_tokens_sampled", max_tokens_sampled), ("max_wall_s", max_wall_s)):
            if value is not None and not value > 0:
                raise InputError(f"model.{name} is {value}; give more than 0, or null for no such limit")
        self.sampling = sampling
        self.max_rollouts = max_rollouts
        self.max_tokens_sampled, self.max_wall_s = max_tokens_sampled, max_wall_s
        self.minibatches, self.inner_epochs = minibatches, inner_epochs
        self.train_s = 0.0
        """Seconds spent in training steps, over the whole run."""
        self._sampling_began = self._learning_began = 0.0

    # Lightning

    def setup(self, stage: str) -> None:
        """Tells the data what the policy can read."""
        super().setup(stage)
        self._check_context("sampling", self.sampling.max_new_tokens)
        data = getattr(self.trainer, "datamodule", None)
        if isinstance(data, PromptDataModule):
            longest = max(self.sampling.max_new_tokens, self.evaluation.max_new_tokens)
            self._connect(data, longest)
            if stage == "fit":
                rows = data.prompts_per_rollout * self.sampling.n
                random_minibatches(rows, self.minibatches, self.seed, 0, 0)

    def _connect(self, data: PromptDataModule, longest: int) -> None:
        """Has prompts checked that are answered in at most ``longest`` tokens."""
        data.connect(self.policy.encode_prompt, self.policy.max_context - longest)

    def total_updates(self) -> int | None:
        """Those of ``max_rollouts``."""
        return None if self.max_rollouts is None else self.max_rollouts * self.minibatches * self.inner_epochs

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Adds the counters."""
        super().on_save_checkpoint(checkpoint)
        checkpoint["r1lit"]["train_s"] = self.train_s

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Takes the counters up again."""
        super().on_load_checkpoint(checkpoint)
        self.train_s = float(checkpoint["r1lit"].get("train_s", 0.0))

    def on_train_start(self) -> None:
        """Stops at once where a resumed run has reached a limit."""
        self._stop_when_done()

    def _stop_when_done(self) -> None:
        done = self.max_rollouts is not None and self.rollouts >= self.max_rollouts
        done |= self.max_tokens_sampled is not None and self.tokens_sampled >= self.max_tokens_sampled
        if self.max_wall_s is not None:  # clocks differ between ranks, which must stop together
            late = self.train_s >= self.max_wall_s
            done |= self.trainer.strategy.reduce_boolean_decision(late, all=False)
        if done:
            self.trainer.should_stop = True

    # The parts of a training step

    def sample(self, prompts: list[Prompt]) -> Rollout:
        """Samples a group for each prompt from the policy as it is now, and scores it; without advantages.

        Raises:
            TrainingError: As ``RolloutCollector.collect``; names the step and the rollout.
        """
        self._sampling_began = time.perf_counter()
        sampling = for_rollout(self.sampling, self.seed, self.rollouts)
        request = RolloutRequest(sampling, self.updates, self._more_prompts, self._on_progress)
        try:
            rollout = self.collector.collect(prompts, request)
        except TrainingError as error:
            raise TrainingError(f"step {self.updates + 1} (rollout {self.rollouts}): {error}") from error
        self._learning_began = time.perf_counter()
        self.tokens_sampled += rollout.tokens
        return rollout

    def _more_prompts(self, attempt: int) -> list[Prompt]:
        data = getattr(self.trainer, "datamodule", None)
        return data.more_prompts(self.rollouts, attempt) if isinstance(data, PromptDataModule) else []

    def _on_progress(self, done: int, total: int, tokens: int) -> None:
        for callback in rollout_callbacks(self.trainer):
            callback.on_completions(self.trainer, self, done, total, tokens)

    def finish(self, rollout: Rollout, metrics: dict[str, float]) -> None:
        """Logs a rollout that was learned from, shows it to the callbacks, and stops at a limit.

        Args:
            rollout: What was learned from.
            metrics: The means over its updates, and what else the module says of it.
        """
        generate_s = self._learning_began - self._sampling_began
        train_s = time.perf_counter() - self._learning_began
        self.train_s += generate_s + train_s
        metrics = metrics | {
            "step": float(self.updates),
            "generate_s": generate_s,
            "train_s": train_s,
            "tokens_per_s": rollout.tokens / max(generate_s + train_s, 1e-9),
        }
        rollout = replace(rollout, metrics=metrics)
        for callback in rollout_callbacks(self.trainer):
            metrics |= callback.measure_rollout(rollout)
        rollout = replace(rollout, metrics=metrics)
        self.rollouts += 1
        self.log_dict(metrics, batch_size=len(rollout.scored) // self.sampling.n)
        for callback in rollout_callbacks(self.trainer):
            callback.on_rollout_end(self.trainer, self, rollout)
        self._stop_when_done()

    def _where(self) -> str:
        return f" (rollout {self.rollouts})"


def mean_metrics(updates: Sequence[dict[str, float]]) -> dict[str, float]:
    """The mean of each metric over the updates that report it."""
    found: dict[str, list[float]] = {}
    for metrics in updates:
        for name, value in metrics.items():
            found.setdefault(name, []).append(value)
    return {name: sum(values) / len(values) for name, values in found.items()}
