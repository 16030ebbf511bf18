"""No program holds more memory than it may, reaches a network or hands state on; a test that blows up has a verdict."""

import sys
from pathlib import Path

import pytest

from r1lit.sandbox import AssertTest, IOTest, Limits, judge, trouble

sys.path.insert(0, str(Path(__file__).parent))
from escapes import BOMBS, FORGERIES, MEMORY, SOCKETS, STATE

MEMORY_MB = 96
LIMITS = Limits(wall_s=8.0, cpu_s=6.0, memory_mb=MEMORY_MB, processes=16, file_mb=4)
FAST = {
    *(
        "shared pages dropped from residency",
        "the zero device mapped",
        "files in both",
        "deleted files",
        "full sockets",
    ),
    *("a socket of INET", "a socket of VSOCK", "a socket of NETLINK", "a pair of another family"),
    *("a message queue", "shared memory", "a POSIX queue", "an abstract socket"),
    *("a Decimal power", "a range", "a crash", "a test that ends its process", "a test that the program kills"),
}
"""These are always run, the others with the slow tests."""
FAST |= {name for name in FORGERIES if not name.startswith(("zero", "shadow"))}


@pytest.fixture(params=["bubblewrap", "namespaces"])
def isolation(request):
    problem = trouble(request.param)
    if problem:
        pytest.skip(f"{request.param} does not work here: {problem}")
    return request.param


def each(table):
    return [pytest.param(name, marks=[] if name in FAST else [pytest.mark.slow]) for name in table]


@pytest.mark.parametrize("name", each(MEMORY))
def test_no_program_holds_more_memory_than_it_may(name, isolation):
    program = MEMORY[name].replace("{SIZE}", str(3 * MEMORY_MB))
    verdict = judge(program, IOTest("", "held"), LIMITS, isolation=isolation)
    assert not verdict.passed, verdict
    assert "held" not in verdict.output


@pytest.mark.parametrize("name", each(SOCKETS))
def test_no_program_makes_a_socket_but_a_local_one(name, isolation):
    verdict = judge(SOCKETS[name], IOTest("", "held"), LIMITS, isolation=isolation)
    assert verdict.reason == "wrong output", verdict
    assert "held" not in verdict.output


def test_local_sockets_work(isolation):
    program = "import asyncio, socket\na, b = socket.socketpair()\na.send(b'x')\nasync def f(): return b.recv(1)\n"
    program += "print(asyncio.run(f()).decode())"
    assert judge(program, IOTest("", "x"), LIMITS, isolation=isolation).passed


@pytest.mark.parametrize("name", each(STATE))
def test_no_state_goes_from_one_input_to_the_next(name, isolation):
    tests = [IOTest("put\n", ""), IOTest("get\n", "held")]
    verdict = judge(STATE[name], tests, LIMITS, isolation=isolation, stop_at_failure=False)
    assert not verdict.passed, verdict
    assert "held" not in verdict.output


@pytest.mark.parametrize("name", ["a file", "shared memory", "a process"])
def test_within_one_input_there_is_state(name, isolation):
    """The test above could fail: what it looks for is found where nothing has been cleared."""
    program = STATE[name].replace("put = input() == 'put'\n", "")
    stored, found = (program.replace("put", value) for value in ("True", "False"))
    assert judge(f"{stored}\n{found}", IOTest("", "held"), LIMITS, isolation=isolation).passed


@pytest.mark.parametrize("name", each(BOMBS))
def test_a_test_that_blows_up_ends_with_a_verdict(name, isolation):
    program, test = BOMBS[name]
    limits = Limits(wall_s=3.0, cpu_s=2.0, memory_mb=256, processes=16)
    verdict = judge(program, AssertTest(test, names=("answer",)), limits, isolation=isolation)
    assert not verdict.passed, verdict
    assert "broke the sandbox" not in verdict.reason
    assert verdict.wall_s < 6


@pytest.mark.parametrize("name", each(FORGERIES))
def test_no_object_passes_by_its_own_word(name, isolation):
    program, test = FORGERIES[name]
    verdict = judge(program, AssertTest(test), Limits(wall_s=3.0, cpu_s=2.0), isolation=isolation)
    assert not verdict.passed, verdict
    assert "broke the sandbox" not in verdict.reason


def test_what_called_programs_print_is_in_the_output(isolation):
    program = "print('loaded')\ndef f(x):\n    print('called with', x)\n    return x\n"
    program += "def g(x): f(x); print('to fail'); return 0"
    verdict = judge(program, [AssertTest("assert f(1) == 1"), AssertTest("assert g(2) == 2")], isolation=isolation)
    assert verdict.output == "loaded\ncalled with 1\ncalled with 2\nto fail\n"


def test_tests_that_were_through_count_when_a_later_one_hangs(isolation):
    tests = [AssertTest("assert f(1) == 1"), AssertTest("while f(1): pass"), AssertTest("assert f(2) == 2")]
    verdict = judge("def f(x): return x", tests, Limits(wall_s=0.5), isolation=isolation, stop_at_failure=False)
    assert (verdict.passed_tests, verdict.total_tests) == (1, 3)
    assert verdict.reason == "test 2 of 3: time limit"
