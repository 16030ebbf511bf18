r"""Equations and inequalities: ``f(2) = 7`` tells a value, ``2x = 4`` is to be solved, ``x < 2`` is an interval."""

import re

from r1lit.grading.numerals import compact

_FIGURE = re.compile(
    r"m?\\(?:angle|triangle|overline|vec|widehat|hat)\s*\{?[A-Z]{1,3}\}?|(?<![A-Za-z\\])[A-Z]{2,3}(?![A-Za-z(])"
)
_EVENT = re.compile(r"\\?[A-Za-z]+'*[(\[][^()\[\]]*(?:[<>|=]|\\(?:le|ge|mid|cap|cup|in)(?![A-Za-z]))[^()\[\]]*[)\]]")
_VALUE = re.compile(
    r"(?<![\\A-Za-z])[A-Za-z]{1,5}'*(?:_\{?\w+\}?)?(?:\^\{?(?:-?\d|\(\d\))\}?)?"
    r"\((?:[-+\d.,;/\s]|\\frac\{\d+\}\{\d+\}|\\pi|\\infty)+\)"
)
_MEAN = re.compile(r"(?<![A-Za-z\\])(?:E|Var|Cov|SD)\s*[(\[][A-Z][^()\[\]]*[)\]]")
_FACTORIAL = re.compile(r"^\d+!$")
_WORD = re.compile(r"(?<![\\A-Za-z])[A-Za-z]{3,}(?![A-Za-z(])")
_BOUND = re.compile(r"\\(?:sum|prod|lim|int)(?![A-Za-z])")
_FRACTION = re.compile(r"\\frac\{(\d+)\}\{(\d+)\}")
_COMMAND = re.compile(r"\\[A-Za-z]+")
_RELATION = re.compile(r"(<|>|\\[lg]e(?![A-Za-z]))")
_OR = re.compile(r"\s+or\s+|\s*\\(?:lor|vee)(?![A-Za-z])\s*|\s*或\s*")
_NAME = re.compile(r"\\?[A-Za-z](?:_\w)?")


def split_equation(text: str) -> tuple[str, str]:
    """Splits ``f(2) = 7`` into its sides; the left one is empty for what is no single equation."""
    depth, places = 0, []
    for place, character in enumerate(text):
        depth += (character in "([{") - (character in ")]}")
        if character == "=" and not depth:
            places.append(place)
    if len(places) != 1 or text[places[0] - 1 : places[0]] in ("<", ">", "!", ":"):
        return "", text
    left, right = text[: places[0]], text[places[0] + 1 :]
    left = _FRACTION.sub(r"\1/\2", left)
    return (compact(left), right.strip()) if left.strip() and right.strip() else ("", text)


def tells_a_value(left: str) -> bool:
    r"""Whether the left side of an equation names a thing, such as ``f(2)``, ``\log_2 8`` or ``AB``, to be told.

    ``2x`` and ``x^2`` have a free symbol: such an equation is to be solved.
    """
    if _BOUND.match(left):
        return True
    rest = left
    for pattern in (_FIGURE, _EVENT, _MEAN, _VALUE, _FACTORIAL, _WORD):
        rest = pattern.sub("#", rest)
    named = "#" in rest or "\\" in rest
    rest = _COMMAND.sub("", rest)
    return named and not re.search(r"[A-Za-z]", rest)


def as_intervals(text: str) -> str | None:
    r"""Spells ``x < 2 or x > 3`` as ``(-\infty,2)\cup(3,\infty)``; None for anything else than such relations."""
    found, names = [], set()
    for part in _OR.split(text):
        sides = _RELATION.split(compact(part))
        if len(sides) not in (3, 5):
            return None
        interval = _interval(sides)
        if interval is None:
            return None
        names.add(interval[0])
        found.append(interval[1])
    return r"\cup".join(found) if len(names) == 1 and len(found) > 1 else None


def _interval(sides: list[str]) -> tuple[str, str] | None:
    """The variable and the interval of ``x < 2``, ``2 < x`` or ``2 < x < 3``, given in their pieces."""
    if len(sides) == 5:
        low, first, name, second, high = sides
        if ">" in first or first == r"\ge":
            low, first, second, high = high, _turned(second), _turned(first), low
        if not _NAME.fullmatch(name) or first not in ("<", r"\le") or second not in ("<", r"\le"):
            return None
        return name, f"{'[' if first != '<' else '('}{low},{high}{']' if second != '<' else ')'}"
    left, relation, right = sides
    if not _NAME.fullmatch(left):
        left, relation, right = right, _turned(relation), left
    if not _NAME.fullmatch(left) or _NAME.fullmatch(right):
        return None
    if relation in ("<", r"\le"):
        return left, rf"(-\infty,{right}{')' if relation == '<' else ']'}"
    return left, rf"{'(' if relation == '>' else '['}{right},\infty)"


def _turned(relation: str) -> str:
    return {"<": ">", ">": "<", r"\le": r"\ge", r"\ge": r"\le"}[relation]
