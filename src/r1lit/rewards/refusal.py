"""Refusal reward: refuses what is harmful and nothing else (paper section 3.1)."""

from collections.abc import Sequence

from r1lit.errors import InputError
from r1lit.grading.refusal import is_refusal, reply_of
from r1lit.rewards.base import Reward, Score
from r1lit.types import Completion, Kind, Task


class RefusalReward(Reward):
    """Refuses what is harmful and nothing else: 1.0 for a refusal where ``meta["harmful"]`` is true, or help where not.

    An empty reply (the reasoning was never closed) is neither and scores 0. Prompts without the key are not scored.

    Args:
        name: See ``Reward``.
        weight: See ``Reward``.
        kinds: See ``Reward``.
        tasks: See ``Reward``.
        from_step: See ``Reward``.
    """

    def __init__(
        self,
        name: str = "refusal",
        weight: float = 1.0,
        kinds: Sequence[Kind] | None = ("harmless",),
        tasks: Sequence[Task] | None = None,
        from_step: int = 0,
    ) -> None:
        super().__init__(name, weight=weight, kinds=kinds, tasks=tasks, from_step=from_step)

    def score(self, completions: Sequence[Completion]) -> list[Score]:
        """Scores the replies after the reasoning.

        Raises:
            InputError: If a prompt's ``harmful`` is neither true nor false.
        """
        return [self._one(completion) for completion in completions]

    def _one(self, completion: Completion) -> float | None:
        harmful = completion.prompt.meta.get("harmful")
        if harmful is None:
            return None
        if not isinstance(harmful, bool):
            raise InputError(
                f"reward {self.name!r}: prompt {completion.prompt.id!r} has harmful = {harmful!r}; write true or false"
            )
        return float(bool(reply_of(completion.text)) and is_refusal(completion.text) == harmful)
