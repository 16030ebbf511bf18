r"""Messages as people write them down, as the text that a chat template renders.

Whatever template renders it, a message is text in the end, so:

* reasoning in a field of its own (``reasoning_content``, ``reasoning`` or ``thinking``) goes before the content as
  ``<think>\n...\n</think>\n\n``, the way R1 and its descendants write it; tags in the content stay as given;
* a call of a tool becomes ``<tool_call>\n{"name": ..., "arguments": ...}\n</tool_call>`` in the assistant's text, its
  result ``<tool_response>\n...\n</tool_response>`` in a user message, and the tools' definitions stand in the system
  message within ``<tools>``: the form of Hermes and Qwen2.5.
"""

import json
from collections.abc import Mapping
from typing import Any

from r1lit.types import Message

_ROLES = {"human": "user", "gpt": "assistant", "model": "assistant", "bot": "assistant", "observation": "tool"}
_KNOWN_ROLES = frozenset({"system", "user", "assistant", "tool"})
REASONING = ("reasoning_content", "reasoning", "thinking")
_TOOLS = (
    "You may call these functions:\n<tools>\n{tools}\n</tools>\n\nFor each call, write a JSON object with the "
    'function\'s name and arguments within tags:\n<tool_call>\n{{"name": ..., "arguments": ...}}\n</tool_call>'
)


class BadRow(ValueError):
    """What is wrong with a row; whoever knows file and row number makes an ``InputError`` of it."""


def message_of(number: int, turn: Mapping[str, Any]) -> Message:
    """A message from one in any of the usual forms.

    Args:
        number: Its place in the chat, from 1, for messages.
        turn: With ``role`` and ``content``, or ``from`` and ``value``; also ``tool_calls`` and reasoning fields.

    Raises:
        BadRow: If the role is unknown or something is no text.
    """
    role = turn.get("role", turn.get("from"))
    content = turn.get("content", turn.get("value"))
    calls = _calls(turn.get("tool_calls"))
    if role == "function_call":
        role, calls, content = "assistant", _calls([from_json(content, "function_call")]), None
    role = _ROLES.get(str(role), "tool" if role == "function" else role)
    if role not in _KNOWN_ROLES:
        raise BadRow(f"message {number} has the role {short(role)}; known are {', '.join(sorted(_KNOWN_ROLES))}")
    if isinstance(content, list):
        content = "".join(_part(number, part) for part in content)
    if content is None and calls:
        content = ""
    if not isinstance(content, str):
        raise BadRow(f"message {number} ({role}) has {short(content)} for a content, not a text")
    if role == "tool":
        return Message(role, f"<tool_response>\n{content}\n</tool_response>")
    content = "\n".join(part for part in (content, *calls) if part)
    reasoning = next((turn[name] for name in REASONING if turn.get(name)), None)
    if role == "assistant" and reasoning is not None:
        if not isinstance(reasoning, str):
            raise BadRow(f"message {number} has {short(reasoning)} for a reasoning, not a text")
        content = f"<think>\n{reasoning.strip()}\n</think>\n\n{content.lstrip()}"
    return Message(str(role), content)


def _part(number: int, part: Any) -> str:
    if isinstance(part, Mapping) and isinstance(part.get("text"), str):
        return str(part["text"])
    raise BadRow(f"message {number} has {short(part)} for a part of its content; only text can be learnt from")


def _calls(value: Any) -> list[str]:
    if not value:
        return []
    found = []
    for call in value if isinstance(value, list) else [value]:
        function = call.get("function", call) if isinstance(call, Mapping) else None
        if not isinstance(function, Mapping) or not isinstance(function.get("name"), str):
            raise BadRow(f"the tool call {short(call)} has no name")
        arguments = from_json(function.get("arguments", {}), "arguments")
        body = json.dumps({"name": function["name"], "arguments": arguments}, ensure_ascii=False)
        found.append(f"<tool_call>\n{body}\n</tool_call>")
    return found


def system_text(row: Mapping[str, Any]) -> str:
    """The system message out of a row's ``system`` and ``tools``; empty where it has neither.

    Raises:
        BadRow: If they cannot be read.
    """
    system = row.get("system") or ""
    checked_text(system, "system")
    tools = from_json(row.get("tools") or [], "tools")
    if not tools:
        return str(system)
    lines = "\n".join(json.dumps(tool, ensure_ascii=False) for tool in (tools if isinstance(tools, list) else [tools]))
    return "\n\n".join(part for part in (system, _TOOLS.format(tools=lines)) if part)


def joined(messages: list[Message]) -> tuple[Message, ...]:
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


def checked_text(value: Any, column: str) -> str:
    """The value, which must be a text; raises ``BadRow`` for any other."""
    if not isinstance(value, str):
        raise BadRow(f"{column} is {short(value)}, not a text")
    return value


def from_json(value: Any, column: str) -> Any:
    """Parses what is JSON text in formats without lists and objects; raises ``BadRow`` where it is not."""
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except json.JSONDecodeError as error:
        raise BadRow(f"{column} is not JSON: {error}") from error


def short(value: Any) -> str:
    """A value for a message."""
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
