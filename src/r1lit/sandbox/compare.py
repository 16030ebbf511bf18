"""Compares what a program printed with what it should have; outside the sandbox."""

import math
import re
from fractions import Fraction

from r1lit.sandbox.types import IOTest

_DECIMAL = re.compile(r"-?\d+(?:\.\d+)?")
_LONGEST_NUMBER = 400


def accepts(test: IOTest, output: bytes) -> bool:
    """Whether an output is right for a test (see ``IOTest``). Bytes that are not UTF-8 equal nothing expected."""
    text = output.decode("utf-8", "replace")
    if test.check is not None:
        return bool(test.check(test.stdin, text, test.expected))
    printed, expected = _lines(text), _lines(test.expected)
    if printed == expected:
        return True
    if len(printed) != len(expected):
        return False
    if not test.tolerance:
        return all(_same_numbers(*pair) for pair in zip(printed, expected, strict=True))
    return all(_close_lines(*pair, test.tolerance) for pair in zip(printed, expected, strict=True))


def _lines(text: str) -> list[str]:
    lines = [line.rstrip() for line in text.split("\n")]
    while lines and not lines[-1]:
        lines.pop()
    return lines


def _same_numbers(line: str, expected: str) -> bool:
    """Whether lines are equal, decimal numbers by their value: 2.50 is 2.5, as in the checkers of the benchmarks."""
    words, wanted = (re.split(r"(\s+)", text) for text in (line, expected))
    return len(words) == len(wanted) and all(_same_number(*pair) for pair in zip(words, wanted, strict=True))


def _same_number(word: str, wanted: str) -> bool:
    if word == wanted:
        return True
    both = (word, wanted)
    return (
        "." in word + wanted
        and max(map(len, both)) <= _LONGEST_NUMBER
        and all(_DECIMAL.fullmatch(text) for text in both)
        and Fraction(word) == Fraction(wanted)
    )


def _close_lines(line: str, expected: str, tolerance: float) -> bool:
    words, wanted = line.split(), expected.split()
    return len(words) == len(wanted) and all(_close(*pair, tolerance) for pair in zip(words, wanted, strict=True))


def _close(word: str, wanted: str, tolerance: float) -> bool:
    if word == wanted:
        return True
    try:
        value, target = float(word), float(wanted)
    except ValueError:
        return False
    # An infinity or not-a-number is close to nothing; a huge tolerance must not let it in.
    return math.isfinite(value) and math.isfinite(target) and abs(value - target) <= tolerance * max(1.0, abs(target))
