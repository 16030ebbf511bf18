"""The trusted side of tests that call a program: they run here, in a process of their own.

What the program defines appears to a test as stand-ins (``remote``). Neither the test's text nor an expected value goes
to the program, unless the test itself hands it over.
"""

import builtins
import importlib
import sys
from collections.abc import Callable, Generator, Mapping
from typing import Any, NoReturn

from r1lit.sandbox.inside import wire
from r1lit.sandbox.inside.remote import MODULES, Link
from r1lit.sandbox.inside.standins import number_of


def run_tests(link: Link, tests: list[Mapping[str, Any]], stop: bool, report: Callable[[str], None]) -> None:
    """Runs tests in order. They may hang, or use up the memory: whoever has started this process watches it.

    Args:
        link: To the program.
        tests: ``{"code", "setup"}`` of an assert test with what ``r1lit.sandbox.names`` finds out about it, or
            ``{"call", "args", "keywords", "expected", "tolerance"}``.
        stop: Whether to leave out the tests after the first that fails.
        report: Is told of each test that was run why it failed; "" if it passed.
    """
    sys.set_int_max_str_digits(0)  # answers may be huge integers
    try:
        link.load()
    except Exception as error:
        link.broken = link.broken or str(error)
    for test in tests:
        reason = link.broken or _run_test(link, test)
        report(reason)
        if stop and reason:
            break


def _run_test(link: Link, test: Mapping[str, Any]) -> str:
    try:
        if "call" in test:
            _run_call(link, test)
        else:
            link.used = frozenset(test["names"])
            space = _space(link, test)
            for part in (test["setup"], test["code"]):
                exec(compile(part, "test", "exec", dont_inherit=True), space)
    except BaseException as error:  # a test may raise whatever it likes, SystemExit too, and has then not passed
        return link.broken or f"{_failure(error)}{_displaced(link, test)}"[:500]
    return link.broken or ""


def _space(link: Link, test: Mapping[str, Any]) -> dict[str, Any]:
    """The names that a test begins with. Those of Python's come last, so that no program can replace them."""
    names = set(test["names"])
    if missing := [name for name in test["names"] if hasattr(builtins, name) and name not in link.names]:
        raise NameError(f"the program does not define {missing[0]}")  # else Python's would be tested
    if test["look"]:
        names |= {name for name in link.names if not hasattr(builtins, name) and name not in MODULES}
    return {
        **{name: link.named(name) for name in names & link.names.keys()},
        **{name: importlib.import_module(name) for name in test["modules"]},
        **{name: getattr(importlib.import_module(module), name) for name, module in test["imports"].items()},
        "__name__": "tests",
        "__builtins__": builtins,
    }


def _failure(error: BaseException) -> str:
    what = "assertion failed" if isinstance(error, AssertionError) else type(error).__name__
    # Only text: the message of an assertion may be an object of the program's, whose text would have to be asked for.
    text = ", ".join(str(item) for item in error.args if isinstance(item, str | int | float))
    return f"{what}{_place(error)}{f': {text}' if text else ''}"


def _displaced(link: Link, test: Mapping[str, Any]) -> str:
    """Says where a test that failed took a name from Python that the program defines as well."""
    python = [*test.get("modules", ()), *test.get("imports", ())]
    both = [name for name in python if name in link.names and "module" not in link.names[name]]
    return f" ({', '.join(both)} of the test is Python's, not the program's)" if both else ""


def _place(error: BaseException) -> str:
    trace, line = error.__traceback__, None
    while trace is not None:
        line = trace.tb_lineno if trace.tb_frame.f_code.co_filename == "test" else line
        trace = trace.tb_next
    return f" in line {line} of the test" if line else ""


def _run_call(link: Link, test: Mapping[str, Any]) -> None:
    name = test["call"]
    if name in link.names:
        function = link.named(name)
    elif "Solution" in link.names:
        function = getattr(link.named("Solution")(), name)
    else:
        raise NameError(f"the program defines neither {name} nor a class Solution")
    local: Callable[[Any], NoReturn] = _no_object
    arguments = [wire.decode(item, local) for item in test["args"]]
    keywords = {key: wire.decode(item, local) for key, item in test["keywords"].items()}
    expected = wire.decode(test["expected"], local)
    value = function(*arguments, **keywords)
    if number_of(value) is not None or isinstance(value, Generator):
        value = list(value)  # an iterator; anything else raises
    if not alike(value, expected, test["tolerance"]):
        raise AssertionError(f"{name} returned {_short(value)}, expected {_short(expected)}")


def _no_object(message: Any) -> NoReturn:
    raise ValueError("not a plain value")


def alike(value: Any, expected: Any, tolerance: float) -> bool:
    """Equality of plain values; tuples equal lists (the tests are JSON), numbers may differ by the tolerance."""
    if isinstance(value, list | tuple) and isinstance(expected, list | tuple):
        return len(value) == len(expected) and all(map(alike, value, expected, [tolerance] * len(value)))
    if isinstance(value, dict) and isinstance(expected, dict):
        return value.keys() == expected.keys() and all(alike(value[key], expected[key], tolerance) for key in value)
    if tolerance and isinstance(value, int | float) and isinstance(expected, int | float):
        return bool(value == expected or abs(value - expected) <= tolerance * max(1.0, abs(expected)))
    return bool(value == expected)


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 100 else f"{text[:97]}..."
