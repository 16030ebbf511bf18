"""Scores completions while others are still being generated (paper appendix B.1, "asynchronous scheduling").

Each reward has its own queue: one thread, or as many as its ``concurrency`` says, take what has finished. What is left
when generation ends is all that an update waits for.
"""

import logging
import threading
import time
from collections import deque
from collections.abc import Sequence
from types import TracebackType
from typing import Self

from r1lit.rewards.base import Reward, Score
from r1lit.rewards.scoring import add_up, run_reward
from r1lit.types import Completion, ScoredCompletion

NOTICE_S = 60.0
"""Seconds between notices of what a rollout waits for."""
_GRACE_S = 10.0
_GATHER_S = 0.02
"""What a single thread waits for more to take at once: each of its calls interrupts generation in the same process."""
_log = logging.getLogger(__name__)

_Chunk = list[tuple[int, Completion]]
"""Completions with their places in the order of ``Scoring.add``."""


class Scoring:
    """Scores the completions of one rollout as they come in. A context manager: leaving it ends all threads.

        with Scoring(rewards, step, group_size) as scoring:
            for completion in engine.generate(prompts, sampling):
                scoring.add(completion)
            scored = scoring.result()

    A score is the same however completions are cut into calls, if each call's scores depend on its own completions
    alone, as ``Reward.score`` demands, or on whole groups for a ``groupwise`` reward.

    Args:
        rewards: With distinct names.
        step: Policy updates done so far.
        group_size: Completions of each prompt, for rewards that need whole groups.
    """

    def __init__(self, rewards: Sequence[Reward], step: int, group_size: int = 1) -> None:
        self.rewards, self.step = rewards, step
        self._completions: list[Completion] = []
        self._queues = [_RewardQueue(reward, group_size) for reward in rewards]

    def add(self, completion: Completion) -> None:
        """Takes a completion; returns at once."""
        index = len(self._completions)
        self._completions.append(completion)
        for queue in self._queues:
            if queue.reward.applies_to(completion.prompt, self.step):
                queue.add(index, completion)

    def check(self) -> None:
        """Raises what a reward has raised meanwhile, so that a run need not generate to the end to fail."""
        for queue in self._queues:
            if queue.error is not None:
                raise queue.error

    def result(self) -> list[ScoredCompletion]:
        """Waits for what is missing.

        Returns:
            The completions with their scores, in the order of ``add``.

        Raises:
            InputError: As ``score_completions``.
            TrainingError: As ``score_completions``.
        """
        for queue in self._queues:
            queue.finish()
        for queue in self._queues:
            queue.wait()
        columns = {queue.reward.name: queue.column(len(self._completions)) for queue in self._queues}
        return add_up(self.rewards, self._completions, columns, self.step)

    def __enter__(self) -> Self:
        """Starts nothing yet: threads start with the first completion."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Ends the threads; where completions are left, breaks their scoring off by closing the rewards."""
        for queue in self._queues:
            queue.abandon()
        deadline = time.monotonic() + _GRACE_S
        for queue in self._queues:
            queue.join(deadline)


class _RewardQueue:
    """What waits for one reward, the threads that serve it, and the scores so far."""

    def __init__(self, reward: Reward, group_size: int) -> None:
        self.reward, self.group_size = reward, group_size
        self.error: BaseException | None = None
        self._changed = threading.Condition()
        self._waiting: deque[_Chunk] = deque()
        self._groups: dict[str, _Chunk] = {}
        self._under_way: list[_Chunk] = []
        self._scores: dict[int, Score] = {}
        self._threads: list[threading.Thread] = []
        self._idle = 0
        self._ended = False

    def add(self, index: int, completion: Completion) -> None:
        if not self.reward.groupwise:
            self._put([(index, completion)])
            return
        group = self._groups.setdefault(completion.prompt.id, [])
        group.append((index, completion))
        if len(group) == self.group_size:
            self._put(self._groups.pop(completion.prompt.id))

    def _put(self, chunk: _Chunk) -> None:
        with self._changed:
            if self._ended:
                return
            self._waiting.append(sorted(chunk, key=lambda entry: entry[1].sample))
            if len(self._waiting) > self._idle and len(self._threads) < self.reward.concurrency:
                name = f"r1lit-reward-{self.reward.name}-{len(self._threads)}"
                # A daemon, as a reward that never returns must not keep the process from ending.
                self._threads.append(threading.Thread(target=self._serve, name=name, daemon=True))
                self._threads[-1].start()
            self._changed.notify()

    def finish(self) -> None:
        """Says that no more completions come; scores here and now if the reward wants no thread."""
        for group in self._groups.values():  # an engine that lost completions
            self._put(group)
        self._groups.clear()
        if self.reward.concurrency == 0:
            while self._waiting and self.error is None:
                self._score_next()
            if self.error is not None:
                raise self.error
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def wait(self) -> None:
        """Waits until everything is scored, and tells the log now and then what for."""
        start = time.monotonic()
        with self._changed:
            while (self._waiting or self._under_way) and self.error is None:
                if not self._changed.wait(NOTICE_S):
                    missing = [c for chunk in (*self._under_way, *self._waiting) for _, c in chunk]
                    _log.warning(
                        "reward %r: waiting for %d completions for %.0f s; the first is prompt %r, sample %d",
                        self.reward.name, len(missing), time.monotonic() - start, missing[0].prompt.id,
                        missing[0].sample,
                    )  # fmt: skip
        if self.error is not None:
            raise self.error

    def column(self, count: int) -> list[Score]:
        return [self._scores.get(i) for i in range(count)]

    def _serve(self) -> None:
        while self._available():
            if self.reward.concurrency <= 1 and not self._ended:
                time.sleep(_GATHER_S)
            self._score_next()

    def _available(self) -> bool:
        with self._changed:
            self._idle += 1
            while not (self._waiting or self._ended):
                self._changed.wait()
            self._idle -= 1
            return bool(self._waiting)

    def _score_next(self) -> None:
        with self._changed:
            if not self._waiting:  # another thread was quicker
                return
            chunk = self._waiting.popleft()
            if self.reward.concurrency <= 1:  # all at once: cheaper than one by one
                while self._waiting:
                    chunk.extend(self._waiting.popleft())
            self._under_way.append(chunk)
        scores: list[Score] = []
        error: BaseException | None = None
        try:
            scores = run_reward(self.reward, [completion for _, completion in chunk])
        except BaseException as caught:  # raised again by the thread that waits
            error = caught
        with self._changed:
            self._under_way.remove(chunk)
            self._scores.update((index, score) for (index, _), score in zip(chunk, scores, strict=False))
            if error is not None and self.error is None:
                self.error = error
                self._waiting.clear()
                self._ended = True
            self._changed.notify_all()

    def abandon(self) -> None:
        """Drops what waits and breaks off what is under way."""
        with self._changed:
            self._ended = True
            self._waiting.clear()
            self._changed.notify_all()
            busy = bool(self._under_way)
        if busy:
            self.reward.close()

    def join(self, deadline: float) -> None:
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        if any(thread.is_alive() for thread in self._threads):
            _log.warning("reward %r does not return; its thread ends with the process", self.reward.name)
