import json

import pytest

from r1lit.errors import InputError
from r1lit.grading.programs import read_code_tests
from r1lit.rewards.code import CodeReward
from r1lit.sandbox import trouble
from r1lit.tasks.benchmarks import HumanEvalPrompts, MBPPPrompts
from r1lit.types import Completion

HUMANEVAL = {
    "task_id": "HumanEval/0",
    "prompt": 'from typing import List\n\n\ndef add_all(xs: List[int]) -> int:\n    """ Sum of xs. """\n',
    "entry_point": "add_all",
    "canonical_solution": "    return sum(xs)\n",
    "test": "def check(candidate):\n    assert candidate([1, 2]) == 3\n    assert candidate([]) == 0\n",
}


def mbpp(number):
    return {
        "text": f"Write a function to add {number}.",
        "code": f"def add(x):\r\n    return x + {number}",
        "task_id": number,
        "test_setup_code": "two = 2",
        "test_list": [f"assert add(two) == {number + 2}", f"assert add(0) == {number}"],
    }


def write(path, *rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


needs_sandbox = pytest.mark.skipif(
    trouble("bubblewrap") is not None and trouble("namespaces") is not None, reason="no sandbox works here"
)


def scores(prompt, *programs):
    texts = [f"<think>Easy.</think>\n```python\n{program}\n```" for program in programs]
    return CodeReward(workers=1).score([Completion(prompt, 0, (), (), (), text, "stop") for text in texts])


@needs_sandbox
def test_humaneval(tmp_path):
    (prompt,) = HumanEvalPrompts(path=write(tmp_path / "a.jsonl", HUMANEVAL)).load()
    assert (prompt.id, prompt.task, prompt.answer) == ("humaneval/HumanEval/0", "code", None)
    assert HUMANEVAL["prompt"].strip() in prompt.question
    assert "check" not in prompt.question
    whole = HUMANEVAL["prompt"] + HUMANEVAL["canonical_solution"]
    # The imports that the problem gives need not be repeated.
    lone = "def add_all(xs: List[int]):\n    return sum(xs)"
    assert scores(prompt, whole, lone, whole.replace("sum", "len")) == [1.0, 1.0, 0.0]


INVERSE = {
    "task_id": "HumanEval/1",
    "prompt": "import math\n\n\ndef encode(x):\n    return math.floor(x) + 3\n\n\n"
    'def decode(x):\n    """Undo encode."""\n',
    "entry_point": "decode",
    "canonical_solution": "    return x - 3\n",
    "test": "def check(candidate):\n    for i in range(9):\n        assert candidate(encode(i)) == i\n",
}


@needs_sandbox
def test_the_problems_own_code_is_not_the_programs_to_change(tmp_path):
    (prompt,) = HumanEvalPrompts(path=write(tmp_path / "a.jsonl", INVERSE)).load()
    right = "def decode(x):\n    return x - 3"
    same = "def encode(x):\n    return x\ndef decode(x):\n    return x"
    assert scores(prompt, right, same, "def range(n): return []\ndef decode(x): pass") == [1.0, 0.0, 0.0]


WITH_CLASS = {
    "task_id": "HumanEval/2",
    "prompt": "LIMIT = 10\n\nclass Node:\n    def __init__(self, value):\n        self.value = value\n\n\n"
    'def total(node: Node) -> int:\n    """The value, at most LIMIT."""\n',
    "entry_point": "total",
    "canonical_solution": "    return min(node.value, LIMIT)\n",
    "test": "def check(candidate):\n    assert candidate(Node(3)) == 3\n    assert candidate(Node(30)) == LIMIT\n",
}


@needs_sandbox
def test_the_problems_own_classes_and_constants(tmp_path):
    (prompt,) = HumanEvalPrompts(path=write(tmp_path / "a.jsonl", WITH_CLASS)).load()
    assert prompt.meta["tests"][0]["setup"] == "LIMIT = 10"
    whole = WITH_CLASS["prompt"] + WITH_CLASS["canonical_solution"]
    lone = "def total(node):\n    return min(node.value, LIMIT)"
    cheat = "LIMIT = 30\ndef total(node):\n    return node.value"
    assert scores(prompt, whole, lone, cheat) == [1.0, 1.0, 0.0]


@needs_sandbox
def test_mbpp(tmp_path):
    (prompt,) = MBPPPrompts(path=write(tmp_path / "a.jsonl", mbpp(11))).load()
    assert prompt.id == "mbpp/11"
    assert all(test in prompt.question for test in mbpp(11)["test_list"])
    assert scores(prompt, mbpp(11)["code"], "def add(x):\n    return x + 1") == [1.0, 0.0]


def test_mbpp_is_cut_by_the_tasks_numbers(tmp_path):
    path = write(tmp_path / "a.jsonl", *(mbpp(i) for i in (1, 2, 10, 11, 510, 511, 600, 601, 974)))
    cut = {
        split: [p.id for p in MBPPPrompts(path=path, split=split).load()]
        for split in (None, "prompt", "test", "validation", "train", "all")
    }
    assert cut[None] == cut["test"] == ["mbpp/11", "mbpp/510"]
    assert cut["prompt"] == ["mbpp/1", "mbpp/2", "mbpp/10"]
    assert cut["validation"] == ["mbpp/511", "mbpp/600"]
    assert cut["train"] == ["mbpp/601", "mbpp/974"]
    assert len(cut["all"]) == 9
    with pytest.raises(InputError, match="split is 'dev'; choose from prompt, test"):
        MBPPPrompts(path=path, split="dev")


def test_shots(tmp_path):
    path = write(tmp_path / "a.jsonl", *(mbpp(i) for i in (1, 2, 3, 11, 12)))
    prompts = MBPPPrompts(path=path, shots=2).load()  # of tasks 1 to 10
    assert [prompt.question.count("```python\ndef add(x):\n    return x + ") for prompt in prompts] == [2, 2]
    assert "\r" not in prompts[0].question
    path = write(tmp_path / "b.jsonl", HUMANEVAL, {**HUMANEVAL, "task_id": "HumanEval/1", "prompt": "def f():\n"})
    prompts = HumanEvalPrompts(path=path, shots=1, shots_path=path).load()
    assert "def f():\n    return sum(xs)\n```" in prompts[0].question


def test_other_columns(tmp_path):
    row = {
        "prompt": "Add.",
        "test_imports": ["import math", "x = 1"],
        "test_list": '["assert add"]',
        "task_id": "Mbpp/20",
    }
    (prompt,) = MBPPPrompts(path=write(tmp_path / "a.jsonl", row)).load()
    (test,) = read_code_tests(prompt)
    assert (test.code, test.setup) == ("assert add", "import math\nx = 1")


@pytest.mark.parametrize(
    ("source", "row", "message"),
    [
        (HumanEvalPrompts, {**HUMANEVAL, "test": "assert True"}, r"column 'test': no function check\(candidate\)"),
        (HumanEvalPrompts, {"prompt": "a", "test": "b"}, "no column for 'entry'"),
        (MBPPPrompts, {**mbpp(11), "test_list": []}, "column 'test_list': no list of assert statements"),
        (MBPPPrompts, {**mbpp(11), "test_list": [[1]]}, "a test is list"),
    ],
)
def test_bad_rows(tmp_path, source, row, message):
    with pytest.raises(InputError, match=message):
        source(path=write(tmp_path / "a.jsonl", row)).load()
