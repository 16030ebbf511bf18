"""Instruction reward: follows the verifiable instructions of its prompt (IFEval, arXiv 2311.07911)."""

from collections.abc import Sequence

from r1lit.grading.instructions import instruction_results
from r1lit.rewards.base import Reward, Score
from r1lit.types import Completion, Kind, Task


class InstructionReward(Reward):
    """Follows the instructions: 1.0 if all of the prompt's are followed (IFEval's strict accuracy at prompt level).

    Args:
        partial: Give the share of instructions that are followed instead.
        name: See ``Reward``.
        weight: See ``Reward``.
        kinds: See ``Reward``.
        tasks: See ``Reward``.
        from_step: See ``Reward``.
    """

    def __init__(
        self,
        partial: bool = False,
        name: str = "instructions",
        weight: float = 1.0,
        kinds: Sequence[Kind] | None = None,
        tasks: Sequence[Task] | None = None,
        from_step: int = 0,
    ) -> None:
        super().__init__(name, weight=weight, kinds=kinds, tasks=tasks, from_step=from_step)
        self.partial = partial

    def score(self, completions: Sequence[Completion]) -> list[Score]:
        """Scores the replies; None for a prompt without instructions.

        Raises:
            InputError: If an instruction cannot be checked.
        """
        return [self._one(completion) for completion in completions]

    def _one(self, completion: Completion) -> float | None:
        if "instructions" not in completion.prompt.meta:
            return None
        results = instruction_results(completion)
        return sum(results) / len(results) if self.partial else float(all(results))
