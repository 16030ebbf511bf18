"""One running sandbox, seen from outside: it is handed orders one by one and reports on each."""

import contextlib
import json
import os
import selectors
import shutil
import struct
import subprocess
import tempfile
import threading
import time
from collections.abc import Sequence
from types import TracebackType
from typing import Any

from r1lit.sandbox import backends
from r1lit.sandbox.inside import wire
from r1lit.sandbox.inside.clock import longest_s
from r1lit.sandbox.types import Limits, SandboxError

_START_S = 60.0
_LOOK_S = 0.2
_GRACE_S = 20.0
"""Seconds after a time limit within which the supervisor must have reported, on a machine that is overloaded."""


class BrokenSandboxError(SandboxError):
    """The sandbox had started, and failed while a program ran in it."""


class Session:
    """A sandbox for the runs of one program; a context manager, at whose end nothing is left running.

    The thread that enters it must stay alive until it has left it: the kernel takes its end for the caller's.

    Args:
        backend: How it is isolated.
        limits: What each run may use.
        stop: Breaks off what runs when it is set.

    Raises:
        SandboxError: If it does not start.
    """

    def __init__(self, backend: backends.Backend, limits: Limits, stop: threading.Event | None = None) -> None:
        self.backend, self.limits, self._stop = backend, limits, stop
        self._unread = b""

    def __enter__(self) -> "Session":
        """Starts it."""
        start = backends.start(self.backend, self.limits)
        self._folder = start.folder
        self._errors = tempfile.TemporaryFile()
        try:
            self._process = subprocess.Popen(
                start.command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._errors,
                env=start.environment,
                cwd="/",
                start_new_session=True,
                bufsize=0,
            )
        except OSError as error:
            self._errors.close()
            raise SandboxError(f"the sandbox does not start ({error})") from error
        try:
            self._exchange(backends.payload() + wire.pack(start.setup), _START_S)
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Ends it: its first process goes with this one's child, and takes the rest along."""
        process = self._process
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.close()
        if self.backend == "plain":  # nothing but the supervisor could end what it has started
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(_GRACE_S)
        process.kill()
        # The pipe is held by all trusted processes inside: its end is theirs.
        with selectors.DefaultSelector() as selector:
            selector.register(process.stdout, selectors.EVENT_READ)
            until = time.monotonic() + _GRACE_S
            while selector.select(max(0.0, until - time.monotonic())) and process.stdout.read(1 << 20):
                continue
        process.wait()
        process.stdout.close()
        self._errors.close()
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)

    def run_script(self, program: str, stdin: str) -> dict[str, Any]:
        """Runs a program once.

        Returns:
            ``reason`` ("" if it ended well), ``output`` (a character for each byte), ``errors`` (the end of them),
            ``wall_s``, ``cpu_s``, and whether the sandbox is ``clean`` enough for another run.

        Raises:
            BrokenSandboxError: If the sandbox failed.
        """
        return self._run(wire.pack({"do": "script", "program": program, "stdin": stdin}))

    def run_calls(self, program: str, tests: Sequence[dict[str, Any]], stop: bool) -> dict[str, Any]:
        """Loads a program and runs tests that call it.

        Returns:
            ``reasons`` ("" for a test that passed), ``output``, ``errors``, ``wall_s``, ``cpu_s``.

        Raises:
            BrokenSandboxError: If the sandbox failed.
        """
        order, given = {"do": "calls", "program": program}, {"tests": list(tests), "stop": stop}
        return self._run(wire.pack(order) + wire.pack(given))

    def _run(self, message: bytes) -> dict[str, Any]:
        try:
            return self._exchange(message, longest_s(self.limits.wall_limit_s) + _GRACE_S)
        except SandboxError as error:
            raise BrokenSandboxError(str(error)) from error

    def _exchange(self, message: bytes, seconds: float) -> dict[str, Any]:
        """Writes a message and reads the answer to it."""
        process = self._process
        assert process.stdin is not None
        assert process.stdout is not None
        until, rest = time.monotonic() + seconds, memoryview(message)
        os.set_blocking(process.stdin.fileno(), False)
        with selectors.DefaultSelector() as selector:
            selector.register(process.stdout, selectors.EVENT_READ)
            selector.register(process.stdin, selectors.EVENT_WRITE)
            while True:
                ready = selector.select(max(0.0, min(_LOOK_S, until - time.monotonic())))
                if self._stop is not None and self._stop.is_set():
                    raise SandboxError("judging was broken off")
                if not ready and time.monotonic() >= until:
                    raise SandboxError(f"the sandbox has not answered for {seconds:.0f} s")
                for key, _ in ready:
                    if key.fileobj is process.stdin:
                        try:
                            rest = rest[os.write(key.fd, rest[: 1 << 16]) :]
                        except BrokenPipeError:
                            rest = rest[:0]
                        if not rest:
                            selector.unregister(process.stdin)
                        continue
                    part = os.read(key.fd, 1 << 20)
                    if not part:
                        raise SandboxError(self._last_words())
                    self._unread += part
                if (answer := self._frame()) is not None:
                    return answer

    def _frame(self) -> dict[str, Any] | None:
        if len(self._unread) < 4:
            return None
        (length,) = struct.unpack("<I", self._unread[:4])
        if len(self._unread) < 4 + length:
            return None
        body, self._unread = self._unread[4 : 4 + length], self._unread[4 + length :]
        answer: dict[str, Any] = json.loads(body)
        return answer

    def _last_words(self) -> str:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(5)
        self._errors.seek(0)
        lines = self._errors.read()[-2000:].decode(errors="replace").strip().splitlines()
        return f"the sandbox ended ({lines[-1] if lines else f'status {self._process.returncode}'})"
