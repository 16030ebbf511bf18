"""One line for each rollout, and a moving one while completions come in."""

import sys
import time

from lightning.pytorch import LightningModule, Trainer

from r1lit.callbacks.base import RolloutCallback
from r1lit.types import Rollout


class RolloutProgress(RolloutCallback):
    """Tells how a run goes: reward, accuracy, length, rates and the time left.

    On a terminal the line of the rollout under way shows completions and tokens per second as they finish.

    Args:
        every_n_rollouts: How often a line is kept.
    """

    def __init__(self, every_n_rollouts: int = 1) -> None:
        self.every_n_rollouts = max(1, every_n_rollouts)
        self._start = self._began = time.monotonic()
        self._first = 0
        self._shown = 0.0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Starts the clock."""
        self._start = self._began = time.monotonic()
        self._first = int(pl_module.rollouts)  # type: ignore[call-overload]

    def on_completions(self, trainer: Trainer, pl_module: LightningModule, done: int, total: int, tokens: int) -> None:
        """Rewrites the line, a few times a second."""
        now = time.monotonic()
        if not trainer.is_global_zero or not sys.stdout.isatty() or now - self._shown < 0.25:
            return
        self._shown = now
        rate = tokens / max(now - self._began, 1e-6)
        print(f"\r  sampling {done}/{total} completions, {rate:,.0f} tokens/s\x1b[K", end="", flush=True)

    def on_rollout_end(self, trainer: Trainer, pl_module: LightningModule, rollout: Rollout) -> None:
        """Prints the rollout's line."""
        self._began = time.monotonic()
        if not trainer.is_global_zero or rollout.index % self.every_n_rollouts:
            return
        m = rollout.metrics
        wanted = int(pl_module.max_rollouts or 0)  # type: ignore[call-overload, operator]
        taken = self._began - self._start
        done = rollout.index + 1 - self._first
        left = f", {clock(taken / done * (wanted - rollout.index - 1))} left" if wanted else ""
        clear = "\r\x1b[K" if sys.stdout.isatty() else ""
        of = f"/{wanted}" if wanted else ""
        rewards = " ".join(f"{k.removeprefix('reward/')} {v:.2f}" for k, v in m.items() if k.startswith("reward/"))
        print(
            f"{clear}rollout {rollout.index + 1}{of} step {m['step']:.0f} | {rewards} | "
            f"length {m['mean_length']:.0f} truncated {m['truncated']:.0%} | loss {m['loss']:+.3f} "
            f"kl {m.get('kl', 0.0):.4f} | {m['tokens_per_s']:,.0f} tokens/s{left}",
            flush=True,
        )


def clock(seconds: float) -> str:
    """Seconds as ``1:02:03`` or ``2:03``."""
    minutes, rest = divmod(round(max(0.0, seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
