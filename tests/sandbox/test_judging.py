import os
import subprocess
import sys
import threading
import time
from collections import Counter
from decimal import Decimal
from fractions import Fraction
from pathlib import Path

import pytest

from r1lit.errors import InputError
from r1lit.sandbox import (
    AssertTest,
    CallTest,
    IOTest,
    Job,
    Limits,
    SandboxError,
    backends,
    judge,
    judge_all,
    session,
    trouble,
)
from r1lit.sandbox.compare import accepts
from r1lit.sandbox.inside import clock, tester, wire
from r1lit.sandbox.starters import with_presupposed

SOURCE = Path(backends.__file__).parents[2]
ADD = "print(sum(map(int, input().split())))"


@pytest.fixture(params=["bubblewrap", "namespaces", "plain"])
def isolation(request):
    problem = trouble(request.param)
    if problem:
        pytest.skip(f"{request.param} does not work here: {problem}")
    return request.param


def test_scripts(isolation):
    tests = [IOTest("1 2\n", "3\n"), IOTest("10 -4", "6"), IOTest("0 0\n", "0  \n\n")]
    verdict = judge(ADD, tests, isolation=isolation)
    assert verdict.passed
    assert (verdict.reason, verdict.passed_tests, verdict.total_tests) == ("passed", 3, 3)
    assert verdict.isolation == isolation
    assert 0 < verdict.cpu_s < 3 * verdict.wall_s + 1
    wrong = judge(ADD, [*tests, IOTest("1 1", "3"), IOTest("2 2", "4")], isolation=isolation, stop_at_failure=False)
    assert not wrong.passed
    assert (wrong.reason, wrong.passed_tests, wrong.total_tests) == ("test 4 of 5: wrong output", 4, 5)
    assert wrong.output == "2\n"
    stopped = judge(ADD, [IOTest("1 1", "3"), IOTest("2 2", "4")], isolation=isolation)
    assert (stopped.passed_tests, stopped.total_tests) == (0, 2)


@pytest.mark.parametrize(
    ("program", "limits", "reason"),
    [
        ("while True: pass", Limits(wall_s=0.3), "time limit"),
        ("while True: pass", Limits(wall_s=30, cpu_s=0.3), "CPU time limit"),
        ("print('x' * 3000)", Limits(output_kb=1), "output limit"),
        ("x = bytearray(300 << 20)", Limits(memory_mb=200), "exit status 1"),
        ("open('f', 'wb').write(bytes(3 << 20))", Limits(file_mb=1), "exit status 1"),
        ("1 / 0", Limits(), "exit status 1"),
        ("raise SystemExit(7)", Limits(), "exit status 7"),
        ("import os\nos.abort()", Limits(), "killed by signal 6"),
        ("print('right'", Limits(), "exit status 1"),
    ],
)
def test_reasons(program, limits, reason, isolation):
    verdict = judge(program, IOTest("", "right"), limits, isolation=isolation)
    assert not verdict.passed
    assert verdict.reason == reason


def test_the_end_of_the_output_says_what_was_wrong():
    assert "program.py, line 2: ZeroDivisionError" in judge("x = 1\nx / 0", IOTest("", "")).output


def test_scripts_run_as_scripts_do():
    program = """
import atexit, sys, threading
from dataclasses import dataclass
@dataclass
class Point:
    x: int
def main():
    for line in sys.stdin: print(Point(int(line)).x * 2)
    threading.Thread(target=lambda: print("thread")).start()
atexit.register(print, "end")
if __name__ == "__main__":
    main()
    sys.exit()
"""
    assert judge(program, IOTest("1\n2\n", "2\n4\nthread\nend")).passed
    deep = "import sys\nsys.setrecursionlimit(10**6)\ndef f(n): return n and 1 + f(n - 1)\nprint(f(20000))"
    assert judge(deep, IOTest("", "20000")).passed
    big = "import sys\nprint(len(sys.stdin.buffer.read()))"
    assert judge(big, IOTest("x" * (3 << 20), str(3 << 20))).passed


@pytest.mark.parametrize("end", ["exit()", "quit()", "exit(0)", "exit(None)", "def main():\n    quit()\nmain()"])
def test_exit_and_quit_exist(end, isolation):
    assert judge(f"print(3)\n{end}\nprint(4)", IOTest("", "3"), isolation=isolation).passed


def test_exit_has_a_status():
    assert judge("exit(3)", IOTest("", "")).reason == "exit status 3"
    verdict = judge("exit('no luck')", IOTest("", ""))
    assert (verdict.reason, verdict.output) == ("exit status 1", "no luck\n")
    assert judge("def f(x):\n    exit()", AssertTest("f(1)")).reason.startswith("RuntimeError")


def test_errors_are_no_output(isolation):
    program = "import sys\nprint('debug', file=sys.stderr)\nprint('x', 1)\nsys.stderr.write('y' * (6 << 20))\nprint(2)"
    verdict = judge(program, IOTest("", "x 1\n2"), Limits(output_kb=1), isolation=isolation)
    assert verdict.passed, verdict
    assert verdict.output.endswith("yyy")
    assert not judge("import sys\nprint('x', file=sys.stderr)", IOTest("", "x"), isolation=isolation).passed
    child = "import subprocess, sys\nsubprocess.run(['sh', '-c', 'echo a; echo b >&2'])"
    verdict = judge(child, IOTest("", "a"), isolation=isolation)
    assert verdict.passed
    assert verdict.output == "a\nb\n"
    called = "import sys\nprint('loaded')\ndef f(x):\n    print('called', file=sys.stderr)\n    return x"
    assert judge(called, AssertTest("assert f(1) == 1"), isolation=isolation).output == "loaded\ncalled\n"


@pytest.fixture
def busy():
    """One core for this test and four other processes; of other sessions, as the kernel shares cores by these."""
    code = "import os, time\nend = time.monotonic() + 120\nwhile time.monotonic() < end and os.getppid() != 1: pass"
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})
    others = [subprocess.Popen([sys.executable, "-c", code], start_new_session=True) for _ in range(4)]
    time.sleep(0.3)
    yield
    os.sched_setaffinity(0, before)
    for other in others:
        other.kill()
        other.wait()


WORK = "import time\ndef work():\n    while time.process_time() < 0.4: pass\n    return 5\n"


def test_a_busy_machine_fails_no_program(busy):
    limits = Limits(wall_s=0.9, cpu_s=0.9)
    jobs = [Job(f"{WORK}print(work())", [IOTest("", "5")]), Job(WORK, [AssertTest("assert work() == 5")])]
    verdicts = judge_all(jobs, limits)
    assert all(verdict.passed for verdict in verdicts), verdicts
    # What sleeps is not waiting for a core.
    assert judge("import time\ntime.sleep(99)", IOTest("", ""), limits).reason == "time limit"


def test_the_clock_does_not_count_the_wait_for_a_core(busy):
    timer, cpu = clock.Clock(10.0), time.process_time()
    while time.process_time() - cpu < 0.3:
        pass
    timer.look([os.getpid()])
    assert timer.wall_s > 0.6
    assert 10 - timer.left_s == pytest.approx(0.3, abs=0.15)
    timer.look([os.getpid()])
    assert 10 - timer.left_s < 0.5  # the same wait is not counted twice


def test_the_wall_limit_is_far_above_that_of_processor_time():
    assert Limits().wall_limit_s >= 5 * Limits().cpu_s
    assert Limits(cpu_s=100).wall_limit_s >= 500
    assert Limits(wall_s=3).wall_limit_s == 3


def test_runs_do_not_see_each_other(isolation):
    program = "import os\nprint(os.path.exists('seen'))\nopen('seen', 'w')\nos.makedirs('a/b')"
    assert judge(program, [IOTest("", "False")] * 3, isolation=isolation).passed
    spoilt = "import os\nprint(os.listdir('.'))\nos.makedirs('a/b')\nos.chmod('a', 0)"
    assert judge(spoilt, [IOTest("", "[]")] * 2, isolation=isolation).passed


def test_sets_have_the_same_order_in_every_run():
    program = "print(*{'a', 'b', 'c', 'd', 'e', 'f'}, end='')"
    first = judge(program, IOTest("", "?")).output
    assert judge(program, IOTest("", first)).passed


def test_asserts(isolation):
    program = "def double(x):\n    return x * 2\nLIMIT = 5"
    tests = [
        AssertTest("assert double(2) == 4"),
        AssertTest("assert double(y) == [1, 1] and y == [1]", setup="y = [1]"),
        AssertTest("assert double(2) == 5, 'five'"),
        AssertTest("x = 1\nassert missing"),
        AssertTest("assert double(LIMIT) == 10"),
    ]
    verdict = judge(program, tests, isolation=isolation, stop_at_failure=False)
    assert not verdict.passed
    assert verdict.reason == "test 3 of 5: assertion failed in line 1 of the test: five"
    assert verdict.passed_tests == 3
    assert judge(program, [tests[0], tests[1], tests[4]], isolation=isolation).passed


@pytest.mark.parametrize(
    "literal",
    [
        *("None", "True", "-7", "10**5000", "1.5", "float('inf')", "'\\ud800\\x00ü'", "b'\\xff'", "bytearray(b'a')"),
        *("(1, [2, (3,)], {4})", "{(1, 2): {'a': frozenset([5])}}", "2 + 3j", "range(1, 9, 2)", "{}", "()", "[[]]"),
        *("__import__('decimal').Decimal('1.10')", "__import__('fractions').Fraction(1, 3)"),
        "__import__('collections').deque([1, 2])",
    ],
)
def test_plain_values_arrive_as_they_are(literal):
    program = (
        f"def give():\n    return {literal}\ndef same(x):\n    return x == {literal} and type(x) is type({literal})"
    )
    test = f"x = give()\nassert x == {literal} and type(x) is type({literal})\nassert same({literal})"
    verdict = judge(program, AssertTest(test))
    assert verdict.passed, verdict


def test_what_tests_can_do_with_a_programs_objects():
    program = """
from collections import namedtuple, Counter
import math
class Node:
    kind = "node"
    def __init__(self, value): self.value, self.left, self.items = value, None, {}
    def depth(self): return 1 + (self.left.depth() if self.left else 0)
    def __len__(self): return 3
    def __getitem__(self, i): return self.items[i]
    def __setitem__(self, i, x): self.items[i] = x
    def __eq__(self, other): return isinstance(other, Node) and self.value == other.value
    def __add__(self, other): return Node(self.value + other.value)
    def __str__(self): return "Node!"
Pair = namedtuple("Pair", "a b")
def pair(): return Pair(1, 2)
def count(text): return Counter(text)
def numbers(n): yield from range(n)
def sort(x): x.sort(); return None
def fail(x): raise KeyError(x)
def apply(f, x): return [f(y) for y in x]
def kind(t, x): return isinstance(x, t)
"""
    test = """
root = Node(1)
root.left = Node(2)
assert root.depth() == 2 and root.left.value == 2 and len(root) == 3 and str(root) == "Node!" and Node.kind == "node"
root["a"] = [1]
assert root["a"] == [1]
assert Node(1) == Node(1) and Node(1) != Node(2) and (Node(1) + Node(2)).value == 3
assert root != 1 and not root == "x"
assert pair() == (1, 2) and count("aab") == {"a": 2, "b": 1}
assert list(numbers(3)) == [0, 1, 2] and next(numbers(1)) == 0 and 2 in numbers(3) and sum(numbers(4)) == 6
x = [3, 1, 2]
assert sort(x) is None and x == [1, 2, 3]
try: fail(7)
except KeyError as error: assert "7" in str(error)
else: assert False
assert apply(lambda y: y + 1, [1, 2]) == [2, 3]
assert apply(lambda y: sum(numbers(y)), [1, 3]) == [0, 3]
assert kind(int, 1) and not kind(str, 1)
assert math.isclose(math.pi, 3.14159265, rel_tol=1e-6)
"""
    verdict = judge(program, AssertTest(test))
    assert verdict.passed, verdict


def test_calls(isolation):
    program = "class Solution:\n    def twice(self, x, add=0):\n        return tuple(2 * y + add for y in x)"
    tests = [
        CallTest("twice", [[1, 2]], [2, 4]),
        CallTest("twice", [[0.1]], [0.3], keywords={"add": 0.1000001}, tolerance=1e-3),
        CallTest("twice", [[1]], [3]),
        CallTest("thrice", [[1]], [3]),
    ]
    verdict = judge(program, tests, isolation=isolation, stop_at_failure=False)
    assert verdict.passed_tests == 2
    assert verdict.reason == "test 3 of 4: assertion failed: twice returned (2,), expected [3]"
    assert judge("def twice(x):\n    return 2 * x", CallTest("twice", [2], 4), isolation=isolation).passed


@pytest.mark.parametrize(
    "test",
    [
        "while True: pass",
        "import time\ntime.sleep(100)",
        "while True:\n    try: f()\n    except BaseException: pass",
        "try: [f() for _ in iter(int, 1)]\nexcept BaseException: pass",
        "f() ** (f() * 10**9) % 7",
    ],
)
def test_time_is_up_in_a_test_too(test, isolation):
    verdict = judge("def f(): return 3", [AssertTest(test, names=("f",))], Limits(wall_s=0.3), isolation=isolation)
    assert not verdict.passed
    assert verdict.reason == "time limit"
    assert verdict.wall_s < 8


@pytest.mark.parametrize("test", ["IOTest('', '')", "AssertTest('f()')"])
def test_nothing_outlives_a_judge_that_is_killed(test, isolation):
    code = (
        "from r1lit.sandbox import *\n"
        f"trouble('{isolation}')\nprint('tried out', flush=True)\n"
        f"judge('import time\\ndef f(): time.sleep(60)\\nif __name__ == \"__main__\": f()', {test}, Limits(wall_s=60),"
        f" isolation='{isolation}')"
    )
    judging = subprocess.Popen([sys.executable, "-c", code], cwd=SOURCE, stdout=subprocess.PIPE)
    try:
        assert judging.stdout.readline() == b"tried out\n"
        until = time.monotonic() + 20
        while len(sandboxed(judging.pid)) < 2 and time.monotonic() < until:
            time.sleep(0.05)
        assert len(sandboxed(judging.pid)) >= 2
        time.sleep(0.3)
    finally:
        judging.kill()
        judging.wait()
        judging.stdout.close()
    until = time.monotonic() + 10
    while sandboxed(judging.pid) and time.monotonic() < until:
        time.sleep(0.05)
    assert sandboxed(judging.pid) == []


def sandboxed(pid):
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if f"r1lit-sandbox-of-{pid}\0".encode() in path.read_bytes():
                found.append(path.parent.name)
        except OSError:
            continue
    return found


KILL = "import os, signal\nos.kill(os.getppid(), signal.SIGKILL)\nimport time; time.sleep(9)\ndef f(): return 1"


@pytest.mark.parametrize("test", [IOTest("", ""), AssertTest("assert f() == 1")])
def test_a_program_that_breaks_the_sandbox_has_failed(test):
    verdict = judge(KILL, test, isolation="plain")  # nothing keeps it from that here
    assert not verdict.passed
    assert verdict.reason.startswith("the program broke the sandbox: the sandbox ended")
    assert verdict.total_tests == 1


def test_a_sandbox_that_breaks_under_any_program_is_no_verdict(monkeypatch):
    assert not trouble("plain")
    real = session.Session._exchange

    def broken(self, message, seconds):
        answer = real(self, message, seconds)
        if "ready" not in answer:
            raise SandboxError("the sandbox ended (out of memory)")
        return answer

    monkeypatch.setattr(session.Session, "_exchange", broken)
    with pytest.raises(SandboxError, match="out of memory"):
        judge("print(1)", IOTest("", "1"), isolation="plain")


def test_judge_all_keeps_the_order_and_runs_side_by_side():
    jobs = [
        Job(f"import time\ntime.sleep({0.5 - 0.1 * i})\nprint({i})", [IOTest("", str(i if i != 3 else 0))])
        for i in range(5)
    ]
    began = time.monotonic()
    verdicts = judge_all(jobs, workers=5)
    assert [verdict.passed for verdict in verdicts] == [True, True, True, False, True]
    assert time.monotonic() - began < 1.5 + 0.5 * 5  # sleeping costs no core
    own = judge_all([Job("while True: pass", [IOTest("", "")], Limits(wall_s=0.2))], Limits(wall_s=100))
    assert own[0].reason == "time limit"
    assert judge_all([]) == []


def test_judging_can_be_broken_off():
    stop = threading.Event()
    threading.Timer(0.3, stop.set).start()
    began = time.monotonic()
    with pytest.raises(SandboxError, match="broken off"):
        judge("import time\ntime.sleep(50)", IOTest("", ""), Limits(wall_s=60), stop=stop)
    assert time.monotonic() - began < 10


@pytest.mark.parametrize(
    ("printed", "expected", "tolerance", "right"),
    [
        ("1\n2\n", "1\n2", 0, True),
        ("1  \n2\t\n\n\n", "1\n2\n", 0, True),
        ("1\r\n2\r\n", "1\n2\n", 0, True),
        (" 1", "1", 0, False),
        ("1\n\n2", "1\n2", 0, False),
        ("1 2", "1  2", 0, False),
        ("", "", 0, True),
        ("0.3333", "0.33331", 0, False),
        ("0.3333 x", "0.33331  x", 1e-3, True),
        ("1000.5", "1000", 1e-3, True),
        ("nan", "1", 1e9, False),
        ("inf", "1", 1e9, False),
        ("1 2", "1", 1e-3, False),
        ("1\n2", "1", 1e-3, False),
    ],
)
def test_comparison(printed, expected, tolerance, right):
    assert accepts(IOTest("", expected, tolerance), printed.encode()) is right


def test_comparison_by_a_rule_of_ones_own():
    test = IOTest("4", "any even", check=lambda stdin, output, expected: int(output) % 2 == 0 and stdin == "4")
    assert judge("print(int(input()) + 2)", test).passed
    assert not judge("print(3)", test).passed
    assert not accepts(IOTest("", "\ufffd!"), b"?\xff!")


def test_isolation_fails_closed(monkeypatch):
    monkeypatch.setattr(backends, "_found", {"bubblewrap": "not installed", "namespaces": "not allowed"})
    with pytest.raises(InputError, match="install bubblewrap") as error:
        judge("print(1)", IOTest("", "1"))
    assert "not installed" in str(error.value)
    assert "not allowed" in str(error.value)
    assert "\n" not in str(error.value)
    assert judge("print(1)", IOTest("", "1"), isolation="plain").passed


def test_a_missing_bubblewrap_is_found_out(monkeypatch, tmp_path):
    monkeypatch.setattr(backends, "_found", {})
    monkeypatch.setenv("PATH", str(tmp_path))
    assert trouble("bubblewrap") == "the program bwrap is not installed"
    broken = tmp_path / "bwrap"
    broken.write_text("#!/bin/sh\necho 'bwrap: No permissions to create new namespace' >&2\nexit 1\n")
    broken.chmod(0o755)
    monkeypatch.setattr(backends, "_found", {})
    assert "No permissions" in trouble("bubblewrap")
    # One that runs the program without a box is found out by what the program sees.
    broken.write_text('#!/bin/sh\nwhile [ "$1" != -- ]; do shift; done\nshift\nexec "$@"\n')
    monkeypatch.setattr(backends, "_found", {})
    assert trouble("bubblewrap")


@pytest.mark.parametrize(
    ("tests", "message"),
    [
        ([], "at least one"),
        ([IOTest("", ""), AssertTest("")], "mixed"),
        ([CallTest("f", [object()], 1)], "plain types"),
    ],
)
def test_bad_tests(tests, message):
    with pytest.raises(InputError, match=message):
        judge("", tests)


def test_bad_limits_and_isolation():
    with pytest.raises(InputError, match="memory_mb is 0"):
        Limits(memory_mb=0)
    with pytest.raises(InputError, match="choose from auto"):
        judge("", IOTest("", ""), isolation="none")


def test_programs_that_are_no_text():
    assert judge("print('\ud800')", IOTest("", "?")).passed
    assert judge("\0", IOTest("", "")).reason == "the program contains null bytes"


def test_subclasses_of_plain_types_arrive_plain():
    def other(value):
        raise TypeError(value)

    for value in (Counter("aab"), Decimal("1.5"), Fraction(2, 3), [(1, {2})], True, 1 << 80):
        made = wire.decode(wire.encode(value, other), other)
        assert made == value
    assert type(wire.decode(wire.encode(Counter("a"), other), other)) is dict
    with pytest.raises(TypeError):
        wire.encode(object(), other)


def test_call_results_are_compared_leniently_but_not_loosely():
    assert tester.alike((1, [2]), [1, (2,)], 0)
    assert tester.alike({"a": (1,)}, {"a": [1]}, 0)
    assert not tester.alike([1, 2], [1], 0)
    assert not tester.alike("12", ["1", "2"], 0)
    assert not tester.alike(1.0001, 1.0, 0)
    assert tester.alike(1.0001, 1.0, 1e-3)
    assert not tester.alike(float("nan"), 1.0, 1e-3)


@pytest.mark.parametrize(
    ("printed", "expected", "passes"),
    [
        ("2.50", "2.5", True),
        ("1 2.0", "1.0 2", True),
        ("-0.0", "0", True),
        ("a 1.0", "a 1", True),
        ("1.0\n2", "1\n2", True),
        ("007", "7", False),
        ("2.5", "2.51", False),
        ("1e3", "1000", False),
        ("1.0", "1 1", False),
        ("0x1", "1.0", False),
    ],
)
def test_decimal_numbers_are_compared_by_value(printed, expected, passes):
    assert accepts(IOTest("", expected), printed.encode()) == passes


@pytest.mark.parametrize(
    "program",
    [
        "class Solution:\n    def total(self, nums: List[int]) -> int:\n        return sum(nums)",
        "def total(nums):\n    d = defaultdict(int)\n    for n in nums: d[0] += n\n    return d[0]",
        "from __future__ import annotations\ndef total(nums):\n    return reduce(lambda a, b: a + b, nums)",
        "@cache\ndef same(n): return n\ndef total(nums): return math.floor(sum(map(same, nums)))",
        "def total(nums):\n    heapq.heapify(nums)\n    return heappop(nums) + sum(nums)",
    ],
)
def test_contest_starters_presuppose_imports(program):
    assert judge(program, [CallTest("total", ([1, 2],), 3)], Limits()).passed


def test_own_names_win_over_presupposed_ones():
    program = "def gcd(a, b): return 7\ndef total(nums): return gcd(*nums)"
    assert with_presupposed(program) == program
    assert with_presupposed("from math import *\ndef total(n): return sqrt(n)").startswith("from math")
    assert with_presupposed("def total(:") == "def total(:"
