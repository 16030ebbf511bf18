"""Takes a completion's text apart: reasoning, summary, final answer.

Strict on purpose: an answer counts only where the final part states it. Falling back to a box inside the reasoning
would reward a model for mentioning the right number on its way to another one.
"""

import re

_THINK, _END_THINK = "<think>", "</think>"
_ANSWER, _END_ANSWER = "<answer>", "</answer>"
_BOX = re.compile(r"\\(?:boxed|fbox)\s*(?:\{|(-?\d+(?:\.\d+)?|[A-Za-z](?![A-Za-z])))")
_BRACE = re.compile(r"\\.|[{}]", re.DOTALL)
_STATED = re.compile(r"\W*(?:the )?(?:final )?answer(?: is)?\W+([A-J])\W*", re.IGNORECASE)
_LAST_LINE = 200


def split_reasoning(text: str) -> tuple[str | None, str]:
    """Splits a text at its think tags.

    Returns:
        The reasoning and what follows it. The reasoning stands between the first ``<think>`` and the first
        ``</think>``, or before ``</think>`` where the opening tag was part of the prompt, or after ``<think>`` where
        the text was cut off before the closing tag; without any tag it is None and the rest is the whole text.
    """
    end = text.find(_END_THINK)
    start = text.find(_THINK, 0, end if end >= 0 else None)
    if start < 0 and end < 0:
        return None, text
    begin = start + len(_THINK) if start >= 0 else 0
    if end < 0:
        return text[begin:].strip(), ""
    return text[begin:end].strip(), text[end + len(_END_THINK) :]


def summary(text: str) -> str:
    """What the user is shown: the text after the reasoning, without surrounding space."""
    return split_reasoning(text)[1].strip()


def parse_response(text: str) -> tuple[str | None, str | None]:
    r"""Extracts reasoning and final answer (templates of paper sections 2.2 and 2.3.1).

    Args:
        text: A whole completion, with or without the opening ``<think>``.

    Returns:
        The reasoning (see ``split_reasoning``), and the answer found after it: the content of the last complete
        ``<answer>...</answer>``; without such tags that of the last ``\boxed{...}``; without a box the letter of a
        last line ``ANSWER: X``, as multiple choice is asked for; else None, also where the tags or the box are empty or
        the reasoning was never closed.
    """
    reasoning, rest = split_reasoning(text)
    end = rest.rfind(_END_ANSWER)
    start = rest.rfind(_ANSWER, 0, end) if end >= 0 else -1
    if start >= 0:
        answer = rest[start + len(_ANSWER) : end].strip()
    else:
        found = boxes(rest)
        answer = (found[-1] if found else stated_option(rest)) or ""
    return reasoning, answer or None


def stated_option(text: str) -> str | None:
    """The letter, A to J, of a text whose last line is ``ANSWER: X``; None for any other."""
    line = text.rstrip().rpartition("\n")[2]
    match = _STATED.fullmatch(line) if len(line) <= _LAST_LINE else None
    return match[1].upper() if match else None


def last_boxed(text: str) -> str | None:
    r"""Content of the last ``\boxed{...}`` (or ``\fbox``), braces balanced; None without one or if it was cut off.

    A box cut off at the end does not bring back an earlier one.
    """
    contents = boxes(text)
    return contents[-1] if contents else None


def boxes(text: str) -> list[str | None]:
    r"""Contents of all outermost ``\boxed{...}``, in order; None for one that is not closed. Linear in the length."""
    found: list[str | None] = []
    position = 0
    while match := _BOX.search(text, position):
        depth, position = 1, match.end()
        if match[1]:  # \boxed 5
            found.append(match[1])
            continue
        for brace in _BRACE.finditer(text, match.end()):
            depth += {"{": 1, "}": -1}.get(brace.group(), 0)  # an escaped brace matches as two characters
            if depth == 0:
                position = brace.end()
                break
        if depth:
            return [*found, None]
        found.append(text[match.end() : position - 1].strip())
    return found
