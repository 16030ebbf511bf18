import copy
import json
import pickle
import subprocess
import sys
import threading
import time

import pytest

from r1lit.errors import InputError
from r1lit.grading.programs import read_code_tests, whole_program
from r1lit.rewards import UNSCORED, AccuracyReward, CodeReward, extract_program
from r1lit.sandbox import AssertTest, CallTest, IOTest, Limits, SandboxError, cores, trouble
from r1lit.types import Completion, Message, Prompt

pytestmark = pytest.mark.skipif(
    bool(trouble("bubblewrap") and trouble("namespaces")), reason="neither bubblewrap nor namespaces work here"
)

FENCED = "<think>hm ```python\nprint(0)\n```</think>\nHere:\n```python\n{}\n```\nDone."
ADD = [{"stdin": "1 2", "expected": "3"}, {"stdin": "5 5", "expected": "10"}]


def completion(text, tests=ADD, sample=0, **meta):
    prompt = Prompt("p", (Message("user", "write"),), task="code", meta={"tests": tests, **meta})
    return Completion(prompt, sample, (1,), (1,), (0.0,), text, "stop")


RIGHT = FENCED.format("print(sum(map(int, input().split())))")
HALF = FENCED.format("print(3)")


@pytest.mark.parametrize(
    ("text", "program"),
    [
        ("```python\na\n```", "a\n"),
        ("```py\na\n```\n```python3\nb\n```\n```\nout\n```\n```text\nx\n```", "b\n"),
        ("```\na\n```\n```\nb\n```", "b\n"),
        ("  ```Python title=x\n  a\n    b\n  ```", "a\n  b\n"),
        ("def f(x):\n    return x\n```\nIt works.", "def f(x):\n    return x\n"),
        ("```python\ndef f(x):\n    return x\n```\nUse:\n```python\nprint(f(1))\n```", "def f(x):\n    return x\n"),
        ("```python\nx = 1\n```\n```python\nprint(x)\n```", "print(x)\n"),
        ("~~~python\n```\na\n~~~", "```\na\n"),
        ("````python\n```\na\n````", "```\na\n"),
        ("```python\na\nb", "a\nb\n"),
        ("```json\n{}\n```", None),
        ("```python\n\n```", None),
        ("print(1)", "print(1)"),
        ("    return 1\n", "    return 1"),
        ("<answer>\nprint(1)\n</answer>", "print(1)"),
        ("<answer>```python\nprint(1)\n```</answer>", "print(1)\n"),
        ("<think>```python\na\n```", None),
        ("<think>```python\na\n```</think>  ", None),
        ("<think>```python\na\n```</think>```python\nb\n```", "b\n"),
    ],
)
def test_extract_program(text, program):
    assert extract_program(text) == program


def test_scores():
    reward = CodeReward()
    texts = [RIGHT, HALF, "no code at all", "<think>never ends", FENCED.format("while True: pass"), RIGHT]
    limits = Limits(wall_s=3)
    reward = CodeReward(limits=limits)
    assert reward.score([completion(text) for text in texts]) == [1.0, 0.0, 0.0, 0.0, 0.0, 1.0]
    assert reward.score([completion(RIGHT)]) == [1.0]
    assert reward.score([]) == []
    partial = CodeReward(partial=True, limits=limits)
    assert partial.score([completion(text) for text in texts[:3]]) == [1.0, 0.5, 0.0]
    assert reward.applies_to(completion("").prompt, 0)
    assert not reward.applies_to(Prompt("m", (), task="math"), 0)
    assert reward.concurrency == cores()
    assert CodeReward(workers=7).concurrency == 7


def test_functions_and_preludes():
    prelude = (
        'from typing import List\n\ndef helper(x):\n    return x + 1\n\ndef f(x: int) -> List[int]:\n    """doc"""\n'
    )
    tests = [{"code": "assert f(1) == [helper(1)]", "setup": ""}]
    program = "def f(x: int) -> List[int]:\n    return [helper(x)]"
    reward = CodeReward()
    for text in (f"```python\n{program}\n```", f"```python\nfrom __future__ import annotations\n{program}\n```"):
        assert reward.score([completion(text, tests, prelude=prelude)]) == [1.0]
    assert reward.score([completion("```python\n    return [helper(x)]\n```", tests, prelude=prelude)]) == [1.0]
    signature = "def f(x):"
    assert whole_program(completion("", prelude=signature).prompt, "def f(x): return 1") == (
        "def f(x):\n    pass\n\ndef f(x): return 1"
    )
    assert reward.score([completion("```python\ndef g(): pass\n```", tests, prelude=prelude)]) == [0.0]
    calls = [{"name": "f", "args": [1], "expected": [1, 2], "tolerance": 0.1}]
    assert reward.score([completion("```python\ndef f(x): return (x, x + 1.01)\n```", calls)]) == [1.0]


def test_forms_of_tests():
    def read(tests=None, answer=None):
        meta = {} if tests is None else {"tests": tests}
        return read_code_tests(Prompt("p7", (), answer=answer, task="code", meta=meta))

    assert read(ADD) == [IOTest("1 2", "3"), IOTest("5 5", "10")]
    assert read(json.dumps(ADD)) == read(ADD)
    assert read(answer=json.dumps(ADD)) == read(ADD)
    assert read(["assert f()", {"code": "assert g()", "setup": "x = 1"}]) == [
        AssertTest("assert f()"),
        AssertTest("assert g()", "x = 1"),
    ]
    assert read(answer="assert f() == 1\nassert f() != 2") == [AssertTest("assert f() == 1\nassert f() != 2")]
    assert read([{"name": "f", "args": [1], "expected": 2}]) == [CallTest("f", [1], 2)]
    for bad in ([], None, [{"input": "1"}], [3], {"a": 1}):
        with pytest.raises(InputError, match="p7"):
            read(bad)


def test_no_sandbox_stops_the_run(monkeypatch):
    monkeypatch.setattr("r1lit.sandbox.backends._found", {"bubblewrap": "gone", "namespaces": "gone"})
    with pytest.raises(InputError, match="install bubblewrap"):
        CodeReward().score([completion(RIGHT)])


def test_a_sandbox_that_fails_leaves_unscored_after_one_more_try(monkeypatch):
    starts = []

    def fails(self):
        starts.append(self)
        raise SandboxError("out of luck")

    reward = CodeReward()
    assert reward.score([completion(RIGHT)]) == [1.0]
    monkeypatch.setattr("r1lit.sandbox.session.Session.__enter__", fails)
    assert reward.score([completion(RIGHT)]) == [UNSCORED]
    assert len(starts) == 2


@pytest.mark.parametrize("workers", [1, 2])
def test_close_breaks_off_what_runs_and_what_waits(workers):
    reward = CodeReward(limits=Limits(wall_s=60), workers=workers)
    threading.Timer(0.5, reward.close).start()
    began = time.monotonic()
    hanging = FENCED.format("import time\ntime.sleep(50)")
    assert reward.score([completion(hanging), completion(hanging)]) == [UNSCORED, UNSCORED]
    assert time.monotonic() - began < 20
    assert reward.score([completion(RIGHT)]) == [1.0]


def test_pickles_and_copies():
    reward = CodeReward(partial=True)
    for made in (pickle.loads(pickle.dumps(reward)), copy.deepcopy(reward)):
        assert made.score([completion(HALF)]) == [0.5]


def test_bad_arguments():
    with pytest.raises(InputError, match="workers is 0"):
        CodeReward(workers=0)


def test_accuracy_knows_code():
    assert AccuracyReward().score([completion(RIGHT), completion(HALF)]) == [1.0, 0.0]


def test_the_style_of_a_completion_warns_nobody():
    code = "from r1lit.grading.programs import extract_program; print(extract_program('x = 1if 1 else 2\\n```\\n'))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert run.returncode == 0
    assert run.stdout.startswith("x = 1if 1")
    assert "Warning" not in run.stderr
