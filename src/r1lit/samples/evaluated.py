"""``samples.parquet`` of an evaluation: each sample with all that judging it again takes."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyarrow import parquet

from r1lit.errors import InputError
from r1lit.samples.sampled import completion_of
from r1lit.samples.tablefile import TableFile
from r1lit.types import Message, Prompt, ScoredCompletion

REWARD = "reward/"
_TEXTS = ("prompt_id", "kind", "task", "language", "source", "messages", "reference", "meta")
_NEEDED = (*_TEXTS, "sample", "text", "finish_reason", "tokens")


class EvaluatedFile(TableFile):
    """Writes the samples of an evaluation, in order: prompt by prompt, sample by sample.

    ``messages`` and ``meta`` are JSON; with ``reference`` and the other columns of the prompt they make it anew.

    Args:
        path: The file.
        rewards: Names of the rewards: one column each.
        seed: Of the sampling, noted in each row.
    """

    def __init__(self, path: Path, rewards: Sequence[str], seed: int) -> None:
        self.rewards, self.seed = rewards, seed
        text, count, score = pa.string(), pa.int64(), pa.float64()
        columns = dict.fromkeys(_TEXTS, text) | {"seed": count, "sample": count}
        columns |= {"text": text, "answer": text, "finish_reason": text, "tokens": count, "correct": score}
        columns |= {"total": score, **{f"{REWARD}{name}": score for name in rewards}}
        super().__init__(path, pa.schema(list(columns.items())))

    def add(self, candidate: ScoredCompletion, correct: float | None) -> None:
        """Adds a sample and whether it is right, None where that is not known."""
        completion, prompt = candidate.completion, candidate.completion.prompt
        row = {
            "prompt_id": prompt.id,
            "kind": prompt.kind,
            "task": prompt.task,
            "language": prompt.language,
            "source": prompt.source,
            "messages": json.dumps([[m.role, m.content] for m in prompt.messages], ensure_ascii=False),
            "reference": prompt.answer,
            "meta": json.dumps(dict(prompt.meta), ensure_ascii=False, default=str),
            "seed": self.seed,
            "sample": completion.sample,
            "text": completion.text,
            "answer": completion.answer,
            "finish_reason": completion.finish_reason,
            "tokens": completion.tokens,
            "correct": correct,
            "total": candidate.total,
        }
        self._append(row | {f"{REWARD}{name}": candidate.scores.get(name) for name in self.rewards})


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
