"""Completions to look at while training, and all of them on disk."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from r1lit.callbacks.base import RolloutCallback
from r1lit.errors import InputError
from r1lit.samples.parts import PARTS, add_measured, join_parts, remove_parts, write_part
from r1lit.samples.table import FILE, SPLIT
from r1lit.types import Rollout


class SamplesTable(RolloutCallback):
    """Shows a few completions in the terminal and keeps every completion with its rewards.

    Each rollout is one Parquet file below ``samples/``, renamed into place when complete, so a killed run loses at most
    the rollout under way; at the end they become one ``samples.parquet``. The completions that a stage is measured by
    follow there, with the figures that each of its measures can be counted from again.

    Args:
        every_n_rollouts: How often the table is shown; 0 never shows it.
        rows: Completions in the table: of one prompt, the best and the worst first.
        write: Whether to write the files.
    """

    def __init__(self, every_n_rollouts: int = 20, rows: int = 3, write: bool = True) -> None:
        if every_n_rollouts < 0 or rows < 1:
            raise InputError(f"samples: every_n_rollouts is {every_n_rollouts} and rows {rows}; give 0 and 1 or more")
        self.every_n_rollouts, self.rows, self.write = every_n_rollouts, rows, write

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Removes files of rollouts that are to come, which a run before left here."""
        if trainer.is_global_zero and self.write:
            remove_parts(Path(trainer.default_root_dir) / PARTS, int(pl_module.rollouts))  # type: ignore[arg-type]

    def on_rollout_end(self, trainer: Trainer, pl_module: LightningModule, rollout: Rollout) -> None:
        """Writes the rollout and shows some of it."""
        if not trainer.is_global_zero:
            return
        if self.write:
            write_part(Path(trainer.default_root_dir) / PARTS, rollout)
        if self.every_n_rollouts and rollout.index % self.every_n_rollouts == 0:
            self._show(rollout)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Joins the files of all rollouts."""
        folder = Path(trainer.default_root_dir) / PARTS
        if trainer.is_global_zero and self.write and folder.is_dir():
            join_parts(folder, Path(trainer.default_root_dir) / FILE)

    def on_measured(
        self, trainer: Trainer, pl_module: LightningModule, samples: Mapping[str, Sequence[Mapping[str, Any]]]
    ) -> None:
        """Adds the held-out prompts' completions, in place of those of an earlier measuring."""
        if trainer.is_global_zero and self.write:
            rows = [{SPLIT: split, **row} for split, group in samples.items() for row in group]
            add_measured(Path(trainer.default_root_dir) / FILE, rows)

    def _show(self, rollout: Rollout) -> None:
        table = Table(title=f"rollout {rollout.index}, step {rollout.metrics.get('step', 0):.0f}", show_lines=True)
        for heading in ("prompt", "completion", *rollout.reward_names, "advantage"):
            table.add_column(heading, overflow="fold")
        first = rollout.completions[0].prompt.id
        places = [i for i, c in enumerate(rollout.completions) if c.prompt.id == first]
        places.sort(key=lambda i: -rollout.advantages[i])
        for place in dict.fromkeys([*places[: self.rows - 1], places[-1]]):
            completion = rollout.completions[place]
            scores = rollout.scored[place].scores.values()
            marks = ["-" if score is None else f"{score:.2f}" for score in scores]
            texts = (_cut(completion.prompt.question), _cut(completion.text))
            table.add_row(*(escape(t) for t in texts), *marks, f"{rollout.advantages[place]:+.2f}")
        Console(width=None if os.isatty(1) else 120).print(table)


def _cut(text: str, most: int = 600) -> str:
    return text if len(text) <= most else f"{text[: most // 2]} [...] {text[-most // 2 :]}"
