"""One line for each rollout, or every few updates, and a moving one in between."""

import sys
import time
from collections.abc import Mapping, Sized
from typing import Any

from lightning.pytorch import LightningModule, Trainer

from r1lit.callbacks.base import RolloutCallback
from r1lit.errors import InputError
from r1lit.types import Rollout

TERMINAL_S = 0.25
"""Seconds between looks at what is under way, on a terminal."""
FILE_S = 30.0
"""The same where the output is a file, in which every one is kept."""
UPDATES = 10
"""Updates of fine-tuning for one line that stays."""


class RolloutProgress(RolloutCallback):
    """Tells how a run goes: reward, accuracy, length, rates and the time left.

    While completions come in, a line shows how many there are and tokens per second: a moving one on a terminal, one
    each half minute in a file.

    Args:
        every_n_rollouts: How often a rollout's line is printed; of fine-tuning, a line comes after ten times as many
            updates.
    """

    def __init__(self, every_n_rollouts: int = 1) -> None:
        if every_n_rollouts < 1:
            raise InputError(f"progress.every_n_rollouts is {every_n_rollouts}; give at least 1")
        self.every_n_rollouts = every_n_rollouts
        self._start = self._began = self._shown = time.monotonic()
        self._first = 0
        self._counts_completions = False

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Starts the clock."""
        self._start = self._began = self._shown = time.monotonic()
        module: Any = pl_module
        self._first = int(module.batches_done)

    def on_completions(self, trainer: Trainer, pl_module: LightningModule, done: int, total: int, tokens: int) -> None:
        """Shows how far the rollout under way is."""
        taken = max(time.monotonic() - self._began, 1e-6)
        left = clock(taken / max(done, 1) * (total - done))
        self._counts_completions = True
        self._show(trainer, f"sampling: {done} of {total} completions, {tokens / taken:,.0f} tokens/s, {left} left")

    def on_predict_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Starts the clock of rejection sampling."""
        self._began = self._shown = time.monotonic()

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Starts the clock of measuring."""
        self._began = self._shown = time.monotonic()
        self._counts_completions = False

    def on_test_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: object, batch: Sized, batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:  # fmt: skip
        """Shows how far measuring is."""
        if not self._counts_completions:  # an evaluation does, which says more
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
        left = self._left(rollout.index, wanted)
        of = f"/{wanted}" if wanted else ""
        rewards = " ".join(f"{k.removeprefix('reward/')} {v:.2f}" for k, v in m.items() if k.startswith("reward/"))
        print(
            f"{_clear()}rollout {rollout.index + 1}{of} step {m['step']:.0f} | {rewards} | "
            f"length {m['mean_length']:.0f} truncated {m['truncated']:.0%} | loss {m['loss']:+.3f} "
            f"kl {m.get('kl', 0.0):.4f} | {m['tokens_per_s']:,.0f} tokens/s{left}",
            flush=True,
        )

    def on_metrics(
        self, trainer: Trainer, pl_module: LightningModule, index: int, metrics: Mapping[str, float]
    ) -> None:
        """Shows an update of fine-tuning: each on a terminal's moving line, every tenth and the last on its own."""
        module: Any = pl_module
        wanted = int(module.batches_wanted or 0)
        self._began = time.monotonic()
        of = f"/{wanted}" if wanted else ""
        line = (
            f"step {metrics['step']:.0f}{of} epoch {metrics['epoch']:.2f} | loss {metrics['loss']:.4f} "
            f"grad norm {metrics['grad_norm']:.2f} lr {metrics['learning_rate']:.1e} | "
            f"{metrics['tokens_per_s']:,.0f} tokens/s{self._left(index, wanted)}"
        )
        if index + 1 < wanted and (index + 1) % (UPDATES * self.every_n_rollouts):
            self._show(trainer, line)
        elif trainer.is_global_zero:
            self._shown = self._began
            print(f"{_clear()}{line}", flush=True)

    def _left(self, index: int, wanted: int) -> str:
        """The time left after batch ``index``, at the speed so far."""
        done = index + 1 - self._first
        taken = self._began - self._start
        return f", {clock(taken / done * (wanted - index - 1))} left" if wanted else ""


def _clear() -> str:
    """What clears the moving line; nothing where there is none."""
    return "\r\x1b[K" if sys.stdout.isatty() else ""


def clock(seconds: float) -> str:
    """Seconds as ``1:02:03`` or ``2:03``."""
    minutes, rest = divmod(round(max(0.0, seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
