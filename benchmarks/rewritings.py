r"""Ways to write a final answer: the same answer otherwise, and answers that look like it and are wrong.

Works on the LaTeX of GSM8K, MATH and MGSM, knows nothing of how answers are compared, and is deterministic.
"""

import re
from collections.abc import Iterator
from fractions import Fraction

Variant = tuple[str, str]
"""The name of the rewriting, and the answer in it."""

_INTEGER = re.compile(r"-?\d+")
_GROUPED = re.compile(r"-?\d{1,3}(?:(?:,|,\\!\s*|\{,\})\d{3})+")
_DECIMAL = re.compile(r"-?\d*\.\d+")
_FRACTION = re.compile(r"(-?)\\[dt]?frac\s*(?:\{(-?\d+)\}|(\d))\s*(?:\{(\d+)\}|(\d+))")
_MIXED = re.compile(r"(\d+)\s*\\[dt]?frac\s*\{(\d+)\}\{(\d+)\}")
_DEGREES = re.compile(r"(.+?)\s*\^\s*(?:\\circ|\{\\circ\})")
_WORDS = re.compile(r"\\text\{([^{}\\]*)\}")
_UNIT = re.compile(r"(.*\d\}?)\s*\\(?:text|mbox)\{\s*([^{}]*)\}(\^\d)?")
_LIST = re.compile(r"(\\?[(\[{]|\\left\s*\\?[(\[{])?(.*?)(\\right\s*\\?[)\]}]|\\?[)\]}])?")
_MATRIX = re.compile(r"\\begin\{pmatrix\}(.*)\\end\{pmatrix\}", re.DOTALL)
_INNER_FRACTION = re.compile(r"(?<![\d.])\\[dt]?frac\s*\{([^{}]+)\}\s*\{([^{}]+)\}")


def numeric(gold: str) -> Fraction | None:
    """The value of a gold answer that is a plain integer, decimal or fraction."""
    if _GROUPED.fullmatch(gold):
        gold = re.sub(r"\D", "", gold) if not gold.startswith("-") else "-" + re.sub(r"\D", "", gold)
    if _INTEGER.fullmatch(gold) or _DECIMAL.fullmatch(gold):
        return Fraction(gold)
    if match := _FRACTION.fullmatch(gold):
        sign, *parts = match.groups()
        above, below = (int(part) for part in parts if part is not None)
        return Fraction(above, below) * (-1 if sign else 1)
    return None


def rewritings(gold: str) -> Iterator[Variant]:
    """Spellings that every reader takes for the same answer."""
    yield "itself", gold
    yield "boxed", rf"\boxed{{{gold}}}"
    yield "boxed in a sentence", rf"The answer is $\boxed{{{gold}}}$."
    yield "dollars", f"${gold}$"
    yield "displayed", rf"\[ {gold} \]"
    yield "inline", rf"\({gold}\)"
    yield "spaces around", f"  {gold} \n"
    if not gold.endswith((".", ",")):
        yield "full stop", f"{gold}."
    yield "bold", f"**{gold}**"
    yield "the answer is", f"The answer is {gold}"
    if r"\text" not in gold and r"\mbox" not in gold and r"\left" not in gold and r"\," not in gold:
        yield "thin spaces", re.sub(r"\s*([-+,=])\s*", r" \1\\, ", gold) if not _GROUPED.search(gold) else gold
        yield "spaced operators", re.sub(r"\s*([+=])\s*", r" \1 ", gold)
    if r"\frac" in gold or r"\dfrac" in gold:
        yield "dfrac", re.sub(r"\\d?frac", r"\\dfrac", gold)
        yield "tfrac", re.sub(r"\\d?frac", r"\\tfrac", gold)
        if not re.search(r"frac\{[^{}]+\}\{[^{}]+\}\s*[\\\w(]|\{\d*[A-Za-z]|,\\!", gold):  # 1/2 m is not 1/(2 m)
            yield "slash", _INNER_FRACTION.sub(_slash, gold)
    if r"\left" in gold:
        yield "no left and right", gold.replace(r"\left", "").replace(r"\right", "")
    elif gold.startswith(("(", "[")) and gold.endswith((")", "]")):
        yield "left and right", rf"\left{gold[:-1]}\right{gold[-1]}"
    if r"\sqrt{" in gold:
        yield "bare root", re.sub(r"\\sqrt\{(\d)\}", r"\\sqrt\1", gold)
        yield "root as a function", re.sub(r"\\sqrt\{(\d+)\}", r"sqrt(\1)", gold)
        yield "root sign", re.sub(r"\\sqrt\{(\d+)\}", r"√\1", gold)
    if r"\pi" in gold:
        yield "pi sign", re.sub(r"\\pi", "π", gold)
    yield from _numbers(gold)
    yield from _quantities(gold)
    yield from _structures(gold)


def _slash(match: re.Match[str]) -> str:
    above, below = match.groups()
    simple = re.compile(r"\w+|\\pi")
    return f"{above if simple.fullmatch(above) else f'({above})'}/{below if simple.fullmatch(below) else f'({below})'}"


def _numbers(gold: str) -> Iterator[Variant]:
    value = numeric(gold)
    if match := _MIXED.fullmatch(gold):
        whole, above, below = map(int, match.groups())
        yield "mixed as fraction", f"{whole * below + above}/{below}"
        yield "mixed with a space", f"{whole} {above}/{below}"
    if value is None:
        return
    if value.denominator == 1:
        n = int(value)
        yield "plain", str(n)
        yield "point zero", f"{n}.0"
        yield "point zero zero", f"{n}.00"
        yield "leading zero", f"{'-' if n < 0 else ''}0{abs(n)}"
        yield "fraction over one", rf"\frac{{{n}}}{{1}}"
        yield "doubled fraction", f"{2 * n}/2"
        yield "letter on the left", f"x = {n}"
        yield "dollar amount", rf"\${n}"
        yield "a unit", rf"{n} \text{{ apples}}"
        yield "a unit in words", f"{n} apples"
        yield "a unit in Chinese", f"{n} 个苹果"
        yield "a unit in Chinese, joined", f"{n}元"
        yield "a unit in German", f"{n} Äpfel"
        yield "euros", f"{n} €"
        if abs(n) >= 1000:
            yield "thousands commas", f"{n:,}"
            yield "thousands commas in LaTeX", f"{n:,}".replace(",", "{,}")
            yield "thousands thin spaces", f"{n:,}".replace(",", r"\,")
            yield "thousands negative spaces", f"{n:,}".replace(",", r",\!")
            yield "thousands and cents", f"{n:,}.00"
        if n < 0:
            yield "minus sign", f"−{-n}"
    else:
        below = value.denominator
        yield "fraction", f"{value.numerator}/{below}"
        yield "frac", rf"\frac{{{value.numerator}}}{{{below}}}"
        yield "unreduced fraction", f"{3 * value.numerator}/{3 * below}"
        if not _without(below, 2, 5) > 1:
            decimal = f"{value.numerator / below:.12f}".rstrip("0")
            if Fraction(decimal) == value:
                yield "decimal", decimal
                yield "trailing zero", decimal + "0"
                if abs(value) < 1:
                    yield "no leading zero", decimal.replace("0.", ".", 1)
        if value < 0:
            yield "sign in the numerator", rf"\frac{{{value.numerator}}}{{{below}}}"
            yield "sign before", rf"-\frac{{{-value.numerator}}}{{{below}}}"


def _without(n: int, *primes: int) -> int:
    for prime in primes:
        while n % prime == 0:
            n //= prime
    return n


def _quantities(gold: str) -> Iterator[Variant]:
    if (match := _DEGREES.fullmatch(gold)) and not re.search(r"[,\\]", match.group(1)):
        number = match.group(1)
        yield "degree sign", f"{number}°"
        yield "degrees in words", f"{number} degrees"
        yield "degrees as text", rf"{number}\text{{ degrees}}"
        yield "braced degrees", rf"{number}^{{\circ}}"
        yield "no degrees", number
    if gold.endswith(r"\%"):
        number = gold[:-2].strip()
        yield "percent sign", f"{number}%"
        yield "no percent", number
        yield "percent in words", f"{number} percent"
    if gold.startswith(r"\$"):
        yield "bare dollar", gold[1:]
        yield "no currency", gold[2:]
        yield "dollars in words", f"{gold[2:]} dollars"
    if (match := _UNIT.fullmatch(gold)) and not match.group(2).endswith("m."):
        number, unit, power = match.groups()
        yield "no unit", number
        yield "unit in words", f"{number} {unit}{power or ''}"
        yield "unit in mathrm", rf"{number}\ \mathrm{{{unit}}}{power or ''}"
    if match := _WORDS.fullmatch(gold):
        word = match.group(1)
        yield "bare text", word
        yield "bold text", rf"\textbf{{{word}}}"
        yield "roman text", rf"\mathrm{{{word}}}"
        yield "lower case", word.lower()
        if re.fullmatch(r"\([A-Z]\)", word):
            yield "bare letter", word[1]
    if match := re.fullmatch(r"(\w+)_\{?(\d+)\}?", gold):
        yield "braced base", f"{match[1]}_{{{match[2]}}}"
        yield "bare base", f"{match[1]}_{match[2]}" if len(match[2]) == 1 else f"{match[1]}_{{{match[2]}}}"
    if match := re.fullmatch(r"([a-z])\s*=\s*(.+)", gold):
        yield "no left side", match[2]
    if match := re.fullmatch(r"([a-z])\s*\\in\s*(.+)", gold):
        yield "no membership", match[2]


def elements(gold: str) -> tuple[str, list[str], str] | None:
    """The opening, the elements and the closing of a tuple, interval, set or bare list; None for anything else."""
    if (
        _GROUPED.search(gold)
        or r"\," in gold
        or r"\text" in gold
        or gold.endswith(",")
        or (match := _LIST.fullmatch(gold)) is None
    ):
        return None
    opening, inner, closing = match.groups()
    if bool(opening) != bool(closing):
        return None
    parts = _split(inner, ",")
    return (opening or "", parts, closing or "") if len(parts) > 1 else None


def _split(text: str, comma: str) -> list[str]:
    depth, parts = 0, [""]
    for character in text:
        depth += (character in "([{") - (character in ")]}")
        if depth < 0:
            return [text]
        if character == comma and depth == 0:
            parts.append("")
        else:
            parts[-1] += character
    return [part.strip() for part in parts]


def _structures(gold: str) -> Iterator[Variant]:
    if match := _MATRIX.fullmatch(gold):
        rows = match.group(1)
        yield "square matrix", rf"\begin{{bmatrix}}{rows}\end{{bmatrix}}"
        yield "matrix of fractions", gold if r"\frac" in gold else re.sub(r"(\d+)/(\d+)", r"\\frac{\1}{\2}", gold)
        yield "tight matrix", re.sub(r"\s*(\\\\|&)\s*", r"\1", gold)
        yield "dfrac matrix", gold.replace(r"\frac", r"\dfrac")
    if found := elements(gold):
        opening, parts, closing = found
        yield "tight list", f"{opening}{','.join(parts)}{closing}"
        yield "wide list", f"{opening} {' , '.join(parts)} {closing}"
        if not opening or opening.endswith("{"):
            yield "other order", f"{opening}{','.join(reversed(parts))}{closing}"
        if not opening:
            yield "joined by and", r" \text{ and } ".join(parts)
            yield "joined by or", " or ".join(parts)
            yield "as a set", rf"\{{{','.join(parts)}\}}"
    if (match := re.fullmatch(r"([^,{}]*)\\pm(.*)", gold)) and "," not in gold:
        yield "plus and minus apart", f"{match[1]}+{match[2]}, {match[1]}-{match[2]}"
    if r"\cup" in gold:
        first, _, second = gold.partition(r"\cup")
        yield "union sign", f"{first}∪{second}"
        if r"\cup" not in second and r"\in" not in first.replace(r"\infty", ""):
            yield "other order of a union", rf"{second} \cup {first}"
    if r"\infty" in gold:
        yield "infinity sign", gold.replace(r"\infty", "∞")
    if not found and re.fullmatch(r"[-\w^+ {}]+", gold) and "+" in gold.lstrip("+") and "_" not in gold:
        first, _, rest = gold.partition("+")
        if "{" not in first or first.count("{") == first.count("}"):
            yield "other order of a sum", f"{rest.strip()} + {first.strip()}"


def neighbours(gold: str) -> Iterator[Variant]:
    """Answers that are near, and wrong."""
    if (value := numeric(gold)) is not None:
        yield "one more", _spelt(value + 1)
        yield "one less", _spelt(value - 1)
        yield "ten times", _spelt(10 * value if value else Fraction(10))
        yield "a tenth", _spelt(value / 10 if value else Fraction(1, 10))
        yield "a hundredth", _spelt(value / 100 if value else Fraction(1, 100))
        yield "a little more", _spelt(value + Fraction(1, 1000))
        yield "times x", f"{gold}x" if value else "x"
        yield "times pi", rf"{gold}\pi" if value else r"\pi"
        yield "times i", f"{gold}i" if value else "i"
        yield "percent of it", rf"{_spelt(value / 100 if value else Fraction(1, 100))}"
        yield "or another", rf"{gold} \text{{ or }} {_spelt(value + 1)}"
        yield "and another", f"{gold}, {_spelt(value + 1)}"
        yield "plus minus", rf"\pm {gold}" if value else r"\pm 1"
        yield "at least", rf"\ge {gold}"
        yield "a digit more", f"{gold}1" if "frac" not in gold else f"1{gold}" if "{-" not in gold else "1"
        if value:
            yield "negated", _spelt(-value)
        if value not in (0, 1, -1):
            yield "inverted", _spelt(1 / value)
            yield "squared", f"{gold}^2" if value > 0 else f"({gold})^2"
            yield "its root", rf"\sqrt{{{gold}}}"
    elif not _WORDS.fullmatch(gold):
        yield "negated", gold[1:] if gold.startswith("-") else f"-({gold})" if _flips(gold) else f"-{gold}-1"
        yield "one more", f"{gold}+1" if _flips(gold) else f"{gold} + 7"
    digits = [match.start() for match in re.finditer(r"\d", gold)]
    for which in sorted({0, len(digits) // 2, len(digits) - 1} if digits else ()):
        at = digits[which]
        other = str((int(gold[at]) + 1) % 10)
        yield "changed digit", gold[:at] + other + gold[at + 1 :]
    if match := _WORDS.fullmatch(gold):
        word = match.group(1)
        if re.fullmatch(r"\(?[A-Z]\)?", word):
            letter = re.sub(r"\W", "", word)
            yield "other letter", chr((ord(letter) - 64) % 26 + 65)
            yield "two letters", f"{letter} or {chr((ord(letter) - 64) % 26 + 65)}"
        else:
            yield "other word", f"{word[:-1]}{'x' if word[-1:] != 'x' else 'y'}"
            yield "not", f"not {word}"
    yield from _wrong_structures(gold)
    if match := re.search(r"(?<![\\A-Za-z])([a-z])(?![A-Za-z])", gold):
        letter = "q" if match[1] != "q" else "r"
        if not re.match(r"[a-z]\s*(=|\\in)", gold):
            yield "other variable", re.sub(rf"(?<![\\A-Za-z]){match[1]}(?![A-Za-z])", letter, gold)
    if (found := re.search(r"(?<=[\w} ])[+-]", gold)) and "infty" not in gold:
        yield "flipped sign", gold[: found.start()] + "+-"[found.group() == "+"] + gold[found.end() :]
    if re.search(r"\\sqrt\{(?!1\})\d+\}", gold):
        yield "no root", re.sub(r"\\sqrt\{(\d+)\}", r"\1", gold) if r"}{\sqrt" not in gold else f"{gold}0"


def _flips(gold: str) -> bool:
    return not re.search(r"[,=_\[]|\.$|\\in(?!f)|\\cup|\\pm|\\%|\\circ|\\text|\\mbox|\\begin|\\\$|^\(.*\)$", gold)


def _wrong_structures(gold: str) -> Iterator[Variant]:
    if found := elements(gold):
        opening, parts, closing = found
        if parts[-1] not in parts[:-1]:
            yield "one missing", f"{opening}{','.join(parts[:-1])}{closing}"
        yield "one too many", f"{opening}{','.join([*parts, '77'])}{closing}"
        if opening and not opening.endswith("{") and parts[0] != parts[1] and r"\cup" not in gold:
            yield "swapped", f"{opening}{','.join([parts[1], parts[0], *parts[2:]])}{closing}"
        if "infty" not in gold and r"\cup" not in gold and opening.endswith(("(", "[")):
            other = {"(": "[", "[": "("}[opening[-1]]
            yield "other bracket", f"{opening[:-1]}{other}{','.join(parts)}{closing}"
    if match := _MATRIX.fullmatch(gold):
        rows = [row.strip() for row in match.group(1).split(r"\\")]
        if len(rows) > 1 and rows[0] != rows[1]:
            swapped = r" \\ ".join([rows[1], rows[0], *rows[2:]])
            yield "rows swapped", rf"\begin{{pmatrix}} {swapped} \end{{pmatrix}}"
            yield "row missing", rf"\begin{{pmatrix}} {rows[0]} \end{{pmatrix}}"
    for match in [*_INNER_FRACTION.finditer(gold)][:1]:
        above, below = match.groups()
        if above != below and above.strip("-") != "0" and numeric(gold) is None:
            yield "upside down", f"{gold[: match.start()]}\\frac{{{below}}}{{{above}}}{gold[match.end() :]}"


def _spelt(value: Fraction) -> str:
    if value.denominator == 1:
        return str(value)
    if _without(value.denominator, 2, 5) == 1:
        decimal = f"{float(value):.12f}".rstrip("0")
        if Fraction(decimal) == value:
            return decimal
    return rf"\frac{{{value.numerator}}}{{{value.denominator}}}"
