"""One checker for each task: is a completion's final answer correct?

A checker returns True or False, None where correctness has no meaning (chat), or a ``Job`` for a worker process where
deciding may take long.
"""

import re
from collections.abc import Callable, Mapping
from typing import TypeAlias

from r1lit.errors import InputError
from r1lit.grading.answers import compare
from r1lit.grading.normalize import MAX_LENGTH, unwrap
from r1lit.grading.options import read_option, stated_letter
from r1lit.grading.parsing import summary
from r1lit.grading.programs import run_program
from r1lit.grading.structured import reference_calls, reference_json, reply_calls, reply_json, same_calls, same_json
from r1lit.grading.workers import Job
from r1lit.types import Completion, Prompt, Task

Checker: TypeAlias = Callable[[Completion], bool | Job | None]

_TEXT_COMMAND = re.compile(r"\\(?:text(?:bf|rm|it)?|mathrm|mathbf|mbox)\s*\{([^{}]*)\}")
_SUM = re.compile(r"\s*[0-9]+(?:\s*[+-]\s*[0-9]+)*\s*")
_TERM = re.compile(r"([+-]?)\s*([0-9]+)")


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
    right = read_option(gold)
    if right is None:
        raise InputError(f"prompt {completion.prompt.id!r}: answer {gold!r} is not the letter of an option")
    if completion.answer is not None:
        return read_option(completion.answer) == right
    options = completion.prompt.meta.get("options") or ()
    return stated_letter(summary(completion.text), len(options)) == right


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
    return " ".join(unwrap(_TEXT_COMMAND.sub(r"\1", unwrap(text))).split()).casefold()


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
        found = reply_json(completion)
    except ValueError:
        return False
    if prompt.answer is None:
        return isinstance(found, dict | list)
    return same_json(found, reference_json(prompt, prompt.answer))


def check_tool(completion: Completion) -> bool | None:
    """The final part makes exactly the reference's tool calls, in order: equal names, equal arguments.

    See ``ToolCallReward`` for what a reference is.
    """
    gold = reference(completion.prompt)
    if gold is None:
        return None
    due = reference_calls(completion.prompt, gold)
    try:
        return same_calls(reply_calls(completion), due)
    except ValueError:
        return False


def check_code(completion: Completion) -> bool:
    """The program passes its tests in a sandbox, with the default limits (``CodeReward`` has the choices)."""
    verdict = run_program(completion)
    return verdict is not None and verdict.passed


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
