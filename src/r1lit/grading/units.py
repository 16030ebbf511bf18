r"""Units and number words at the end of an answer: ``5 cm^2``, ``2 million dollars``, ``25 \u00b0C``.

A unit on one side only does not matter, other units on both sides do. A number word is a factor, never a unit.
"""

import re
from fractions import Fraction

from r1lit.grading.numerals import compact, read_number

_CURRENCY = re.compile(r"([+-]?)(?:US|CA|A)?([$\u20ac\u00a3\u00a5])\s*")
_AMOUNT = re.compile(
    r"(.*?[\d}.])(\s*)"
    r"((?:[^\W\d_]+\.?|(?:US)?[$\u20ac\u00a3\u00a5\u00a2])(?:[ /]+[^\W\d_]+\.?){0,2})(?:\s*\^\{?([23])\}?)?"
)
_TEXT_UNIT = re.compile(
    r"(.*?[^\s,\\~])(?:\s|~|\\[ ,;:!])*\\(?:text(?:rm|normal|it)?|mbox|mathrm)"
    r"\s*\{[\s~]*([^\W\d_][^{}\\,\d]*?)\s*\}(?:\s*\^\{?([23])\}?)?"
)
UNITS = {
    "mm": "millimeter", "cm": "centimeter", "dm": "decimeter", "m": "meter", "km": "kilometer", "in": "inch",
    "ft": "foot", "feet": "foot", "yd": "yard", "mi": "mile", "g": "gram", "kg": "kilogram", "mg": "milligram",
    "lb": "pound", "lbs": "pound", "oz": "ounce", "l": "liter", "ml": "milliliter", "s": "second", "sec": "second",
    "min": "minute", "mins": "minute", "h": "hour", "hr": "hour", "hrs": "hour", "mph": "mile/hour",
    "km/h": "kilometer/hour", "kmh": "kilometer/hour", "kph": "kilometer/hour", "sq": "square", "cu": "cubic",
    "inches": "inch", "usd": "dollar", "metre": "meter", "litre": "liter", "millilitre": "milliliter",
    "centimetre": "centimeter", "millimetre": "millimeter", "kilometre": "kilometer", "kilo": "kilogram",
    "gramme": "gram", "deg": "degree", "yr": "year", "yrs": "year", "wk": "week", "celsius": "celsius",
    "fahrenheit": "fahrenheit", "henries": "henry", "hertz": "hertz", "siemens": "siemens", "lux": "lux",
    "$": "dollar", "us$": "dollar", "\u20ac": "euro", "\u00a3": "pound", "\u00a5": "yen", "\u00a2": "cent",
    "eur": "euro", "gbp": "pound",
    "\u7f8e\u5143": "dollar", "\u30c9\u30eb": "dollar",
    "千克": "kilogram", "公斤": "kilogram", "克": "gram", "毫克": "milligram", "千米": "kilometer", "公里": "kilometer",
    "米": "meter", "厘米": "centimeter", "毫米": "millimeter", "分米": "decimeter", "升": "liter", "毫升": "milliliter",
    "秒": "second", "分钟": "minute", "小时": "hour", "天": "day", "千瓦": "kilowatt", "千瓦时": "kilowatt-hour",
    "千卡": "kilocalorie", "千焦": "kilojoule", "千帕": "kilopascal", "千赫": "kilohertz", "千伏": "kilovolt",
    "千字节": "kilobyte", "千米每小时": "kilometer/hour", "千米/时": "kilometer/hour", "千米/小时": "kilometer/hour",
}  # fmt: skip
_SYMBOLS = {
    "N": "newton", "J": "joule", "W": "watt", "V": "volt", "A": "ampere", "K": "kelvin", "C": "coulomb", "Pa": "pascal",
    "Hz": "hertz", "kN": "kilonewton", "kJ": "kilojoule", "kW": "kilowatt", "kWh": "kilowatt-hour", "kV": "kilovolt",
    "kPa": "kilopascal", "kHz": "kilohertz", "MHz": "megahertz", "GHz": "gigahertz", "MJ": "megajoule",
    "MW": "megawatt", "mA": "milliampere", "mV": "millivolt", "mol": "mole", "eV": "electronvolt", "F": "farad",
    "H": "henry", "T": "tesla", "Wb": "weber", "lm": "lumen", "cal": "calorie", "kcal": "kilocalorie",
    "kB": "kilobyte", "MB": "megabyte", "GB": "gigabyte", "L": "liter", "mL": "milliliter", "M": "molar",
}  # fmt: skip
"""Units whose letter case matters; they need a space before them, since 5N may be five times N."""
_NOT_UNITS = frozenset({
    "hundred", "thousand", "million", "billion", "trillion", "dozen", "half", "percent", "percentage", "pi",
    "squared", "cubed", "factorial", "over", "infinity", "infty", "sin", "cos", "tan", "log", "ln", "exp", "sqrt",
    "mod", "choose", "i", "e", "x", "y", "z", "n", "a", "b", "c", "k", "t", "is", "are", "was", "or", "and", "not",
    "if", "to", "times", "plus", "minus", "than", "less", "more", "least", "most", "about", "no", "none", "never",
    "wrong", "false", "out", "through", "of", "p.m", "a.m", "pm", "am",
})  # fmt: skip
_LARGE = frozenset("十百千万萬亿億兆半多余餘以超未到至或和不是")
"""Characters that make something else of a number than an amount: ten, hundred, half, above, or, not..."""
_FACTORS: dict[str, int | Fraction] = {
    "hundred": 100, "thousand": 10**3, "million": 10**6, "billion": 10**9, "trillion": 10**12, "dozen": 12, "score": 20,
    "lakh": 10**5, "crore": 10**7, "mn": 10**6, "bn": 10**9, "mio": 10**6, "mrd": 10**9,
    "half": Fraction(1, 2), "halve": Fraction(1, 2), "third": Fraction(1, 3), "quarter": Fraction(1, 4),
    "fourth": Fraction(1, 4), "fifth": Fraction(1, 5), "sixth": Fraction(1, 6), "seventh": Fraction(1, 7),
    "eighth": Fraction(1, 8), "ninth": Fraction(1, 9), "tenth": Fraction(1, 10), "twelfth": Fraction(1, 12),
    "twelfths": Fraction(1, 12), "hundredth": Fraction(1, 100), "thousandth": Fraction(1, 1000),
    "millionth": Fraction(1, 10**6),
    "十": 10, "百": 100, "千": 1000, "万": 10**4, "萬": 10**4, "亿": 10**8, "億": 10**8, "百万": 10**6, "千万": 10**7,
    "十万": 10**5, "十亿": 10**9, "百亿": 10**10, "千亿": 10**11, "万亿": 10**12, "兆": 10**12,
}  # fmt: skip
"""Number words, in the singular."""
_COUNTED = re.compile(
    r"([+-]?[\d.,/]*\d)\s*((?:[^\W\d_]{1,12}|[十百千万萬亿億兆]{1,2}))(?:(?:\s+|(?<=[十百千万萬亿億兆]))(?:of\s+)?([^\W\d_].*))?"
)
_TEMPERATURE = re.compile(
    r"\s*(?:\u00b0|\^\s*(?:\{\s*\\circ\s*\}|\\circ(?![A-Za-z]))|\\degrees?(?![A-Za-z])|(?<=\d)\s+(?:degrees?|deg\.?)\s+)\s*"
    r"(?:\\(?:text|mathrm|rm)\s*\{\s*)?(C|F|Celsius|Fahrenheit|celsius|fahrenheit)(?![A-Za-z])\s*\}?\s*$"
)
_CELSIUS = re.compile(r"\s*\u2103\s*$")


def spell_temperature(text: str) -> str:
    """Spells the signs of degrees Celsius and Fahrenheit as words, before the sign of a degree is dropped."""
    text = _CELSIUS.sub(" celsius", text)
    return _TEMPERATURE.sub(lambda match: " celsius" if match.group(1)[0] in "Cc" else " fahrenheit", text)


def times_word(text: str) -> tuple[str, str] | None:
    """Reads ``2 million dollars`` as 2000000 and its unit; None for an amount without a number word."""
    match = _COUNTED.fullmatch(text)
    if match is None:
        return None
    amount, word, rest = match.groups()
    name = word.lower()
    factor = _FACTORS.get(name) or _FACTORS.get(name.removesuffix("s")) or _FACTORS.get(name.removesuffix("es"))
    number = read_number(amount)
    if factor is None or number is None or word + (rest or "") in UNITS:
        return None
    unit = ""
    if rest:
        if again := times_word(f"1 {rest}"):  # hundred million
            number, unit = (number[0] * Fraction(again[0]), None), again[1]
        elif not (unit := _unit(rest, None)):
            return None
    value = number[0] * factor
    return (str(value.numerator) if value.denominator == 1 else f"{value.numerator}/{value.denominator}"), unit


def currency(text: str) -> tuple[str, str]:
    """Splits ``$5`` into 5 and the currency."""
    match = _CURRENCY.match(text)
    return (match.group(1) + text[match.end() :], UNITS[match.group(2)]) if match else (text, "")


def without_unit(text: str) -> tuple[str, str]:
    """Splits ``5 cm^2`` into 5 and ``centimeter^2``. Unknown words count as a unit only after a plain number."""
    match = _AMOUNT.fullmatch(text)
    if match is None:
        return text, ""
    amount, space, name, power = match.groups()
    if space and name in _SYMBOLS and read_number(compact(amount)) is not None:
        return amount.strip(), _SYMBOLS[name] + (f"^{power}" if power else "")
    first = re.split(r"[ /]+", name.lower())[0].rstrip(".")
    spelt_out = not first.isascii() or (space and len(first) > 2)
    known = (
        name.lower() in UNITS or first in UNITS or first.removesuffix("s") in _NAMES or first.removesuffix("s") in UNITS
    )
    if not (known and spelt_out) and (read_number(compact(amount)) is None or not (known or spelt_out)):
        return text, ""
    unit = _unit(name, power)
    return (amount.strip(), unit) if unit else (text, "")


def without_text_unit(latex: str) -> tuple[str, str]:
    r"""Splits ``3\sqrt{2}\text{ cm}^2`` into an expression and its unit, as ``without_unit`` does for numbers."""
    match = _TEXT_UNIT.fullmatch(latex)
    unit = _SYMBOLS.get(match.group(2)) or _unit(match.group(2), match.group(3)) if match else ""
    return (match.group(1).strip(), unit) if match and unit else (latex, "")


def _unit(name: str, power: str | None) -> str:
    """One spelling for a unit; empty for words that are none."""
    if name in UNITS:
        return UNITS[name] + (f"^{power}" if power else "")
    words = [word.rstrip(".") for word in re.split(r"[ /]+", name.lower()) if word]
    if any(word in _FACTORS or word.removesuffix("s") in _FACTORS for word in words) and name not in UNITS:
        return ""
    if any(word in _NOT_UNITS and word not in UNITS for word in words) or _LARGE & set(name):
        return ""
    powers = {"square": "2", "cubic": "3"}
    parts = [_singular(word) for word in words if word != "per"]
    power = power or next((powers[part] for part in parts if part in powers), None)
    return "/".join(part for part in parts if part not in powers) + (f"^{power}" if power else "")


def _singular(word: str) -> str:
    """The one name of a unit, however it is spelt."""
    bare = word if word.endswith("ss") else word.removesuffix("s")
    if word in UNITS:
        return UNITS[word]
    return UNITS.get(bare, bare)


_NAMES = frozenset(UNITS.values()) | frozenset(_SYMBOLS.values())
