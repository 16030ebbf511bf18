"""Judges programs: runs them in sandboxes and says whether their tests pass."""

import os
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from typing import Any

from r1lit.errors import InputError
from r1lit.sandbox.backends import Backend, choose
from r1lit.sandbox.compare import accepts
from r1lit.sandbox.inside import wire
from r1lit.sandbox.names import names_of
from r1lit.sandbox.session import BrokenSandboxError, Session
from r1lit.sandbox.starters import with_presupposed
from r1lit.sandbox.types import AssertTest, CallTest, IOTest, Isolation, Job, Limits, SandboxError, Test, Verdict

_TAIL = 2000


def cores() -> int:
    """The processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def judge(
    program: str,
    tests: Test | Sequence[Test],
    limits: Limits | None = None,
    *,
    isolation: Isolation = "auto",
    stop_at_failure: bool = True,
    stop: threading.Event | None = None,
) -> Verdict:
    """Runs a Python program that nobody trusts against tests.

    What a program can see and do: it has Python's standard library, an empty /tmp of its own and the limits. It has no
    network, and no sockets but Unix ones, sees no other processes, no home and no project, and can write nowhere else.
    It has no memory that no process is charged for, such as shared pages without a file. With ``IOTest`` it runs as a
    script, once for each input, and its output is compared outside the sandbox, where the expected one stays. With
    ``AssertTest`` and ``CallTest`` it is loaded once, as a module that is not ``__main__``, in one process, while the
    tests run in another process of the sandbox: its functions are called over a socket, and results come back as new
    values of plain types (numbers, strings, lists, tuples, dicts, sets, bytes, Decimal, Fraction...). So a program
    that ends early, prints "passed", replaces ``assert``, ``check`` or ``abs``, returns objects that equal everything,
    or looks through its memory for the answers, gains nothing.

    Objects of other classes stay in the program's process, and a test holds stand-ins for them: it can call them, use
    their attributes, items, operators, ``with``, ``await``, catch the program's exceptions by their class, and derive
    classes from the program's. A stand-in and a plain value are never equal and have no order, and an operator between
    them must give an object again, which makes no number (``inside.standins`` has the rule): what an object claims of
    the expected value counts for nothing.

    What remains: a test that hands an expected value to the program gives it away, and so does a test that asks the
    program itself whether a result is right (``result.is_correct()``, or ``==`` between two objects of the program's).
    Inside tests, ``match`` with class patterns, ``inspect`` and ``dataclasses.asdict`` do not know stand-ins, and a
    program's coroutine runs to its end when it is awaited. A program can do different things in different calls, and
    can time them. The kernel itself is not shielded but by namespaces, dropped rights and a list of denied system
    calls: for adversaries with kernel exploits a virtual machine is the right tool.

    Args:
        program: Python source.
        tests: Of one kind: ``IOTest``, or ``AssertTest`` and ``CallTest``.
        limits: The default limits if None.
        isolation: "bubblewrap", "namespaces", or "auto" for the first of these two that works; "plain" for a mere
            subprocess with resource limits, which hides nothing, and from which a program can do what its user can.
        stop_at_failure: Whether to leave out the tests after the first that fails.
        stop: Breaks judging off when it is set, with a SandboxError.

    Returns:
        The verdict. A program at fault, by time or memory too, has failed; so has one under which the sandbox breaks
        twice, while it holds under another program.

    Raises:
        InputError: If no isolation works here, or the tests are none, of both kinds, or unclear (see ``AssertTest``).
        SandboxError: If the sandbox failed twice for reasons of its own.
    """
    backend = choose(isolation)
    wanted = [tests] if isinstance(tests, IOTest | AssertTest | CallTest) else list(tests)
    if not wanted:
        raise InputError("a program without tests cannot be judged; give at least one")
    run = _runner(wanted)
    if "\0" in program:
        return Verdict(False, "the program contains null bytes", 0, len(wanted), "", 0.0, 0.0, backend)
    program = program.encode("utf-8", "replace").decode()
    limits, where = limits or Limits(), Where(backend, stop)
    began = time.monotonic()
    try:
        return run(program, wanted, limits, where, stop_at_failure)
    except SandboxError:
        if stop is not None and stop.is_set():
            raise
    try:
        return run(program, wanted, limits, where, stop_at_failure)
    except BrokenSandboxError as error:
        if (stop is not None and stop.is_set()) or not _holds(where):
            raise
        reason = f"the program broke the sandbox: {error}"
        return Verdict(False, reason, 0, len(wanted), "", time.monotonic() - began, 0.0, backend)


def _holds(where: "Where") -> bool:
    """Whether a program that does nothing passes here, so that a sandbox that broke was broken by what ran in it."""
    try:
        with Session(where.backend, Limits(), where.stop) as session:
            return not session.run_script("", "")["reason"]
    except SandboxError:
        return False


def judge_all(
    jobs: Iterable[Job],
    limits: Limits | None = None,
    *,
    isolation: Isolation = "auto",
    stop_at_failure: bool = True,
    workers: int | None = None,
) -> list[Verdict]:
    """Judges many programs, as many at a time as there are cores.

    Args:
        jobs: Programs with their tests.
        limits: Limits of the jobs that have none of their own.
        isolation: See ``judge``.
        stop_at_failure: See ``judge``.
        workers: How many at a time; the number of cores if None.

    Returns:
        A verdict for each job, in order.

    Raises:
        InputError: As ``judge``.
        SandboxError: As ``judge``.
    """

    def one(job: Job) -> Verdict:
        return judge(job.program, job.tests, job.limits or limits, isolation=isolation, stop_at_failure=stop_at_failure)

    choose(isolation)
    pool = ThreadPoolExecutor(workers or cores())
    try:
        return list(pool.map(one, jobs))
    finally:
        pool.shutdown(cancel_futures=True)


@dataclass(frozen=True, slots=True)
class Where:
    """Where programs run, and what breaks that off."""

    backend: Backend
    stop: threading.Event | None


_Runner = Callable[[str, list[Any], Limits, Where, bool], Verdict]


def _runner(tests: Sequence[Test]) -> _Runner:
    kinds = {isinstance(test, IOTest) for test in tests}
    if len(kinds) > 1:
        raise InputError("tests by input and output and tests by calls are mixed; judge the program twice")
    return _judge_script if kinds.pop() else _judge_calls


def _judge_script(program: str, tests: list[IOTest], limits: Limits, where: Where, stop: bool) -> Verdict:
    reasons: list[str] = []
    outputs: list[str] = []
    wall = cpu = 0.0
    session: Session | None = None
    try:
        for test in tests:
            if session is None:
                session = Session(where.backend, limits, where.stop).__enter__()
            report = session.run_script(program, test.stdin)
            right = not report["reason"] and accepts(test, report["output"].encode("latin-1"))
            reasons.append(report["reason"] or ("" if right else "wrong output"))
            outputs.append(_printed(report))
            wall, cpu = wall + report["wall_s"], cpu + report["cpu_s"]
            if stop and reasons[-1]:
                break
            if not report["clean"]:
                session.__exit__(None, None, None)
                session = None
    finally:
        if session is not None:
            session.__exit__(None, None, None)
    return _verdict(reasons, outputs, len(tests), wall, cpu, where.backend)


def _judge_calls(program: str, tests: list[AssertTest | CallTest], limits: Limits, where: Where, stop: bool) -> Verdict:
    messages = [_message(test) for test in tests]
    if any(isinstance(test, CallTest) for test in tests):
        program = with_presupposed(program)
    with Session(where.backend, limits, where.stop) as session:
        began = time.monotonic()
        try:
            report = session.run_calls(program, messages, stop)
        except SandboxError:
            wall = time.monotonic() - began
            if wall < limits.wall_limit_s or (where.stop is not None and where.stop.is_set()):
                raise
            # Tests run inside as well: one that does something endless with a result takes the sandbox down.
            return _verdict(["time limit"], [""], len(tests), wall, wall, where.backend)
    reasons = report["reasons"]
    outputs = [_printed(report)] * len(reasons)
    return _verdict(reasons, outputs, len(tests), report["wall_s"], report["cpu_s"], where.backend)


def _printed(report: dict[str, Any]) -> str:
    """The end of what a program printed, and after it the end of its errors."""
    parts = [report[name].encode("latin-1")[-_TAIL:].decode("utf-8", "replace") for name in ("output", "errors")]
    between = "\n" if all(parts) and not parts[0].endswith("\n") else ""
    return between.join(parts)[-_TAIL:]


def _message(test: AssertTest | CallTest) -> dict[str, Any]:
    if isinstance(test, AssertTest):
        return {"code": test.code, "setup": test.setup, **asdict(names_of(test))}
    return {
        "call": test.name,
        "args": [wire.encode(item, _not_plain) for item in test.args],
        "keywords": {key: wire.encode(item, _not_plain) for key, item in test.keywords.items()},
        "expected": wire.encode(test.expected, _not_plain),
        "tolerance": test.tolerance,
    }


def _not_plain(value: Any) -> Any:
    raise InputError(f"a call test holds a {type(value).__name__}; give values of plain types")


def _verdict(reasons: list[str], outputs: list[str], total: int, wall: float, cpu: float, backend: Backend) -> Verdict:
    failed = [i for i, reason in enumerate(reasons) if reason]
    passed = not failed and len(reasons) == total
    if passed:
        reason = "passed"
    else:
        where = f"test {failed[0] + 1} of {total}: " if total > 1 else ""
        reason = f"{where}{reasons[failed[0]]}"
    output = outputs[failed[0] if failed else -1]
    return Verdict(passed, reason, len(reasons) - len(failed), total, output, wall, cpu, backend)
