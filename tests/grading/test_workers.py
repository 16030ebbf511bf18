import os
import pickle
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from r1lit.errors import InputError
from r1lit.grading import worker_main
from r1lit.grading import workers as workers_module
from r1lit.grading.workers import Job, Worker, WorkerPool, close_pools, run_jobs

SAME, OTHER = {"answer": "x+x", "gold": "2x"}, {"answer": "x+x", "gold": "3x"}
TOWER = {"answer": "9^{9^{9^9}}", "gold": "5"}


@pytest.fixture
def pool():
    pool = WorkerPool("math", size=2)
    yield pool
    pool.close()


def alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def running(pid):
    """Whether a process that is not ours to bury does anything still."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def pids(pool):
    """Of the processes and their children."""
    return [pid for w in pool._workers if w._process is not None for pid in (w._process.pid, w._child)]


def verdicts(pool, requests, *limits):
    return [reply and reply["equal"] for reply in pool.run(requests, limits or (5.0,))]


def test_starts_late_and_leaves_nothing(pool):
    assert pids(pool) == []
    assert pool.run([], (5.0,)) == []
    assert pids(pool) == []
    assert verdicts(pool, [SAME, OTHER, SAME]) == [True, False, True]
    started = pids(pool)
    assert len(started) in (2, 4)
    pool.close()
    pool.close()
    assert not any(alive(pid) for pid in started)
    assert verdicts(pool, [SAME]) == [True]


def test_a_hanging_job_does_not_hold_up_the_others(pool):
    verdicts(pool, [SAME, SAME])
    start = time.monotonic()
    assert verdicts(pool, [TOWER, SAME, OTHER], 0.5, 1.5) == [None, True, False]
    assert time.monotonic() - start < 10


def test_a_worker_that_dies_is_replaced(pool):
    verdicts(pool, [SAME])
    for worker in pool._workers:
        if worker._process is not None:
            worker._process.kill()
            worker._process.wait()
    assert verdicts(pool, [SAME], 5.0, 5.0) == [True]
    for worker in pool._workers:
        if worker._process is not None:
            os.kill(worker._child, signal.SIGKILL)
    assert verdicts(pool, [SAME], 5.0, 5.0) == [True]


def test_out_of_memory_is_no_verdict(monkeypatch, tmp_path):
    script = tmp_path / "greedy.py"
    script.write_text(
        "import sys\n"
        f"sys.path.insert(0, {os.path.dirname(worker_main.__file__)!r})\n"
        "import worker_main as w\n"
        "w.CHECKERS['math'] = lambda: lambda request: bytearray(1 << 40) is None\n"
        "w.supervise('math', sys.stdout)\n"
    )
    monkeypatch.setattr(workers_module, "_SCRIPT", script)
    worker = Worker("math")
    for _ in range(2):
        child = worker._child
        assert worker.ask(SAME, 5.0) is None
        assert worker._child != child
    worker.close()


def test_missing_library_and_broken_start(monkeypatch, tmp_path):
    script = tmp_path / "worker.py"
    monkeypatch.setattr(workers_module, "_SCRIPT", script)
    script.write_text(
        "import pickle, sys; pickle.load(sys.stdin.buffer)\n"
        'print(\'{"missing": "No module named math_verify"}\', flush=True)'
    )
    worker = Worker("math")
    with pytest.raises(InputError, match=r"pip install 'math-verify"):
        worker.ask(SAME, 5.0)
    worker.close()
    script.write_text("")
    with pytest.raises(RuntimeError, match="did not start"):
        worker.ask(SAME, 5.0)


def test_jobs_are_run_once_each(monkeypatch):
    runs = []

    def counted(self, requests, limits):
        assert limits == (0.2, 1.0)
        runs.append(list(requests))
        return [{"equal": request["answer"] == "a"} for request in requests]

    monkeypatch.setattr(WorkerPool, "run", counted)
    a, b = {"answer": "a"}, {"answer": "b"}
    assert run_jobs([Job("math", a), Job("gym", b), Job("math", a), Job("math", b)], 1.0) == [True, False, True, False]
    assert runs == [[a, b], [b]]


def test_a_forked_child_gets_pools_of_its_own():
    run_jobs([Job("math", SAME)], 5.0)
    child = os.fork()
    if child == 0:
        os._exit(0 if not workers_module._pools else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert run_jobs([Job("math", OTHER)], 5.0) == [False]
    close_pools()


def test_answers_of_the_worker_script():
    check = worker_main.math_checker()
    assert worker_main.answer(check, SAME) == {"equal": True}
    assert worker_main.answer(check, {"answer": r"\frac{", "gold": "5"}) == {"equal": False}

    def fail(error):
        def check(request):
            raise error

        return check

    assert worker_main.answer(fail(MemoryError()), SAME) == {"limit": "memory"}
    assert worker_main.answer(worker_main._wrong_if_unreadable(fail(RecursionError())), SAME) == {"equal": False}
    assert worker_main.answer(fail(worker_main.BadRequestError("a\nb")), SAME) == {"bad": "a b"}


def test_a_worker_ends_with_its_input():
    worker = Worker("math")
    assert worker.ask(SAME, 5.0) == {"equal": True}
    process = worker._process
    process.stdin.close()
    assert process.wait(timeout=10) == 0
    worker.close()


@pytest.mark.skipif(sys.platform != "linux", reason="the limit rests on SIGXCPU's default action")
def test_a_worker_without_parent_stops_computing(monkeypatch):
    worker = Worker("math")
    assert worker.ask(SAME, 5.0) == {"equal": True}
    child = worker._child
    worker._process.stdin.write(pickle.dumps((TOWER, 0.1)))
    worker._process.stdin.flush()
    assert "ready" in worker._read(worker._process, time.monotonic() + 120)  # the next child
    assert not alive(child)
    worker.close()


def test_a_killed_parent_takes_its_workers_along():
    code = (
        "import os, pickle, signal\n"
        "from r1lit.grading.workers import Worker\n"
        "worker = Worker('math')\n"
        f"worker.ask({SAME!r}, 5.0)\n"
        f"worker._process.stdin.write(pickle.dumps(({TOWER!r}, 60.0)))\n"
        "worker._process.stdin.flush()\n"
        "print(worker._process.pid, worker._child, flush=True)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    parent = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, check=False)
    assert parent.returncode == -signal.SIGKILL
    deadline = time.monotonic() + 10
    while any(running(int(pid)) for pid in parent.stdout.split()):
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_interrupt_drops_the_worker(monkeypatch):
    worker = Worker("math")
    worker.ask(SAME, 5.0)
    process = worker._process

    def interrupted(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(worker, "_read", interrupted)
        with pytest.raises(KeyboardInterrupt):
            worker.ask(SAME, 5.0)
    assert process.returncode is not None
    assert worker.ask(OTHER, 5.0) == {"equal": False}
    worker.close()
