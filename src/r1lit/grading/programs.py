"""Programs in completions, and the tests of a prompt."""

import ast
import json
import re
import threading
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

from r1lit.errors import InputError
from r1lit.grading.parsing import split_reasoning
from r1lit.sandbox import AssertTest, CallTest, IOTest, Isolation, Limits, Test, Verdict, judge
from r1lit.sandbox.names import names_of
from r1lit.types import Completion, Prompt

# What Python thinks of a completion's style is nothing to a user. The name is that of a text without a file.
warnings.filterwarnings("ignore", category=SyntaxWarning, module=re.escape("<unknown>"))

_FENCE = re.compile(r"([ \t]*)(`{3,}|~{3,})[ \t]*([^\s`]*)[^`]*")
_FUTURE = re.compile(r"^from __future__ import [\w, ]+$", re.MULTILINE)
_TAG = re.compile(r"</?answer>")
_PYTHON = ("python", "python3", "py")


def extract_program(text: str) -> str | None:
    """The program in a completion: the last fenced block of Python after the reasoning.

    A last block that only uses what an earlier one defines is an example of its use: then the earlier one counts.
    Without a block that says it is Python the last one that says nothing; without any fence the whole answer, or what
    stands before a lone closing fence; None if that is empty. ``<answer>`` tags do not count. A block that is cut off
    counts as it is.
    """
    rest = _TAG.sub("\n", split_reasoning(text)[1]).strip("\n")  # not spaces: the first line may be indented
    blocks = _blocks(rest)
    for languages in (_PYTHON, ("",)):
        found = [code for language, code in blocks if language in languages]
        if found:
            if languages == ("",) and len(blocks) == 1 and (bare := _before_closing_fence(rest)) is not None:
                return bare
            solution = _solution(found)
            return solution if solution.strip() else None
    if blocks:
        return None
    return rest if rest.strip() else None


def _solution(blocks: Sequence[str]) -> str:
    """The last block, unless it defines nothing and only uses what one before it defines."""
    last = _parsed(blocks[-1])
    if last is None or _defined(last):
        return blocks[-1]
    used = {node.id for node in ast.walk(last) if isinstance(node, ast.Name)}
    for code in reversed(blocks[:-1]):
        tree = _parsed(code)
        if tree is not None and _defined(tree) & used:
            return code
    return blocks[-1]


def _before_closing_fence(text: str) -> str | None:
    """The program before a fence that closes nothing; None where the text has another form."""
    lines = text.split("\n")
    fences = [number for number, line in enumerate(lines) if _FENCE.fullmatch(line.rstrip())]
    if len(fences) != 1 or _FENCE.fullmatch(lines[fences[0]].rstrip())[3]:  # type: ignore[index] # it matched above
        return None
    code = "\n".join(lines[: fences[0]]) + "\n"
    tree = _parsed(code)
    return code if tree is not None and tree.body else None


def _parsed(code: str) -> ast.Module | None:
    try:
        return ast.parse(code)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def _defined(tree: ast.Module) -> set[str]:
    """The functions and classes that a program defines."""
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    return {node.name for node in tree.body if isinstance(node, kinds)}


def _blocks(text: str) -> list[tuple[str, str]]:
    """Language and content of all fenced blocks, in order, less the indentation of their fences."""
    blocks: list[tuple[str, str]] = []
    fence, indent, language, lines = "", "", "", list[str]()
    for line in text.split("\n"):
        match = _FENCE.fullmatch(line.rstrip())
        if not fence:
            if match:
                indent, fence, language, lines = match.group(1), match.group(2), match.group(3).lower(), []
        elif match and not match.group(3) and match.group(2).startswith(fence):
            blocks.append((language, "\n".join(lines) + "\n"))
            fence = ""
        else:
            lines.append(line.removeprefix(indent))
    return [*blocks, (language, "\n".join(lines) + "\n")] if fence else blocks


def read_code_tests(prompt: Prompt) -> list[Test]:
    """The tests of a prompt of task ``code``.

    They stand in ``prompt.meta["tests"]``, or as JSON in ``prompt.answer``: a list of ``{"stdin", "expected"}`` for
    scripts, or of ``{"code"}`` (with ``"setup"`` and ``"names"``, see ``AssertTest``) for asserts and ``{"name",
    "args", "expected"}`` (with ``"keywords"``) for calls; those with an expected value may have a ``"tolerance"``. A
    mere string is an assert test.

    Raises:
        InputError: If there are none, they are of no such form, or what they take from the program is unclear.
    """
    value = prompt.meta.get("tests", prompt.answer)
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError:
            value = [value]  # assert statements
    if not isinstance(value, Sequence) or not value:
        raise InputError(f"prompt {prompt.id!r}: no tests; give task code a list of them in meta['tests']")
    return [_test(prompt, number, item) for number, item in enumerate(value)]


def _test(prompt: Prompt, number: int, item: Any) -> Test:
    if isinstance(item, str):
        return _assert_test(prompt, {"code": item})
    if isinstance(item, Mapping):
        tolerance = float(item.get("tolerance") or 0.0)
        if "code" in item:
            return _assert_test(prompt, item)
        if "stdin" in item and "expected" in item:
            return IOTest(str(item["stdin"]), str(item["expected"]), tolerance)
        if {"name", "args", "expected"} <= item.keys():
            keywords = item.get("keywords") or {}
            return CallTest(str(item["name"]), list(item["args"]), item["expected"], keywords, tolerance)
    raise InputError(
        f"prompt {prompt.id!r}: test {number} of meta['tests'] is neither {{stdin, expected}}, nor "
        "{name, args, expected}, nor {code}"
    )


def _assert_test(prompt: Prompt, item: Mapping[str, Any]) -> AssertTest:
    names = item.get("names")
    test = AssertTest(str(item["code"]), str(item.get("setup") or ""), None if names is None else tuple(names))
    try:
        names_of(test)
    except InputError as error:
        raise InputError(f"prompt {prompt.id!r}: {error}") from error
    return test


def whole_program(prompt: Prompt, code: str) -> str:
    """The code behind what the problem gives (``prompt.meta["prelude"]``), which tests may use.

    Indented code continues the prelude's last function, as completions of HumanEval do.
    """
    prelude = str(prompt.meta.get("prelude") or "")
    if not prelude.strip():
        return code
    first = next((line for line in code.split("\n") if line.strip()), "")
    if first[:1].isspace():
        return f"{prelude.rstrip()}\n{code}"
    try:
        ast.parse(prelude)
    except (SyntaxError, ValueError):  # it ends with a signature
        prelude = f"{prelude.rstrip()}\n    pass"
    future = "".join(f"{line}\n" for line in _FUTURE.findall(code))  # must come first
    return f"{future}{prelude}\n\n{_FUTURE.sub('', code)}"


def run_program(
    completion: Completion,
    limits: Limits | None = None,
    isolation: Isolation = "auto",
    stop_at_failure: bool = True,
    stop: threading.Event | None = None,
) -> Verdict | None:
    """Judges a completion's program by its prompt's tests; None if it has none.

    Args:
        completion: Of a prompt with tests.
        limits: What the program may use.
        isolation: See ``r1lit.sandbox.judge``.
        stop_at_failure: Whether to leave out the tests after the first that fails.
        stop: Breaks judging off when it is set.

    Raises:
        InputError: If the prompt has no usable tests, or no sandbox works here.
        SandboxError: If the sandbox failed twice.
    """
    tests = read_code_tests(completion.prompt)
    code = extract_program(completion.text)
    if code is None:
        return None
    program = whole_program(completion.prompt, code)
    return judge(program, tests, limits, isolation=isolation, stop_at_failure=stop_at_failure, stop=stop)
