"""Worker processes that can be killed: the only time limit that stops sympy, or a loop in C, for certain.

Plain subprocesses with pipes, started on first use. A ``multiprocessing`` pool with the spawn or forkserver method
would import the user's main script again in every worker (torch and Lightning included, at every restart), and fork is
not safe beside torch's threads.
"""

import atexit
import contextlib
import json
import os
import pickle
import queue
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from r1lit.errors import InputError

WorkerKind = Literal["math", "gym", "function"]
Reply = dict[str, Any]

_SCRIPT = Path(__file__).with_name("worker_main.py")
_PACKAGES = {"math": "math-verify[antlr4_13_2]", "gym": "reasoning-gym"}
_START_S = 120.0
_END_S = 5.0
_FIRST_TRY = 0.2
"""Share of a comparison's limit that its first try gets: the usual one takes hundredths of a second."""


@dataclass(frozen=True, slots=True)
class Job:
    """One comparison for a worker: which library makes it, and what it is handed."""

    kind: WorkerKind
    request: Mapping[str, Any]


class Worker:
    """One process and its child, started on first use. Serves one thread at a time.

    Args:
        kind: What it does.
        setup: Arguments of what does it; see ``worker_main``.
    """

    def __init__(self, kind: WorkerKind, setup: Mapping[str, Any] | None = None) -> None:
        self.kind, self.setup = kind, dict(setup or {})
        self._process: subprocess.Popen[bytes] | None = None
        self._child = 0
        self._unread = b""

    def ask(self, request: Any, timeout_s: float) -> Reply | None:
        """Returns the reply, or None where the child ran out of time or memory or died; another then takes its place.

        Raises:
            InputError: If what it needs cannot be imported.
        """
        message = pickle.dumps((request, timeout_s))
        try:
            process = self._process or self._start()
            self._write(process, message)
            reply = self._read(process, time.monotonic() + timeout_s)
        except TimeoutError:
            self._replace_child()
            return None
        except (BrokenPipeError, EOFError):  # killed, or closed by another thread
            self.close()
            return None
        except BaseException:  # an interrupt: the reply to this request must not be taken for the next one's
            self.close()
            raise
        if "ready" in reply:  # the child died of the request
            self._child = reply["ready"]
            return None
        if "limit" in reply:
            self._replace_child()
            return None
        return reply

    def _start(self) -> subprocess.Popen[bytes]:
        # -P keeps this folder, with names such as format.py, out of the worker's import path.
        self._process = process = subprocess.Popen(
            [sys.executable, "-P", "-W", "ignore", str(_SCRIPT), self.kind],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
        )
        self._child, self._unread = 0, b""
        try:
            self._write(process, pickle.dumps(self.setup))
            reply = self._read(process, time.monotonic() + _START_S)
        except (BrokenPipeError, EOFError, TimeoutError) as error:
            if self._process is None:  # closed by another thread
                raise EOFError from error
            raise RuntimeError(f"the {self.kind} worker did not start; its error stands above") from error
        if "missing" in reply:
            package = _PACKAGES.get(self.kind)
            wanted = f"checking answers needs {package}" if package else "a worker process cannot import the function"
            raise InputError(f"{wanted} ({reply['missing']})" + (f"; pip install '{package}'" if package else ""))
        self._child = reply["ready"]
        return process

    def _replace_child(self) -> None:
        process = self._process
        if process is None:
            return
        _kill(self._child)
        try:
            while "ready" not in (reply := self._read(process, time.monotonic() + _START_S)):
                continue  # a reply that came too late
            self._child = reply["ready"]
        except (EOFError, TimeoutError):
            self.close()

    @staticmethod
    def _write(process: subprocess.Popen[bytes], message: bytes) -> None:
        assert process.stdin is not None
        try:
            process.stdin.write(message)
            process.stdin.flush()
        except ValueError as error:  # what a closed file says
            raise EOFError from error

    def _read(self, process: subprocess.Popen[bytes], deadline: float) -> Reply:
        """Reads one JSON line; TimeoutError at the deadline, EOFError at the end of the process."""
        assert process.stdout is not None
        with selectors.DefaultSelector() as selector:
            if process.stdout.closed:
                raise EOFError
            selector.register(process.stdout, selectors.EVENT_READ)
            while True:
                line, found, rest = self._unread.partition(b"\n")
                if found:
                    self._unread = rest
                    with contextlib.suppress(ValueError):  # an empty line, or half of one
                        reply: Reply = json.loads(line)
                        return reply
                    continue
                if not selector.select(max(0.0, deadline - time.monotonic())):
                    raise TimeoutError
                chunk = os.read(process.stdout.fileno(), 1 << 16)
                if not chunk:
                    raise EOFError
                self._unread += chunk

    def close(self) -> None:
        """Ends the process and its child, if there are any, and waits for their end."""
        process, self._process = self._process, None
        if process is None:
            return
        assert process.stdin is not None
        assert process.stdout is not None
        with contextlib.suppress(BrokenPipeError):  # a request that nobody read
            process.stdin.close()
        if self._child:
            # The process then buries its child, sees that the input has ended, and ends.
            _kill(self._child)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(_END_S)
        process.kill()
        process.wait()
        process.stdout.close()


def _kill(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


class WorkerPool:
    """A few workers of one kind; only as many are started as are busy at once.

    Args:
        kind: What they do.
        size: Workers at most; as many as there are processors, up to four, if None.
        setup: See ``Worker``.
    """

    def __init__(self, kind: WorkerKind, size: int | None = None, setup: Mapping[str, Any] | None = None) -> None:
        self.size = size or min(4, os.cpu_count() or 1)
        self._workers = [Worker(kind, setup) for _ in range(self.size)]
        self._idle: queue.LifoQueue[Worker] = queue.LifoQueue()
        for worker in self._workers:
            self._idle.put(worker)
        self._closed = 0

    def run(self, requests: Sequence[Any], limits: Sequence[float]) -> list[Reply | None]:
        """Does jobs, several at a time; those that fail for time or memory are tried again after the others.

        Args:
            requests: What the workers are handed.
            limits: Wall-clock limit of each try, in seconds: as many tries as limits.

        Returns:
            The reply to each request, None where all tries failed or ``close`` was called meanwhile.
        """
        replies: list[Reply | None] = [None] * len(requests)
        closed = self._closed
        for limit in limits:
            left = [i for i, reply in enumerate(replies) if reply is None]
            if not left or self._closed != closed:
                break
            with ThreadPoolExecutor(min(self.size, len(left))) as threads:
                try:
                    found = threads.map(lambda i, s=limit: self._one(requests[i], s, closed), left)
                    for i, reply in zip(left, found, strict=True):
                        replies[i] = reply
                except BaseException:
                    self.close()  # else the jobs that are under way would have to be waited for
                    raise
        return replies

    def _one(self, request: Any, timeout_s: float, closed: int) -> Reply | None:
        worker = self._idle.get()
        try:
            reply = worker.ask(request, timeout_s) if self._closed == closed else None
            if self._closed != closed:  # between the look and the question
                worker.close()
            return reply
        finally:
            self._idle.put(worker)

    def close(self) -> None:
        """Kills all workers and breaks off what runs; the next ``run`` starts new ones."""
        self._closed += 1
        for worker in self._workers:
            worker.close()


_pools: dict[WorkerKind, WorkerPool] = {}


def run_jobs(jobs: Sequence[Job], timeout_s: float) -> list[bool | None]:
    """Runs comparisons in the process-wide pools, each distinct one once.

    The first try gets a fifth of the time, so that a hanging comparison holds up the others for little; what it was
    too short for is tried once more, with the whole time.

    Returns:
        A verdict for each job, None where it ran out of time or memory twice.

    Raises:
        InputError: If a library is not installed, or the prompt behind a job is at fault.
    """
    verdicts: list[bool | None] = [None] * len(jobs)
    for kind in dict.fromkeys(job.kind for job in jobs):
        places: dict[bytes, list[int]] = {}
        for i, job in enumerate(jobs):
            if job.kind == kind:
                places.setdefault(pickle.dumps(dict(job.request)), []).append(i)
        pool = _pools.setdefault(kind, WorkerPool(kind))
        distinct = [dict(jobs[rows[0]].request) for rows in places.values()]
        for rows, reply in zip(places.values(), pool.run(distinct, (_FIRST_TRY * timeout_s, timeout_s)), strict=True):
            if reply is not None and "bad" in reply:
                raise InputError(reply["bad"])
            for i in rows:
                verdicts[i] = None if reply is None else bool(reply["equal"])
    return verdicts


def close_pools() -> None:
    """Kills the workers of all pools; the next job starts new ones."""
    for pool in _pools.values():
        pool.close()


atexit.register(close_pools)
os.register_at_fork(after_in_child=_pools.clear)  # a forked child must not share its parent's pipes
