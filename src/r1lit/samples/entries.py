"""Sampled groups as entries of a journal."""

from collections.abc import Mapping, Sequence
from typing import Any

from r1lit.grading.parsing import parse_response
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
