"""Turns rows of a table into prompts, and says plainly which row is wrong."""

import json
import logging
import re
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, cast, get_args

from r1lit.errors import InputError
from r1lit.tasks.conversation import BadRow, from_json, joined, message_of, system_text, tools_of
from r1lit.types import Kind, Message, Prompt, Task

log = logging.getLogger(__name__)

ANSWER_TASKS: frozenset[str] = frozenset({"math", "choice", "logic"})
"""Tasks judged against the reference answer; code, json and tool carry their tests in ``meta``."""


_CONTENTS = {"content", "value", "tool_calls"}


class PromptSource(ABC):
    """Anything that yields prompts; configurations name one by ``class_path``."""

    @abstractmethod
    def load(self) -> list[Prompt]:
        """Returns all prompts, the same in every call and on every process.

        Raises:
            InputError: If the data are missing, malformed or empty.
        """


@dataclass(frozen=True, slots=True)
class Columns:
    """Which column of the data holds what; all other columns go to ``Prompt.meta``."""

    question: str = "question"
    """The text of a single user message; not read where ``messages`` is set."""
    answer: str | None = "answer"
    """The reference answer; None where the data have none."""
    id: str | None = None
    """A unique id; None numbers the rows."""
    kind: str | None = None
    task: str | None = None
    language: str | None = None
    messages: str | None = None
    """A chat: a list of ``{"role", "content"}`` or ``{"from", "value"}``, or that list as JSON text. Roles are system
    (first), user, assistant (also with ``tool_calls``) and tool; the last message is the user's or a tool's."""
    system: str | None = None
    """The system message, such as a role to play, where the chat does not bring it; may be empty in a row."""
    tools: str | None = None
    """Definitions of tools, as a list or JSON text: they are written into the system message, in the form of Hermes and
    Qwen2.5 (see ``conversation``), and kept in ``meta["tools"]``."""


@dataclass(frozen=True, slots=True)
class Defaults:
    """What a prompt is where no column says so."""

    kind: Kind = "reasoning"
    task: Task = "math"
    language: str = "en"


def compile_answer_pattern(pattern: str) -> re.Pattern[str] | None:
    """Compiles an ``answer_pattern``, such as ``#### (.+)$`` for GSM8K; None for an empty one.

    Raises:
        InputError: If it is not a regular expression with exactly one group.
    """
    if not pattern:
        return None
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise InputError(f"answer_pattern {pattern!r} is not a regular expression: {error}") from error
    if compiled.groups != 1:
        raise InputError(f"answer_pattern {pattern!r} has {compiled.groups} groups: put ( ) around the answer only")
    return compiled


def prompts_from_rows(
    rows: Iterable[Mapping[str, Any]],
    columns: Columns,
    source: str,
    defaults: Defaults,
    answer_pattern: str = "",
    *,
    id_prefix: str | None = None,
    first_row: int = 1,
    drop_unanswered: bool = False,
) -> list[Prompt]:
    """Builds one prompt from each row.

    Args:
        rows: The rows, as mappings of column name to value.
        columns: Which column holds what.
        source: The file or hub id, for ``Prompt.source`` and for messages.
        defaults: Kind, task and language where no column gives them.
        answer_pattern: A regular expression with one group which finds the answer within the answer column.
        id_prefix: Ids are ``{id_prefix}/{row number}`` unless ``columns.id`` is set; the default is the source's stem.
        first_row: The number of the first of ``rows``; rows count from 1.
        drop_unanswered: Leave out rows whose answer is missing where it is needed, and log how many, instead of
            raising.

    Raises:
        InputError: If there are no rows, a column is missing, a value is unusable, an answer is missing where the task
            is judged against one, or two rows share an id. The message names the source, the row and the column.
    """
    table = list(rows)
    if not table:
        raise InputError(f"{source}: the data set is empty; check the path, skip and limit")
    # The header is the union over the rows: JSON objects may leave keys out.
    _check_columns(columns, list(dict.fromkeys(name for row in table for name in row)), source)
    builder = _PromptBuilder(
        columns, source, defaults, compile_answer_pattern(answer_pattern), id_prefix or stem(source)
    )
    prompts: list[Prompt] = []
    rows_by_id: dict[str, int] = {}
    for number, row in enumerate(table, start=first_row):
        prompt = builder.build(number, row)
        if prompt.answer is None and _needs_answer(prompt.kind, prompt.task):
            if not drop_unanswered:
                raise InputError(
                    f"{source}, row {number}, column {columns.answer!r}: the answer is missing, but kind"
                    f" {prompt.kind!r} and task {prompt.task!r} need one; set drop_unanswered: true to leave it out"
                )
            continue
        prompts.append(prompt)
        if (earlier := rows_by_id.setdefault(prompt.id, number)) != number:
            raise InputError(
                f"{source}, row {number}: column {columns.id!r} repeats the id {prompt.id!r} of row {earlier};"
                " ids must be unique, or set columns.id: null to number the rows"
            )
    if len(prompts) < len(table):
        log.warning("%s: %d of %d rows left out for want of an answer", source, len(table) - len(prompts), len(table))
    if not prompts:
        raise InputError(f"{source}: no row has an answer in column {columns.answer!r}")
    return prompts


def _needs_answer(kind: Kind, task: Task) -> bool:
    return kind == "reasoning" and task in ANSWER_TASKS


def stem(source: str) -> str:
    """The last part of a path or hub id without its suffixes: ``gsm8k/train.jsonl.gz`` gives ``train``."""
    return source.replace("\\", "/").rstrip("/").rsplit("/", 1)[-1].split(".", 1)[0]


def check_slice(skip: int, limit: int | None) -> None:
    """Checks the ``skip`` and ``limit`` of a source.

    Raises:
        InputError: If skip is negative or limit is not positive.
    """
    if skip < 0:
        raise InputError(f"skip is {skip}: it must be 0 or more")
    if limit is not None and limit < 1:
        raise InputError(f"limit is {limit}: it must be 1 or more, or null for all rows")


def _check_columns(columns: Columns, present: Sequence[str], source: str) -> None:
    for field in fields(columns):
        name = getattr(columns, field.name)
        if name is None or name in present or (field.name == "question" and columns.messages is not None):
            continue
        hint = "; set columns.answer: null if there are no answers" if field.name == "answer" else ""
        raise InputError(
            f"{source}: no column {name!r} (columns.{field.name}), only {', '.join(map(str, present))}{hint}"
        )


@dataclass(frozen=True, slots=True)
class _PromptBuilder:
    columns: Columns
    source: str
    defaults: Defaults
    pattern: re.Pattern[str] | None
    id_prefix: str

    def build(self, number: int, row: Mapping[str, Any]) -> Prompt:
        columns, defaults = self.columns, self.defaults
        used = {getattr(columns, field.name) for field in fields(columns)}
        if columns.messages is not None:
            used.discard(columns.question)
        # Literal types: the check against their values is at run time.
        kind = cast(Kind, self._choice(number, row, columns.kind, get_args(Kind)) or defaults.kind)
        task = cast(Task, self._choice(number, row, columns.task, get_args(Task)) or defaults.task)
        language = _text(row.get(columns.language)) if columns.language else None
        return Prompt(
            id=self._id(number, row),
            messages=self._messages(number, row),
            answer=self._answer(number, row),
            kind=kind,
            task=task,
            language=language or defaults.language,
            source=self.source,
            meta={name: value for name, value in row.items() if name not in used} | self._tools(number, row),
        )

    def _error(self, number: int, column: str | None, what: str) -> InputError:
        return InputError(f"{self.source}, row {number}, column {column!r}: {what}")

    def _choice(self, number: int, row: Mapping[str, Any], column: str | None, allowed: Sequence[str]) -> str | None:
        value = None if column is None else row.get(column)
        if value is None or value == "":
            return None
        if value not in allowed:
            raise self._error(number, column, f"{value!r} is none of {', '.join(allowed)}")
        return str(value)

    def _id(self, number: int, row: Mapping[str, Any]) -> str:
        if self.columns.id is None:
            return f"{self.id_prefix}/{number}"
        text = _text(row.get(self.columns.id))
        if not text:
            raise self._error(number, self.columns.id, "the id is missing")
        return text

    def _answer(self, number: int, row: Mapping[str, Any]) -> str | None:
        column = self.columns.answer
        text = None if column is None else _text(row.get(column))
        if not text:
            return None
        if self.pattern is None:
            return text
        match = self.pattern.search(text)
        # The group of an alternative that did not take part is None.
        if match is None or not (match[1] or "").strip():
            raise self._error(
                number, column, f"answer_pattern {self.pattern.pattern!r} finds nothing in {text[-60:]!r}"
            )
        return match[1].strip()

    def _tools(self, number: int, row: Mapping[str, Any]) -> dict[str, Any]:
        column = self.columns.tools
        if column is None or not row.get(column):
            return {}
        try:
            tools = from_json(row[column], "tools")
        except BadRow as error:
            raise self._error(number, column, str(error)) from error
        return {"tools": tools}

    def _messages(self, number: int, row: Mapping[str, Any]) -> tuple[Message, ...]:
        turns = self._turns(number, row)
        columns = self.columns
        instructions = {"system": row.get(columns.system or ""), "tools": self._tools(number, row).get("tools")}
        try:
            tools = tools_of(instructions)
            system = system_text(instructions, tools)
        except BadRow as error:
            raise self._error(number, columns.system, str(error)) from error
        column = columns.messages or columns.question
        try:
            messages = joined([message_of(place, turn, tools) for place, turn in enumerate(turns, 1)])
        except BadRow as error:
            raise self._error(number, column, str(error)) from error
        if system:
            messages = joined([Message("system", system), *messages])
        for place, message in enumerate(messages):
            if message.role == "system" and place:
                raise self._error(number, column, "a system message must come first")
            if not message.content.strip():
                raise self._error(number, column, f"a message ({message.role}) is empty")
        if messages[-1].role != "user":  # a tool's result is one
            role = messages[-1].role
            raise self._error(number, column, f"the chat ends with {role!r}; a prompt ends with 'user' or 'tool'")
        return messages

    def _turns(self, number: int, row: Mapping[str, Any]) -> list[Mapping[str, Any]]:
        column = self.columns.messages
        if column is None:
            question = row.get(self.columns.question)
            if not isinstance(question, str) or not question.strip():
                raise self._error(number, self.columns.question, f"the question is {question!r}, not a text")
            return [{"role": "user", "content": question}]
        value = row.get(column)
        if isinstance(value, str):
            try:
                value = json.loads(value)
            except json.JSONDecodeError as error:
                raise self._error(number, column, f"the chat is not JSON: {error}") from error
        if not isinstance(value, list) or not value:
            raise self._error(number, column, "the chat is not a list of messages")
        for turn in value:
            if not isinstance(turn, Mapping) or not ({"role", "from"} & turn.keys() and _CONTENTS & turn.keys()):
                what = "a message needs 'role' and 'content' (or 'from' and 'value')"
                raise self._error(number, column, what)
        return value


def _text(value: object) -> str | None:
    """A cell as text: numbers in their shortest form, lists and objects as JSON."""
    if value is None:
        return None
    if isinstance(value, str):
        return value.strip()
    if isinstance(value, list | tuple | dict | bool):
        return json.dumps(value, ensure_ascii=False, default=str)
    return str(value)
