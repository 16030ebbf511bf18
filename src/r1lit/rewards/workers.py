"""Worker processes that can be killed: the only time limit that stops sympy for certain.

Plain subprocesses with pipes, started on first use. A ``multiprocessing`` pool with the spawn or forkserver method
would import the user's main script again in every worker (torch and Lightning included, at every restart), and fork is
not safe beside torch's threads.
"""

import atexit
import json
import os
import pickle
import queue
import selectors
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Literal

from r1lit.errors import InputError

WorkerKind = Literal["math", "gym"]

_SCRIPT = Path(__file__).with_name("worker_main.py")
_PACKAGES = {"math": "math-verify[antlr4_13_2]", "gym": "reasoning-gym"}
_START_S = 120.0
_TRIES = 2


@dataclass(frozen=True, slots=True)
class Job:
    """One comparison for a worker: which library makes it, and what it is handed."""

    kind: WorkerKind
    request: Mapping[str, Any]


class Worker:
    """One process, started on first use and again after it was killed. Serves one thread at a time."""

    def __init__(self, kind: WorkerKind) -> None:
        self.kind = kind
        self._process: subprocess.Popen[bytes] | None = None

    def ask(self, request: Mapping[str, Any], timeout_s: float) -> bool | None:
        """Returns the verdict, or None where the worker ran out of time or memory or died; it is then gone.

        Raises:
            InputError: If the library that it needs is not installed, or the prompt behind the request is at fault.
        """
        message = pickle.dumps((dict(request), timeout_s))
        try:
            process = self._process or self._start()
            assert process.stdin is not None
            process.stdin.write(message)
            process.stdin.flush()
            reply = _read(process, time.monotonic() + timeout_s)
        except (BrokenPipeError, EOFError, TimeoutError):
            self.close()
            return None
        except BaseException:  # an interrupt: the reply to this request must not be taken for the next one's
            self.close()
            raise
        if "limit" in reply:
            self.close()
            return None
        if "bad" in reply:
            raise InputError(reply["bad"])
        return bool(reply["equal"])

    def _start(self) -> subprocess.Popen[bytes]:
        # -P keeps this folder, with names such as format.py, out of the worker's import path.
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-W", "ignore", str(_SCRIPT), self.kind],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
        )
        try:
            reply = _read(self._process, time.monotonic() + _START_S)
        except (EOFError, TimeoutError) as error:
            raise RuntimeError(f"the {self.kind} worker did not start; its error stands above") from error
        if "missing" in reply:
            package = _PACKAGES[self.kind]
            raise InputError(f"checking answers needs {package} ({reply['missing']}); pip install '{package}'")
        return self._process

    def close(self) -> None:
        """Kills the process, if there is one, and waits for its end."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait()
            for pipe in (process.stdin, process.stdout):
                if pipe is not None:
                    _close_pipe(pipe)


def _close_pipe(pipe: IO[bytes]) -> None:
    try:
        pipe.close()
    except BrokenPipeError:  # a request that the dead worker never read
        return


def _read(process: subprocess.Popen[bytes], deadline: float) -> dict[str, Any]:
    """Reads one JSON line; TimeoutError at the deadline, EOFError at the end of the process."""
    assert process.stdout is not None
    line = b""
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        while not line.endswith(b"\n"):
            if not selector.select(max(0.0, deadline - time.monotonic())):
                raise TimeoutError
            chunk = os.read(process.stdout.fileno(), 1 << 16)
            if not chunk:
                raise EOFError
            line += chunk
    reply: dict[str, Any] = json.loads(line)
    return reply


class WorkerPool:
    """A few workers of one kind; only as many are started as are busy at once."""

    def __init__(self, kind: WorkerKind, size: int | None = None) -> None:
        self.size = size or min(4, os.cpu_count() or 1)
        self._workers = [Worker(kind) for _ in range(self.size)]
        self._idle: queue.LifoQueue[Worker] = queue.LifoQueue()
        for worker in self._workers:
            self._idle.put(worker)

    def run(self, requests: Sequence[Mapping[str, Any]], timeout_s: float) -> list[bool | None]:
        """Runs comparisons, several at a time; one that fails for time or memory is tried once more.

        Args:
            requests: What the workers are handed.
            timeout_s: Wall-clock limit of each try, in seconds.

        Returns:
            A verdict for each request, None where both tries failed.
        """
        if not requests:
            return []
        with ThreadPoolExecutor(min(self.size, len(requests))) as threads:
            return list(threads.map(lambda request: self._one(request, timeout_s), requests))

    def _one(self, request: Mapping[str, Any], timeout_s: float) -> bool | None:
        worker = self._idle.get()
        try:
            for _ in range(_TRIES):
                verdict = worker.ask(request, timeout_s)
                if verdict is not None:
                    return verdict
            return None
        finally:
            self._idle.put(worker)

    def close(self) -> None:
        """Kills all workers; the next ``run`` starts new ones."""
        for worker in self._workers:
            worker.close()


_pools: dict[WorkerKind, WorkerPool] = {}


def run_jobs(jobs: Sequence[Job], timeout_s: float) -> list[bool | None]:
    """Runs comparisons in the process-wide pools, each distinct one once.

    Returns:
        A verdict for each job, None where it ran out of time or memory twice.
    """
    verdicts: list[bool | None] = [None] * len(jobs)
    for kind in dict.fromkeys(job.kind for job in jobs):
        places: dict[bytes, list[int]] = {}
        for i, job in enumerate(jobs):
            if job.kind == kind:
                places.setdefault(pickle.dumps(dict(job.request)), []).append(i)
        pool = _pools.setdefault(kind, WorkerPool(kind))
        distinct = [jobs[rows[0]].request for rows in places.values()]
        for rows, verdict in zip(places.values(), pool.run(distinct, timeout_s), strict=True):
            for i in rows:
                verdicts[i] = verdict
    return verdicts


def close_pools() -> None:
    """Kills the workers of all pools; the next job starts new ones."""
    for pool in _pools.values():
        pool.close()


atexit.register(close_pools)
os.register_at_fork(after_in_child=_pools.clear)  # a forked child must not share its parent's pipes
