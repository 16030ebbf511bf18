"""Chats to learn from, in the forms that people publish them in, as rows of messages.

| form | columns |
|---|---|
| ``messages`` | ``messages``: ``{"role", "content"}``, with ``tool_calls`` and ``reasoning_content`` where there are |
| ``sharegpt`` | ``conversations``: a list of ``{"from", "value"}`` |
| ``alpaca`` | ``instruction``, ``input``, ``output``; also ``system``, and ``history``: a list of pairs |
| ``pairs`` | one of ``PROMPTS`` and one of ``REPLIES``, the first that is there: texts or messages |

``system`` and ``tools`` columns belong to all of them. How messages become text is told in ``tasks.conversation``.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from r1lit.errors import InputError
from r1lit.tasks.conversation import (
    REASONING,
    checked_text,
    from_json,
    joined,
    message_of,
    short,
    system_text,
    tools_of,
)
from r1lit.tasks.conversation import BadRow as BadRow  # raised by to_chat
from r1lit.types import Message

Form = Literal["auto", "messages", "sharegpt", "alpaca", "pairs"]
PROMPTS = ("prompt", "question", "problem", "query")
REPLIES = ("completion", "response", "solution", "answer")  # a solution rather than its bare answer


@dataclass(frozen=True, slots=True)
class ChatRow:
    """One conversation to learn from: every assistant turn of it is a target."""

    messages: tuple[Message, ...]
    source: str = ""
    """Where it comes from, such as ``cold start`` or ``gsm8k``; a store counts its rows by source."""
    meta: Mapping[str, Any] = field(default_factory=dict)
    """All other columns, kept as they came; they do not go into a store."""
    where: str = ""
    """File and row number, for messages."""


def detect(columns: Iterable[str], where: str) -> Form:
    """The form of rows with these columns.

    Args:
        columns: Of the first row.
        where: The file, for the message.

    Raises:
        InputError: If it is none of the forms.
    """
    present = set(columns)
    if "messages" in present:
        return "messages"
    if "conversations" in present:
        return "sharegpt"
    if {"instruction", "output"} <= present:
        return "alpaca"
    if present & {*PROMPTS} and present & {*REPLIES}:
        return "pairs"
    known = ", ".join(form for form in get_args(Form) if form != "auto")
    raise InputError(
        f"{where}: columns {', '.join(map(str, columns))} are those of no known form ({known}); rename them"
    )


def to_chat(row: Mapping[str, Any], form: Form, source: str = "") -> ChatRow:
    """Turns a row of a table into a chat.

    Args:
        row: The row.
        form: Its form, not ``auto``.
        source: What the chat's source is called.

    Raises:
        BadRow: If something is missing, empty or of another type than expected.
    """
    turns, used = _READERS[form](row)
    tools = tools_of(row)
    system = system_text(row, tools)
    if system:
        turns = [{"role": "system", "content": system}, *turns]
    messages = joined([message_of(number, turn, tools) for number, turn in enumerate(turns, 1)])
    _check(messages)
    meta = {name: value for name, value in row.items() if name not in used | {"system", "tools"}}
    return ChatRow(messages, source, meta)


# The forms. Each reader returns the turns and the columns that they came from.

Turns = list[Mapping[str, Any]]


def _from_messages(row: Mapping[str, Any]) -> tuple[Turns, set[str]]:
    return _turns(row.get("messages"), "messages"), {"messages"}


def _from_sharegpt(row: Mapping[str, Any]) -> tuple[Turns, set[str]]:
    return _turns(row.get("conversations"), "conversations"), {"conversations"}


def _from_alpaca(row: Mapping[str, Any]) -> tuple[Turns, set[str]]:
    turns: Turns = []
    history = row.get("history") or []
    if not isinstance(history, list):
        raise BadRow(f"history is {short(history)}, not a list of pairs")
    for pair in history:
        if not isinstance(pair, list | tuple) or len(pair) != 2:
            raise BadRow(f"history holds {short(pair)}, not a pair of texts")
        turns += [{"role": "user", "content": pair[0]}, {"role": "assistant", "content": pair[1]}]
    question = _text(row, "instruction")
    if more := row.get("input"):
        question += f"\n{checked_text(more, 'input')}"
    turns += [{"role": "user", "content": question}, {"role": "assistant", "content": _text(row, "output")}]
    return turns, {"instruction", "input", "output", "history"}


def _from_pairs(row: Mapping[str, Any]) -> tuple[Turns, set[str]]:
    pair = [next((name for name in names if row.get(name) is not None), names[0]) for names in (PROMPTS, REPLIES)]
    turns: Turns = []
    for column, role in zip(pair, ("user", "assistant"), strict=True):
        value = row.get(column)
        if isinstance(value, list):
            turns += _turns(value, column)
        else:
            turns.append({"role": role, "content": _text(row, column)})
    reasoning = {name: row[name] for name in REASONING if row.get(name)}
    turns[-1] = {**reasoning, **turns[-1]}
    return turns, {*pair, *reasoning}


_READERS: dict[str, Callable[[Mapping[str, Any]], tuple[Turns, set[str]]]] = {
    "messages": _from_messages,
    "sharegpt": _from_sharegpt,
    "alpaca": _from_alpaca,
    "pairs": _from_pairs,
}


# Messages


def _turns(value: Any, column: str) -> Turns:
    value = from_json(value, column)
    if not isinstance(value, list) or not value:
        raise BadRow(f"{column} is {short(value)}, not a list of messages")
    for turn in value:
        if not isinstance(turn, Mapping):
            raise BadRow(f"{column} holds {short(turn)}, not a message with role and content")
    return list(value)


def _check(messages: tuple[Message, ...]) -> None:
    for number, message in enumerate(messages, 1):
        if not message.content.strip():
            raise BadRow(f"message {number} ({message.role}) is empty")
        if message.role == "system" and number > 1:
            raise BadRow(f"message {number} is the system's, which must come first")
    if messages[-1].role != "assistant":
        raise BadRow(f"the chat ends with {messages[-1].role!r}; the last turn must be the assistant's")
    if next(message.role for message in messages if message.role != "system") != "user":
        raise BadRow("the chat begins with the assistant's turn; a user's must come before")


def _text(row: Mapping[str, Any], column: str) -> str:
    return checked_text(row.get(column), column)
