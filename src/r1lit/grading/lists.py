r"""Answers of several parts: tuples, intervals, sets, and lists such as ``1, 2 and 3``.

Readers of LaTeX are lax about them (a tuple with something added passes for the tuple), so what their parts decide is
decided here.
"""

import re
from collections import Counter
from dataclasses import dataclass
from fractions import Fraction

from r1lit.grading.normalize import Answer
from r1lit.grading.numerals import compact, read_number
from r1lit.grading.statements import split_equation

_JOINED = re.compile(r"(?: ?,)? (?:and|or) ")
_OTHERWISE = re.compile(r"[<>]|\\(?:le|ge|ne|lt|gt|in|cup|cap|pm|mp|mathbb|infty|begin|cdot|times)(?![A-Za-z])|=")
"""What may say the same as a list or an interval without looking like one."""
_SPACED = re.compile(r"[,;] |;")
_THOUSANDS = re.compile(r"(?<![\d.,])\d{1,3}(?:,\d{3})+(?!\d)")
_ORDERED = frozenset({"()", "[]", "(]", "[)"})


@dataclass(frozen=True, slots=True)
class Parts:
    """The parts of an answer, spelt compactly, and the brackets around them (none for a bare list)."""

    brackets: str
    parts: tuple[str, ...]
    labels: tuple[str, ...] = ()
    """What each part is the value of, where they all are of something else."""

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
    text = _JOINED.sub(", ", text)
    if _SPACED.search(text) or "=" in text:  # then a comma without a space is that of thousands
        text = _THOUSANDS.sub(lambda match: match.group().replace(",", ""), text)
    parts = [compact(part) for part in _split(text)]
    if len(parts) < 2 or not all(parts):
        return None
    if grouped and answer.value is not None and any(part.startswith("0") and len(part) > 1 for part in parts):
        return None  # 1,024 is one number
    labelled = [split_equation(part) for part in parts]
    labels = tuple(label for label, _ in labelled)
    if any(labels):
        if len(set(labels)) == 1:  # x = 1, x = 2
            return Parts(brackets, tuple(part for _, part in labelled))
        if all(labels) and len(set(labels)) == len(labels):
            return Parts(brackets, tuple(part for _, part in labelled), labels)
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
    if mine.labels or due.labels:
        return _same_labelled(mine, due)
    if mine.brackets != due.brackets and not {mine.brackets, due.brackets} <= {"", "{}"}:
        if "" not in (mine.brackets, due.brackets) or len(mine.parts) != len(due.parts):
            return False
        values = [*mine.values(), *due.values()]
        if not all(isinstance(value, Fraction) for value in values):
            return None
        return {mine.brackets, due.brackets} <= {"", "()", "[]"} and mine.values() == due.values()
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


def _same_labelled(mine: Parts, due: Parts) -> bool | None:
    """Whether values agree label by label, or with a bare tuple or list in the order of the labels."""
    if mine.labels and due.labels:
        if set(mine.labels) != set(due.labels):
            plain = [{_plain(label) for label in part.labels} for part in (mine, due)]
            return None if plain[0] == plain[1] else False
        values = dict(zip(due.labels, due.parts, strict=True))
        pairs = [(part, values[label]) for label, part in zip(mine.labels, mine.parts, strict=True)]
        return _all_same(pairs)
    named, bare = (mine, due) if mine.labels else (due, mine)
    if len(named.parts) != len(bare.parts):
        return False
    if bare.brackets in _ORDERED:
        order = sorted(range(len(named.labels)), key=lambda i: named.labels[i])
        return _all_same([(named.parts[i], part) for i, part in zip(order, bare.parts, strict=True)])
    return Counter(named.values()) == Counter(bare.values()) or None


def _plain(label: str) -> str:
    return re.sub(r"[\\{}\s]|angle|text|mathrm", "", label)


def _all_same(pairs: list[tuple[str, str]]) -> bool | None:
    """Whether all pairs agree; None where a pair is not told by its spelling."""
    found: bool | None = True
    for one, other in pairs:
        if one == other:
            continue
        ours, theirs = read_number(one), read_number(other)
        if ours and theirs:
            if ours[0] != theirs[0]:
                return False
        else:
            found = None
    return found
