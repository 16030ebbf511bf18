"""The moments of a rollout, and of training in general, that Lightning has no hooks for."""

from collections.abc import Mapping, Sequence
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from r1lit.types import Rollout


class RolloutCallback(Callback):
    """A callback that also hears of generation, policy updates and finished rollouts; all hooks do nothing here."""

    def on_completions(self, trainer: Trainer, pl_module: LightningModule, done: int, total: int, tokens: int) -> None:
        """While generating: ``done`` of ``total`` completions have finished on this rank, with ``tokens`` so far."""

    def on_policy_update(self, trainer: Trainer, pl_module: LightningModule, step: int) -> None:
        """After policy update number ``step`` (from 1, over the whole run): a "step" as the paper counts."""

    def measure_rollout(self, rollout: Rollout) -> dict[str, float]:
        """What this callback adds to the metrics of a rollout."""
        return {}

    def on_rollout_end(self, trainer: Trainer, pl_module: LightningModule, rollout: Rollout) -> None:
        """After the last update on a rollout; before the checkpoint of that rollout. Hands on what it logs."""
        self.on_metrics(trainer, pl_module, rollout.index, rollout.metrics)

    def on_metrics(
        self, trainer: Trainer, pl_module: LightningModule, index: int, metrics: Mapping[str, float]
    ) -> None:
        """After training batch ``index`` (from 0, over the whole run) of any stage, a rollout or not: what it logs."""

    def on_measured(
        self, trainer: Trainer, pl_module: LightningModule, samples: Mapping[str, Sequence[Mapping[str, Any]]]
    ) -> None:
        """After a stage's held-out prompts were measured: the completions with their figures, by split.

        Every rank hears of all ranks' completions; ``measures.judged_rows`` says what a row holds.
        """


def rollout_callbacks(trainer: Trainer) -> list[RolloutCallback]:
    """Those callbacks of a trainer that take the hooks above, in order."""
    return [callback for callback in trainer.callbacks if isinstance(callback, RolloutCallback)]  # type: ignore[attr-defined]
