"""Format reward: thinking between think tags, then the answer (paper section 2.2)."""

from collections.abc import Sequence

from r1lit.errors import InputError
from r1lit.grading.format import TAGS, Style, follows_format
from r1lit.rewards.base import Reward
from r1lit.types import Completion, Kind, Task


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
        super().__init__(name, weight=weight, kinds=kinds, tasks=tasks, from_step=from_step)
        if style not in TAGS:
            raise InputError(f"reward {name!r}: style is {style!r}; choose from {', '.join(TAGS)}")
        self.style: Style = style
        self.allow_empty_reasoning = allow_empty_reasoning

    def score(self, completions: Sequence[Completion]) -> list[float]:
        """Scores the ``text`` of each completion."""
        return [float(follows_format(c.text, self.style, self.allow_empty_reasoning)) for c in completions]
