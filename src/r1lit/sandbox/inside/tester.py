"""The trusted side of tests that call a program: they run here, in another process than the program.

What the program defines appears to a test as stand-ins (``remote``). Neither the test's text nor an expected value goes
to the program, unless the test itself hands it over.
"""

import builtins
import importlib
import os
import signal
import sys
from collections.abc import Callable, Mapping
from typing import Any, NoReturn

from r1lit.sandbox.inside import wire
from r1lit.sandbox.inside.remote import MODULES, Link, OutOfTimeError, Remote

_PATIENCE_S = 1.0


def run_tests(link: Link, tests: list[Mapping[str, Any]], left_s: Callable[[], float], stop: bool) -> list[str]:
    """Runs tests in order.

    Args:
        link: To the program.
        tests: ``{"code", "setup"}`` of an assert test with what ``r1lit.sandbox.names`` finds out about it, or
            ``{"call", "args", "keywords", "expected", "tolerance"}``.
        left_s: Tells the seconds that are left for all of them together.
        stop: Whether to leave out the tests after the first that fails.

    Returns:
        For each test that was run, why it failed; "" if it passed.
    """
    try:
        _with_alarm(link.load, left_s)
    except (Exception, OutOfTimeError) as error:
        link.broken = link.broken or str(error) or "time limit"
    reasons: list[str] = []
    for test in tests:
        if not link.broken:
            reason = _run_test(link, test, left_s)
        reasons.append(link.broken or reason)
        if stop and reasons[-1]:
            break
    return reasons


def _run_test(link: Link, test: Mapping[str, Any], left_s: Callable[[], float]) -> str:
    def run() -> None:
        if "call" in test:
            _run_call(link, test)
            return
        space = _space(link, test)
        for part in (test["setup"], test["code"]):
            exec(compile(part, "test", "exec", dont_inherit=True), space)

    try:
        _with_alarm(run, left_s)
    except OutOfTimeError:
        link.broken = link.broken or "time limit"
    except BaseException as error:  # a test may raise whatever it likes, SystemExit too, and has then not passed
        return f"{_failure(error)}{_displaced(link, test)}"[:500]
    if left_s() <= 0:  # a test that has swallowed the alarm
        link.broken = link.broken or "time limit"
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
    if isinstance(value, Remote):
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


def _with_alarm(function: Callable[[], Any], left_s: Callable[[], float]) -> Any:
    """Calls a function that an alarm breaks off when no time is left, wherever it is; again and again, if it goes on.

    A test that swallows the alarm for too long ends the whole sandbox, which is taken for what it is.
    """

    def ring(number: int, frame: object) -> None:
        left = left_s()
        if left < -_PATIENCE_S:
            os._exit(1)
        if left <= 0:  # else the machine was busy, or it is the program that has sent the signal
            raise OutOfTimeError

    signal.signal(signal.SIGALRM, ring)
    try:
        signal.setitimer(signal.ITIMER_REAL, max(0.001, left_s()) + 0.001, 0.05)
        return function()
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, signal.SIG_IGN)


def prepare() -> None:
    """What test code gets: no limit on digits, as answers may be huge integers."""
    sys.set_int_max_str_digits(0)
