"""What stages share whose training batch is a rollout: sampling, what is said of a rollout, and when training ends.

A training step samples completions from the policy as it is now, so data are never stale, and takes one or more
optimizer steps on them. Checkpoints are taken between rollouts, so no buffer needs saving.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

from r1lit.callbacks.base import rollout_callbacks
from r1lit.data.prompts import PromptDataModule
from r1lit.errors import InputError, TrainingError
from r1lit.training.collector import RolloutCollector, RolloutRequest, for_rollout
from r1lit.training.minibatches import random_minibatches
from r1lit.training.policy_module import PolicyModule
from r1lit.types import Prompt, Rollout, SamplingParams


@dataclass(frozen=True)
class Limits:
    """Where training ends beside ``max_rollouts``: after the first rollout at whose end one of them is reached.

    What counts is what the checkpoint knows: a rollout that was lost to a kill counts neither its tokens nor its time.

    Raises:
        InputError: If one is not positive.
    """

    tokens_sampled: int | None = None
    """Tokens sampled in all."""
    wall_s: float | None = None
    """Seconds of training; what ended by them is no longer a function of the seed alone."""

    def __post_init__(self) -> None:
        for name in ("tokens_sampled", "wall_s"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise InputError(f"model.limits.{name} is {value}; give more than 0, or null for no such limit")


class RolloutLoop:
    """Samples rollouts for a module, tells callbacks of them, and stops the Trainer at a limit.

    Args:
        collector: Samples and scores.
        sampling: How completions are drawn in training.
        max_rollouts: Where training ends; None leaves it to the other limits and the Trainer.
        limits: Further limits.
        minibatches: Policy updates of one pass over a rollout.
        inner_epochs: Passes over a rollout.
        seed: Of sampling noise and minibatches.
    """

    def __init__(
        self,
        collector: RolloutCollector,
        sampling: SamplingParams,
        *,
        max_rollouts: int | None,
        limits: Limits,
        minibatches: int,
        inner_epochs: int,
        seed: int,
    ) -> None:
        self.collector, self.sampling, self.limits, self.seed = collector, sampling, limits, seed
        self.max_rollouts, self.minibatches, self.inner_epochs = max_rollouts, minibatches, inner_epochs
        self.train_s = 0.0
        """Seconds spent in training steps, over the whole run."""
        self._sampling_began = self._learning_began = 0.0

    def check(self, data: PromptDataModule) -> None:
        """Checks that minibatches divide a rollout.

        Raises:
            InputError: If they do not.
        """
        random_minibatches(data.prompts_per_rollout * self.sampling.n, self.minibatches, self.seed, 0, 0)

    @property
    def total_updates(self) -> int | None:
        """Those of ``max_rollouts``."""
        return None if self.max_rollouts is None else self.max_rollouts * self.minibatches * self.inner_epochs

    def stop_when_done(self, module: PolicyModule) -> None:
        """Stops the Trainer where a limit is reached."""
        limits, trainer = self.limits, module.trainer
        done = self.max_rollouts is not None and module.rollouts >= self.max_rollouts
        done |= limits.tokens_sampled is not None and module.tokens_sampled >= limits.tokens_sampled
        if limits.wall_s is not None:  # clocks differ between ranks, which must stop together
            done |= trainer.strategy.reduce_boolean_decision(self.train_s >= limits.wall_s, all=False)
        if done:
            trainer.should_stop = True

    def sample(self, module: PolicyModule, prompts: list[Prompt]) -> Rollout:
        """Samples a group for each prompt from the policy as it is now, and scores it; without advantages.

        Raises:
            TrainingError: As ``RolloutCollector.collect``; names the step and the rollout.
        """
        self._sampling_began = time.perf_counter()
        reporter = _Reporter(module)
        sampling = for_rollout(self.sampling, self.seed, module.rollouts)
        request = RolloutRequest(sampling, module.updates, reporter.more_prompts, reporter.on_progress)
        try:
            rollout = self.collector.collect(prompts, request)
        except TrainingError as error:
            raise TrainingError(f"step {module.updates + 1} (rollout {module.rollouts}): {error}") from error
        self._learning_began = time.perf_counter()
        module.tokens_sampled += rollout.tokens
        return rollout

    def finish(self, module: PolicyModule, rollout: Rollout, metrics: dict[str, float]) -> None:
        """Logs a rollout that was learned from, shows it to the callbacks, and stops at a limit.

        Args:
            module: Whose rollout it is.
            rollout: What was learned from.
            metrics: The means over its updates, and what else the module says of it.
        """
        generate_s = self._learning_began - self._sampling_began
        train_s = time.perf_counter() - self._learning_began
        self.train_s += generate_s + train_s
        metrics = metrics | {
            "step": float(module.updates),
            "generate_s": generate_s,
            "train_s": train_s,
            "tokens_per_s": rollout.tokens / max(generate_s + train_s, 1e-9),
        }
        callbacks = list(rollout_callbacks(module.trainer))
        rollout = replace(rollout, metrics=metrics)
        for callback in callbacks:
            metrics |= callback.measure_rollout(rollout)
        rollout = replace(rollout, metrics=metrics)
        module.rollouts += 1
        module.log_dict(metrics, batch_size=len(rollout.scored) // self.sampling.n)
        for callback in callbacks:
            callback.on_rollout_end(module.trainer, module, rollout)
        self.stop_when_done(module)


@dataclass(frozen=True)
class _Reporter:
    """What the collector asks and tells while it samples."""

    module: PolicyModule

    def more_prompts(self, attempt: int) -> list[Prompt]:
        data = getattr(self.module.trainer, "datamodule", None)
        return data.more_prompts(self.module.rollouts, attempt) if isinstance(data, PromptDataModule) else []

    def on_progress(self, done: int, total: int, tokens: int) -> None:
        for callback in rollout_callbacks(self.module.trainer):
            callback.on_completions(self.module.trainer, self.module, done, total, tokens)


def mean_metrics(updates: Sequence[dict[str, float]]) -> dict[str, float]:
    """The mean of each metric over the updates that report it."""
    found: dict[str, list[float]] = {}
    for metrics in updates:
        for name, value in metrics.items():
            found.setdefault(name, []).append(value)
    return {name: sum(values) / len(values) for name, values in found.items()}
