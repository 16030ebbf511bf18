"""Reads the ``samples.parquet`` of an evaluation: each sample with all that judging it again takes."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyarrow import parquet

from r1lit.errors import InputError
from r1lit.samples.entries import completion_of
from r1lit.samples.table import REWARD
from r1lit.types import Message, Prompt, ScoredCompletion

_NEEDED = (
    "prompt_id", "kind", "task", "language", "source", "messages", "reference", "meta",
    "sample", "text", "finish_reason", "tokens",
)  # fmt: skip


def read_evaluated(path: Path) -> list[list[ScoredCompletion]]:
    """All samples of a file with their stored scores: a group for each prompt, in the order of the prompts.

    Raises:
        InputError: If it is missing, or no ``samples.parquet`` of an evaluation.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such file; an evaluation writes it when all its prompts are sampled")
    try:
        names = parquet.read_schema(path).names
        if missing := [name for name in _NEEDED if name not in names]:
            raise InputError(f"{path}: no column {missing[0]!r}; give the samples.parquet of an `r1lit test`")
        rows = parquet.read_table(path).to_pylist()
    except pa.ArrowException as error:
        raise InputError(f"{path}: not a readable Parquet file: {' '.join(str(error).split())}") from error
    prompts: dict[str, Prompt] = {}
    groups: dict[str, list[ScoredCompletion]] = {}
    for number, row in enumerate(rows, 1):
        name = row["prompt_id"]
        if name not in prompts:
            prompts[name] = _prompt(row, f"{path}, row {number}")
        scores = {column.removeprefix(REWARD): row[column] for column in names if column.startswith(REWARD)}
        scored = ScoredCompletion(completion_of(prompts[name], row), scores, row.get("total"))
        groups.setdefault(name, []).append(scored)
    if not groups:
        raise InputError(f"{path}: it holds no samples")
    return list(groups.values())


def _prompt(row: dict[str, Any], where: str) -> Prompt:
    try:
        return Prompt(
            id=row["prompt_id"],
            messages=tuple(Message(role, content) for role, content in json.loads(row["messages"])),
            answer=row["reference"],
            kind=row["kind"],
            task=row["task"],
            language=row["language"],
            source=row["source"],
            meta=json.loads(row["meta"]),
        )
    except (ValueError, TypeError) as error:
        raise InputError(f"{where}: messages or meta are not what an evaluation writes ({error})") from error
