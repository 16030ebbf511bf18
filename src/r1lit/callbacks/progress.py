"""One line for each rollout, and a moving one while completions come in."""

import sys
import time
from collections.abc import Sized
from typing import Any

from lightning.pytorch import LightningModule, Trainer

from r1lit.callbacks.base import RolloutCallback
from r1lit.errors import InputError
from r1lit.types import Rollout

TERMINAL_S = 0.25
"""Seconds between looks at what is under way, on a terminal."""
FILE_S = 30.0
"""The same where the output is a file, in which every one is kept."""


class RolloutProgress(RolloutCallback):
    """Tells how a run goes: reward, accuracy, length, rates and the time left.

    While completions come in, a line shows how many there are and tokens per second: a moving one on a terminal, one
    each half minute in a file.

    Args:
        every_n_rollouts: How often a rollout's line is printed.
    """

    def __init__(self, every_n_rollouts: int = 1) -> None:
        if every_n_rollouts < 1:
            raise InputError(f"progress.every_n_rollouts is {every_n_rollouts}; give at least 1")
        self.every_n_rollouts = every_n_rollouts
        self._start = self._began = self._shown = time.monotonic()
        self._first = 0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Starts the clock."""
        self._start = self._began = self._shown = time.monotonic()
        module: Any = pl_module
        self._first = int(module.rollouts)

    def on_completions(self, trainer: Trainer, pl_module: LightningModule, done: int, total: int, tokens: int) -> None:
        """Shows how far the rollout under way is."""
        rate = tokens / max(time.monotonic() - self._began, 1e-6)
        self._show(trainer, f"sampling: {done} of {total} completions, {rate:,.0f} tokens/s")

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Starts the clock of measuring."""
        self._shown = time.monotonic()

    def on_test_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: object, batch: Sized, batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:  # fmt: skip
        """Shows how far measuring is."""
        self._show(trainer, f"measuring: {batch_idx + 1} of {trainer.num_test_batches[dataloader_idx]} batches")

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Clears the moving line."""
        if trainer.is_global_zero:
            print(_clear(), end="", flush=True)

    def _show(self, trainer: Trainer, text: str) -> None:
        now = time.monotonic()
        terminal = sys.stdout.isatty()
        if trainer.is_global_zero and now - self._shown >= (TERMINAL_S if terminal else FILE_S):
            self._shown = now
            print(f"{_clear()}  {text}", end="" if terminal else "\n", flush=True)

    def on_rollout_end(self, trainer: Trainer, pl_module: LightningModule, rollout: Rollout) -> None:
        """Prints the rollout's line."""
        self._began = self._shown = time.monotonic()
        if not trainer.is_global_zero or rollout.index % self.every_n_rollouts:
            return
        m = rollout.metrics
        module: Any = pl_module
        wanted = int(module.max_rollouts or 0)
        taken = self._began - self._start
        done = rollout.index + 1 - self._first
        left = f", {clock(taken / done * (wanted - rollout.index - 1))} left" if wanted else ""
        of = f"/{wanted}" if wanted else ""
        rewards = " ".join(f"{k.removeprefix('reward/')} {v:.2f}" for k, v in m.items() if k.startswith("reward/"))
        print(
            f"{_clear()}rollout {rollout.index + 1}{of} step {m['step']:.0f} | {rewards} | "
            f"length {m['mean_length']:.0f} truncated {m['truncated']:.0%} | loss {m['loss']:+.3f} "
            f"kl {m.get('kl', 0.0):.4f} | {m['tokens_per_s']:,.0f} tokens/s{left}",
            flush=True,
        )


def _clear() -> str:
    """What clears the moving line; nothing where there is none."""
    return "\r\x1b[K" if sys.stdout.isatty() else ""


def clock(seconds: float) -> str:
    """Seconds as ``1:02:03`` or ``2:03``."""
    minutes, rest = divmod(round(max(0.0, seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
