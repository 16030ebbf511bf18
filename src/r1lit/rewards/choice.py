"""Choice reward: 1 for the right option (the paper's GPQA and MMLU)."""

from collections.abc import Sequence

from r1lit.errors import InputError
from r1lit.grading.choice import choice_answer
from r1lit.grading.options import LETTERS, read_option
from r1lit.rewards.base import Reward, Score
from r1lit.types import Completion, Kind, Prompt, Task


class ChoiceReward(Reward):
    """1.0 if the reply names the right option (``choice_answer``), 0.0 if it names another or none.

    Args:
        name: See ``Reward``.
        weight: See ``Reward``.
        kinds: See ``Reward``.
        tasks: See ``Reward``.
        from_step: See ``Reward``.
    """

    def __init__(
        self,
        name: str = "choice",
        weight: float = 1.0,
        kinds: Sequence[Kind] | None = None,
        tasks: Sequence[Task] | None = ("choice",),
        from_step: int = 0,
    ) -> None:
        super().__init__(name, weight=weight, kinds=kinds, tasks=tasks, from_step=from_step)

    def score(self, completions: Sequence[Completion]) -> list[Score]:
        """Scores the options named.

        Raises:
            InputError: If a prompt's reference answer is no letter of an option.
        """
        return [float(choice_answer(completion) == _right(completion.prompt)) for completion in completions]


def _right(prompt: Prompt) -> str:
    letter = read_option(prompt.answer or "")
    count = len(prompt.meta.get("options") or LETTERS)
    if letter is None or letter not in LETTERS[:count]:
        raise InputError(f"prompt {prompt.id!r}: answer {prompt.answer!r} is not the letter of one of {count} options")
    return letter
