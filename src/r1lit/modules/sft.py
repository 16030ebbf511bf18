"""Supervised fine-tuning: cold start, second SFT, distillation from texts (paper 2.3.1, 2.3.3, B.4).

One Lightning batch is one update. Its loss is the mean negative log-likelihood of all its target tokens, on all ranks
together: the same whatever the micro-batches, the packing or the number of processes.
"""

import time
from collections.abc import Callable, Sequence

import torch
from lightning.pytorch.cli import LRSchedulerCallable, OptimizerCallable
from torch import Tensor

from r1lit.callbacks.base import rollout_callbacks
from r1lit.data.chat import ChatDataModule
from r1lit.data.packing import ChatBatch, PaddedBatch, moved
from r1lit.distributed import summed
from r1lit.errors import InputError
from r1lit.policy import PackedBatch, Policy
from r1lit.rewards import Reward
from r1lit.rollout import NativeEngine
from r1lit.training.measuring import Measuring
from r1lit.training.stage import StageModule
from r1lit.types import RolloutEngine, SamplingParams


class SFTModule(StageModule):
    """Trains a policy on conversations: cross-entropy on the assistant's tokens.

    The data module must be a ``ChatDataModule``. The paper trains 2 to 3 epochs in batches of 128 with a rate that
    falls from 5e-5 to 5e-6 along a cosine.

    Args:
        policy: The policy to train.
        optimizer: Makes the optimizer; the paper's peak rate is 5e-5.
        scheduler: Makes the schedule, such as ``r1lit.training.schedules.CosineToTenth``; a ``PlannedSchedule`` is told
            the number of updates. None keeps the rate.
        rewards: Judges for measuring: of correctness and format. May be empty.
        evaluation: How completions are drawn in validation and test; None takes the paper's temperature 0.6 and top-p
            0.95, and 16 samples.
        max_updates: Where training ends; None trains for the epochs of the data module.
        gradient_clip_norm: Largest norm of the gradient; None does not clip.
        engine: Makes the rollout engine from the policy, for measuring.
        seed: Of the sampling noise when measuring.

    Raises:
        InputError: For a number out of range, or a data module of another kind.
    """

    policy: Policy

    unit = "batch"

    def __init__(
        self,
        policy: Policy,
        optimizer: OptimizerCallable,
        scheduler: LRSchedulerCallable | None = None,
        rewards: Sequence[Reward] = (),
        evaluation: SamplingParams | None = None,
        max_updates: int | None = None,
        gradient_clip_norm: float | None = 1.0,
        engine: Callable[[Policy], RolloutEngine] = NativeEngine,
        seed: int = 0,
    ) -> None:
        super().__init__(
            policy,
            optimizer=optimizer,
            scheduler=scheduler,
            gradient_clip_norm=gradient_clip_norm,
            measuring=Measuring(policy, engine, rewards, evaluation, seed=seed),
            seed=seed,
        )
        if max_updates is not None and max_updates < 1:
            raise InputError(f"model.max_updates is {max_updates}; give at least 1")
        self.max_updates = max_updates

    @property
    def batches_done(self) -> int:
        """Batches trained on, each of which is an update."""
        return self.updates

    @property
    def batches_wanted(self) -> int:
        """Batches of the whole training."""
        return self._data.updates

    @property
    def _data(self) -> ChatDataModule:
        data = getattr(self.trainer, "datamodule", None)
        if not isinstance(data, ChatDataModule):
            raise InputError(f"SFTModule trains on a ChatDataModule, and data is {type(data).__name__}")
        return data

    # Lightning

    def prepare_data(self) -> None:
        """Has the data tokenised, on one process."""
        if self.trainer.training:
            self._data.prepare(self.policy)

    def setup(self, stage: str) -> None:
        """Tells the data what the policy reads, and the other way round how long to train."""
        super().setup(stage)
        data = self._data
        data.prompts.connect(self.policy.encode_prompt, self.policy.max_context - self.evaluation.max_new_tokens)
        if stage == "fit":
            data.max_updates = self.max_updates
            data.connect(self.policy)

    def total_updates(self) -> int:
        """Those of ``max_updates``, or of the data's epochs."""
        return self._data.updates

    def on_train_start(self) -> None:
        """Stops at once where a resumed run had all its updates."""
        self._stop_when_done()

    def training_step(self, batch: ChatBatch, batch_idx: int) -> None:
        """One update."""
        start = time.perf_counter()
        loss = torch.zeros((), device=self.device)
        for number, part in enumerate(batch.parts, 1):
            part_loss = -self._logprobs(moved(part, self.device)).sum() / batch.targets
            self._backward(part_loss, is_last=number == len(batch.parts))
            loss += part_loss.detach()
        metrics = self._step({"loss": float(summed(loss))})
        taken = max(time.perf_counter() - start, 1e-9)
        metrics |= {
            "step": float(self.updates),
            "epoch": (batch.index + 1) * batch.rows / self._data.mixture.rows_per_epoch,
            "tokens": float(batch.tokens),
            "target_tokens": float(batch.targets),
            "micro_batches": float(len(batch.parts)),
            "tokens_per_s": batch.tokens / taken,
        }
        self.log_dict({name: value for name, value in metrics.items() if name != "epoch"}, batch_size=batch.rows)
        for callback in rollout_callbacks(self.trainer):
            callback.on_metrics(self.trainer, self, batch.index, metrics)
        self._stop_when_done()

    def _logprobs(self, part: PackedBatch | PaddedBatch) -> Tensor:
        if isinstance(part, PaddedBatch):
            return self.policy.token_logprobs(part.input_ids, part.attention_mask, part.target_mask).logprobs
        return self.policy.packed_logprobs(part).logprobs

    def _stop_when_done(self) -> None:
        if self.updates >= self._data.updates:
            self.trainer.should_stop = True
