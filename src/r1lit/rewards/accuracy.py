"""Accuracy reward: 1 for a correct final answer, 0 for a wrong one (paper section 2.2)."""

from collections.abc import Sequence

from r1lit.errors import InputError
from r1lit.grading.answers import TIMEOUT_S, AnswerTimeout
from r1lit.grading.checkers import CHECKERS
from r1lit.grading.workers import Job, close_pools, run_jobs
from r1lit.rewards.base import UNSCORED, Reward, Score
from r1lit.types import Completion, Kind, Task


class AccuracyReward(Reward):
    """Rule-based correctness, by the checker of the prompt's task (``checkers.CHECKERS``).

    Checks that need computer algebra run in worker processes, which start on first use, are shared by all accuracy
    rewards of the process and are killed when they take too long.

    Args:
        timeout_s: Wall-clock limit of one check in seconds. A check that runs out is tried once more; then the
            completion stays unscored.
        name: See ``Reward``.
        weight: See ``Reward``.
        kinds: See ``Reward``.
        tasks: See ``Reward``.
        from_step: See ``Reward``.

    Raises:
        InputError: If the limit is not positive.
    """

    def __init__(
        self,
        timeout_s: float = TIMEOUT_S,
        name: str = "accuracy",
        weight: float = 1.0,
        kinds: Sequence[Kind] | None = None,
        tasks: Sequence[Task] | None = None,
        from_step: int = 0,
    ) -> None:
        super().__init__(name, weight=weight, kinds=kinds, tasks=tasks, from_step=from_step)
        if not timeout_s > 0:
            raise InputError(f"reward {name!r}: timeout_s is {timeout_s}; give a positive number of seconds")
        self.timeout_s = timeout_s

    def score(self, completions: Sequence[Completion]) -> list[Score]:
        """Scores the final answers: 1.0, 0.0, None for chat, ``UNSCORED`` after two time-outs.

        Raises:
            InputError: If a reasoning prompt has no usable reference answer, or a library is not installed.
        """
        verdicts = [CHECKERS[completion.prompt.task](completion) for completion in completions]
        done = iter(run_jobs([verdict for verdict in verdicts if isinstance(verdict, Job)], self.timeout_s))
        scores: list[Score] = []
        for verdict in verdicts:
            if isinstance(verdict, Job):
                equal = next(done)
                scores.append(UNSCORED if equal is None else float(equal))
            else:
                scores.append(None if verdict is None else float(verdict))
        return scores

    def is_correct(self, completion: Completion) -> bool:
        """Whether one completion's final answer is correct; False for a task without correct answers.

        Raises:
            AnswerTimeout: If the check ran out of time twice.
            InputError: As ``score``.
        """
        score = self.score([completion])[0]
        if score is UNSCORED:
            prompt, answer = completion.prompt, completion.answer or ""
            raise AnswerTimeout(
                f"prompt {prompt.id!r}, sample {completion.sample}: {answer[:80]!r} not checked in time"
            )
        return score == 1.0

    def close(self) -> None:
        """Kills the worker processes; the next ``score`` starts new ones."""
        close_pools()
