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


_ONES = (
    *("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"),
    *("thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen"),
)
_TENS = ("twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")
_WORDS = {word: value for value, word in enumerate(_ONES)} | {word: 20 + 10 * i for i, word in enumerate(_TENS)}
_SCALES = {"thousand": 10**3, "million": 10**6, "billion": 10**9, "trillion": 10**12}
_PARTS = {
    **{"half": 2, "halves": 2, "third": 3, "thirds": 3, "quarter": 4, "quarters": 4, "fourth": 4, "fourths": 4},
    **{word: 5 + i for i, word in enumerate(("fifth", "sixth", "seventh", "eighth", "ninth", "tenth"))},
}
_PARTS |= {f"{word}s": below for word, below in _PARTS.items() if below > 4}
_CHINESE_SCALES = {"十": 10, "百": 100, "千": 1000, "万": 10**4, "萬": 10**4, "亿": 10**8, "億": 10**8}
_CHINESE = re.compile(rf"(?:\d+(?:\.\d+)?[{''.join(_CHINESE_SCALES)}]{{1,2}}){{2,}}\d*")
_CHINESE_PART = re.compile(rf"(\d+(?:\.\d+)?)([{''.join(_CHINESE_SCALES)}]*)")


def read_words(text: str) -> Fraction | None:
    """Reads ``twenty-one``, ``three hundred and five``, ``three quarters`` or ``1亿2千万``; None for anything else."""
    if _CHINESE.fullmatch(text):
        total = Fraction(0)
        for amount, scales in _CHINESE_PART.findall(text):
            part = Fraction(amount)
            for scale in scales:
                part *= _CHINESE_SCALES[scale]
            total += part
        return total
    words = text.lower().replace("-", " ").split()
    if not words or len(words) > 20:
        return None
    if words[-1] in _PARTS and len(words) > 1:
        above = _cardinal([word for word in words[:-1] if word != "a"] or ["one"])
        return None if above is None else Fraction(above, _PARTS[words[-1]])
    cardinal = _cardinal(words)
    return None if cardinal is None else Fraction(cardinal)


def _cardinal(words: list[str]) -> int | None:
    total = below = 0
    last = ""
    for word in words:
        if word in _WORDS:
            value = _WORDS[word]
            if last in _WORDS and not (_WORDS[last] >= 20 and 0 < value < 10):
                return None  # a list of numbers, or an error
            below += value
        elif word == "hundred" and 0 < below < 100:
            below *= 100
        elif word in _SCALES and below:
            total, below = total + below * _SCALES[word], 0
        elif word != "and" or last not in ("hundred", *_SCALES):
            return None
        last = word
    return None if last == "and" else total + below


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
