"""What every module that takes its own updates shares: gradients over micro-batches, steps, schedule and counters."""

import math
from contextlib import nullcontext
from typing import Any

import torch
from lightning.pytorch.cli import LRSchedulerCallable, OptimizerCallable
from lightning.pytorch.strategies import ParallelStrategy
from torch import Tensor
from torch.distributed.tensor import DTensor

from r1lit.callbacks.base import rollout_callbacks
from r1lit.errors import InputError, TrainingError
from r1lit.policy import Policy
from r1lit.training.policy_module import PolicyModule
from r1lit.training.schedules import PlannedSchedule


class UpdatingModule(PolicyModule):
    """Trains by manual optimization.

    Manual, since one Lightning batch is one or more whole optimizer batches, each cut into as many micro-batches as its
    tokens need; Lightning's accumulation takes a fixed number of batches. Subclasses call :meth:`_backward` for each
    micro-batch and :meth:`_step` for each update.

    Args:
        policy: The policy to train.
        optimizer: Makes the optimizer.
        scheduler: Makes the schedule, stepped at each policy update; None keeps the rate.
        gradient_clip_norm: Largest norm of the gradient; None does not clip.

    Raises:
        InputError: At the start of a run, for precision ``16-mixed``.
    """

    def __init__(
        self,
        policy: Policy,
        optimizer: OptimizerCallable,
        scheduler: LRSchedulerCallable | None = None,
        gradient_clip_norm: float | None = 1.0,
    ) -> None:
        super().__init__(policy, optimizer, scheduler, gradient_clip_norm)
        self.automatic_optimization = False

    def setup(self, stage: str) -> None:
        """Checks what the Trainer allows."""
        if self.trainer.precision == "16-mixed":
            raise InputError("trainer.precision is 16-mixed, whose scaled gradients cannot be clipped; use bf16-mixed")

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Adds the counters."""
        checkpoint["r1lit"] = {
            "rollouts": self.rollouts,
            "updates": self.updates,
            "tokens_sampled": self.tokens_sampled,
        }

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Takes the counters up again."""
        counters: dict[str, int] = checkpoint["r1lit"]
        self.rollouts = counters["rollouts"]
        self.updates = counters["updates"]
        self.tokens_sampled = counters["tokens_sampled"]

    def transfer_batch_to_device(self, batch: Any, device: torch.device, dataloader_idx: int) -> Any:
        """Leaves batches alone: prompts hold no tensors, and Lightning cannot walk through frozen dataclasses."""
        return batch

    # Optimizer

    def total_updates(self) -> int | None:
        """Updates of the whole training, for schedules; None where only the Trainer knows when to stop."""
        return None

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
        return ""
