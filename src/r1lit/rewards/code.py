"""Code reward: 1 for a program that passes its tests, 0 for one that does not (paper section 2.2)."""

import functools
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from r1lit.errors import InputError
from r1lit.grading.programs import read_code_tests, run_program
from r1lit.rewards.base import UNSCORED, Reward, Score
from r1lit.sandbox import (
    Isolation,
    Limits,
    SandboxError,
    Verdict,
    choose,
    cores,
)
from r1lit.types import Completion, Kind, Task


class CodeReward(Reward):
    """Runs the program of a completion in a sandbox: 1.0 if it passes all tests of its prompt (``read_code_tests``).

    Several run at a time, as many as there are cores, while other completions are still being generated. A program
    that takes too long or too much has failed (0.0): its limits are part of the task. A completion is unscored only if
    the sandbox itself failed twice.

    Args:
        partial: Give the share of tests passed instead; all tests are then run.
        limits: What a program may use.
        isolation: See ``r1lit.sandbox.judge``.
        workers: Programs at a time; the number of cores if None.
        name: See ``Reward``.
        weight: See ``Reward``.
        kinds: See ``Reward``.
        tasks: See ``Reward``.
        from_step: See ``Reward``.

    Raises:
        InputError: If an argument is out of range. ``score`` raises it where no sandbox works.
    """

    def __init__(
        self,
        partial: bool = False,
        limits: Limits | None = None,
        isolation: Isolation = "auto",
        workers: int | None = None,
        name: str = "code",
        weight: float = 1.0,
        kinds: Sequence[Kind] | None = None,
        tasks: Sequence[Task] | None = ("code",),
        from_step: int = 0,
    ) -> None:
        super().__init__(name, weight=weight, kinds=kinds, tasks=tasks, from_step=from_step)
        if workers is not None and workers < 1:
            raise InputError(f"reward {name!r}: workers is {workers}; give 1 or more")
        self.partial, self.limits, self.isolation = partial, limits or Limits(), isolation
        self.concurrency = workers or cores()
        self._stop = threading.Event()

    def score(self, completions: Sequence[Completion]) -> list[Score]:
        """Judges the programs.

        Raises:
            InputError: If a prompt has no usable tests, or no sandbox works here.
        """
        choose(self.isolation)
        for completion in completions:
            read_code_tests(completion.prompt)  # before any program runs
        # One event for all of them: close breaks off those, too, that have not begun.
        judge_one = functools.partial(self._one, self._stop)
        if len(completions) < 2:
            return list(map(judge_one, completions))
        pool = ThreadPoolExecutor(min(self.concurrency, len(completions)))
        try:
            return list(pool.map(judge_one, completions))
        finally:
            pool.shutdown(cancel_futures=True)

    def verdict(self, completion: Completion) -> Verdict | None:
        """What the sandbox says of a completion's program; None if it has none.

        Raises:
            InputError: As ``score``.
            SandboxError: If the sandbox failed twice.
        """
        return self._judged(self._stop, completion)

    def _judged(self, stop: threading.Event, completion: Completion) -> Verdict | None:
        return run_program(completion, self.limits, self.isolation, stop_at_failure=not self.partial, stop=stop)

    def _one(self, stop: threading.Event, completion: Completion) -> Score:
        try:
            verdict = self._judged(stop, completion)
        except SandboxError:
            return UNSCORED
        if verdict is None:
            return 0.0
        return verdict.passed_tests / verdict.total_tests if self.partial else float(verdict.passed)

    def close(self) -> None:
        """Breaks off the judging under way; the next ``score`` starts afresh."""
        self._stop.set()
        self._stop = threading.Event()

    def __getstate__(self) -> dict[str, Any]:
        """Leaves behind what cannot be pickled."""
        return {name: value for name, value in self.__dict__.items() if name != "_stop"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Restores a pickled reward."""
        super().__setstate__(state)
        self._stop = threading.Event()
