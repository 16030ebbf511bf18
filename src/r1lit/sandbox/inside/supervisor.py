"""The sandbox's first process: starts the untrusted ones, feeds and watches them, ends them all, reports.

It takes its orders from a pipe of which the programs it starts hold no copy, and it cannot be traced, read or killed by
them. A program's tests arrive only after the program's process has split off.
"""

import os
import resource
import select
import signal
import socket
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from r1lit.sandbox.inside import candidate, confine, kernel, remote, wire
from r1lit.sandbox.inside.clock import Clock
from r1lit.sandbox.inside.trial import Tests

_TICK_S = 0.05
_TAIL = 2000
_PART = 1 << 16


class _Stream:
    """A pipe into which a program writes, seen from the reading end.

    Args:
        limit: Bytes after which the program has written too much; None keeps the end, however much is written.
    """

    def __init__(self, limit: int | None) -> None:
        self.content, self.flooded, self.ended = bytearray(), False, False
        self._limit = limit
        self.fd, self.writer = os.pipe()
        os.set_blocking(self.fd, False)

    def drain(self) -> None:
        """Reads what is there, though not for ever where something goes on writing."""
        for _ in range(64):
            if self._limit is not None and len(self.content) > self._limit:
                del self.content[self._limit :]
                self.flooded = True
                return
            try:
                part = os.read(self.fd, _PART)
            except BlockingIOError:
                return
            if not part:
                self.ended = True  # nobody can write any more, though the process may go on
                return
            self.content += part
            if self._limit is None:
                del self.content[:-_TAIL]


class Program:
    """A process of the program's and all that it starts.

    Args:
        setup: ``limits``, ``pid1``.
        orders: Where this process gets its orders from.
        action: What the new process does; it must not return.
        stdin: File that the process reads as its standard input.
        keep: A descriptor that the process keeps.
    """

    def __init__(
        self, setup: Mapping[str, Any], orders: int, action: Callable[[], None], stdin: int, keep: int = 2
    ) -> None:
        self.setup, self.limits = setup, setup["limits"]
        self._orders = select.poll()
        self._orders.register(orders, 0)  # reports nothing but the other end's closing
        self.used = _reaped_cpu()
        self.clock = Clock(self.limits["wall_s"])
        self._looked = time.monotonic()
        self.output = _Stream(int(self.limits["output_kb"] * 1024))
        self.errors = _Stream(None)
        self.pid = os.fork()
        if not self.pid:
            _become_candidate(setup, (stdin, self.output.writer, self.errors.writer), keep)
            action()
            os._exit(1)
        os.close(self.output.writer)
        os.close(self.errors.writer)
        self._end = os.pidfd_open(self.pid)
        self._gone = False
        self.tests: Tests | None = None
        """What tests it, which its limits are not for."""
        self.status: int | None = None

    def watch(self, also: int | None = None) -> str:
        """Gathers output until the process ends, breaks a limit, or ``also`` can be read.

        Returns:
            "ready", "ended", or the limit that was broken.
        """
        while True:
            streams = {stream.fd: stream for stream in (self.output, self.errors) if not stream.ended}
            watched = [*([] if self._gone else [self._end]), *streams, *([] if also is None else [also])]
            pause = max(0.0, min(_TICK_S, self.clock.left_s))
            ready, _, _ = select.select(watched, [], [], pause)
            for fd in streams.keys() & set(ready):
                streams[fd].drain()
            if self.output.flooded:
                return "output limit"
            if also is not None and also in ready:
                return self._broken_limit() or "ready"
            if self._end in ready:
                self._gone = True
                self._drain()
                return "output limit" if self.output.flooded else "ended"
            if self._orders.poll(0):  # nobody is left who could give any: the judge has ended, or does not want more
                self.finish()
                os._exit(0)
            if broken := self._broken_limit():
                return broken

    def _drain(self) -> None:
        for stream in (self.output, self.errors):
            stream.drain()

    def _broken_limit(self) -> str:
        """Looks at the whole tree: memory and CPU time are limited for each process by the kernel, but summed here."""
        now = time.monotonic()
        if now - self._looked < _TICK_S and self.clock.left_s > 0:
            return ""
        self._looked = now
        found = _processes(self.setup["pid1"])
        self.clock.look(found)
        if self.clock.left_s <= 0:
            return "time limit"
        if self.tests is not None:
            found.pop(self.tests.pid, None)
        memory, cpu, count = _sums(found)
        if self.setup["pid1"]:
            memory += _held(self.setup["cleared"])
        if memory > self.limits["memory_mb"] * 2**20:
            return "memory limit"
        if cpu + _reaped_cpu() - self.used > self.limits["cpu_s"]:
            return "CPU time limit"
        return "process limit" if count > self.limits["processes"] else ""

    def finish(self) -> float:
        """Kills the whole tree and buries it; returns the CPU seconds it used."""
        _end_all(self.setup["pid1"], self)
        self._drain()
        for fd in (self.output.fd, self.errors.fd, self._end):
            os.close(fd)
        return _reaped_cpu() - self.used

    def end_all_but(self, spared: int) -> None:
        """Kills all that is left of the tree but one process; buries none."""
        for pid in _processes(self.setup["pid1"]):
            if pid != spared:
                _kill(pid)

    def note(self, pid: int, status: int) -> None:
        """Takes the exit status of a buried process."""
        if pid == self.pid:
            self.status = os.waitstatus_to_exitcode(status)
        elif self.tests is not None and pid == self.tests.pid:
            self.tests.status = os.waitstatus_to_exitcode(status)


def _become_candidate(setup: Mapping[str, Any], streams: Sequence[int], keep: int) -> None:
    """In the new process: only its own files, its own session, default signals, the limits."""
    os.setsid()
    for standard, fd in enumerate(streams):
        os.dup2(fd, standard)
    kept = 2
    if keep > 2:
        kept = os.dup2(keep, 3)
    os.closerange(kept + 1, 1 << 16)
    for number in (signal.SIGHUP, signal.SIGTERM, signal.SIGQUIT, signal.SIGUSR1, signal.SIGALRM):
        signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if sys.platform == "linux":
        kernel.die_with_parent()
    os.chdir(setup["folder"])
    confine.set_limits(setup["limits"], setup["count_processes"])
    if setup["pid1"]:
        kernel.filter_system_calls()
    sys.set_int_max_str_digits(0)


def _reaped_cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


_PAGE = resource.getpagesize()
_HERTZ = os.sysconf("SC_CLK_TCK")


def _processes(pid1: bool) -> dict[int, list[str]]:
    """The fields of /proc/PID/stat from the third on, of all processes below this one."""
    found: dict[int, list[str]] = {}
    if not os.path.isdir("/proc"):
        return found
    for name in os.listdir("/proc"):
        if name.isdigit() and int(name) != os.getpid():
            try:
                with open(f"/proc/{name}/stat", errors="replace") as file:
                    found[int(name)] = file.read().rpartition(")")[2].split()
            except OSError:
                continue  # it has ended meanwhile
    if pid1:
        return found
    below = {os.getpid()}
    while new := {pid for pid, fields in found.items() if int(fields[1]) in below} - below:
        below |= new
    return {pid: fields for pid, fields in found.items() if pid in below}


def _sums(found: Mapping[int, list[str]]) -> tuple[int, float, int]:
    """Bytes of their own that processes have resident, CPU seconds, and number of the running among them.

    What is resident of files is not counted here: it is the system's, or that of a folder that is counted as a whole.
    """
    memory = sum(map(_own_pages, found)) * _PAGE
    running = [fields for fields in found.values() if fields[0] != "Z"]
    cpu = sum(int(fields[11]) + int(fields[12]) for fields in running) / _HERTZ
    return memory, cpu, len(running)


def _own_pages(pid: int) -> int:
    try:
        with open(f"/proc/{pid}/statm") as file:
            _, resident, shared, *_ = map(int, file.read().split())
    except (OSError, ValueError):
        return 0  # it has ended meanwhile
    return resident - shared


_INODE = 1024
"""Bytes of the kernel's that a file costs, about, however little is in it."""
_SOCKET = 2 * 212992
"""Bytes that may wait in a socket, both ways."""


def _held(folders: Sequence[str]) -> int:
    """Bytes that no process has resident: files in memory, also deleted ones, and what may wait in sockets."""
    held = 0
    for folder in folders:
        found = os.statvfs(folder)
        held += (found.f_blocks - found.f_bfree) * found.f_frsize + (found.f_files - found.f_ffree) * _INODE
    try:
        with open("/proc/self/net/sockstat") as file:
            used = int(file.readline().split()[2])  # sockets: used N
    except (OSError, ValueError, IndexError):
        used = 0
    return held + used * _SOCKET


def _end_all(pid1: bool, program: Program) -> None:
    """Kills until there is nothing left to bury.

    The first process of a namespace is the parent of all that lose theirs, so none gets away; elsewhere this process
    is made the reaper of its descendants where the system can.
    """
    while True:
        if pid1:
            _kill(-1)  # everything but the sender
        else:
            _kill(-program.pid)
            for pid in _processes(pid1):
                _kill(pid)
        try:
            pid, status = os.waitpid(-1, 0)
            while pid:
                program.note(pid, status)
                pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return


def _kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        return


def _emptied(folders: list[str]) -> bool:
    """Deletes what a program left in folders; False if it made that impossible."""
    try:
        for folder in folders:
            _empty(folder)
    except (OSError, RecursionError):
        return False
    return True


def _empty(folder: str) -> None:
    for entry in os.scandir(folder):
        if entry.is_dir(follow_symlinks=False):
            os.chmod(entry.path, 0o700)
            _empty(entry.path)
            os.rmdir(entry.path)
        else:
            os.unlink(entry.path)


def _reason(ended: str, program: Program) -> str:
    if ended != "ended":
        return ended
    if program.status == -signal.SIGXCPU:
        return "CPU time limit"
    if program.status:
        what = f"exit status {program.status}"
        return what if program.status > 0 else f"killed by signal {-program.status}"
    return ""


def run_script(setup: Mapping[str, Any], orders: int, text: str, stdin: str) -> dict[str, Any]:
    """Runs a program once with an input; what it printed goes back, to be compared outside."""
    file = _input(stdin.encode("utf-8", "surrogateescape"))
    program = Program(setup, orders, lambda: candidate.run_script(text), file)
    os.close(file)
    ended = program.watch()
    wall = program.clock.wall_s
    cpu = program.finish()
    clean = _emptied(setup["cleared"])  # the next run is to find what the first found
    reason = "output limit" if program.output.flooded else _reason(ended, program)
    output = program.output.content if not reason else program.output.content[-_TAIL:]
    return {"reason": reason, "clean": clean, **_report(output, program, wall, cpu)}


def _report(output: bytearray, program: Program, wall_s: float, cpu_s: float) -> dict[str, Any]:
    """What is told of every program; a character stands for each byte."""
    errors = program.errors.content
    return {"output": output.decode("latin-1"), "errors": errors.decode("latin-1"), "wall_s": wall_s, "cpu_s": cpu_s}


def _input(content: bytes) -> int:
    """A file without a name that holds the input."""
    if hasattr(os, "memfd_create"):
        fd = os.memfd_create("stdin")
    else:
        import tempfile

        with tempfile.TemporaryFile() as file:
            fd = os.dup(file.fileno())
    rest = memoryview(content)
    while rest:
        rest = rest[os.write(fd, rest) :]
    os.lseek(fd, 0, os.SEEK_SET)
    return fd


def run_calls(setup: Mapping[str, Any], orders: int, text: str) -> dict[str, Any]:
    """Loads a program in one process and runs the tests that call it in another."""
    ours, theirs = socket.socketpair()
    nothing = os.open("/dev/null", os.O_RDONLY)
    # In the new process the socket is the descriptor 3.
    program = Program(setup, orders, lambda: candidate.Server(3).run(text), nothing, theirs.fileno())
    theirs.close()
    os.close(nothing)
    order = wire.receive(orders)  # only now: the other process is a copy of this one before
    tests = Tests(setup["limits"], ours.fileno(), order)
    ours.close()
    ended = tests.follow(program)
    wall = program.clock.wall_s
    cpu = program.finish()
    if tests.status == -signal.SIGXCPU:
        ended = "CPU time limit"
    elif not ended and not tests.done:
        ended = "the test ended the process that it ran in"
    reasons = tests.reasons
    if program.status == -signal.SIGXCPU:
        reasons = ["CPU time limit" if reason == remote.ENDED else reason for reason in reasons]
    if ended:
        reasons += [ended] * (1 if order["stop"] else len(order["tests"]) - len(reasons))
    return {"reasons": reasons, **_report(program.output.content[-_TAIL:], program, wall, cpu)}


def main() -> None:
    """Follows the orders on standard input, one sandbox for one program."""
    orders, reports = os.dup(0), os.dup(1)
    nothing = os.open("/dev/null", os.O_RDWR)
    os.dup2(nothing, 0)
    os.dup2(nothing, 1)
    setup = wire.receive(orders)
    if setup["namespaces"]:
        confine.enter_namespaces(setup["namespaces"])
        sys.path_importer_cache.clear()  # folders that were not there before
    if setup["pid1"]:
        if os.getpid() != 1:
            raise OSError("not the first process of a namespace")
        confine.drop_privileges(setup["user"])
    else:
        confine.harden()
        if sys.platform == "linux":
            kernel.prctl(kernel.PR_SET_CHILD_SUBREAPER, 1)
    wire.send(reports, {"ready": True})
    try:
        while True:
            order = wire.receive(orders)
            if order["do"] == "script":
                report = run_script(setup, orders, order["program"], order["stdin"])
            else:
                report = run_calls(setup, orders, order["program"])
            wire.send(reports, report)
    except wire.ClosedError:
        return
