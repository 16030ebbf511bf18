"""Right programs pass, alone and on a machine that is busy with ten others."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from r1lit.errors import InputError
from r1lit.sandbox import AssertTest, IOTest, Job, Limits, judge, judge_all, trouble

sys.path.insert(0, str(Path(__file__).parent))
from right import RIGHT

OTHERS = 10


@pytest.fixture(params=["bubblewrap", "namespaces"])
def isolation(request):
    if problem := trouble(request.param):
        pytest.skip(f"{request.param} does not work here: {problem}")
    return request.param


@pytest.mark.parametrize("name", RIGHT)
def test_right_program(name):
    program, test = RIGHT[name]
    verdict = judge(program, AssertTest(test))
    assert verdict.passed, verdict


@pytest.mark.slow
def test_right_programs_pass_beside_ten_busy_processes(isolation):
    busy = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(OTHERS)]
    try:
        jobs = [Job(program, [AssertTest(test)]) for program, test in RIGHT.values()]
        verdicts = judge_all(jobs, isolation=isolation, workers=len(os.sched_getaffinity(0)))
    finally:
        for process in busy:
            process.kill()
            process.wait()
    assert {name: verdict.reason for name, verdict in zip(RIGHT, verdicts, strict=True) if not verdict.passed} == {}


def test_packages_are_there_on_request_alone(isolation):
    program = "import numpy as np\ndef scale(x): return np.asarray(x) * 2\ndef mean(x): return np.mean(x)"
    test = "import numpy as np\na = scale([1, 2])\nassert isinstance(a, np.ndarray) and (a == np.array([2, 4])).all()\n"
    test += "assert np.allclose(scale(np.ones((2, 3))), 2) and mean([1, 2]) == 1.5 and scale(a).tolist() == [4, 8]"
    assert not judge(program, AssertTest(test), isolation=isolation).passed
    limits = Limits(packages=("numpy",))
    verdict = judge(program, AssertTest(test), limits, isolation=isolation)
    assert verdict.passed, verdict
    assert judge("import numpy\nprint(numpy.arange(3).sum())", IOTest("", "3"), limits, isolation=isolation).passed
    assert not judge("import torch", IOTest("", ""), limits, isolation=isolation).passed
    with pytest.raises(InputError, match="no_such_package"):
        Limits(packages=("no_such_package",))
