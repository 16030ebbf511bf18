r"""Brings a short mathematical answer into one spelling, by string work alone.

Nothing here evaluates what a model wrote: numbers are read by ``Fraction`` after a length cap, powers only as
``a \times 10^{b}`` with a small b. All patterns run in linear time on capped input.
"""

import re
from dataclasses import dataclass
from fractions import Fraction

from r1lit.rewards.parsing import boxes

MAX_LENGTH = 2000
"""Characters above which an answer is only compared as a string."""

_FULL_WIDTH = {code: code - 0xFEE0 for code in range(0xFF01, 0xFF5F)}
_SIGNS = {
    0x2212: "-",
    0x2013: "-",
    0x00D7: r"\times ",
    0x00F7: "/",
    0x3002: ".",
    0x00B0: "",
    0x03C0: r"\pi ",
    0xA0: " ",
}
_TABLE: dict[int, int | str] = {**_FULL_WIDTH, **_SIGNS}
_WRAPPERS = (("$$", "$$"), ("$", "$"), (r"\(", r"\)"), (r"\[", r"\]"), ("**", "**"))
_TEXT = r"\\(?:text(?:bf|rm|it|normal)?|mbox|mathrm|mathbf|operatorname)\s*\{([^{}\\]*)\}"
_SPELLINGS: tuple[tuple[re.Pattern[str], str], ...] = tuple(
    (re.compile(pattern), replacement)
    for pattern, replacement in (
        (r"(?<!\\)\$([^$]*)(?<!\\)\$", r" \1 "),
        (r"\\[dtc]frac(?![A-Za-z])", r"\\frac"),
        (r"\\(?:left|right|[bB]igg?[lr]?)(?![A-Za-z])\.?", ""),
        (r"\^\s*(?:\{\s*\\circ\s*\}|\\circ(?![A-Za-z]))|\\degrees?(?![A-Za-z])", ""),
        (r"(?<=\d)(?:,?\\[!,;: ]|\{,\}|,\\!)\s*(?=\d{3}(?!\d))", ","),
        (r"\\[!,;: ]|\\q?quad(?![A-Za-z])|~", " "),
        (r"\\%|\\percent(?![A-Za-z])", "%"),
        (r"\\(?:\$|pounds(?![A-Za-z])|euro(?![A-Za-z]))", "$"),
        (r"\\cdot(?![A-Za-z])", r"\\times "),
        (r"\\lbrace(?![A-Za-z])", r"\\{"),
        (r"\\rbrace(?![A-Za-z])", r"\\}"),
        (r"\\(le|ge|ne)q(?![A-Za-z])", r"\\\1"),
        (r"\\frac\s*(\d)\s*(\d)", r"\\frac{\1}{\2}"),
        (r"\\frac\s*(\d)\s*\{", r"\\frac{\1}{"),
        (r"(\\frac\s*\{[^{}]*\})\s*(\d)", r"\1{\2}"),
        (r"\\sqrt\s*(\d)", r"\\sqrt{\1}"),
        (r"\^\s*\{\s*(-?\w)\s*\}", r"^\1"),
        (r"_\s*\{\s*(\w)\s*\}", r"_\1"),
    )
)
_LABEL = re.compile(
    r"\\?([A-Za-z]+(?:_\w|_\{\w+\})?'?(?:\([A-Za-z]\))?)\s*(?:=|\\in(?![A-Za-z])|\\approx(?![A-Za-z]))(.+)"
)
_BASE = re.compile(r"(-?[0-9A-F]+)_(?:\{(\d+)\}|(\d+))")

_INTEGER = r"\d{1,3}(?:,\d{3})+|\d+"
_DECIMAL = rf"(?:(?:{_INTEGER})(?:\.\d*)?|\.\d+)"
_PLAIN = re.compile(rf"[+-]?{_DECIMAL}")
_RATIO = re.compile(rf"([+-]?)(?:\\frac\{{([+-]?{_DECIMAL})\}}\{{([+-]?{_DECIMAL})\}}|({_DECIMAL})/({_DECIMAL}))")
_MIXED = re.compile(r"([+-]?)(\d+)(?: (\d+)/(\d+)|\\frac\{(\d+)\}\{(\d+)\})")
_POWER_OF_TEN = re.compile(rf"([+-]?{_DECIMAL})(?:(?:\\times|\*)10\^(?:\{{(-?\d{{1,3}})\}}|(\d))|[eE]([+-]?\d{{1,3}}))")

_AMOUNT = re.compile(r"(.*?[\d}])(\s*)((?:[A-Za-z]+\.?)(?:[ /]+[A-Za-z]+\.?){0,2})(?:\s*\^([23]))?")
_UNITS = {
    "mm": "millimeter", "cm": "centimeter", "m": "meter", "km": "kilometer", "in": "inch", "ft": "foot", "feet": "foot",
    "yd": "yard", "mi": "mile", "g": "gram", "kg": "kilogram", "mg": "milligram", "lb": "pound", "lbs": "pound",
    "oz": "ounce", "l": "liter", "ml": "milliliter", "s": "second", "sec": "second", "min": "minute", "h": "hour",
    "hr": "hour", "hrs": "hour", "mph": "mile/hour", "km/h": "kilometer/hour", "sq": "square", "cu": "cubic",
    "inches": "inch", "usd": "dollar", "metre": "meter", "litre": "liter", "deg": "degree", "pm": "pm", "am": "am",
}  # fmt: skip
_NOT_UNITS = frozenset({
    "hundred", "thousand", "million", "billion", "trillion", "dozen", "half", "percent", "percentage", "pi",
    "squared", "cubed", "factorial", "over", "infinity", "infty", "sin", "cos", "tan", "log", "ln", "exp", "sqrt",
    "mod", "choose", "i", "e", "x", "y", "z", "n", "a", "b", "c", "k", "t", "is", "are", "was", "or", "and", "not",
    "if", "to", "times", "plus", "minus", "than", "less", "more", "least", "most", "about", "no", "none", "never",
    "wrong", "false", "out", "through", "of",
})  # fmt: skip
_TEXT_ONLY = re.compile(r"[^\W\d_](?:[^\W\d_]|[ '.,-])*")


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer in one spelling, with what was taken off it."""

    text: str
    """Without spaces (but between digits), units, label, wrapping."""
    latex: str
    """The same before units, label and spaces were taken off, for a reader of LaTeX."""
    value: Fraction | None = None
    """Its exact value where it is a plain number."""
    places: int | None = None
    """Digits after the point where it is a decimal number with a point."""
    label: str = ""
    """The ``x`` of ``x = 5``."""
    unit: str = ""
    base: str = ""
    """The 2 of ``101_2``."""
    percent: bool = False
    words: bool = False
    """It is text, not mathematics: letter case does not matter."""


def unwrap(text: str) -> str:
    r"""Takes off a box, dollar signs, bold marks and a final full stop, however nested.

    A text around or between boxes is dropped only where all boxes agree: several answers are not one answer.
    """
    text = text.strip()
    while True:
        before = text
        if len(found := set(boxes(text))) == 1 and (content := found.pop()) is not None:
            text = content
        for opening, closing in _WRAPPERS:
            inner = text[len(opening) : len(text) - len(closing)]
            if len(text) > len(opening) + len(closing) and text == opening + inner + closing and opening not in inner:
                text = inner.strip()
        if text.endswith((".", "\u3002")) and not text.endswith((r"\right.", "..")):
            text = text[:-1].rstrip()
        if text == before:
            return text


def normalise(raw: str) -> Answer:
    """Brings an answer into one spelling; above ``MAX_LENGTH`` characters it is only stripped."""
    if len(raw) > MAX_LENGTH:
        return Answer(text=raw.strip(), latex="")
    latex = unwrap(raw).translate(_TABLE)
    words = bool(re.fullmatch(_TEXT, latex)) or (len(latex) > 3 and bool(_TEXT_ONLY.fullmatch(latex)))
    text = latex
    for pattern, replacement in _SPELLINGS:
        text = pattern.sub(replacement, text)
    text = re.sub(_TEXT, r" \1 ", text).strip().strip("$").strip()
    label = ""
    if text.count("=") <= 1 and (match := _LABEL.fullmatch(text)):
        label, text = match.group(1), match.group(2).strip()
    percent = text.endswith("%") or text.endswith((" percent", "\u767e\u5206\u4e4b"))
    if percent:
        text = text.removesuffix("%").removesuffix("percent").rstrip()
    text = re.sub(r"^([+-]?)(?:US|CA|A)?[$\u20ac\u00a3\u00a5]\s*", r"\1", text)
    text, unit = _without_unit(text)
    base = ""
    if match := _BASE.fullmatch(text):
        text, base = match.group(1), match.group(2) or match.group(3)
    text = _compact(text)
    if words or re.fullmatch(r"\([A-Za-z]\)", text):
        words, text = True, text.strip("()")
    number = read_number(text)
    value, places = number if number else (None, None)
    return Answer(text, latex, value, places, label, unit, base, percent, words)


def _compact(text: str) -> str:
    """Drops white space except between digits, where ``1 2`` is not 12, and before the fraction of ``1 1/2``."""
    return re.sub(r"(?<!\d) | (?!\d)", "", " ".join(text.split()))


def _without_unit(text: str) -> tuple[str, str]:
    """Splits ``5 cm^2`` into 5 and ``centimeter^2``. Words count as a unit only after a plain number."""
    match = _AMOUNT.fullmatch(text)
    if match is None or read_number(_compact(match.group(1))) is None:
        return text, ""
    amount, space, name, power = match.groups()
    words = [word.rstrip(".") for word in re.split(r"[ /]+", name.lower())]
    if any(word in _NOT_UNITS and word not in _UNITS for word in words):
        return text, ""
    if name.lower() not in _UNITS and not ((space and len(words[0]) > 2) or words[0] in _UNITS):
        return text, ""
    powers = {"square": "2", "cubic": "3"}
    parts = [_UNITS.get(word, word) for word in words if word != "per"]
    power = power or next((powers[part] for part in parts if part in powers), None)
    names = [part if part.endswith("ss") else part.removesuffix("s") for part in parts if part not in powers]
    return amount.strip(), "/".join(names) + (f"^{power}" if power else "")


def read_number(text: str) -> tuple[Fraction, int | None] | None:
    """Reads a number in decimal, ratio, mixed or scientific spelling.

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
    if match := _MIXED.fullmatch(text):
        sign, whole, *parts = match.groups()
        above, below = (Fraction(part) for part in parts if part is not None)
        return None if below == 0 else ((-1 if sign == "-" else 1) * (Fraction(whole) + above / below), None)
    if match := _POWER_OF_TEN.fullmatch(text):
        mantissa, *exponents = match.groups()
        exponent = int(next(part for part in exponents if part is not None))
        return Fraction(mantissa.replace(",", "").rstrip(".")) * Fraction(10) ** exponent, None
    return None
