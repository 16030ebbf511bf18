"""One checker for each task: is a completion's final answer correct?

A checker returns True or False, None where correctness has no meaning (chat), or a ``Job`` for a worker process where
deciding may take long.
"""

import json
import re
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from r1lit.errors import InputError
from r1lit.rewards.answers import compare
from r1lit.rewards.normalise import MAX_LENGTH, unwrap
from r1lit.rewards.parsing import summary
from r1lit.rewards.workers import Job
from r1lit.types import Completion, Prompt, Task

Checker: TypeAlias = Callable[[Completion], bool | Job | None]

_OPTION = re.compile(r"(?:(?:the )?(?:answer|option|choice)(?: is)?\s*:?\s*)?[(\[]?([A-Za-z])[)\].:]?", re.IGNORECASE)
_TEXT_COMMAND = re.compile(r"\\(?:text(?:bf|rm|it)?|mathrm|mathbf|mbox)\s*\{([^{}]*)\}")
_SUM = re.compile(r"\s*[0-9]+(?:\s*[+-]\s*[0-9]+)*\s*")
_TERM = re.compile(r"([+-]?)\s*([0-9]+)")
_TOOL_CALL, _END_TOOL_CALL = "<tool_call>", "</tool_call>"


def reference(prompt: Prompt) -> str | None:
    """The reference answer; None for a prompt without one that is not there to be checked.

    Raises:
        InputError: If a reasoning prompt has none.
    """
    if prompt.answer is not None and prompt.answer.strip():
        return prompt.answer
    if prompt.kind == "reasoning":
        raise InputError(
            f"prompt {prompt.id!r} has no reference answer, but task {prompt.task!r} is checked against one; "
            "give it an answer or another kind or task"
        )
    return None


def check_math(completion: Completion) -> bool | Job | None:
    """The answer equals the reference as mathematics (``check_answer``)."""
    gold = reference(completion.prompt)
    if gold is None:
        return None
    return completion.answer is not None and compare(completion.answer, gold)


def check_choice(completion: Completion) -> bool | None:
    """The answer is the letter of the right option and nothing else; naming several options is wrong."""
    gold = reference(completion.prompt)
    if gold is None:
        return None
    right = _option(gold)
    if right is None:
        raise InputError(f"prompt {completion.prompt.id!r}: answer {gold!r} is not the letter of an option")
    return completion.answer is not None and _option(completion.answer) == right


def _option(text: str) -> str | None:
    if len(text) > MAX_LENGTH:
        return None
    text = unwrap(_TEXT_COMMAND.sub(r"\1", text))
    match = _OPTION.fullmatch(text)
    return match.group(1).upper() if match else None


def check_logic(completion: Completion) -> bool | Job | None:
    """A puzzle: by its numbers and target, by reasoning-gym's own scorer, or by exact match."""
    prompt = completion.prompt
    if "numbers" in prompt.meta and "target" in prompt.meta:
        return _check_countdown(completion)
    if "reasoning_gym" in prompt.meta:
        return _check_gym(completion)
    gold = reference(prompt)
    if gold is None:
        return None
    return completion.answer is not None and _plain(completion.answer) == _plain(gold)


def _plain(text: str) -> str:
    return " ".join(unwrap(text).split()).casefold()


def _check_countdown(completion: Completion) -> bool:
    prompt = completion.prompt
    try:
        numbers, target = [int(number) for number in prompt.meta["numbers"]], int(prompt.meta["target"])
    except (TypeError, ValueError) as error:
        raise InputError(f"prompt {prompt.id!r}: meta 'numbers' and 'target' must be integers ({error})") from error
    return completion.answer is not None and solves_countdown(unwrap(completion.answer), numbers, target)


def solves_countdown(expression: str, numbers: list[int], target: int) -> bool:
    """Whether an expression joins exactly these numbers, in this order, by + or - and comes to the target.

    Read by a pattern, never evaluated as code; an equals sign, brackets or a sign before the first number fail.
    """
    if len(expression) > MAX_LENGTH or not _SUM.fullmatch(expression):
        return False
    terms = [(-1 if sign == "-" else 1, int(digits)) for sign, digits in _TERM.findall(expression)]
    return [value for _, value in terms] == numbers and sum(sign * value for sign, value in terms) == target


def _check_gym(completion: Completion) -> bool | Job:
    prompt, spec = completion.prompt, completion.prompt.meta["reasoning_gym"]
    if not (isinstance(spec, Mapping) and isinstance(spec.get("dataset"), str) and isinstance(spec.get("entry"), dict)):
        raise InputError(f"prompt {prompt.id!r}: meta 'reasoning_gym' must hold 'dataset' (its name) and 'entry'")
    if completion.answer is None:
        return False
    answer = unwrap(completion.answer)
    return Job("gym", {"prompt": prompt.id, "dataset": spec["dataset"], "entry": spec["entry"], "answer": answer})


def check_json(completion: Completion) -> bool:
    """The final part is JSON: equal to the reference, or any object or array where there is no reference."""
    prompt = completion.prompt
    try:
        found = _load(_final(completion))
    except ValueError:
        return False
    if prompt.answer is None:
        return isinstance(found, dict | list)
    return same_json(found, _gold_json(prompt, prompt.answer))


def check_tool(completion: Completion) -> bool | None:
    """The final part makes exactly the reference's tool calls, in order: equal names, equal arguments.

    The reference is one JSON object with ``name`` and ``arguments``, or the calls in ``<tool_call>`` tags.
    """
    prompt = completion.prompt
    gold = reference(prompt)
    if gold is None:
        return None
    due = [_gold_json(prompt, call) for call in _tool_calls(gold) or [gold]]
    if not all(isinstance(call, dict) and {"name", "arguments"} <= call.keys() for call in due):
        raise InputError(f"prompt {prompt.id!r}: answer is no tool call; give an object with 'name' and 'arguments'")
    try:
        made = [_load(call) for call in _tool_calls(_final(completion))]
    except ValueError:
        return False
    return same_json([_call(call) for call in made], [_call(call) for call in due])


def _tool_calls(text: str) -> list[str]:
    """What stands in closed tags, in linear time even where nothing is closed."""
    found, end = [], 0
    while (start := text.find(_TOOL_CALL, end)) >= 0:
        start += len(_TOOL_CALL)
        end = text.find(_END_TOOL_CALL, start)
        if end < 0:
            break
        found.append(text[start:end])
    return found


def _call(call: Any) -> Any:
    return {key: call.get(key) for key in ("name", "arguments")} if isinstance(call, dict) else call


def _final(completion: Completion) -> str:
    text = completion.answer if completion.answer is not None else summary(completion.text)
    fenced = text.strip()
    if fenced.startswith("```") and fenced.endswith("```") and "\n" in fenced:
        opening, _, rest = fenced.partition("\n")
        if opening.removeprefix("```").strip() in ("", "json"):
            return rest.removesuffix("```")
    return text


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def _load(text: str) -> Any:
    """Parses strict JSON; ValueError for anything else, nesting beyond Python's limit included."""
    try:
        return json.loads(text, parse_constant=_no_constant)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error


def _gold_json(prompt: Prompt, text: str) -> Any:
    try:
        return _load(text)
    except ValueError as error:
        raise InputError(f"prompt {prompt.id!r}: answer {text[:80]!r} is not JSON ({error})") from error


def same_json(a: Any, b: Any) -> bool:
    """Whether two parsed JSON values are equal, with true apart from 1 (Python takes them for equal)."""
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(same_json(a[key], b[key]) for key in a)
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(same_json(x, y) for x, y in zip(a, b, strict=True))
    return isinstance(a, bool) == isinstance(b, bool) and bool(a == b)


def check_code(completion: Completion) -> bool:
    """Programs are not judged yet."""
    raise InputError(f"prompt {completion.prompt.id!r}: code needs the sandbox, which a later version brings")


def check_chat(completion: Completion) -> None:
    """Chat has no correct answer: not applicable."""
    return


CHECKERS: dict[Task, Checker] = {
    "math": check_math,
    "choice": check_choice,
    "logic": check_logic,
    "json": check_json,
    "tool": check_tool,
    "code": check_code,
    "chat": check_chat,
}
"""The checker of each task; put your own in its place to change the rule."""
