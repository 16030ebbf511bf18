"""Does a completion have the form that its template asks for (paper section 2.2)?"""

from typing import Literal

Style = Literal["think_answer", "think"]
TAGS = {"think_answer": ("<think>", "</think>", "<answer>", "</answer>"), "think": ("<think>", "</think>")}


def follows_format(text: str, style: Style = "think_answer", allow_empty_reasoning: bool = True) -> bool:
    """Whether a completion is exactly ``<think>...</think><answer>...</answer>``.

    Every tag occurs once, only white space is around and between the two parts, and the answer is not blank.
    With style ``think`` (R1's: reasoning, then a summary) the rest after ``</think>`` is free but not blank.

    Args:
        text: The completion with what the template prefilled.
        style: Which parts are due.
        allow_empty_reasoning: Accept a blank think part; the paper asks for the tags only.
    """
    parts = [text.strip()]
    for tag in TAGS[style]:
        before, found, after = parts.pop().partition(tag)
        if not found:
            return False
        parts += [before.strip(), after.strip()]
    if any(tag in part for part in parts for tag in TAGS["think_answer"] if tag in TAGS[style]):
        return False
    before, reasoning, *rest = parts
    if before or not (reasoning or allow_empty_reasoning):
        return False
    if style == "think":
        return bool(rest[0])
    between, answer, after = rest
    return bool(answer) and not between and not after
