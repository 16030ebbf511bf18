"""Reads the tests of programming problems, out of the many forms that data sets give them."""

import base64
import binascii
import io
import json
import pickle
import zlib
from collections.abc import Mapping, Sequence
from typing import Any

_INPUT = ("input", "stdin", "in", "inputs")
_OUTPUT = ("output", "expected_output", "expected", "stdout", "out", "answer", "outputs")
_LARGEST = 1 << 30
"""Bytes that packed tests may unpack to."""


class TestsError(ValueError):
    """Tests of a form that is not known; the message says what is wrong."""

    __test__ = False


def read_tests(value: Any, name: str | None = None) -> list[dict[str, Any]]:
    """Reads tests as objects of the forms that ``CodeReward`` takes.

    Args:
        value: A list of ``{"input", "output"}`` (or ``stdin``, ``expected_output``), a mapping of two parallel lists
            (``inputs``, ``outputs``, perhaps ``fn_name``), assert statements, JSON of any of these, or the packed JSON
            of LiveCodeBench (base64 of zlib of a pickled text, of which nothing but text is unpickled).
        name: The function to call, for tests that are calls.

    Returns:
        ``{"stdin", "expected"}`` for scripts, ``{"name", "args", "expected"}`` for calls, ``{"code"}`` for asserts.

    Raises:
        TestsError: If the form is not known.
    """
    if value is None or value == "":
        return []
    if isinstance(value, str):
        return read_tests(_parsed(value), name)
    if isinstance(value, Mapping):
        name = value.get("fn_name") or value.get("func_name") or name
        inputs, outputs = _first(value, _INPUT), _first(value, _OUTPUT)
        if isinstance(inputs, str) and isinstance(outputs, str):
            return [_test(inputs, outputs, name if value.get("testtype") != "stdin" else None)]
        return parallel_tests(inputs, outputs, name)
    if isinstance(value, Sequence):
        return [test for item in value for test in _one(item, name)]
    raise TestsError(f"tests are {type(value).__name__}, where a list or a mapping is expected")


def parallel_tests(inputs: Any, outputs: Any, name: str | None = None) -> list[dict[str, Any]]:
    """Joins a list of inputs and a list of outputs (or JSON of them) into tests; see ``read_tests``.

    Raises:
        TestsError: If they are no lists of one length.
    """
    inputs, outputs = (_parsed(part) if isinstance(part, str) else part for part in (inputs, outputs))
    if not isinstance(inputs, list) or not isinstance(outputs, list):
        raise TestsError("inputs and outputs must both be lists")
    if len(inputs) != len(outputs):
        raise TestsError(f"{len(inputs)} inputs, but {len(outputs)} outputs")
    return [_test(given, due, name) for given, due in zip(inputs, outputs, strict=True)]


def _one(item: Any, name: str | None) -> list[dict[str, Any]]:
    if isinstance(item, str):
        return [{"code": item}]
    if not isinstance(item, Mapping):
        raise TestsError(f"a test is {type(item).__name__}, where an object or a statement is expected")
    if item.get("code") or {"name", "args", "expected"} <= item.keys():
        return [dict(item)]
    kind = str(item.get("testtype") or item.get("type") or "").lower()
    calls = kind.startswith(("func", "call")) or (not kind and name is not None)
    if calls and not name:
        raise TestsError("a test calls a function, but none is named (metadata: {func_name: ...})")
    given, due = _first(item, _INPUT), _first(item, _OUTPUT)
    if due is None:
        raise TestsError(f"a test has {', '.join(map(str, item))}, but neither {' nor '.join(_OUTPUT[:4])}")
    return [_test("" if given is None else given, due, name if calls else None)]


def _test(given: Any, due: Any, name: str | None) -> dict[str, Any]:
    if name is None:
        return {"stdin": _lines(given), "expected": _lines(due)}
    # In LiveCodeBench each line is the JSON of an argument; in APPS and TACO arguments and results are values.
    if isinstance(given, str):
        given = [_parsed(line) for line in given.splitlines() if line.strip()]
    if isinstance(due, str):
        due = _parsed_or_text(due)
    elif isinstance(due, list) and len(due) == 1:
        due = due[0]
    return {"name": name.rpartition(".")[2], "args": given if isinstance(given, list) else [given], "expected": due}


def _lines(value: Any) -> str:
    """Input or output as text: lists are lines."""
    return "\n".join(map(_lines, value)) if isinstance(value, list) else str(value)


def _first(values: Mapping[str, Any], names: Sequence[str]) -> Any:
    return next((values[name] for name in names if values.get(name) is not None), None)


def _parsed_or_text(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        if text.lstrip()[:1] in ("[", "{"):
            raise TestsError(f"tests are not JSON: {error}") from error
    try:
        return json.loads(_unpickled(_inflated(base64.b64decode(text, validate=True))))
    except (binascii.Error, zlib.error, pickle.UnpicklingError, EOFError, ValueError) as error:
        raise TestsError(f"tests are neither JSON nor packed JSON: {text[:40]!r}") from error


def _inflated(data: bytes) -> bytes:
    stream = zlib.decompressobj()
    content = stream.decompress(data, _LARGEST)
    if stream.unconsumed_tail:
        raise ValueError("too large")
    return content


class _TextOnly(pickle.Unpickler):
    """Unpickles texts and containers; naming any class or function, which is how pickles do harm, is refused."""

    def find_class(self, module: str, name: str) -> Any:
        raise pickle.UnpicklingError(f"{module}.{name} in what should be a text")


def _unpickled(data: bytes) -> str:
    text = _TextOnly(io.BytesIO(data)).load()
    if not isinstance(text, str):
        raise ValueError("no text")
    return text
