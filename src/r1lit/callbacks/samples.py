"""Completions to look at while training, and all of them on disk."""

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
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
HEADING = "heading"
"""Column that says what a completion was sampled for."""
TRAINING = "train"
"""Heading of training's completions; those of the measuring at the end stand under ``eval`` and ``t1``."""


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

    def on_measured(
        self, trainer: Trainer, pl_module: LightningModule, samples: Mapping[str, Sequence[Mapping[str, Any]]]
    ) -> None:
        """Adds the held-out prompts' completions, in place of those of an earlier measuring."""
        if trainer.is_global_zero and self.write:
            rows = [{HEADING: heading, **row} for heading, group in samples.items() for row in group]
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


def rows_of(rollout: Rollout) -> list[dict[str, Any]]:
    """One row for each completion of a rollout."""
    return [
        {
            HEADING: TRAINING,
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
            "tokens": c.tokens,
            "total": scored.total,
            "advantage": advantage,
            **{f"reward/{name}": score for name, score in scored.scores.items()},
        }
        for scored, advantage in zip(rollout.scored, rollout.advantages, strict=True)
        for c in (scored.completion,)
    ]


def write_parquet(path: Path, rows: list[dict[str, Any]]) -> None:
    """Writes rows so that the file is complete or not there."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    pq.write_table(pa.Table.from_pylist(rows), draft)
    draft.replace(path)


def add_measured(target: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Puts rows behind those of training in a table of samples, which is made where there is none."""
    # Kinds of prompts have figures of their own, and the first row alone would decide on the columns.
    names = dict.fromkeys(name for row in rows for name in row)
    added = pa.Table.from_pylist([{name: row.get(name) for name in names} for row in rows])
    draft = target.with_name(f".{target.name}.{os.getpid()}")
    if not target.is_file():
        pq.write_table(added, draft)
        draft.replace(target)
        return
    schema = pa.unify_schemas([pq.read_schema(target), added.schema], promote_options="permissive")
    with pq.ParquetWriter(draft, schema) as writer:
        for table in (*_training_rows(target), added):
            writer.write_table(pa.concat_tables([schema.empty_table(), table], promote_options="permissive"))
    draft.replace(target)


def _training_rows(path: Path) -> Iterator[pa.Table]:
    """Training's rows of a table, one row group in memory at a time."""
    with pq.ParquetFile(path) as file:
        for index in range(file.num_row_groups):
            table = file.read_row_group(index)
            if HEADING not in table.column_names:
                table = table.append_column(HEADING, pa.array([TRAINING] * table.num_rows))
            kept = table.filter(pc.equal(table[HEADING], TRAINING))
            if kept.num_rows:
                yield kept


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
