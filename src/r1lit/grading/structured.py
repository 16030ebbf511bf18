"""Reads JSON and tool calls out of replies, and compares them."""

import json
import math
from collections.abc import Sequence
from typing import Any

from r1lit.errors import InputError
from r1lit.grading.parsing import summary
from r1lit.types import Completion, Prompt

_TOOL_CALL, _END_TOOL_CALL = "<tool_call>", "</tool_call>"
_FENCE = "```"


def without_fence(text: str) -> str:
    """The content of a fence (without a language, or ``json``) that surrounds a whole text; else the text itself."""
    fenced = text.strip()
    if fenced.startswith(_FENCE) and fenced.endswith(_FENCE) and "\n" in fenced:
        opening, _, rest = fenced.partition("\n")
        if opening.removeprefix(_FENCE).strip().lower() in ("", "json"):
            return rest.removesuffix(_FENCE)
    return text


def parse_json(text: str) -> Any:
    """Parses strict JSON.

    Raises:
        ValueError: For anything else: NaN and Infinity, numbers out of the range of a float, and what is nested beyond
            Python's limit or has more digits than it converts.
    """
    try:
        return json.loads(text, parse_constant=_no_constant, parse_float=_finite)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error


def reply_json(completion: Completion) -> Any:
    """The JSON value that a reply gives: all that follows ``</think>``, or what stands there in answer tags.

    Either may stand in a fence; nothing else may stand beside it.

    Raises:
        ValueError: If there is none.
    """
    try:
        # First the whole, since a text within the value may hold tags or a box.
        return parse_json(without_fence(summary(completion.text)))
    except ValueError:
        if completion.answer is None:
            raise
        return parse_json(without_fence(completion.answer))


def reference_json(prompt: Prompt, text: str) -> Any:
    """Parses a reference answer.

    Raises:
        InputError: If it is not JSON; names the prompt.
    """
    try:
        return parse_json(text)
    except ValueError as error:
        raise InputError(f"prompt {prompt.id!r}: answer {text[:80]!r} is not JSON ({error})") from error


def same_json(a: Any, b: Any) -> bool:
    """Whether two parsed JSON values are equal, with true apart from 1 (Python takes them for equal)."""
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(same_json(a[key], b[key]) for key in a)
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(same_json(x, y) for x, y in zip(a, b, strict=True))
    return isinstance(a, bool) == isinstance(b, bool) and bool(a == b)


def tool_texts(text: str) -> list[str]:
    """What stands in ``<tool_call>`` tags, in linear time.

    Raises:
        ValueError: If a tag is not closed.
    """
    found, end = [], 0
    while (start := text.find(_TOOL_CALL, end)) >= 0:
        start += len(_TOOL_CALL)
        end = text.find(_END_TOOL_CALL, start)
        if end < 0:
            raise ValueError(f"a {_TOOL_CALL} is not closed")
        found.append(text[start:end])
    return found


def reply_calls(completion: Completion) -> list[Any]:
    """The tool calls after ``</think>``, each with ``name`` and ``arguments`` where it is an object.

    Raises:
        ValueError: If what stands in a call's tags is not JSON, or a tag is not closed.
    """
    return [_call(parse_json(call)) for call in tool_texts(summary(completion.text))]


def reference_calls(prompt: Prompt, text: str) -> list[dict[str, Any]]:
    """The calls of a reference: an object with ``name`` and ``arguments``, a list of such, or calls in tags.

    An empty list asks for no call at all.

    Raises:
        InputError: If it is none of these; names the prompt.
    """
    try:
        tagged = tool_texts(text)
    except ValueError as error:
        raise InputError(f"prompt {prompt.id!r}: answer {text[:80]!r}: {error}") from error
    given = [reference_json(prompt, call) for call in tagged] if tagged else reference_json(prompt, text)
    calls = given if isinstance(given, list) else [given]
    if not all(isinstance(call, dict) and _is_call(call) for call in calls):
        raise InputError(
            f"prompt {prompt.id!r}: answer {text[:80]!r} is no tool call; "
            "give an object with 'name' (a text) and 'arguments' (an object)"
        )
    return [_call(call) for call in calls]


def same_calls(made: Sequence[Any], due: Sequence[Any], any_order: bool = False) -> bool:
    """Whether the calls made are exactly those due, in the same order or in any."""
    if len(made) != len(due):
        return False
    if not any_order:
        return same_json(list(made), list(due))
    left = list(due)
    for call in made:  # equality is an equivalence, so taking the first that fits is right
        place = next((i for i, other in enumerate(left) if same_json(call, other)), None)
        if place is None:
            return False
        del left[place]
    return True


def _is_call(call: dict[str, Any]) -> bool:
    return isinstance(call.get("name"), str) and isinstance(call.get("arguments"), dict)


def _call(call: Any) -> Any:
    return {key: call.get(key) for key in ("name", "arguments")} if isinstance(call, dict) else call


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def _finite(digits: str) -> float:
    value = float(digits)
    if not math.isfinite(value):
        raise ValueError(f"{digits} is out of range")
    return value
