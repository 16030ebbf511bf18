"""The wall limit counts the time of the program, not the machine's."""

import time

import pytest

from r1lit.sandbox import AssertTest, Limits, judge
from r1lit.sandbox.inside import clock
from r1lit.sandbox.inside.clock import Clock

LAZY = "import time\ndef f():\n    time.sleep(0.1)\n    return 1"


class Machine:
    """Time and the waits of threads, as a test sets them."""

    def __init__(self, monkeypatch):
        self.now_s = 0.0
        self.waited = {}
        monkeypatch.setattr(clock.time, "monotonic", lambda: self.now_s)
        monkeypatch.setattr(clock, "_threads", lambda pid: [str(pid)])
        monkeypatch.setattr(clock, "_waited_ns", lambda pid, thread: int(1e9 * self.waited.get(pid, 0)))

    def after(self, seconds, **waits):
        self.now_s += seconds
        for pid, waited_s in waits.items():
            self.waited[int(pid[1:])] = self.waited.get(int(pid[1:]), 0) + waited_s


@pytest.fixture
def machine(monkeypatch):
    return Machine(monkeypatch)


def test_waiting_is_not_counted(machine):
    count = Clock(5)
    machine.after(4, p1=3)
    count.look([1])
    assert count.left_s == pytest.approx(4)
    machine.after(4)
    count.look([1])
    assert count.left_s == pytest.approx(0)


def test_a_process_that_is_looked_at_now_and_then_has_not_waited_twice(machine):
    count = Clock(5)
    machine.after(1, p1=0.5, p2=0.5)
    count.look([1, 2])
    for _ in range(20):
        machine.after(0.1)
        count.look([1])
        count.look([1, 2])
    assert count.left_s == pytest.approx(5 - 3 + 0.5)


def test_threads_that_wait_at_the_same_time_count_once(machine):
    count = Clock(10)
    machine.after(2, p1=1)
    count.look([1, 2, 3])
    machine.after(0.5, p2=2.5)  # since before the first
    count.look([1, 2, 3])
    machine.after(0.5, p3=0.5)
    count.look([1, 2, 3])
    assert count.wall_s == 3
    assert count.left_s == pytest.approx(10)
    machine.after(3)
    assert count.left_s == pytest.approx(7)


def test_there_is_an_end_on_any_machine(machine):
    count = Clock(1)
    machine.after(71, p1=71)
    count.look([1])
    assert count.left_s < 0


def test_many_short_calls_meet_the_wall_limit():
    began = time.monotonic()
    verdict = judge(LAZY, [AssertTest("assert f() == 1")] * 60, Limits(wall_s=2, cpu_s=3))
    assert (verdict.passed, verdict.reason[-10:]) == (False, "time limit")
    assert time.monotonic() - began < 5


def test_a_program_cannot_wake_the_clock_for_longer():
    waker = f"import os, signal\n{LAZY.replace('time.sleep(0.1)', 'tick()')}\n"
    waker += "def tick():\n    while True:\n        os.kill(1, signal.SIGALRM)\n        time.sleep(0.05)"
    began = time.monotonic()
    assert judge(waker, AssertTest("assert f() == 1"), Limits(wall_s=2)).reason == "time limit"
    assert time.monotonic() - began < 5
