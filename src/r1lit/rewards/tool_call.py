"""Reward for tool use: the reply calls the right tool with the right arguments (an outlook of the paper)."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

from r1lit.errors import InputError
from r1lit.grading.structured import reference_calls, reply_calls, same_calls
from r1lit.rewards.base import Reward
from r1lit.types import Completion, Kind, Task


class ToolCallReward(Reward):
    """1 for a reply that makes exactly the calls of the reference, else 0 or, for right names alone, part of it.

    A call is ``<tool_call>{"name": ..., "arguments": {...}}</tool_call>``, the form of Hermes and Qwen2.5, anywhere
    after ``</think>``; text around the calls is allowed, a tag that is not closed is not, other keys of a call are
    ignored. The reference stands in ``prompt.answer``: one object with ``name`` and ``arguments``, a list
    of such objects, or calls in tags; an empty list asks for a reply without any call. Arguments are equal as JSON:
    keys in any order, 1 equals 1.0 and true does not, texts to the letter.

    The paper has no such reward; it names the use of tools as an outlook (its section 6).

    Args:
        any_order: Several calls may come in any order.
        name_credit: What a reply gets that calls the right tools (all of them and no other) with arguments that
            differ; 0 gives no such credit.
        name: See ``Reward``.
        weight: See ``Reward``.
        kinds: See ``Reward``.
        tasks: ``tool`` unless told otherwise.
        from_step: See ``Reward``.

    Raises:
        InputError: If the credit is not within [0, 1].
    """

    def __init__(
        self,
        any_order: bool = False,
        name_credit: float = 0.0,
        name: str = "tool_call",
        weight: float = 1.0,
        kinds: Sequence[Kind] | None = None,
        tasks: Sequence[Task] | None = ("tool",),
        from_step: int = 0,
    ) -> None:
        super().__init__(name, weight=weight, kinds=kinds, tasks=tasks, from_step=from_step)
        if not 0 <= name_credit <= 1:
            raise InputError(f"reward {name!r}: name_credit is {name_credit}; give a number from 0 to 1")
        self.any_order, self.name_credit = any_order, name_credit

    def score(self, completions: Sequence[Completion]) -> list[float]:
        """Scores the calls of each completion.

        Raises:
            InputError: If a prompt has no reference, or one that is no call; names the prompt.
        """
        return [self._one(completion) for completion in completions]

    def _one(self, completion: Completion) -> float:
        prompt = completion.prompt
        if prompt.answer is None or not prompt.answer.strip():
            raise InputError(
                f"prompt {prompt.id!r} has no reference answer, but reward {self.name!r} compares calls with one; "
                "give it an answer, or narrow the reward's tasks"
            )
        due = reference_calls(prompt, prompt.answer)
        try:
            made = reply_calls(completion)
        except ValueError:
            return 0.0
        if same_calls(made, due, self.any_order):
            return 1.0
        return self.name_credit if self._same_names(made, due) else 0.0

    def _same_names(self, made: Sequence[Any], due: Sequence[dict[str, Any]]) -> bool:
        names = [call["name"] if isinstance(call, dict) else None for call in made]
        if not all(isinstance(name, str) for name in names):
            return False
        wanted = [call["name"] for call in due]
        return Counter(names) == Counter(wanted) if self.any_order else names == wanted
