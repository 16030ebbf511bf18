r"""Brings a short mathematical answer into one spelling, by string work alone.

Nothing here evaluates what a model wrote: numbers are read by ``Fraction`` after a length cap, powers only as
``a \times 10^{b}`` with a small b. All patterns run in linear time on capped input.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction

from r1lit.grading.parsing import boxes

MAX_LENGTH = 2000
"""Characters above which an answer is only compared as a string."""

_FULL_WIDTH = {code: code - 0xFEE0 for code in range(0xFF01, 0xFF5F)}
_SIGNS = {
    "\u2212": "-", "\u2013": "-", "\u00d7": r"\times ", "\u00f7": "/", "\u2044": "/", "\u3002": ".", "\u00b0": "",
    "\u00a0": " ", "\u202f": " ", "\u2009": " ", "\u00b7": r"\cdot ", "\u22c5": r"\cdot ", "\u03c0": r"\pi ",
    "\u221e": r"\infty ", "\u222a": r"\cup ", "\u2229": r"\cap ", "\u2264": r"\le ", "\u2265": r"\ge ",
    "\u2260": r"\ne ", "\u00b1": r"\pm ", "\u2208": r"\in ", "\u2205": r"\emptyset ", "\u03b8": r"\theta ",
    "\u00bd": r"\frac{1}{2}", "\u00bc": r"\frac{1}{4}", "\u00be": r"\frac{3}{4}",
}  # fmt: skip
_TABLE: dict[int, int | str] = {**_FULL_WIDTH, **{ord(sign): latex for sign, latex in _SIGNS.items()}}
_SUPERSCRIPTS = str.maketrans("\u2070\u00b9\u00b2\u00b3\u2074\u2075\u2076\u2077\u2078\u2079\u207b", "0123456789-")
_POWERS = re.compile("[\u2070\u00b9\u00b2\u00b3\u2074-\u2079\u207b]+")
_PLAIN_SPELLINGS: tuple[tuple[re.Pattern[str], str | Callable[[re.Match[str]], str]], ...] = (
    (re.compile(r"^\s*(?:the |so |thus |therefore,? )*(?:final )?answer(?: is|:)+\s*(?=\S)", re.IGNORECASE), ""),
    (re.compile(r"^\s*(?:\u6700\u7ec8)?\u7b54\u6848(?:\u662f|\u4e3a|:)+\s*(?=\S)"), ""),
    (re.compile(r"(?<![\\A-Za-z])(?:sqrt|\u221a)\s*\(([^()]*)\)"), r"\\sqrt{\1}"),
    (re.compile(r"(?:(?<![\\A-Za-z])sqrt|\u221a)\s*(?:\{([^{}]*)\}|(\d+|(?<=\u221a)[A-Za-z]))"), r"\\sqrt{\1\2}"),
    (re.compile(r"(?<![\\A-Za-z])(pi|infty)(?![A-Za-z])"), r"\\\1 "),
    (re.compile(r"(?<![\\A-Za-z])(sin|cos|tan|cot|sec|csc|log|ln)(?=[\s(_^\d{\\])"), r"\\\1"),
    # By the order of operations 2/3 x is two thirds of x; readers of LaTeX take it for 2/(3x).
    (re.compile(r"(?<![\w}.^_])(\d+)/(\d+)(?=\s*(?:\\(?:pi|sqrt)|[A-Za-z](?![A-Za-z])))"), r"\\frac{\1}{\2}"),
    (re.compile(r"^(-?\d{1,3}(?: \d{3})+)$"), lambda match: match.group().replace(" ", "")),
    (re.compile(r"^####\s*|[,;\s]+$"), ""),
    (re.compile(r"(?<![\\A-Za-z])infinity(?![A-Za-z])"), r"\\infty "),
)
"""What people type without LaTeX, to be read before anything else."""
_WRAPPERS = (
    ("$$", "$$"), ("$", "$"), (r"\(", r"\)"), (r"\[", r"\]"), ("**", "**"), ("`", "`"), ("<answer>", "</answer>"),
)  # fmt: skip
_TEXT = r"\\(?:text(?:bf|rm|it|normal)?|mbox|mathrm|mathbf|mathit|boldsymbol|operatorname)\s*\{([^{}\\]*)\}"
_SPELLINGS: tuple[tuple[re.Pattern[str], str], ...] = tuple(
    (re.compile(pattern), replacement)
    for pattern, replacement in (
        (r"(?<!\\)\$([^$]*)(?<!\\)\$", r" \1 "),
        (r"\\[dtc]frac(?![A-Za-z])", r"\\frac"),
        (r"\\(?:left|right|[bB]igg?[lr]?)(?![A-Za-z])\.?", ""),
        (r"\^\s*(?:\{\s*\\circ\s*\}|\\circ(?![A-Za-z]))\s*,\s*", ";"),
        (r"\^\s*(?:\{\s*\\circ\s*\}|\\circ(?![A-Za-z]))|\\degrees?(?![A-Za-z])", ""),
        (r"(?<=\d)(?:,?\\[!,;: ]|\{,\}|,\\!)\s*(?=\d{3}(?!\d))", ","),
        (r"\\[!,;: ]|\\q?quad(?![A-Za-z])|~", " "),
        (r"\\%|\\percent(?![A-Za-z])", "%"),
        (r"\\\$", "US$"),  # apart from the dollar signs around mathematics
        (r"\\pounds(?![A-Za-z])", "\u00a3"),
        (r"\\euro(?![A-Za-z])", "\u20ac"),
        (r"\\langle(?![A-Za-z])", "("),
        (r"\\rangle(?![A-Za-z])", ")"),
        (r"\\cdot(?![A-Za-z])", r"\\times "),
        (r"\\lbrace(?![A-Za-z])", r"\\{"),
        (r"\\rbrace(?![A-Za-z])", r"\\}"),
        (r"\\(le|ge|ne)q(?:slant)?(?![A-Za-z])", r"\\\1"),
        (r"^\s*\\approx(?![A-Za-z])", ""),
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
_LISTED = re.compile(r"(?<=\d),\s+(?=\d{3}(?!\d))")
"""Between the numbers 81, 256; a thousands comma has no space behind it."""
_BASE = re.compile(r"(-?[0-9A-F]+)_(?:\{(\d+)\}|(\d+))")

_INTEGER = r"\d{1,3}(?:,\d{3})+|\d+"
_DECIMAL = rf"(?:(?:{_INTEGER})(?:\.\d*)?|\.\d+)"
_PLAIN = re.compile(rf"[+-]?{_DECIMAL}")
_RATIO = re.compile(rf"([+-]?)(?:\\frac\{{([+-]?{_DECIMAL})\}}\{{([+-]?{_DECIMAL})\}}|({_DECIMAL})/({_DECIMAL}))")
_MIXED = re.compile(r"([+-]?)(\d+)(?: (\d+)/(\d+)|\\frac\{(\d+)\}\{(\d+)\})")
_PERIODIC = re.compile(r"([+-]?)(\d*)\.(\d*)\\overline\{(\d+)\}")
_POWER_OF_TEN = re.compile(rf"([+-]?{_DECIMAL})(?:(?:\\times|\*)10\^(?:\{{(-?\d{{1,3}})\}}|(\d))|[eE]([+-]?\d{{1,3}}))")

_CURRENCY = re.compile(r"([+-]?)(?:US|CA|A)?([$\u20ac\u00a3\u00a5])\s*")
_AMOUNT = re.compile(
    r"(.*?[\d}.])(\s*)((?:[^\W\d_]+\.?|(?:US)?[$\u20ac\u00a3\u00a5])(?:[ /]+[^\W\d_]+\.?){0,2})(?:\s*\^\{?([23])\}?)?"
)
_TEXT_UNIT = re.compile(
    r"(.*?[^\s,\\~])(?:\s|~|\\[ ,;:!])*\\(?:text(?:rm|normal|it)?|mbox|mathrm)"
    r"\s*\{[\s~]*([^\W\d_][^{}\\,\d]*?)\s*\}(?:\s*\^\{?([23])\}?)?"
)
_UNITS = {
    "mm": "millimeter", "cm": "centimeter", "m": "meter", "km": "kilometer", "in": "inch", "ft": "foot", "feet": "foot",
    "yd": "yard", "mi": "mile", "g": "gram", "kg": "kilogram", "mg": "milligram", "lb": "pound", "lbs": "pound",
    "oz": "ounce", "l": "liter", "ml": "milliliter", "s": "second", "sec": "second", "min": "minute", "h": "hour",
    "hr": "hour", "hrs": "hour", "mph": "mile/hour", "km/h": "kilometer/hour", "sq": "square", "cu": "cubic",
    "inches": "inch", "usd": "dollar", "metre": "meter", "litre": "liter", "deg": "degree",
    "$": "dollar", "us$": "dollar", "\u20ac": "euro", "\u00a3": "pound", "\u00a5": "yen", "eur": "euro", "gbp": "pound",
    "\u7f8e\u5143": "dollar", "\u30c9\u30eb": "dollar",
}  # fmt: skip
_NOT_UNITS = frozenset({
    "hundred", "thousand", "million", "billion", "trillion", "dozen", "half", "percent", "percentage", "pi",
    "squared", "cubed", "factorial", "over", "infinity", "infty", "sin", "cos", "tan", "log", "ln", "exp", "sqrt",
    "mod", "choose", "i", "e", "x", "y", "z", "n", "a", "b", "c", "k", "t", "is", "are", "was", "or", "and", "not",
    "if", "to", "times", "plus", "minus", "than", "less", "more", "least", "most", "about", "no", "none", "never",
    "wrong", "false", "out", "through", "of", "p.m", "a.m", "pm", "am",
})  # fmt: skip
_LARGE = frozenset("十百千万萬亿億兆半多余餘以超未到至或和不是")
"""Characters that make something else of a number than an amount: ten, hundred, half, above, or, not..."""
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
    spaced: str = ""
    """The text with its spaces."""


def unwrap(text: str) -> str:
    r"""Takes off a box, dollar signs, bold marks and a final full stop, however nested.

    A text around or between boxes is dropped only where all boxes agree: several answers are not one answer. Above
    ``MAX_LENGTH`` characters nothing is taken off.
    """
    text = text.strip()
    while len(text) <= MAX_LENGTH:
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
            break
    return text


def normalize(raw: str) -> Answer:
    """Brings an answer into one spelling; above ``MAX_LENGTH`` characters it is only stripped."""
    if len(raw) > MAX_LENGTH:
        return Answer(text=raw.strip(), latex="")
    latex, unit = _without_text_unit(_as_latex(unwrap(raw)))
    words = bool(re.fullmatch(_TEXT, latex)) or (len(latex) > 3 and bool(_TEXT_ONLY.fullmatch(latex)))
    text = latex
    for pattern, replacement in _SPELLINGS:
        text = pattern.sub(replacement, text)
    text = re.sub(_TEXT, r" \1 ", text).strip().strip("$").strip()
    label, text = split_label(text)
    percent = text.endswith("%") or text.endswith((" percent", "\u767e\u5206\u4e4b"))
    if percent:
        text = text.removesuffix("%").removesuffix("percent").rstrip()
    text, unit = (text, unit) if unit else _without_unit(text)
    if match := _CURRENCY.match(text):
        text = match.group(1) + text[match.end() :]
        unit = unit or _UNITS[match.group(2)]
    base = ""
    if match := _BASE.fullmatch(text):
        text, base = match.group(1), match.group(2) or match.group(3)
    spaced = " ".join(text.split())
    text = re.sub(r"(?<=[A-Za-z])\.$", "", compact(_LISTED.sub(";", text)))
    if words or re.fullmatch(r"\([A-Za-z]\)", text):
        words, text = True, text.strip("()")
    number = read_number(text)
    value, places = number if number else (None, None)
    return Answer(text, latex, value, places, label, unit, base, percent, words, spaced)


def _as_latex(text: str) -> str:
    """Spells signs and functions that were typed plainly as LaTeX, and drops ``the answer is``."""
    text = " ".join(text.translate(_TABLE).split())  # long runs of spaces would cost the patterns quadratic time
    text = _POWERS.sub(lambda match: f"^{{{match.group().translate(_SUPERSCRIPTS)}}}", text)
    for pattern, replacement in _PLAIN_SPELLINGS:
        text = pattern.sub(replacement, text)
    return unwrap(text)


def split_label(text: str) -> tuple[str, str]:
    """Splits ``x = 5`` into the label x and 5; the label is empty for anything else."""
    match = _LABEL.fullmatch(text) if text.count("=") <= 1 else None
    return (match.group(1), match.group(2).strip()) if match else ("", text)


def compact(text: str) -> str:
    """Drops white space except between digits, where ``1 2`` is not 12, and before the fraction of ``1 1/2``."""
    return re.sub(r"(?<!\d) | (?!\d)", "", " ".join(text.split()))


def _without_unit(text: str) -> tuple[str, str]:
    """Splits ``5 cm^2`` into 5 and ``centimeter^2``. Unknown words count as a unit only after a plain number."""
    match = _AMOUNT.fullmatch(text)
    if match is None:
        return text, ""
    amount, space, name, power = match.groups()
    first = re.split(r"[ /]+", name.lower())[0].rstrip(".")
    spelt_out = not first.isascii() or (space and len(first) > 2)
    known = name.lower() in _UNITS or first in _UNITS or first.removesuffix("s") in _UNITS.values()
    if not (known and spelt_out) and (read_number(compact(amount)) is None or not (known or spelt_out)):
        return text, ""
    unit = _unit(name, power)
    return (amount.strip(), unit) if unit else (text, "")


def _without_text_unit(latex: str) -> tuple[str, str]:
    r"""Splits ``3\sqrt{2}\text{ cm}^2`` into an expression and its unit, as ``_without_unit`` does for numbers."""
    match = _TEXT_UNIT.fullmatch(latex)
    unit = _unit(match.group(2), match.group(3)) if match else ""
    return (match.group(1).strip(), unit) if match and unit else (latex, "")


def _unit(name: str, power: str | None) -> str:
    """One spelling for a unit; empty for words that are none."""
    words = [word.rstrip(".") for word in re.split(r"[ /]+", name.lower()) if word]
    if any(word in _NOT_UNITS and word not in _UNITS for word in words) or _LARGE & set(name):
        return ""
    powers = {"square": "2", "cubic": "3"}
    parts = [_UNITS.get(word, word) for word in words if word != "per"]
    power = power or next((powers[part] for part in parts if part in powers), None)
    names = [part if part.endswith("ss") else part.removesuffix("s") for part in parts if part not in powers]
    return "/".join(names) + (f"^{power}" if power else "")


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
    if match := _PERIODIC.fullmatch(text):
        sign, whole, start, period = match.groups()
        nines = 10 ** len(start) * (10 ** len(period) - 1)
        value = Fraction(f"{whole or 0}.{start or 0}") + Fraction(int(period), nines)
        return (-1 if sign == "-" else 1) * value, None
    if match := _MIXED.fullmatch(text):
        sign, whole, *parts = match.groups()
        above, below = (Fraction(part) for part in parts if part is not None)
        return None if below == 0 else ((-1 if sign == "-" else 1) * (Fraction(whole) + above / below), None)
    if match := _POWER_OF_TEN.fullmatch(text):
        mantissa, *exponents = match.groups()
        exponent = int(next(part for part in exponents if part is not None))
        return Fraction(mantissa.replace(",", "").rstrip(".")) * Fraction(10) ** exponent, None
    return None
