"""``samples.parquet``: one schema for every stage that samples, its rows, and its writer.

A row is a completion. Columns say of its prompt ``prompt_id``, ``kind``, ``task``, ``tier``, ``language``, ``question``
and ``reference``; of itself ``sample``, ``text``, ``answer``, ``finish_reason`` and ``tokens``; then ``total`` and
``reward/NAME``, empty where a reward does not apply. Beside these,

* a stage that trains writes ``split`` (``train``; or ``eval`` and ``t1``, what it was measured by at its end, with
  ``figure/NAME``), ``rollout``, ``step`` and ``advantage``;
* rejection sampling writes ``dropped``, why a completion is not trained on, and ``rewritten``, what is instead of it;
* an evaluation writes all that makes the prompt anew (``source``, ``messages`` and ``meta`` as JSON), ``seed`` and
  ``correct``.
"""

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyarrow import parquet

from r1lit.samples.tablefile import TableFile
from r1lit.types import Completion, Prompt, ScoredCompletion

FILE = "samples.parquet"
SPLIT = "split"
TRAINING = "train"
"""The split of training's completions."""
REWARD = "reward/"
FIGURE = "figure/"

_TEXT, _COUNT, _NUMBER = pa.string(), pa.int64(), pa.float64()
TYPES: Mapping[str, pa.DataType] = {
    SPLIT: _TEXT, "rollout": _COUNT, "step": _COUNT,
    "prompt_id": _TEXT, "kind": _TEXT, "task": _TEXT, "tier": _TEXT, "language": _TEXT, "question": _TEXT,
    "reference": _TEXT,
    "source": _TEXT, "messages": _TEXT, "meta": _TEXT, "seed": _COUNT,
    "sample": _COUNT, "text": _TEXT, "answer": _TEXT, "finish_reason": _TEXT, "tokens": _COUNT,
    "correct": _NUMBER, "total": _NUMBER, "advantage": _NUMBER,
    "dropped": _TEXT, "rewritten": _TEXT,
}  # fmt: skip
"""All columns, in their order; rewards and figures are numbers and come last."""
_EVERYWHERE = (
    "prompt_id", "kind", "task", "tier", "language", "question", "reference",
    "sample", "text", "answer", "finish_reason", "tokens",
)  # fmt: skip


def schema_of(names: Iterable[str]) -> pa.Schema:
    """The schema of the columns of some names, in the table's order."""
    given = dict.fromkeys(names)
    ordered = [name for name in TYPES if name in given] + [name for name in given if name not in TYPES]
    return pa.schema([(name, TYPES.get(name, _NUMBER)) for name in ordered])


def table_of(rows: Sequence[Mapping[str, Any]]) -> pa.Table:
    """Rows as a table; what a row does not have is empty."""
    schema = schema_of(name for row in rows for name in row)
    return pa.Table.from_pylist([{name: row.get(name) for name in schema.names} for row in rows], schema=schema)


def completion_row(completion: Completion) -> dict[str, Any]:
    """What every table says of a completion."""
    prompt = completion.prompt
    return {
        "prompt_id": prompt.id,
        "kind": prompt.kind,
        "task": prompt.task,
        "tier": prompt.tier,
        "language": prompt.language,
        "question": prompt.question,
        "reference": prompt.answer,
        "sample": completion.sample,
        "text": completion.text,
        "answer": completion.answer,
        "finish_reason": completion.finish_reason,
        "tokens": completion.tokens,
    }


def scored_row(scored: ScoredCompletion) -> dict[str, Any]:
    """The same with its total and its rewards."""
    rewards = {f"{REWARD}{name}": score for name, score in scored.scores.items()}
    return completion_row(scored.completion) | {"total": scored.total} | rewards


def prompt_columns(prompt: Prompt) -> dict[str, Any]:
    """What else makes a prompt anew; see ``evaluated``."""
    return {
        "source": prompt.source,
        "messages": json.dumps([[m.role, m.content] for m in prompt.messages], ensure_ascii=False),
        "meta": json.dumps(dict(prompt.meta), ensure_ascii=False, default=str),
    }


def write_rows(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Writes rows so that the file is complete or not there."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    parquet.write_table(table_of(rows), draft)
    draft.replace(path)


class SamplesFile(TableFile):
    """Writes a table of samples as they come.

    Args:
        path: The file.
        rewards: Names of the rewards: one column each.
        more: Columns beside those that every table has.
    """

    def __init__(self, path: Path, rewards: Sequence[str], more: Sequence[str] = ()) -> None:
        names = [*_EVERYWHERE, *more, "total", *(f"{REWARD}{name}" for name in rewards)]
        super().__init__(path, schema_of(names))

    def add(self, scored: ScoredCompletion, **more: Any) -> None:
        """Adds a completion, and what its further columns hold."""
        self._append(scored_row(scored) | more)
