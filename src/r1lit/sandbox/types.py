"""The nouns of judging: tests, limits, the verdict."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from importlib.util import find_spec
from typing import Any, Literal, TypeAlias

from r1lit.errors import InputError

Isolation = Literal["auto", "bubblewrap", "namespaces", "plain"]


class SandboxError(RuntimeError):
    """The sandbox itself failed, twice; it says nothing about the program."""


@dataclass(frozen=True)
class Limits:
    """What a program may use. The whole tree of its processes dies when one is exceeded.

    The limit that programs meet is that of processor time, which does not depend on what else the machine does. The
    wall limit is far above it, for programs that sleep or hang.

    Args:
        wall_s: Seconds of wall-clock time, for each input of a script, and for all assert and call tests together. The
            time in which the program is ready and the machine is too busy to run it is not counted. Five times
            ``cpu_s`` and 10 s more if None.
        cpu_s: Seconds of processor time, summed over the tree, for the same.
        memory_mb: In MiB: the address space of a process, and all that the tree holds: its own pages, its files in /tmp
            and /dev/shm, what may wait in its sockets.
        processes: Processes (threads count too, where the kernel does the counting).
        file_mb: Size of a file, in MiB.
        output_kb: Standard output, in KiB. Of standard error the end is kept, and there is no limit.
        packages: Installed packages that a program and its tests may import beside the standard library, such as
            ``numpy``, whose arrays are values like others. What these import must be named too.

    Raises:
        InputError: If a limit is not positive, or a package is not installed.
    """

    wall_s: float | None = None
    cpu_s: float = 10.0
    memory_mb: float = 1024
    processes: int = 32
    file_mb: float = 16
    output_kb: float = 4096
    packages: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name in self.packages:
            if not name.isidentifier() or find_spec(name) is None:
                raise InputError(f"sandbox limit packages has {name!r}, which is not installed here")
        for limit in fields(self):
            value = getattr(self, limit.name)
            if limit.name != "packages" and value is not None and not (math.isfinite(value) and value > 0):
                raise InputError(f"sandbox limit {limit.name} is {value}; give a positive number")

    @property
    def wall_limit_s(self) -> float:
        """The wall limit, also where none is given."""
        return 5 * self.cpu_s + 10 if self.wall_s is None else self.wall_s


@dataclass(frozen=True, slots=True)
class IOTest:
    """An input and what a script is to print.

    Lines are compared one by one without their trailing white space; empty lines at the end do not count.

    Args:
        stdin: The input.
        expected: The output. It never enters the sandbox.
        tolerance: Where above 0, words that are numbers on both sides may differ by it, absolutely or relatively to the
            expected one; the lines are then compared word by word.
        check: Decides instead of the comparison: ``check(stdin, output, expected)``. It runs in the caller's process.
    """

    stdin: str
    expected: str
    tolerance: float = 0.0
    check: Callable[[str, str, str], bool] | None = None


@dataclass(frozen=True, slots=True)
class AssertTest:
    """Statements that raise unless the program is right, such as MBPP's asserts or HumanEval's ``check(entry_point)``.

    Of the program they see the names that they use, except those that mean something of Python's in a test: builtins
    (``abs``, ``sorted``, ``ValueError``), modules of the standard library with a dot behind (``math.isclose``), and a
    few of its names that tests compare by (``isclose``, ``Counter``). A program that defines one of these changes
    nothing. A test whose only name is a builtin, as in ``assert sum(10, 15) == 6``, takes that one from the program.
    One that takes nothing from the program, or of whose builtins any may be the program's, is refused.

    Args:
        code: The statements.
        setup: Statements to run before them. What they define comes before what the program defines.
        names: The names that the program is to define, where the rule above would guess wrong; ``()`` for a test that
            any program passes that can be loaded.
    """

    code: str
    setup: str = ""
    names: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class CallTest:
    """A call and its result, as in LiveCodeBench's functional tests.

    Args:
        name: A function of the program, or a method of its class ``Solution``.
        args: Positional arguments, of plain types.
        expected: The result; lists and tuples are equal alike.
        keywords: Keyword arguments.
        tolerance: Where above 0, how far numbers may differ, absolutely or relatively.
    """

    name: str
    args: Sequence[Any]
    expected: Any
    keywords: Mapping[str, Any] = field(default_factory=dict)
    tolerance: float = 0.0


Test: TypeAlias = IOTest | AssertTest | CallTest


@dataclass(frozen=True, slots=True)
class Verdict:
    """What came of judging a program."""

    passed: bool
    """Whether all tests passed."""
    reason: str
    """Why the first test that failed did, in a few words; "passed" if none did."""
    passed_tests: int
    """Tests passed; of those that were run, if judging stopped at the first failure."""
    total_tests: int
    output: str
    """The end of what the program printed in the first test that failed, or in the last, then of its errors."""
    wall_s: float
    """Seconds that the program ran, over all tests."""
    cpu_s: float
    """CPU seconds of all its processes."""
    isolation: str
    """The back end that ran it."""


@dataclass(frozen=True, slots=True)
class Job:
    """A program with its tests, for ``judge_all``."""

    program: str
    tests: Sequence[Test]
    limits: Limits | None = None
    """None: those of the call."""
