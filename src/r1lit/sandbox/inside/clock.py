"""The clock of a run: wall-clock time, less the time in which the run was ready and the machine gave it no core."""

import os
import time
from collections.abc import Iterable

_WAIT = 1
"""The field of ``/proc/PID/task/TID/schedstat`` that holds the nanoseconds spent waiting for a core."""


def longest_s(wall_s: float) -> float:
    """Seconds of real time after which a run is over in any case, however busy the machine: ten times its limit."""
    return 10 * wall_s + 60


class Clock:
    """Counts towards the wall limit of one run; starts when it is made.

    A program that computes for one second needs ten seconds of real time where nine others want the same core. That is
    no fault of the program, whose processor time is limited anyway; the wall limit is for programs that sleep or hang.
    So the time that its threads spend in the queue for a core is not counted. Where the kernel does not report it
    (``schedstat`` is Linux's), all time counts.

    Args:
        limit_s: The wall limit.
    """

    def __init__(self, limit_s: float) -> None:
        self.limit_s = limit_s
        self.began = time.monotonic()
        self._seen: dict[tuple[int, str], int] = {}
        self._looks = False
        self._spells: list[tuple[float, float]] = []
        """When some thread waited: from, to. They are in order and do not overlap."""
        self.look([os.getpid()])  # which has waited before, too
        self._spells.clear()

    @property
    def wall_s(self) -> float:
        """Real seconds so far."""
        return time.monotonic() - self.began

    @property
    def left_s(self) -> float:
        """Seconds until the limit is reached, as far as is known since the last :meth:`look`; negative after it."""
        wall = self.wall_s
        return min(self.limit_s - (wall - self._waited_s()), longest_s(self.limit_s) - wall)

    def look(self, pids: Iterable[int]) -> None:
        """Reads how long the threads of processes have waited since the last look.

        Threads wait at the same time, so what counts is the time in which any of them did. How long one has waited
        is known only when it has got its core, so it is taken to have waited until now.
        """
        if self._looks:  # an alarm has interrupted it
            return
        self._looks = True
        try:
            longest = 0
            for pid in pids:
                for thread in _threads(pid):
                    waited = _waited_ns(pid, thread)
                    longest = max(longest, waited - self._seen.get((pid, thread), 0))
                    self._seen[pid, thread] = waited
            self._note(longest / 1e9)
        finally:
            self._looks = False

    def _note(self, waited_s: float) -> None:
        now = time.monotonic()
        since = max(self.began, now - waited_s)
        self._spells = [(start, min(end, since)) for start, end in self._spells if start < since]
        if since < now:
            self._spells.append((since, now))

    def _waited_s(self) -> float:
        return sum(end - start for start, end in self._spells)


def _threads(pid: int) -> list[str]:
    try:
        return os.listdir(f"/proc/{pid}/task")
    except OSError:
        return []  # it has ended, or there is no /proc


def _waited_ns(pid: int, thread: str) -> int:
    try:
        with open(f"/proc/{pid}/task/{thread}/schedstat") as file:
            return int(file.read().split()[_WAIT])
    except (OSError, ValueError, IndexError):
        return 0
