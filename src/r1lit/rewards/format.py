"""Format reward: thinking between think tags, then the answer (paper section 2.2)."""

from collections.abc import Sequence
from typing import Literal

from r1lit.errors import InputError
from r1lit.rewards.base import Reward
from r1lit.types import Completion, Kind, Task

Style = Literal["think_answer", "think"]
_TAGS = {"think_answer": ("<think>", "</think>", "<answer>", "</answer>"), "think": ("<think>", "</think>")}


def follows_format(text: str, style: Style = "think_answer", allow_empty_reasoning: bool = True) -> bool:
    """Whether a completion is exactly ``<think>...</think><answer>...</answer>``.

    Every tag stands once, nothing but white space stands around or between the two parts, and the answer is not blank.
    With style ``think`` (R1's: reasoning, then a summary) the rest after ``</think>`` is free but not blank.

    Args:
        text: The completion with what the template prefilled.
        style: Which parts are due.
        allow_empty_reasoning: Accept a blank think part; the paper asks for the tags only.
    """
    parts = [text.strip()]
    for tag in _TAGS[style]:
        before, found, after = parts.pop().partition(tag)
        if not found:
            return False
        parts += [before.strip(), after.strip()]
    if any(tag in part for part in parts for tag in _TAGS["think_answer"] if tag in _TAGS[style]):
        return False
    before, reasoning, *rest = parts
    if before or not (reasoning or allow_empty_reasoning):
        return False
    if style == "think":
        return bool(rest[0])
    between, answer, after = rest
    return bool(answer) and not between and not after


class FormatReward(Reward):
    """1 for a completion in the format that the template asks for, else 0.

    Args:
        style: ``think_answer`` for R1-Zero's template (paper table 1), ``think`` for reasoning and a free summary.
        allow_empty_reasoning: Whether a blank think part passes. The paper does not say; by default it does, since the
            reward is for the tags.
        name: See ``Reward``.
        weight: See ``Reward``.
        kinds: See ``Reward``.
        tasks: See ``Reward``.
        from_step: See ``Reward``.

    Raises:
        InputError: If the style is unknown.
    """

    concurrency = 0  # so cheap that a thread beside generation would cost more than it saves

    def __init__(
        self,
        style: Style = "think_answer",
        allow_empty_reasoning: bool = True,
        name: str = "format",
        weight: float = 1.0,
        kinds: Sequence[Kind] | None = None,
        tasks: Sequence[Task] | None = None,
        from_step: int = 0,
    ) -> None:
        super().__init__(name, weight, kinds, tasks, from_step)
        if style not in _TAGS:
            raise InputError(f"reward {name!r}: style is {style!r}; choose from {', '.join(_TAGS)}")
        self.style: Style = style
        self.allow_empty_reasoning = allow_empty_reasoning

    def score(self, completions: Sequence[Completion]) -> list[float]:
        """Scores the ``text`` of each completion."""
        return [float(follows_format(c.text, self.style, self.allow_empty_reasoning)) for c in completions]
