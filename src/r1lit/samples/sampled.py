"""Sampled groups as journal entries and as rows of ``samples.parquet``."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from r1lit.grading.parsing import parse_response
from r1lit.samples.tablefile import TableFile
from r1lit.types import Completion, Prompt, ScoredCompletion


def to_entry(prompt: Prompt, group: Sequence[ScoredCompletion], elapsed_s: float) -> dict[str, Any]:
    """A group as a journal entry: what cannot be computed again, and the scores.

    Args:
        prompt: Whose completions these are.
        group: Its completions, in order of their samples.
        elapsed_s: Time spent on the stage so far.
    """
    return {
        "key": prompt.id,
        "elapsed_s": round(elapsed_s, 3),
        "completions": [
            {
                "sample": c.completion.sample,
                "text": c.completion.text,
                "finish_reason": c.completion.finish_reason,
                "tokens": c.completion.tokens,
                "scores": dict(c.scores),
                "total": c.total,
            }
            for c in group
        ],
    }


def from_entry(prompt: Prompt, entry: Mapping[str, Any]) -> list[ScoredCompletion]:
    """The group of a journal entry; token ids are not kept."""
    rows = entry["completions"]
    return [ScoredCompletion(completion_of(prompt, row), row["scores"], row["total"]) for row in rows]


def completion_of(prompt: Prompt, row: Mapping[str, Any]) -> Completion:
    """A completion from its text, parsed again."""
    reasoning, answer = parse_response(row["text"])
    return Completion(
        prompt=prompt,
        sample=row["sample"],
        prompt_ids=(),
        token_ids=(),
        logprobs=(),
        text=row["text"],
        finish_reason=row["finish_reason"],
        reasoning=reasoning,
        answer=answer,
        tokens=row["tokens"],
    )


class SamplesFile(TableFile):
    """Writes ``samples.parquet``.

    Args:
        path: The file.
        rewards: Names of the rewards: one column each.
    """

    def __init__(self, path: Path, rewards: Sequence[str]) -> None:
        self.rewards = rewards
        text, count, score = pa.string(), pa.int64(), pa.float64()
        columns = dict.fromkeys(("prompt_id", "kind", "task", "language", "question", "reference"), text)
        columns |= {"sample": count, "text": text, "answer": text, "finish_reason": text, "tokens": count}
        columns |= {"total": score, **{f"reward/{name}": score for name in rewards}}
        columns |= {"dropped": text, "rewritten": text}
        super().__init__(path, pa.schema(list(columns.items())))

    def add(self, candidate: ScoredCompletion, dropped: str | None, rewritten: str | None = None) -> None:
        """Adds a completion.

        Args:
            candidate: With its scores.
            dropped: Why it is not trained on; None if it is.
            rewritten: What is trained on instead of its text, if that was rewritten.
        """
        completion, prompt = candidate.completion, candidate.completion.prompt
        row = {
            "prompt_id": prompt.id,
            "kind": prompt.kind,
            "task": prompt.task,
            "language": prompt.language,
            "question": prompt.question,
            "reference": prompt.answer,
            "sample": completion.sample,
            "text": completion.text,
            "answer": completion.answer,
            "finish_reason": completion.finish_reason,
            "tokens": completion.tokens,
            "total": candidate.total,
            "dropped": dropped,
            "rewritten": rewritten,
        }
        self._append(row | {f"reward/{name}": candidate.scores.get(name) for name in self.rewards})
