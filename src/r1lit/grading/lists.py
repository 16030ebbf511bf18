r"""Answers of several parts: tuples, intervals, sets, and lists such as ``1, 2 and 3``.

Readers of LaTeX are lax about them (a tuple with something added passes for the tuple), so what their parts decide is
decided here.
"""

import re
from collections import Counter
from dataclasses import dataclass
from fractions import Fraction

from r1lit.grading.normalize import Answer, compact, read_number, split_label

_JOINED = re.compile(r"(?: ?,)? (?:and|or) ")
_OTHERWISE = re.compile(r"[<>]|\\(?:le|ge|ne|lt|gt|in|cup|cap|pm|mp|mathbb|infty|begin|cdot|times)(?![A-Za-z])|=")
"""What may say the same as a list or an interval without looking like one."""
_ORDERED = frozenset({"()", "[]", "(]", "[)"})


@dataclass(frozen=True, slots=True)
class Parts:
    """The parts of an answer, spelt compactly, and the brackets around them (none for a bare list)."""

    brackets: str
    parts: tuple[str, ...]

    def values(self) -> list[Fraction | str]:
        """Each part's exact value, or its spelling where it is no number."""
        return [number[0] if (number := read_number(part)) else part for part in self.parts]


def split(answer: Answer, grouped: bool = False) -> Parts | None:
    """Takes an answer of several parts apart; None for any other.

    Args:
        answer: The answer.
        grouped: Take ``81,256`` for two numbers.
    """
    text = answer.spaced.replace(r"\{", "{").replace(r"\}", "}").strip()
    if (answer.value is not None and not grouped) or len(text) < 3:
        return None
    brackets = ""
    if text[0] in "([{" and _closes_at_end(text):
        brackets, text = text[0] + text[-1], text[1:-1]
    parts = [compact(part) for part in _split(_JOINED.sub(",", text))]
    if len(parts) < 2 or not all(parts):
        return None
    labelled = [split_label(part) for part in parts]
    if len({label[:1] for label, _ in labelled}) == 1:  # x = 1, x = 2
        parts = [part for _, part in labelled]
    return Parts(brackets, tuple(parts))


def _closes_at_end(text: str) -> bool:
    depth = 0
    for place, character in enumerate(text):
        depth += (character in "([{") - (character in ")]}")
        if depth == 0:
            return place == len(text) - 1
    return False


def _split(text: str) -> list[str]:
    depth, parts = 0, [""]
    for character in text:
        depth += (character in "([{") - (character in ")]}")
        if character in ",;" and depth == 0:
            parts.append("")
        else:
            parts[-1] += character
    return parts


def same_parts(ours: Answer, theirs: Answer) -> bool | None:
    """Whether two answers agree part by part; None where their parts do not tell, or neither has several.

    The order of a tuple or an interval matters, that of a set or a bare list does not.
    """
    mine, due = split(ours), split(theirs)
    mine, due = mine or split(ours, grouped=due is not None), due or split(theirs, grouped=mine is not None)
    if mine is None or due is None:
        if mine is due or _OTHERWISE.search(ours.text) or _OTHERWISE.search(theirs.text):
            return None
        return False
    if mine.brackets != due.brackets and not {mine.brackets, due.brackets} <= {"", "{}"}:
        return None if "" in (mine.brackets, due.brackets) and len(mine.parts) == len(due.parts) else False
    ordered = mine.brackets in _ORDERED
    if not ordered and any(r"\pm" in part or r"\mp" in part for part in (*mine.parts, *due.parts)):
        return True if Counter(mine.values()) == Counter(due.values()) else None
    if len(mine.parts) != len(due.parts):
        return False
    pairs = list(zip(mine.values(), due.values(), strict=True))
    if all(a == b for a, b in pairs) or (not ordered and Counter(mine.values()) == Counter(due.values())):
        return True
    if ordered and any(isinstance(a, Fraction) and isinstance(b, Fraction) and a != b for a, b in pairs):
        return False
    if all(isinstance(value, Fraction) for pair in pairs for value in pair):
        return False
    return None
