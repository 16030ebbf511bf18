"""Functions to write: HumanEval and MBPP, judged by ``CodeReward``.

``meta["tests"]`` is a list of tests, ``meta["prelude"]`` what stands before the program, where the problem gives code
that the program builds on.
"""

import ast
from collections.abc import Mapping
from typing import Any, ClassVar

from r1lit.errors import InputError
from r1lit.tasks.benchmarks.source import BenchmarkPrompts, Row
from r1lit.tasks.benchmarks.tests import TestsError, read_tests
from r1lit.types import Prompt

WRITE_FUNCTION = (
    "Complete the Python function below. Think it through, then give the whole function, with the imports it needs, in"
    " one ```python code block.\n\n```python\n{question}\n```"
)
WRITE_TESTED = "{question}\n\nThink it through, then give a Python program that does this in one ```python code block."


class HumanEvalPrompts(BenchmarkPrompts):
    """HumanEval: 164 functions to complete; see ``BenchmarkPrompts`` for the arguments."""

    benchmark = "humaneval"
    template = WRITE_FUNCTION
    roles: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "question": ("prompt", "question", "signature"),
        "entry": ("entry_point", "function", "function_name"),
        "tests": ("test", "tests", "check"),
        "solution": ("canonical_solution", "solution", "code"),
        "id": ("task_id", "id"),
    }
    optional = frozenset({"id", "solution"})

    def build(self, row: Row, prompt_id: str, shots: str) -> Prompt:
        """A prompt of task ``code``; the problem's own code goes before the program, which builds on it."""
        entry, tests = row.text("entry").strip(), row.text("tests")
        if "def check(" not in tests:
            raise row.error("tests", "no function check(candidate), which HumanEval's tests are")
        code = f"{tests.rstrip()}\n\ncheck({entry})\n"
        setup, classes = _given(row.text("question"), entry, code)
        return Prompt(
            prompt_id,
            self.messages(row, shots),
            task="code",
            source=row.source,
            meta={
                **row.rest(),
                "entry_point": entry,
                "prelude": row.text("question"),
                "tests": [{"code": code, "setup": setup, "names": [entry, *classes]}],
            },
        )

    def worked(self, row: Row) -> str:
        """The request and the whole function."""
        return f"{self.ask(row)}\n\n```python\n{row.text('question').strip()}\n{row.text('solution').rstrip()}\n```"


def _given(prompt: str, entry: str, tests: str) -> tuple[str, list[str]]:
    """What tests use of the code that the problem gives, such as the inverse of the function to write.

    The program contains that code as well, and may have changed it. Objects of a class that the problem gives are made
    in the program's process, as its functions take no others.

    Returns:
        The problem's functions and constants with its imports, and the names of its classes; none that no test uses.
    """
    try:
        given, used = ast.parse(f"{prompt.rstrip()}\n    pass"), ast.parse(tests)
    except SyntaxError:
        return "", []
    classes = [node.name for node in given.body if isinstance(node, ast.ClassDef)]
    functions = [node for node in given.body if isinstance(node, ast.FunctionDef) and node.name != entry]
    constants = [node for node in given.body if isinstance(node, ast.Assign | ast.AnnAssign)]
    targets = [name.id for node in constants for name in ast.walk(node) if isinstance(name, ast.Name)]
    defined = {*classes, *targets, *(node.name for node in functions)}
    if defined.isdisjoint(node.id for node in ast.walk(used) if isinstance(node, ast.Name)):
        return "", []
    imports = [node for node in given.body if isinstance(node, ast.Import | ast.ImportFrom)]
    kept = sorted((*imports, *constants, *functions), key=lambda node: node.lineno)
    return "\n".join(map(ast.unparse, kept)), classes


class MBPPPrompts(BenchmarkPrompts):
    """MBPP: small tasks with three asserts, which are shown.

    A file with all 974 tasks is cut by its numbers as usual: 1-10 prompt (the examples of few-shot prompts), 11-510
    test, 511-600 validation, 601-974 train. See ``BenchmarkPrompts`` for the arguments; ``split: all`` takes every
    task.
    """

    benchmark = "mbpp"
    template = WRITE_TESTED
    roles: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "question": ("text", "prompt", "question", "description"),
        "tests": ("test_list", "tests", "asserts"),
        "setup": ("test_setup_code", "test_imports", "setup"),
        "solution": ("code", "canonical_solution", "solution"),
        "id": ("task_id", "id"),
    }
    optional = frozenset({"id", "setup", "solution"})
    SPLITS: ClassVar[Mapping[str, range]] = {
        "prompt": range(1, 11),
        "test": range(11, 511),
        "validation": range(511, 601),
        "train": range(601, 975),
    }

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        if self.path is not None and self.split not in (None, "all", *self.SPLITS):
            raise InputError(f"MBPPPrompts: split is {self.split!r}; choose from {', '.join((*self.SPLITS, 'all'))}")

    def keep(self, row: Row) -> bool:
        """Whether the task's number is in the split; tasks without numbers all are."""
        if self.path is None or self.split == "all" or row.get("id") is None:
            return True
        number = row.text("id").rpartition("/")[2]
        return not number.isdecimal() or int(number) in self.SPLITS[self.split or "test"]

    def shot_rows(self) -> list[Row]:
        """Tasks 1-10 of the same file, unless another is given."""
        if self.shots_path is not None or self.path is None:
            return super().shot_rows() if self.shots_path is not None else self.from_hub("prompt")
        rows = [row for row in self.rows() if row.get("id") is not None and row.text("id") in map(str, range(1, 11))]
        return rows or super().shot_rows()

    def build(self, row: Row, prompt_id: str, shots: str) -> Prompt:
        """A prompt of task ``code``."""
        tests, setup = _asserts(row), _setup(row)
        return Prompt(
            prompt_id,
            self.messages(row, shots),
            task="code",
            source=row.source,
            meta={**row.rest(), "tests": [{"code": test, "setup": setup} for test in tests]},
        )

    def asked(self, row: Row) -> str:
        """The task and its tests."""
        return "\n".join([super().asked(row), "", "It must pass these tests:", "", *_asserts(row)])

    def worked(self, row: Row) -> str:
        """The request and the reference program."""
        program = "\n".join(line.rstrip() for line in row.text("solution").strip().splitlines())
        return f"{self.ask(row)}\n\n```python\n{program}\n```"


def _asserts(row: Row) -> list[str]:
    try:
        tests = read_tests(row.get("tests"))
    except TestsError as error:
        raise row.error("tests", str(error)) from error
    if not tests or not all(isinstance(test.get("code"), str) for test in tests):
        raise row.error("tests", "no list of assert statements")
    return [test["code"] for test in tests]


def _setup(row: Row) -> str:
    value = row.get("setup")
    return "\n".join(map(str, value)) if isinstance(value, list) else str(value or "")
