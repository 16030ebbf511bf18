"""Reward for structured output: the reply is JSON, valid against a schema (an outlook of the paper)."""

import json
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import jsonschema
from jsonschema.protocols import Validator
from jsonschema.validators import validator_for
from referencing import Registry
from referencing.exceptions import Unresolvable

from r1lit.errors import InputError
from r1lit.grading.structured import reference_json, reply_json, same_json
from r1lit.rewards.base import Reward
from r1lit.types import Completion, Kind, Prompt, Task

SCHEMA = "schema"
"""Key of ``Prompt.meta`` that holds a prompt's own schema, an object or its JSON text."""


class JSONReward(Reward):
    """1 for a reply that is valid JSON by the prompt's schema, else 0.

    What counts is all that follows ``</think>``, or what stands there in ``<answer>`` tags; it may stand in a fence
    (three backquotes, with ``json`` or nothing behind them), but nothing may stand beside it. It must be strict JSON
    and valid against ``prompt.meta["schema"]``, else against the argument; without either, any object or array passes.
    A draft other than the latest is named by the schema's ``$schema``. References are followed within the schema
    only, never over the network. ``format`` is not checked, as the standard has it. Patterns of a schema are Python's
    regular expressions without a time limit: do not take schemas from strangers.

    The paper has no such reward; it names structured output as an outlook (its section 6).

    Args:
        schema: The schema of prompts that have none of their own; a boolean schema is allowed.
        match: Where a prompt has a reference answer, the value must also equal it (in any order of keys).
        name: See ``Reward``.
        weight: See ``Reward``.
        kinds: See ``Reward``.
        tasks: ``json`` unless told otherwise.
        from_step: See ``Reward``.

    Raises:
        InputError: If the schema is none.
    """

    def __init__(
        self,
        schema: dict[str, Any] | None = None,
        match: bool = False,
        name: str = "json",
        weight: float = 1.0,
        kinds: Sequence[Kind] | None = None,
        tasks: Sequence[Task] | None = ("json",),
        from_step: int = 0,
    ) -> None:
        super().__init__(name, weight=weight, kinds=kinds, tasks=tasks, from_step=from_step)
        self.schema, self.match = schema, match
        if schema is not None:
            _compiled(schema, f"reward {name!r}")

    def score(self, completions: Sequence[Completion]) -> list[float]:
        """Scores the reply of each completion.

        Raises:
            InputError: If a prompt's schema is malformed or refers to one that is not within it, or with ``match`` its
                reference is not JSON; names the prompt.
        """
        return [float(self._is_right(completion)) for completion in completions]

    def _is_right(self, completion: Completion) -> bool:
        prompt = completion.prompt
        where = f"prompt {prompt.id!r}, meta {SCHEMA!r}" if SCHEMA in prompt.meta else f"reward {self.name!r}"
        schema = _own_schema(prompt, where) if SCHEMA in prompt.meta else self.schema
        validator = None if schema is None else _compiled(schema, where)
        due = reference_json(prompt, prompt.answer) if self.match and prompt.answer is not None else None
        try:
            value = reply_json(completion)
        except ValueError:
            return False
        if self.match and prompt.answer is not None and not same_json(value, due):
            return False
        if validator is None:
            return isinstance(value, dict | list)
        try:
            return bool(validator.is_valid(value))
        except (RecursionError, OverflowError):  # nested too deeply, or a number too large, to be compared
            return False
        except Unresolvable as error:
            raise InputError(f"{where}: the reference {error.ref!r} leads out of the schema; put it inside") from error


def _own_schema(prompt: Prompt, where: str) -> Mapping[str, Any] | bool | None:
    schema: Mapping[str, Any] | bool | str | None = prompt.meta[SCHEMA]
    if not isinstance(schema, str):
        return schema
    try:
        read: Mapping[str, Any] | bool | None = json.loads(schema)
        return read
    except (ValueError, RecursionError) as error:
        raise InputError(f"{where}: not JSON ({error})") from error


def _compiled(schema: Any, where: str) -> Validator:
    """The validator of a schema.

    Raises:
        InputError: If it is malformed.
    """
    if not isinstance(schema, Mapping | bool):
        raise InputError(f"{where}: the schema is {str(schema)[:60]!r}; give an object")
    try:
        return _validator(json.dumps(schema))
    except (jsonschema.SchemaError, TypeError, ValueError, RecursionError) as error:
        message = error.message if isinstance(error, jsonschema.SchemaError) else str(error)
        raise InputError(f"{where}: not a JSON schema ({' '.join(message.split())[:200]})") from error


@lru_cache(maxsize=1024)
def _validator(text: str) -> Validator:
    """By the schema's text: prompts of one kind mostly share it, and checking one takes a millisecond."""
    schema = json.loads(text)
    kind = validator_for(schema, default=jsonschema.Draft202012Validator)
    kind.check_schema(schema)
    return kind(schema, registry=Registry())
