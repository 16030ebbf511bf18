"""Checkpoints between training batches, and where a resumed run finds the last one."""

import shutil
from collections.abc import Mapping
from pathlib import Path

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint

from r1lit.callbacks.base import RolloutCallback
from r1lit.errors import InputError

NAME = "last.ckpt"


class RolloutCheckpoint(RolloutCallback, Checkpoint):
    """Saves ``last.ckpt`` every so many training batches (rollouts, or updates of fine-tuning), and after the last.

    Lightning's own ModelCheckpoint counts optimizer steps and tests divisibility, which breaks where a rollout takes
    several. The file (a folder under FSDP2) is written under another name and renamed, so it is always a whole one.

    Args:
        every_n_rollouts: Batches between checkpoints; what a kill can cost.
    """

    def __init__(self, every_n_rollouts: int = 10) -> None:
        if every_n_rollouts < 1:
            raise InputError(f"checkpoint.every_n_rollouts is {every_n_rollouts}; give at least 1")
        self.every_n_rollouts = every_n_rollouts
        self._finished = 0
        self._saved = 0

    def on_metrics(
        self, trainer: Trainer, pl_module: LightningModule, index: int, metrics: Mapping[str, float]
    ) -> None:
        """Notes the count."""
        self._finished = index + 1

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: object, batch: object, batch_idx: int
    ) -> None:
        """Saves when the count is reached; here Lightning has counted the batch, so a resumed run takes the next."""
        if self._finished and (self._finished % self.every_n_rollouts == 0 or trainer.should_stop):
            self._save(trainer)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Saves after the last batch where the Trainer's own limits ended the run."""
        if self._finished > self._saved:
            self._save(trainer)

    def _save(self, trainer: Trainer) -> None:
        save_checkpoint(trainer, Path(trainer.default_root_dir) / NAME)
        self._saved = self._finished


def save_checkpoint(trainer: Trainer, path: Path) -> None:
    """Saves a checkpoint under another name and renames it."""
    draft, old = path.with_name(f"{path.name}.new"), path.with_name(f"{path.name}.old")
    if trainer.is_global_zero:
        _remove(draft)
        if path.exists():  # else a kill came between the renames below, and ``old`` is the only checkpoint
            _remove(old)
    trainer.strategy.barrier("checkpoint")
    trainer.save_checkpoint(draft)
    trainer.strategy.barrier("checkpoint")
    if trainer.is_global_zero:
        # A folder cannot replace one that is not empty; find_checkpoint knows the moment between the two renames.
        if path.is_dir():
            path.rename(old)
        draft.replace(path)
        _remove(old)


def find_checkpoint(folder: Path) -> Path | None:
    """The newest whole checkpoint in a stage's folder."""
    for name in (NAME, f"{NAME}.old"):
        if (folder / name).exists():
            return folder / name
    return None


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
