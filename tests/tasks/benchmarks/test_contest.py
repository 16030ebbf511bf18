import base64
import json
import os
import pickle
import zlib

import pytest

from r1lit.errors import InputError
from r1lit.grading.programs import read_code_tests
from r1lit.sandbox import CallTest, IOTest
from r1lit.tasks.benchmarks import CodeforcesPrompts, ContestPrompts, LiveCodeBenchPrompts

PAIRS = [{"input": "1 2\n", "output": "3\n"}, {"input": "4 5\n", "output": "9\n"}]


def write(path, *rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def packed(value):
    return base64.b64encode(zlib.compress(pickle.dumps(json.dumps(value)))).decode()


@pytest.mark.parametrize(
    "columns",
    [
        {"test_cases": PAIRS},
        {"tests": json.dumps(PAIRS)},
        {"official_tests": [{"stdin": t["input"], "expected_output": t["output"]} for t in PAIRS]},
        {"inputs": [t["input"] for t in PAIRS], "outputs": [t["output"] for t in PAIRS]},
        {"input": json.dumps([t["input"] for t in PAIRS]), "output": json.dumps([t["output"] for t in PAIRS])},
        {"input_output": json.dumps({"inputs": [t["input"] for t in PAIRS], "outputs": [t["output"] for t in PAIRS]})},
        {
            "public_tests": {"input": ["1 2\n"], "output": ["3\n"]},
            "private_tests": {"input": ["4 5\n"], "output": ["9\n"]},
        },
        {"public_test_cases": json.dumps(PAIRS[:1]), "private_test_cases": packed(PAIRS[1:])},
        {"tests": [{"input": ["1 2", ""], "output": ["3", ""]}, PAIRS[1]]},
    ],
    ids=lambda columns: " ".join(columns),
)
def test_every_form_gives_the_same_tests(tmp_path, columns):
    (prompt,) = ContestPrompts(path=write(tmp_path / "a.jsonl", {"question": "Add.", **columns})).load()
    assert read_code_tests(prompt) == [IOTest("1 2\n", "3\n"), IOTest("4 5\n", "9\n")]
    assert prompt.task == "code"
    assert "standard input" in prompt.question


LCB = {
    "question_id": "3",
    "question_content": "Add two numbers.",
    "contest_date": "2024-09-01T00:00:00",
    "starter_code": "class Solution:\n    def add(self, a: int, b: List[int]) -> int:\n        ",
    "public_test_cases": json.dumps([{"input": "1\n[2, 3]", "output": "6", "testtype": "functional"}]),
    "private_test_cases": packed([{"input": '1\n["a"]', "output": '"b"', "testtype": "functional"}]),
    "metadata": json.dumps({"func_name": "add"}),
}


def test_livecodebench_calls_functions(tmp_path):
    (prompt,) = LiveCodeBenchPrompts(path=write(tmp_path / "a.jsonl", LCB)).load()
    assert read_code_tests(prompt) == [CallTest("add", [1, [2, 3]], 6), CallTest("add", [1, ["a"]], "b")]
    assert "def add(self" in prompt.question
    assert "standard input" not in prompt.question
    assert prompt.id == "livecodebench/3"


def test_apps_calls_functions(tmp_path):
    tests = {"fn_name": "Solution.add", "inputs": [[1, [2, 3]], [4, []]], "outputs": [[6], 4]}
    (prompt,) = ContestPrompts(path=write(tmp_path / "a.jsonl", {"question": "Add.", "input_output": tests})).load()
    assert read_code_tests(prompt) == [CallTest("add", [1, [2, 3]], 6), CallTest("add", [4, []], 4)]


def test_the_window_of_time(tmp_path):
    days = ["2024-07-31", "2024-08-01T10:00:00", "2025-01-31", "2025-02-01", 1_730_000_000]
    path = write(tmp_path / "a.jsonl", *({**LCB, "question_id": i, "contest_date": day} for i, day in enumerate(days)))
    prompts = LiveCodeBenchPrompts(path=path, after="2024-08-01", before="2025-02-01").load()
    assert [p.id[-1] for p in prompts] == ["1", "2", "4"]
    with pytest.raises(InputError, match="no date, but after or before is set"):
        LiveCodeBenchPrompts(
            path=write(tmp_path / "b.jsonl", {"question": "Add.", "tests": PAIRS}), after="2024-08-01"
        ).load()


CODEFORCES = {
    "id": "1/A",
    "description": "Add two numbers.",
    "input_format": "Two integers.",
    "output_format": "Their sum.",
    "examples": [PAIRS[0]],
    "note": "It is easy.",
    "official_tests": PAIRS,
    "rating": 800,
    "time_limit": 1.0,
}


def test_codeforces(tmp_path):
    (prompt,) = CodeforcesPrompts(path=write(tmp_path / "a.jsonl", CODEFORCES), tolerance=1e-6).load()
    assert (prompt.id, prompt.meta["rating"], prompt.meta["time_limit"]) == ("codeforces/1/A", 800.0, 1.0)
    for part in ("Two integers.", "Their sum.", "Input:\n1 2\nOutput:\n3", "It is easy."):
        assert part in prompt.question
    assert "4 5" not in prompt.question
    assert read_code_tests(prompt)[0].tolerance == 1e-6


def test_what_cannot_be_judged_is_left_out_if_wanted(tmp_path):
    others = ({"official_tests": []}, {"interaction_format": "ask"}, {"generated_checker": "def check(): ..."}, {})
    path = write(tmp_path / "a.jsonl", *({**CODEFORCES, **other, "id": i} for i, other in enumerate(others)))
    assert [p.id for p in CodeforcesPrompts(path=path, drop_untested=True).load()] == ["codeforces/3"]
    with pytest.raises(InputError, match="row 1, column 'official_tests': no tests; name their column"):
        CodeforcesPrompts(path=path).load()


class Harmful:
    def __reduce__(self):
        return os.system, ("false",)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"tests": "no JSON"}, "tests are neither JSON nor packed JSON"),
        ({"tests": "[1, "}, "tests are not JSON"),
        ({"tests": base64.b64encode(zlib.compress(pickle.dumps(Harmful()))).decode()}, "neither JSON nor packed JSON"),
        ({"tests": [{"input": "1"}]}, "a test has input, but neither output nor"),
        ({"tests": [3]}, "a test is int"),
        ({"tests": 3}, "tests are int"),
        ({"inputs": ["1"], "outputs": ["1", "2"]}, "1 inputs, but 2 outputs"),
        ({"inputs": "1", "outputs": "2"}, "inputs and outputs must both be lists"),
        ({"tests": [{"input": "1", "output": "2", "testtype": "functional"}]}, "calls a function, but none is named"),
        ({"tests": PAIRS, "rating": "hard"}, "'hard' is no number"),
        ({"tests": PAIRS, "metadata": "[]"}, "column 'metadata': not a JSON object"),
    ],
)
def test_bad_rows(tmp_path, row, message):
    with pytest.raises(InputError, match=message) as caught:
        ContestPrompts(path=write(tmp_path / "a.jsonl", {"question": "Add.", **row})).load()
    assert "a.jsonl, row 1, column" in str(caught.value)
