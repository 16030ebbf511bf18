"""Compares what a program printed with what it should have; outside the sandbox."""

import math

from r1lit.sandbox.types import IOTest


def accepts(test: IOTest, output: bytes) -> bool:
    """Whether an output is right for a test (see ``IOTest``). Bytes that are not UTF-8 equal nothing expected."""
    text = output.decode("utf-8", "replace")
    if test.check is not None:
        return bool(test.check(test.stdin, text, test.expected))
    printed, expected = _lines(text), _lines(test.expected)
    if printed == expected:
        return True
    if not test.tolerance or len(printed) != len(expected):
        return False
    return all(_close_lines(*pair, test.tolerance) for pair in zip(printed, expected, strict=True))


def _lines(text: str) -> list[str]:
    lines = [line.rstrip() for line in text.split("\n")]
    while lines and not lines[-1]:
        lines.pop()
    return lines


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
