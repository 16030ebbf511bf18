"""Completions to look at while training, and all of them on disk."""

import os
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from lightning.pytorch import LightningModule, Trainer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from r1lit.callbacks.base import RolloutCallback
from r1lit.errors import InputError
from r1lit.types import Rollout

PARTS = "samples"
FILE = "samples.parquet"


class SamplesTable(RolloutCallback):
    """Shows a few completions in the terminal and keeps every completion with its rewards.

    Each rollout is one Parquet file below ``samples/``, renamed into place when complete, so a killed run loses at most
    the rollout under way; at the end they become one ``samples.parquet``.

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
            for part in (Path(trainer.default_root_dir) / PARTS).glob("*.parquet"):
                if int(part.stem) >= pl_module.rollouts:  # type: ignore[operator]
                    part.unlink()

    def on_rollout_end(self, trainer: Trainer, pl_module: LightningModule, rollout: Rollout) -> None:
        """Writes the rollout and shows some of it."""
        if not trainer.is_global_zero:
            return
        if self.write:
            folder = Path(trainer.default_root_dir) / PARTS
            folder.mkdir(parents=True, exist_ok=True)
            write_parquet(folder / f"{rollout.index:06d}.parquet", rows_of(rollout))
        if self.every_n_rollouts and rollout.index % self.every_n_rollouts == 0:
            self._show(rollout)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Joins the files of all rollouts."""
        folder = Path(trainer.default_root_dir) / PARTS
        if trainer.is_global_zero and self.write and folder.is_dir():
            join_parts(folder, Path(trainer.default_root_dir) / FILE)

    def _show(self, rollout: Rollout) -> None:
        table = Table(title=f"rollout {rollout.index}, step {rollout.metrics.get('step', 0):.0f}", show_lines=True)
        for heading in ("prompt", "completion", *rollout.rewards, "advantage"):
            table.add_column(heading, overflow="fold")
        first = rollout.completions[0].prompt.id
        places = [i for i, c in enumerate(rollout.completions) if c.prompt.id == first]
        places.sort(key=lambda i: -rollout.advantages[i])
        for place in dict.fromkeys([*places[: self.rows - 1], places[-1]]):
            completion = rollout.completions[place]
            marks = ["-" if (v := column[place]) is None else f"{v:.2f}" for column in rollout.rewards.values()]
            texts = (_cut(completion.prompt.question), _cut(completion.text))
            table.add_row(*(escape(t) for t in texts), *marks, f"{rollout.advantages[place]:+.2f}")
        Console(width=None if os.isatty(1) else 120).print(table)


def _cut(text: str, most: int = 600) -> str:
    return text if len(text) <= most else f"{text[: most // 2]} [...] {text[-most // 2 :]}"


def rows_of(rollout: Rollout) -> list[dict[str, Any]]:
    """One row for each completion of a rollout."""
    return [
        {
            "rollout": rollout.index,
            "step": int(rollout.metrics.get("step", 0)),
            "prompt_id": c.prompt.id,
            "sample": c.sample,
            "kind": c.prompt.kind,
            "task": c.prompt.task,
            "language": c.prompt.language,
            "question": c.prompt.question,
            "reference": c.prompt.answer,
            "text": c.text,
            "answer": c.answer,
            "finish_reason": c.finish_reason,
            "tokens": len(c.token_ids),
            "total": rollout.totals[i],
            "advantage": rollout.advantages[i],
            **{f"reward/{name}": column[i] for name, column in rollout.rewards.items()},
        }
        for i, c in enumerate(rollout.completions)
    ]


def write_parquet(path: Path, rows: list[dict[str, Any]]) -> None:
    """Writes rows so that the file is complete or not there."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    pq.write_table(pa.Table.from_pylist(rows), draft)
    draft.replace(path)


def join_parts(folder: Path, target: Path) -> None:
    """Joins the Parquet files of a folder, in the order of rollouts, one in memory at a time."""
    parts = sorted(folder.glob("*.parquet"), key=lambda part: int(part.stem))
    if not parts:
        return
    # A column that is empty in one rollout has no type there.
    schema = pa.unify_schemas([pq.read_schema(part) for part in parts], promote_options="permissive")
    draft = target.with_name(f".{target.name}.{os.getpid()}")
    with pq.ParquetWriter(draft, schema) as writer:
        for part in parts:
            tables = [schema.empty_table(), pq.read_table(part)]
            writer.write_table(pa.concat_tables(tables, promote_options="permissive"))
    draft.replace(target)
