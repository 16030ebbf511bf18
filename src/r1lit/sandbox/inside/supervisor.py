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
from collections.abc import Callable, Mapping
from typing import Any

from r1lit.sandbox.inside import candidate, confine, kernel, remote, tester, wire

_TICK_S = 0.05
_TAIL = 2000


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
        self.output, self.flooded, self._silent = bytearray(), False, False
        self.used = _reaped_cpu()
        self.began = self._looked = time.monotonic()
        self._read, write = os.pipe()
        self.pid = os.fork()
        if not self.pid:
            _become_candidate(setup, stdin, write, keep)
            action()
            os._exit(1)
        os.close(write)
        os.set_blocking(self._read, False)
        self._end = os.pidfd_open(self.pid)
        self.status: int | None = None

    def watch(self, until: float, also: int | None = None) -> str:
        """Gathers output until the process ends, breaks a limit, or ``also`` can be read.

        Returns:
            "ready", "ended", or the limit that was broken.
        """
        while True:
            watched = [self._end, *([] if self._silent else [self._read]), *([] if also is None else [also])]
            ready, _, _ = select.select(watched, [], [], self._pause(until))
            if self._read in ready and not self._drain():
                return "output limit"
            if also is not None and also in ready:
                return "ready"
            if self._end in ready:
                return "ended" if self._drain() else "output limit"
            if time.monotonic() >= until:
                return "time limit"
            if self._orders.poll(0):  # nobody is left who could give any: the judge has ended, or does not want more
                self.finish()
                os._exit(0)
            if broken := self._broken_limit():
                return broken

    def _pause(self, until: float) -> float:
        return max(0.0, min(_TICK_S, until - time.monotonic()))

    def _drain(self) -> bool:
        """Reads what is there; False if it is more than the limit."""
        limit = int(self.limits["output_kb"] * 1024)
        while len(self.output) <= limit:
            try:
                part = os.read(self._read, 1 << 16)
            except BlockingIOError:
                return True
            if not part:
                self._silent = True  # nobody can write any more, though the process may go on
                return True
            self.output += part
        del self.output[limit:]
        self.flooded = True
        return False

    def _broken_limit(self) -> str:
        """Looks at the whole tree: memory and CPU time are limited for each process by the kernel, but summed here."""
        now = time.monotonic()
        if now - self._looked < _TICK_S:
            return ""
        self._looked = now
        memory, cpu, count = _tree(self.setup["pid1"])
        if memory > self.limits["memory_mb"] * 2**20:
            return "memory limit"
        if cpu + _reaped_cpu() - self.used > self.limits["cpu_s"]:
            return "CPU time limit"
        return "process limit" if count > self.limits["processes"] else ""

    def finish(self) -> float:
        """Kills the whole tree and buries it; returns the CPU seconds it used."""
        _end_all(self.setup["pid1"], self)
        self._drain()
        os.close(self._read)
        os.close(self._end)
        return _reaped_cpu() - self.used

    def note(self, pid: int, status: int) -> None:
        """Takes the exit status of a buried process."""
        if pid == self.pid:
            self.status = os.waitstatus_to_exitcode(status)


def _become_candidate(setup: Mapping[str, Any], stdin: int, write: int, keep: int) -> None:
    """In the new process: only its own files, its own session, default signals, the limits."""
    os.setsid()
    os.dup2(stdin, 0)
    os.dup2(write, 1)
    os.dup2(write, 2)
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


def _tree(pid1: bool) -> tuple[int, float, int]:
    """Resident bytes, CPU seconds and number of the running processes."""
    found = _processes(pid1).values()
    memory = sum(int(fields[21]) for fields in found) * _PAGE
    cpu = sum(int(fields[11]) + int(fields[12]) for fields in found if fields[0] != "Z") / _HERTZ
    return memory, cpu, sum(1 for fields in found if fields[0] != "Z")


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
    ended = program.watch(program.began + setup["limits"]["wall_s"])
    wall = time.monotonic() - program.began
    cpu = program.finish()
    clean = _emptied(setup["cleared"])  # the next run is to find what the first found
    reason = "output limit" if program.flooded else _reason(ended, program)
    shown = program.output if not reason else program.output[-_TAIL:]
    return {"reason": reason, "output": shown.decode("latin-1"), "wall_s": wall, "cpu_s": cpu, "clean": clean}


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
    """Loads a program in one process and runs the tests that call it in this one."""
    ours, theirs = socket.socketpair()
    nothing = os.open("/dev/null", os.O_RDONLY)
    # In the new process the socket is the descriptor 3.
    program = Program(setup, orders, lambda: candidate.Server(3).run(text), nothing, theirs.fileno())
    theirs.close()
    os.close(nothing)
    order = wire.receive(orders)  # only now: the other process is a copy of this one before
    tester.prepare()
    spare = int((setup["limits"]["memory_mb"] + 512) * 2**20)
    resource.setrlimit(resource.RLIMIT_AS, (spare, spare))  # a test may multiply what the program returns
    patience = int(setup["limits"]["wall_s"]) + 3
    resource.setrlimit(resource.RLIMIT_CPU, (patience, patience))  # and may do it in C, which no alarm breaks off
    until = program.began + setup["limits"]["wall_s"]
    ended = ""

    def wait() -> None:
        nonlocal ended
        ended = program.watch(until, ours.fileno())
        if ended == "ended":
            raise remote.BrokenError("the program ended before the tests")
        if ended != "ready":
            raise remote.BrokenError(ended)

    link = remote.Link(ours.fileno(), wait)
    reasons = tester.run_tests(link, order["tests"], setup["limits"]["wall_s"], order["stop"])
    wall = time.monotonic() - program.began
    cpu = program.finish()
    if link.broken and program.status == -signal.SIGXCPU:
        reasons = ["CPU time limit" if reason == link.broken else reason for reason in reasons]
    return {
        "reasons": reasons,
        "output": program.output[-_TAIL:].decode("latin-1"),
        "wall_s": wall,
        "cpu_s": cpu,
    }


def main() -> None:
    """Follows the orders on standard input, one sandbox for one program."""
    orders, reports = os.dup(0), os.dup(1)
    nothing = os.open("/dev/null", os.O_RDWR)
    os.dup2(nothing, 0)
    os.dup2(nothing, 1)
    setup = wire.receive(orders)
    if setup["namespaces"]:
        confine.enter_namespaces(setup["namespaces"])
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
