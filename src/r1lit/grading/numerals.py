r"""Numbers in the spellings of short answers, read exactly.

Nothing is evaluated that a model wrote: numbers are read by ``Fraction`` after a length cap, powers only of small
integers.
"""

import re
from fractions import Fraction

_INTEGER = r"\d{1,3}(?:,\d{3})+|\d+"
_DECIMAL = rf"(?:(?:{_INTEGER})(?:\.\d*)?|\.\d+)"
_PLAIN = re.compile(rf"[+-]?{_DECIMAL}")
_RATIO = re.compile(rf"([+-]?)(?:\\frac\{{([+-]?{_DECIMAL})\}}\{{([+-]?{_DECIMAL})\}}|({_DECIMAL})/({_DECIMAL}))")
_MIXED = re.compile(r"([+-]?)(\d+)(?: (\d+)/(\d+)|\\frac\{(\d+)\}\{(\d+)\})")
_PERIODIC = re.compile(r"([+-]?)(\d*)\.(\d*)\\overline\{(\d+)\}")
_POWER_OF_TEN = re.compile(rf"([+-]?{_DECIMAL})(?:(?:\\times|\*)10\^(?:\{{(-?\d{{1,3}})\}}|(\d))|[eE]([+-]?\d{{1,3}}))")
_POWER = re.compile(r"([+-]?)(\d{1,6})\^(?:\{(-?\d{1,2})\}|(\d))")


def compact(text: str) -> str:
    """Drops white space except between digits, where ``1 2`` is not 12, and before the fraction of ``1 1/2``."""
    return re.sub(r"(?<!\d) | (?!\d)", "", " ".join(text.split()))


def read_number(text: str) -> tuple[Fraction, int | None] | None:
    """Reads a number in decimal, ratio, mixed, periodic or scientific spelling, or a power of small integers.

    Returns:
        Its exact value and, for a decimal with a point, the digits after it; None for anything else.
    """
    if _PLAIN.fullmatch(text):
        plain = text.replace(",", "")
        return Fraction(plain if not plain.endswith(".") else plain[:-1]), (
            len(plain.partition(".")[2]) if "." in plain else None
        )
    if match := _RATIO.fullmatch(text):
        sign, *parts = match.groups()
        above, below = (Fraction(part.replace(",", "")) for part in parts if part is not None)
        return None if below == 0 else ((-1 if sign == "-" else 1) * above / below, None)
    if match := _PERIODIC.fullmatch(text):
        sign, whole, start, period = match.groups()
        nines = 10 ** len(start) * (10 ** len(period) - 1)
        value = Fraction(f"{whole or 0}.{start or 0}") + Fraction(int(period), nines)
        return (-1 if sign == "-" else 1) * value, None
    if match := _MIXED.fullmatch(text):
        sign, whole, *parts = match.groups()
        above, below = (Fraction(part) for part in parts if part is not None)
        return None if below == 0 else ((-1 if sign == "-" else 1) * (Fraction(whole) + above / below), None)
    if match := _POWER.fullmatch(text):
        sign, base, *exponents = match.groups()
        exponent = int(next(part for part in exponents if part is not None))
        if base.strip("0") == "" and exponent <= 0:
            return None
        return (-1 if sign == "-" else 1) * Fraction(int(base)) ** exponent, None
    if match := _POWER_OF_TEN.fullmatch(text):
        mantissa, *exponents = match.groups()
        exponent = int(next(part for part in exponents if part is not None))
        return Fraction(mantissa.replace(",", "").rstrip(".")) * Fraction(10) ** exponent, None
    return None
