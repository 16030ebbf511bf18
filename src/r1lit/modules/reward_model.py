"""Reward models: pairwise for helpfulness, point-wise for safety (paper 3.1).

One Lightning batch is one update. Its loss is the mean over all its pairs, or replies, on all ranks together: the same
whatever the micro-batches or the number of processes.
"""

import time

import torch
from lightning.pytorch.cli import LRSchedulerCallable, OptimizerCallable
from torch import Tensor

from r1lit.callbacks.base import rollout_callbacks
from r1lit.data.preference_data import PreferenceBatch, PreferenceDataModule, PreferencePart
from r1lit.distributed import gathered, summed
from r1lit.errors import InputError
from r1lit.functional.estimators import Interval
from r1lit.functional.preferences import pairwise_loss, pointwise_loss
from r1lit.modules.preference_measures import judged, preference_measures
from r1lit.policy import RewardModel
from r1lit.policy.scorer import Loss
from r1lit.training.stage import StageModule


class RewardModelModule(StageModule):
    """Trains a reward model on preferences.

    The data module must be a ``PreferenceDataModule``. The paper trains one epoch in batches of 256 at a rate of 6e-6,
    with rows of up to 8,192 tokens; it starts from R1's own architecture, and states no schedule.

    Args:
        policy: The reward model to train.
        loss: ``pairwise`` on pairs (helpfulness), or ``pointwise`` on labelled replies (safety).
        optimizer: Makes the optimizer; AdamW at the paper's rate without weight decay if not given.
        scheduler: Makes the schedule; a ``PlannedSchedule`` is told the number of updates. None keeps the rate.
        max_updates: Where training ends; None trains for the epochs of the data module.
        gradient_clip_norm: Largest norm of the gradient; None does not clip.
        seed: Not used; recorded with the stage.

    Raises:
        InputError: For a number out of range, or data of another kind than the loss.
    """

    policy: RewardModel
    unit = "batch"
    noted_by_measuring = True

    def __init__(
        self,
        policy: RewardModel,
        loss: Loss = "pairwise",
        optimizer: OptimizerCallable = lambda params: torch.optim.AdamW(params, lr=6e-6, weight_decay=0.0),
        scheduler: LRSchedulerCallable | None = None,
        max_updates: int | None = None,
        gradient_clip_norm: float | None = 1.0,
        seed: int = 0,
    ) -> None:
        # A reward model is built, sharded and saved as a policy is, but gives no log-probabilities.
        super().__init__(
            policy,
            optimizer=optimizer,
            scheduler=scheduler,
            gradient_clip_norm=gradient_clip_norm,
            seed=seed,
        )
        if max_updates is not None and max_updates < 1:
            raise InputError(f"model.max_updates is {max_updates}; give at least 1")
        self.loss: Loss = loss
        self.max_updates = max_updates
        self._scores: dict[int, list[float]] = {}
        """Of held-out items, by their place; this rank's."""

    @property
    def batches_done(self) -> int:
        """Batches trained on, each of which is an update."""
        return self.updates

    @property
    def batches_wanted(self) -> int:
        """Batches of the whole training."""
        return self._data.updates

    @property
    def _data(self) -> PreferenceDataModule:
        data = getattr(self.trainer, "datamodule", None)
        if not isinstance(data, PreferenceDataModule):
            raise InputError(f"RewardModelModule trains on a PreferenceDataModule, and data is {type(data).__name__}")
        return data

    # Lightning

    def setup(self, stage: str) -> None:
        """Has the data encoded.

        Raises:
            InputError: If they are not what the loss needs.
        """
        super().setup(stage)
        data = self._data
        if data.is_pairwise != (self.loss == "pairwise"):
            kind = "pairs" if data.is_pairwise else "labelled replies"
            raise InputError(f"model.loss is {self.loss}, but the data are {kind}; change one of them")
        data.max_updates = self.max_updates
        data.connect(self.policy)
        self.policy.note(loss=self.loss)

    def total_updates(self) -> int:
        """Those of ``max_updates``, or of the data's epochs."""
        return self._data.updates

    def on_train_start(self) -> None:
        """Stops at once where a resumed run had all its updates."""
        self._stop_when_done()

    def training_step(self, batch: PreferenceBatch, batch_idx: int) -> None:
        """One update."""
        start = time.perf_counter()
        totals = torch.zeros(2, device=self.device)
        for number, part in enumerate(batch.parts, 1):
            scores = self._forward(part)
            loss = self._losses(scores, part).sum() / batch.items
            self._backward(loss, is_last=number == len(batch.parts))
            totals += torch.stack([loss.detach(), self._correct(scores, part) / batch.items])
        loss_value, accuracy = summed(totals).tolist()
        metrics = self._step({"loss": loss_value})
        taken = max(time.perf_counter() - start, 1e-9)
        metrics |= {
            "accuracy": accuracy,
            "step": float(self.updates),
            "epoch": (batch.index + 1) * batch.items / self._data.mixture.rows_per_epoch,
            "tokens": float(batch.tokens),
            "micro_batches": float(len(batch.parts)),
            "tokens_per_s": batch.tokens / taken,
        }
        self.log_dict({name: value for name, value in metrics.items() if name != "epoch"}, batch_size=batch.items)
        for callback in rollout_callbacks(self.trainer):
            callback.on_metrics(self.trainer, self, batch.index, metrics)
        self._stop_when_done()

    def _forward(self, part: PreferencePart) -> Tensor:
        """Scores [n, 2] of pairs, chosen first, or [n, 1]; of a part without items, the one score of its row [1, 1]."""
        scores: Tensor = self.policy(part.input_ids.to(self.device), part.attention_mask.to(self.device))
        return scores.view(2, -1).T if part.places and self.loss == "pairwise" else scores[:, None]

    def _losses(self, scores: Tensor, part: PreferencePart) -> Tensor:
        if not part.places:
            return scores * 0.0  # other ranks compute: this one must take part in the exchange of gradients
        if self.loss == "pairwise":
            return pairwise_loss(scores[:, 0], scores[:, 1])
        return pointwise_loss(scores[:, 0], part.safe.to(self.device))

    def _correct(self, scores: Tensor, part: PreferencePart) -> Tensor:
        if not part.places:
            return scores.new_zeros(())
        if self.loss == "pairwise":
            return (scores[:, 0] > scores[:, 1]).sum()
        return ((scores[:, 0] > 0) == part.safe.to(self.device)).sum()

    def _stop_when_done(self) -> None:
        if self.updates >= self._data.updates:
            self.trainer.should_stop = True

    # Measuring

    def validation_step(self, batch: PreferenceBatch, batch_idx: int) -> None:
        """Scores held-out replies."""
        for part in batch.parts:
            scores = self._forward(part)
            self._scores |= dict(zip(part.places, scores.tolist(), strict=False))  # none where there are no places

    def on_validation_epoch_end(self) -> None:
        """Logs the figures, and notes the scores' mean and deviation in the model's configuration."""
        for name, interval in self._measured().items():
            self.log(f"val/{name}", interval["value"], rank_zero_only=True)

    def test_step(self, batch: PreferenceBatch, batch_idx: int) -> None:
        """Scores held-out replies."""
        self.validation_step(batch, batch_idx)

    def on_test_epoch_end(self) -> None:
        """Computes the measures of the stage; ``StageRecord`` writes them down."""
        self.test_results = self._measured()
        for name, interval in self.test_results.items():
            self.log(f"test/{name}", interval["value"], rank_zero_only=True)

    def _measured(self) -> dict[str, Interval]:
        scores = self._gathered()
        data = self._data
        held = judged(data.val_items, [scores[place] for place in range(len(data.val_items))])
        train = judged(data.train_items, [[0.0] * len(item.rows) for item in data.train_items])
        found = preference_measures(held, train)
        self.policy.note(mean=found["score_mean"]["value"], std=found["score_std"]["value"])
        return found

    def _gathered(self) -> dict[int, list[float]]:
        """The scores of all ranks; this rank's are forgotten."""
        mine, self._scores = self._scores, {}
        return {place: row for part in gathered(mine) for place, row in part.items()}
