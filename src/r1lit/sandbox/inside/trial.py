"""The process that tests run in, seen from the supervisor."""

import fcntl
import json
import os
import resource
import sys
from collections.abc import Mapping
from typing import Any, NoReturn, Protocol

from r1lit.sandbox.inside import kernel, remote, tester

_PART = 1 << 16


class Watched(Protocol):
    """What is watched while tests run: the program's processes."""

    tests: "Tests | None"

    def watch(self, also: int | None = None) -> str:
        """Waits for the program's end, a limit, or something to read."""

    def end_all_but(self, spared: int) -> None:
        """Kills the program's processes but one."""


class Tests:
    """The process that tests run in: a test may hang or blow up, and then that process is ended and not the sandbox.

    It is trusted, and shares nothing with the program but the socket between them.

    Args:
        limits: The fields of ``Limits``: one test process may use as much processor time as the program, and 512 MiB
            more memory, as a test may multiply what the program returns.
        link: The socket to the program.
        order: ``tests`` and ``stop``.
    """

    def __init__(self, limits: Mapping[str, float], link: int, order: Mapping[str, Any]) -> None:
        self.reasons: list[str] = []
        """Of the tests that are through."""
        self.done = False
        """Whether all are that were to be run."""
        self.status: int | None = None
        self._unread = b""
        self._fd, writer = os.pipe()
        self.pid = os.fork()
        if not self.pid:
            _run_tests(limits, link, writer, order)
        os.close(writer)
        os.set_blocking(self._fd, False)

    def follow(self, program: Watched) -> str:
        """Waits until the tests are through or their process has ended; the limit that was broken before, if any."""
        program.tests = self
        while not self.done:
            ended = program.watch(self._fd)
            if ended == "ready":
                if not self._read():
                    break
            elif ended == "ended":
                program.end_all_but(self.pid)  # what it has started would keep the line open
            else:
                return ended
        return ""

    def _read(self) -> bool:
        """Takes what the tests report; False if they can report no more."""
        try:
            part = os.read(self._fd, _PART)
        except BlockingIOError:
            return True
        self._unread += part
        *lines, self._unread = self._unread.split(b"\n")
        for line in lines:
            reason = json.loads(line)
            if reason is None:
                self.done = True
            else:
                self.reasons.append(reason)
        return bool(part)


def _run_tests(limits: Mapping[str, float], link: int, reports: int, order: Mapping[str, Any]) -> NoReturn:
    """In the new process: runs the tests, and tells of each."""
    try:
        fds = [fcntl.fcntl(fd, fcntl.F_DUPFD, 64) for fd in (link, reports)]
        os.closerange(3, 64)
        os.closerange(max(fds) + 1, 1 << 16)
        if sys.platform == "linux":
            kernel.die_with_parent()
        spare = int((limits["memory_mb"] + 512) * 2**20)
        resource.setrlimit(resource.RLIMIT_AS, (spare, spare))
        patience = -int(-limits["cpu_s"] // 1)
        resource.setrlimit(resource.RLIMIT_CPU, (patience, patience + 1))

        def report(reason: str | None) -> None:
            os.write(fds[1], json.dumps(reason).encode() + b"\n")

        tester.run_tests(remote.Link(fds[0]), order["tests"], order["stop"], report)
        report(None)
    finally:
        os._exit(0)
