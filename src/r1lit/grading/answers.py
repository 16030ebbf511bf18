"""Is this answer the reference answer? The rule behind the accuracy reward in mathematics (paper section 2.2).

Most answers are decided by their spelling and by exact fractions. The rest goes to math-verify in a process that can
be killed, since comparing two expressions may take for ever (a tower of powers suffices).
"""

import re
import warnings

from r1lit.grading.lists import same_parts
from r1lit.grading.normalize import MAX_LENGTH, Answer, normalize
from r1lit.grading.numerals import compact, read_number
from r1lit.grading.statements import as_intervals, split_equation, tells_a_value
from r1lit.grading.workers import Job, run_jobs

TIMEOUT_S = 5.0
"""Default wall-clock limit of one comparison, in seconds."""
_ROUNDED_DIGITS = 6
_RELATION = re.compile(r"[<>\u2260]|\\(?:le|ge|ne|lt|gt|leqslant|geqslant|neq)(?![A-Za-z])")
_INTERVAL = re.compile(r"[(\[].*[)\]]|\\(?:in|cup|mathbb|infty)(?![A-Za-z])", re.DOTALL)
_ENDLESS = re.compile(r"[+-]?\\infty")
_BRACE = re.compile(r"\\.|[{}]", re.DOTALL)


class AnswerTimeout(Exception):
    """A comparison ran out of time or memory twice, so that nothing is known about the answer."""


def check_answer(answer: str, gold: str, timeout_s: float = TIMEOUT_S, raise_on_timeout: bool = False) -> bool:
    r"""Whether ``answer`` states the same as the reference ``gold``.

    Boxes, dollar signs, units, percent signs, thousands commas and labels such as ``x =`` on one side only do not
    matter; different units or labels on both sides do. A fraction also equals its decimal rounded to six or more
    significant digits. Several answers at once (``5 or 6``) are not equal to one; tuples and intervals agree part by
    part in order, sets and bare lists in any order. Answers longer than 2,000 characters are compared as strings.

    Args:
        answer: The extracted final answer.
        gold: The reference answer.
        timeout_s: Wall-clock limit in seconds for a comparison that needs computer algebra. It is tried twice, the
            first time with a fifth of that.
        raise_on_timeout: Raise where neither try came to an end, rather than warn and return False.

    Returns:
        Whether they are found to agree. What cannot be read as mathematics agrees only with the same text. False with
        a ``RuntimeWarning`` where the comparison ran out of time or memory twice; ``AccuracyReward`` keeps this apart
        from a wrong answer and leaves such a completion unscored.

    Raises:
        AnswerTimeout: If the comparison ran out of time or memory twice and ``raise_on_timeout`` is set.
        InputError: If computer algebra is needed and math-verify is not installed.
    """
    verdict = compare(answer, gold)
    if isinstance(verdict, Job):
        done = run_jobs([verdict], timeout_s)[0]
        if done is None:
            problem = f"comparing {answer[:80]!r} with {gold[:80]!r} ran out of time ({timeout_s} s) or memory twice"
            if raise_on_timeout:
                raise AnswerTimeout(problem)
            warnings.warn(f"{problem}; taken for different", RuntimeWarning, stacklevel=2)
        return bool(done)
    return verdict


def compare(answer: str, gold: str) -> bool | Job:
    """Decides in this process if that is quick and certain, else says what a worker must compare."""
    ours, theirs = normalize(answer), normalize(gold)
    if not ours.text or not theirs.text:
        return False
    if max(len(answer), len(gold)) > MAX_LENGTH:
        return ours.text == theirs.text
    if _disagree(ours.unit or "%" * ours.percent, theirs.unit or "%" * theirs.percent) or _disagree(
        ours.base, theirs.base
    ):
        return False
    if ours.value is not None and theirs.value is not None:
        return not _disagree(ours.label, theirs.label) and _equal_numbers(ours, theirs)
    if ours.text == theirs.text and not _disagree(ours.label, theirs.label):
        return True
    if (ours.words or theirs.words) and ours.text.casefold() == theirs.text.casefold():
        return True
    if (decided := same_parts(ours, theirs)) is not None:
        return decided and not _disagree(ours.label, theirs.label)
    if (stated := _statements(ours, theirs)) is not None:
        return stated
    if theirs.words or _hopeless(ours, theirs):
        return False
    mine, due = as_intervals(ours.spaced), as_intervals(theirs.spaced)
    if (mine or due) and (mine or ours.text) == (due or theirs.text):
        return True
    return Job("math", {"answer": mine or ours.latex, "gold": due or theirs.latex})


def _statements(ours: Answer, theirs: Answer) -> bool | Job | None:
    """Compares equations side by side; None where neither is one, or one of them is no statement of a value."""
    (left, right), (other_left, other_right) = _sides(ours), _sides(theirs)
    if not left and not other_left:
        return None
    if left and other_left:
        if left == other_left:
            return compare(right, other_right)
        if tells_a_value(left) or tells_a_value(other_left) or (ours.label and theirs.label):
            return False
        return Job("math", {"answer": f"{left}={right}", "gold": f"{other_left}={other_right}", "equations": True})
    if not tells_a_value(left or other_left):
        bare = other_right if left else right
        return False if read_number(compact(bare)) and not (ours.label or theirs.label) else None
    return compare(right if left else ours.spaced, other_right if other_left else theirs.spaced)


def _sides(answer: Answer) -> tuple[str, str]:
    if answer.label:
        return answer.label, answer.spaced
    left, right = split_equation(answer.spaced)
    return ("", answer.spaced) if read_number(left) and read_number(compact(right)) else (left, right)


def _disagree(ours: str, theirs: str) -> bool:
    return bool(ours and theirs and ours != theirs)


def _equal_numbers(ours: Answer, theirs: Answer) -> bool:
    assert ours.value is not None
    assert theirs.value is not None
    if ours.value == theirs.value:
        return True
    if ours.percent != theirs.percent:  # 50 % is 0.5, and is also the answer 50 to "how many percent?"
        a, b = (x.value / 100 if x.percent else x.value for x in (ours, theirs) if x.value is not None)
        return a == b
    return _rounds_to(ours, theirs) or _rounds_to(theirs, ours)


def _rounds_to(fraction: Answer, decimal: Answer) -> bool:
    """Whether ``decimal`` is ``fraction`` (a ratio, not an integer or decimal) rounded to enough digits."""
    if decimal.places is None or fraction.places is not None or fraction.value is None or decimal.value is None:
        return False
    digits = len(decimal.text.lstrip("+-0.").replace(".", "").replace(",", ""))
    if fraction.value.denominator == 1 or digits < _ROUNDED_DIGITS:
        return False
    return bool(2 * abs(fraction.value - decimal.value) * 10**decimal.places <= 1)


def _hopeless(ours: Answer, theirs: Answer) -> bool:
    """Whether the answer cannot be right, however it is read: a short cut, and a guard of the reader of LaTeX."""
    if not _balanced(ours.latex):  # would end the box it is put in
        return True
    sides = [number[0] for side in ours.text.split("=") if (number := read_number(side))]
    if len(set(sides)) > 1:  # a false equation
        return True
    if _one_is_an_inequality(ours, theirs):
        return True
    if any(_ENDLESS.fullmatch(one.text) and r"\infty" not in other.text for one, other in _both_ways(ours, theirs)):
        return True  # computer algebra takes complex numbers for it
    # Letters alone cannot be a number; a command (\pi) or a digit may.
    return theirs.value is not None and not re.search(r"[\d\\]", ours.text)


def _one_is_an_inequality(ours: Answer, theirs: Answer) -> bool:
    """Whether one side says ``at least 5`` and the other names neither a relation nor an interval."""
    return any(
        _RELATION.search(one.text) and not (_RELATION.search(other.text) or _INTERVAL.search(other.text))
        for one, other in _both_ways(ours, theirs)
    )


def _both_ways(ours: Answer, theirs: Answer) -> tuple[tuple[Answer, Answer], tuple[Answer, Answer]]:
    return (ours, theirs), (theirs, ours)


def _balanced(latex: str) -> bool:
    depth = 0
    for brace in _BRACE.finditer(latex):
        depth += {"{": 1, "}": -1}.get(brace.group(), 0)
        if depth < 0:
            return False
    return depth == 0
