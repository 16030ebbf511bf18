"""Language consistency of the reasoning (paper section 2.3.2, eq. 7)."""

from collections.abc import Sequence

from r1lit.errors import InputError
from r1lit.grading.language import language_consistency
from r1lit.rewards.base import Reward
from r1lit.types import Completion, Kind, Task


class LanguageConsistencyReward(Reward):
    """Share of the reasoning's words that are in the prompt's language (paper eq. 7), 0 where there is no reasoning.

    The paper adds it to the final reward for reasoning and other data alike (section 2.3.2). It does not say how words
    are told apart. Here numbers, formulas, code, commands, addresses and variables belong to no language; what remains
    is told apart by script and, within a script, sentence by sentence.

    Args:
        identify: See ``language_consistency``. Off where the prompts' languages all have scripts of their own: it costs
            some 10 ms for each thousand words.
        name: See ``Reward``.
        weight: See ``Reward``.
        kinds: See ``Reward``.
        tasks: See ``Reward``.
        from_step: See ``Reward``.
    """

    def __init__(
        self,
        identify: bool = True,
        name: str = "language_consistency",
        weight: float = 1.0,
        kinds: Sequence[Kind] | None = None,
        tasks: Sequence[Task] | None = None,
        from_step: int = 0,
    ) -> None:
        super().__init__(name, weight=weight, kinds=kinds, tasks=tasks, from_step=from_step)
        self.identify = identify
        self.concurrency = int(identify)  # by script it is too cheap for a thread of its own

    def score(self, completions: Sequence[Completion]) -> list[float]:
        """Scores the ``reasoning`` of each completion.

        Raises:
            InputError: If a prompt's language is not known; names the prompt.
        """
        return [self._one(completion) for completion in completions]

    def _one(self, completion: Completion) -> float:
        try:
            return language_consistency(completion.reasoning or "", completion.prompt.language, self.identify)
        except InputError as error:
            raise InputError(f"prompt {completion.prompt.id!r}: {error}") from error
