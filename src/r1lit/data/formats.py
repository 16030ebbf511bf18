r"""Chats to learn from, in the forms that people publish them in, as rows of messages.

| form | columns |
|---|---|
| ``messages`` | ``messages``: ``{"role", "content"}``, with ``tool_calls`` and ``reasoning_content`` where there are |
| ``sharegpt`` | ``conversations``: a list of ``{"from", "value"}`` |
| ``alpaca`` | ``instruction``, ``input``, ``output``; also ``system``, and ``history``: a list of pairs |
| ``pairs`` | ``prompt`` and ``completion`` (or ``response``), or ``question`` and ``answer``: texts or messages |

``system`` and ``tools`` columns belong to all of them. A message is text in the end, whatever template renders it, so:

* reasoning in a field of its own (``reasoning_content``, ``reasoning`` or ``thinking``) goes before the content as
  ``<think>\n...\n</think>\n\n``, the way R1 and its descendants write it; tags in the content stay as given;
* a call of a tool becomes ``<tool_call>\n{"name": ..., "arguments": ...}\n</tool_call>`` in the assistant's text, its
  result ``<tool_response>\n...\n</tool_response>`` in a user message, and the tools' definitions stand in the system
  message within ``<tools>``: the form of Hermes and Qwen2.5.
"""

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from r1lit.errors import InputError
from r1lit.types import Message

Form = Literal["auto", "messages", "sharegpt", "alpaca", "pairs"]
PAIRS = (("prompt", "completion"), ("prompt", "response"), ("question", "answer"))
_ROLES = {"human": "user", "gpt": "assistant", "model": "assistant", "bot": "assistant", "observation": "tool"}
_KNOWN_ROLES = frozenset({"system", "user", "assistant", "tool"})
_REASONING = ("reasoning_content", "reasoning", "thinking")
_TOOLS = (
    "You may call these functions:\n<tools>\n{tools}\n</tools>\n\nFor each call, write a JSON object with the "
    'function\'s name and arguments within tags:\n<tool_call>\n{{"name": ..., "arguments": ...}}\n</tool_call>'
)


@dataclass(frozen=True, slots=True)
class ChatRow:
    """One conversation to learn from: every assistant turn of it is a target."""

    messages: tuple[Message, ...]
    source: str = ""
    """Where it comes from, such as ``cold start`` or ``gsm8k``; a store counts its rows by source."""
    meta: Mapping[str, Any] = field(default_factory=dict)
    """All other columns, kept as they came; they do not go into a store."""


class BadRow(ValueError):
    """What is wrong with a row; whoever knows file and row number makes an ``InputError`` of it."""


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
    if any({*pair} <= present for pair in PAIRS):
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
    system = _system(row)
    if system:
        turns = [{"role": "system", "content": system}, *turns]
    messages = _joined([_message(number, turn) for number, turn in enumerate(turns, 1)])
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
        raise BadRow(f"history is {_short(history)}, not a list of pairs")
    for pair in history:
        if not isinstance(pair, list | tuple) or len(pair) != 2:
            raise BadRow(f"history holds {_short(pair)}, not a pair of texts")
        turns += [{"role": "user", "content": pair[0]}, {"role": "assistant", "content": pair[1]}]
    question = _text(row, "instruction")
    if more := row.get("input"):
        question += f"\n{_checked_text(more, 'input')}"
    turns += [{"role": "user", "content": question}, {"role": "assistant", "content": _text(row, "output")}]
    return turns, {"instruction", "input", "output", "history"}


def _from_pairs(row: Mapping[str, Any]) -> tuple[Turns, set[str]]:
    pair = next((pair for pair in PAIRS if {*pair} <= row.keys()), PAIRS[0])
    turns: Turns = []
    for column, role in zip(pair, ("user", "assistant"), strict=True):
        value = row.get(column)
        if isinstance(value, list):
            turns += _turns(value, column)
        else:
            turns.append({"role": role, "content": _text(row, column)})
    reasoning = {name: row[name] for name in _REASONING if row.get(name)}
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
    value = _from_json(value, column)
    if not isinstance(value, list) or not value:
        raise BadRow(f"{column} is {_short(value)}, not a list of messages")
    for turn in value:
        if not isinstance(turn, Mapping):
            raise BadRow(f"{column} holds {_short(turn)}, not a message with role and content")
    return list(value)


def _message(number: int, turn: Mapping[str, Any]) -> Message:
    role = turn.get("role", turn.get("from"))
    content = turn.get("content", turn.get("value"))
    calls = _calls(turn.get("tool_calls"))
    if role == "function_call":
        role, calls, content = "assistant", _calls([_from_json(content, "function_call")]), None
    role = _ROLES.get(str(role), "tool" if role == "function" else role)
    if role not in _KNOWN_ROLES:
        raise BadRow(f"message {number} has the role {_short(role)}; known are {', '.join(sorted(_KNOWN_ROLES))}")
    if isinstance(content, list):
        content = "".join(_part(number, part) for part in content)
    if content is None and calls:
        content = ""
    if not isinstance(content, str):
        raise BadRow(f"message {number} ({role}) has {_short(content)} for a content, not a text")
    if role == "tool":
        return Message(role, f"<tool_response>\n{content}\n</tool_response>")
    content = "\n".join(part for part in (content, *calls) if part)
    reasoning = next((turn[name] for name in _REASONING if turn.get(name)), None)
    if role == "assistant" and reasoning is not None:
        if not isinstance(reasoning, str):
            raise BadRow(f"message {number} has {_short(reasoning)} for a reasoning, not a text")
        content = f"<think>\n{reasoning.strip()}\n</think>\n\n{content.lstrip()}"
    return Message(str(role), content)


def _part(number: int, part: Any) -> str:
    if isinstance(part, Mapping) and isinstance(part.get("text"), str):
        return str(part["text"])
    raise BadRow(f"message {number} has {_short(part)} for a part of its content; only text can be learnt from")


def _calls(value: Any) -> list[str]:
    if not value:
        return []
    found = []
    for call in value if isinstance(value, list) else [value]:
        function = call.get("function", call) if isinstance(call, Mapping) else None
        if not isinstance(function, Mapping) or not isinstance(function.get("name"), str):
            raise BadRow(f"the tool call {_short(call)} has no name")
        arguments = _from_json(function.get("arguments", {}), "arguments")
        body = json.dumps({"name": function["name"], "arguments": arguments}, ensure_ascii=False)
        found.append(f"<tool_call>\n{body}\n</tool_call>")
    return found


def _system(row: Mapping[str, Any]) -> str:
    system = row.get("system") or ""
    _checked_text(system, "system")
    tools = _from_json(row.get("tools") or [], "tools")
    if not tools:
        return str(system)
    lines = "\n".join(json.dumps(tool, ensure_ascii=False) for tool in (tools if isinstance(tools, list) else [tools]))
    return "\n\n".join(part for part in (system, _TOOLS.format(tools=lines)) if part)


def _joined(messages: list[Message]) -> tuple[Message, ...]:
    """Makes user messages of the tools' results, and one message of neighbours that the system or tools wrote."""
    found: list[Message] = []
    previous = ""
    for message in messages:
        role = "user" if message.role == "tool" else message.role
        if previous == message.role and message.role in ("system", "tool"):
            found[-1] = Message(role, f"{found[-1].content}\n{message.content}")
        else:
            found.append(Message(role, message.content))
        previous = message.role
    return tuple(found)


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
    return _checked_text(row.get(column), column)


def _checked_text(value: Any, column: str) -> str:
    if not isinstance(value, str):
        raise BadRow(f"{column} is {_short(value)}, not a text")
    return value


def _from_json(value: Any, column: str) -> Any:
    """Lists and objects are JSON text in formats without them."""
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except json.JSONDecodeError as error:
        raise BadRow(f"{column} is not JSON: {error}") from error


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
