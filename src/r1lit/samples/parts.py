"""The samples of a stage that trains: a file for each rollout while it runs, one table at the end."""

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from r1lit.samples.table import SPLIT, TRAINING, scored_row, table_of, write_rows
from r1lit.types import Rollout

PARTS = "samples"


def rollout_rows(rollout: Rollout) -> list[dict[str, Any]]:
    """One row for each completion of a rollout."""
    of_all = {SPLIT: TRAINING, "rollout": rollout.index, "step": int(rollout.metrics.get("step", 0))}
    pairs = zip(rollout.scored, rollout.advantages, strict=True)
    return [of_all | scored_row(scored) | {"advantage": advantage} for scored, advantage in pairs]


def write_part(folder: Path, rollout: Rollout) -> None:
    """Writes the file of a rollout, which is complete or not there."""
    folder.mkdir(parents=True, exist_ok=True)
    write_rows(folder / f"{rollout.index:06d}.parquet", rollout_rows(rollout))


def remove_parts(folder: Path, first: int) -> None:
    """Removes the files of the rollouts from ``first`` on."""
    for part in folder.glob("*.parquet"):
        if int(part.stem) >= first:
            part.unlink()


def join_parts(folder: Path, target: Path) -> None:
    """Joins the files of a folder in the order of rollouts, one in memory at a time."""
    parts = sorted(folder.glob("*.parquet"), key=lambda part: int(part.stem))
    if parts:
        schemas = [pq.read_schema(part) for part in parts]
        _write(target, schemas, (pq.read_table(part) for part in parts))


def add_measured(target: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Puts rows behind those of training, in place of those of an earlier measuring; makes the table if need be."""
    added = table_of(rows)
    schemas = [pq.read_schema(target)] if target.is_file() else []
    _write(target, [*schemas, added.schema], _followed(_training_rows(target) if schemas else (), added))


def _followed(tables: Iterator[pa.Table] | tuple[()], last: pa.Table) -> Iterator[pa.Table]:
    yield from tables
    yield last


def _write(target: Path, schemas: Sequence[pa.Schema], tables: Iterator[pa.Table]) -> None:
    # Rewards that begin late have no column in the first rollouts.
    schema = pa.unify_schemas(list(schemas), promote_options="permissive")
    draft = target.with_name(f".{target.name}.{os.getpid()}")
    with pq.ParquetWriter(draft, schema) as writer:
        for table in tables:
            writer.write_table(pa.concat_tables([schema.empty_table(), table], promote_options="permissive"))
    draft.replace(target)


def _training_rows(path: Path) -> Iterator[pa.Table]:
    """Training's rows of a table, one row group in memory at a time."""
    with pq.ParquetFile(path) as file:
        for index in range(file.num_row_groups):
            table = file.read_row_group(index)
            kept = table.filter(pc.equal(table[SPLIT], TRAINING)) if SPLIT in table.column_names else table
            if kept.num_rows:
                yield kept
