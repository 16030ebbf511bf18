"""What every stage that trains shares: updates over micro-batches, schedule, counters, and measuring at the end."""

import math
from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any

import torch
from lightning.pytorch import Callback
from lightning.pytorch.cli import LRSchedulerCallable, OptimizerCallable
from lightning.pytorch.strategies import ParallelStrategy
from torch import Tensor
from torch.distributed.tensor import DTensor

from r1lit.callbacks.base import rollout_callbacks
from r1lit.data.prompts import PromptDataModule
from r1lit.errors import InputError, TrainingError
from r1lit.policy.backbone import Backbone
from r1lit.rewards import Reward
from r1lit.training.measuring import Measuring
from r1lit.training.policy_module import PolicyModule
from r1lit.training.rollout_loop import RolloutLoop
from r1lit.training.schedules import PlannedSchedule
from r1lit.types import RolloutEngine, SamplingParams


class StageModule(PolicyModule):
    """A stage of the recipe: trains a policy by manual optimization, and measures it on held-out prompts.

    Manual, since one Lightning batch is one or more whole optimizer batches, each cut into as many micro-batches as its
    tokens need; Lightning's accumulation takes a fixed number of batches. Subclasses call :meth:`_backward` for each
    micro-batch and :meth:`_step` for each update.

    Args:
        policy: The policy to train.
        optimizer: Makes the optimizer.
        scheduler: Makes the schedule, stepped at each policy update; None keeps the rate.
        gradient_clip_norm: Largest norm of the gradient; None does not clip.
        measuring: How it is measured on prompts; None where a subclass measures in another way.
        loop: Samples what is learned from; None where the data bring it.
        seed: Of all noise.

    Raises:
        InputError: At the start of a run, for precision ``16-mixed`` or an ``evaluation.max_new_tokens`` that exceeds
            the context.
    """

    policy: Backbone

    def __init__(
        self,
        policy: Backbone,
        *,
        optimizer: OptimizerCallable,
        scheduler: LRSchedulerCallable | None = None,
        gradient_clip_norm: float | None = 1.0,
        measuring: Measuring | None = None,
        loop: RolloutLoop | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__(policy, optimizer, scheduler=scheduler, gradient_clip_norm=gradient_clip_norm)
        self.automatic_optimization = False
        self._measuring, self._loop = measuring, loop
        self.max_rollouts = None if loop is None else loop.max_rollouts
        self.seed = seed

    @property
    def measuring(self) -> Measuring:
        """How it is measured.

        Raises:
            RuntimeError: If it is measured in another way.
        """
        if self._measuring is None:
            raise RuntimeError(f"{type(self).__name__} is not measured on prompts")
        return self._measuring

    @property
    def loop(self) -> RolloutLoop:
        """Samples what is learned from.

        Raises:
            RuntimeError: If the data bring it.
        """
        if self._loop is None:
            raise RuntimeError(f"{type(self).__name__} does not learn from its own samples")
        return self._loop

    @property
    def samples(self) -> bool:
        """Whether it learns from its own samples."""
        return self._loop is not None

    @property
    def sampling(self) -> SamplingParams:
        """How completions are drawn in training."""
        return self.loop.sampling

    @property
    def engine(self) -> RolloutEngine:
        """Samples from the policy, in training and for measuring."""
        return self.measuring.engine

    @property
    def rewards(self) -> list[Reward]:
        """Judge completions when measuring, and score them in reinforcement learning."""
        return self.measuring.rewards

    @property
    def evaluation(self) -> SamplingParams:
        """How completions are drawn in validation and test."""
        return self.measuring.sampling

    # Lightning

    def configure_callbacks(self) -> Sequence[Callback]:
        """The rewards: Lightning saves their state and closes them."""
        return [] if self._measuring is None else list(self.rewards)

    def setup(self, stage: str) -> None:
        """Checks what the Trainer and the policy's context allow."""
        if self.trainer.precision == "16-mixed":
            raise InputError("trainer.precision is 16-mixed, whose scaled gradients cannot be clipped; use bf16-mixed")
        if self._measuring is not None:
            self._check_context("evaluation", self.evaluation.max_new_tokens)
        data = getattr(self.trainer, "datamodule", None)
        if self._loop is not None:
            self._check_context("sampling", self.sampling.max_new_tokens)
            if isinstance(data, PromptDataModule):
                self._connect(data, max(self.sampling.max_new_tokens, self.evaluation.max_new_tokens))
                if stage == "fit":
                    self._loop.check(data)

    def _connect(self, data: PromptDataModule, longest: int) -> None:
        """Has prompts checked that are answered in at most ``longest`` tokens."""
        data.connect(self.measuring.policy.encode_prompt, self.policy.max_context - longest)

    def _check_context(self, name: str, length: int) -> None:
        context = self.policy.max_context
        if length >= context:
            raise InputError(f"{name}.max_new_tokens is {length}, but the model's context has {context}; lower it")

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Adds the counters."""
        checkpoint["r1lit"] = {
            "rollouts": self.rollouts,
            "updates": self.updates,
            "tokens_sampled": self.tokens_sampled,
        }
        if self._loop is not None:
            checkpoint["r1lit"]["train_s"] = self._loop.train_s

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Takes the counters up again."""
        counters: dict[str, Any] = checkpoint["r1lit"]
        self.rollouts = counters["rollouts"]
        self.updates = counters["updates"]
        self.tokens_sampled = counters["tokens_sampled"]
        if self._loop is not None:
            self._loop.train_s = float(counters.get("train_s", 0.0))

    def on_train_start(self) -> None:
        """Stops at once where a resumed run has reached a limit."""
        if self._loop is not None:
            self._loop.stop_when_done(self)

    def transfer_batch_to_device(self, batch: Any, device: torch.device, dataloader_idx: int) -> Any:
        """Leaves batches alone: prompts hold no tensors, and Lightning cannot walk through frozen dataclasses."""
        return batch

    # Optimizer

    def total_updates(self) -> int | None:
        """Updates of the whole training, for schedules; None where only the Trainer knows when to stop."""
        return None if self._loop is None else self._loop.total_updates

    def configure_optimizers(self) -> Any:
        """The injected optimizer, with a schedule that knows the number of updates.

        Raises:
            InputError: If the schedule needs that number and nobody knows it.
        """
        made = super().configure_optimizers()
        schedule = made[1][0]["scheduler"] if isinstance(made, tuple) else None
        if isinstance(schedule, PlannedSchedule):
            total = self.total_updates()
            if total is None:
                name = type(schedule).__name__
                raise InputError(f"model.scheduler {name} must know how long training is: set model.max_rollouts")
            schedule.plan(total)
        return made

    # Updates

    def _backward(self, loss: Tensor, is_last: bool) -> None:
        """Adds the gradient of a micro-batch. Under DDP, ranks exchange gradients after the minibatch's last alone."""
        strategy = self.trainer.strategy
        waits = not is_last and isinstance(strategy, ParallelStrategy)
        # Strategies average gradients over ranks, while the loss is this rank's part of the whole minibatch's.
        with strategy.block_backward_sync() if waits else nullcontext():  # type: ignore[attr-defined]
            self.manual_backward(loss * self.trainer.world_size)

    def _step(self, metrics: dict[str, float]) -> dict[str, float]:
        """Takes an update; ``metrics`` holds at least its ``loss``, and comes back with norm and rate."""
        optimizer: Any = self.optimizers()
        limit = float("inf") if self.gradient_clip_norm is None else self.gradient_clip_norm
        norm = torch.nn.utils.clip_grad_norm_(self.policy.parameters(), limit)
        metrics["grad_norm"] = float(norm.full_tensor() if isinstance(norm, DTensor) else norm)
        for name in ("loss", "grad_norm"):
            if not math.isfinite(metrics[name]):
                raise TrainingError(
                    f"{name} is {metrics[name]} at step {self.updates + 1}{self._where()}; the update was "
                    "not taken and the last checkpoint is good: lower the learning rate or the clip range and resume"
                )
        metrics["learning_rate"] = float(optimizer.param_groups[0]["lr"])
        optimizer.step()
        optimizer.zero_grad()  # now, so that gradients take no memory while the next rollout is sampled
        scheduler: Any = self.lr_schedulers()
        if scheduler is not None:
            scheduler.step()
        self.updates += 1
        for callback in rollout_callbacks(self.trainer):
            callback.on_policy_update(self.trainer, self, self.updates)
        return metrics

    def _where(self) -> str:
        """What an error adds to the number of the step."""
        return "" if self._loop is None else f" (rollout {self.rollouts})"

    # Measuring

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        """Samples answers to held-out prompts."""
        self.measuring.add(batch)

    def on_validation_epoch_end(self) -> None:
        """Logs pass@1, cons@k and the rest."""
        measures = self.measuring.measures
        for name, interval in measures.compute().items():
            self.log(f"val/{name}", interval["value"], rank_zero_only=True)
        measures.reset()

    def test_step(self, batch: Any, batch_idx: int) -> None:
        """Samples answers at the paper's temperature and, to reasoning prompts, at 1."""
        self.measuring.add(batch, at_one=True)

    def on_test_epoch_end(self) -> None:
        """Computes the measures of a stage; ``StageRecord`` writes them down."""
        measures = self.measuring.measures
        self.test_results = measures.compute()
        for name, interval in self.test_results.items():
            self.log(f"test/{name}", interval["value"], rank_zero_only=True)
        for callback in rollout_callbacks(self.trainer):
            callback.on_measured(self.trainer, self, measures.rows)
        measures.reset()
