r"""Messages as people write them down, as the text that a chat template renders.

Whatever template renders it, a message is text in the end, so:

* reasoning in a field of its own (``reasoning_content``, ``reasoning`` or ``thinking``) goes before the content as
  ``<think>\n...\n</think>\n\n``, the way R1 and its descendants write it; tags in the content stay as given;
* ``weight: 0``, ``train: false`` or ``loss: false`` of an assistant's message make it context that nobody learns from;
* a call of a tool becomes ``<tool_call>\n{"name": ..., "arguments": ...}\n</tool_call>`` in the assistant's text, its
  result ``<tool_response>\n...\n</tool_response>`` in a user message, and the tools' definitions stand in the system
  message within ``<tools>``: the form of Hermes and Qwen2.5. Their fields come in the usual order,
  required properties first, and arguments in the order of the definition, else by name: tables such as Parquet do not
  keep the order of a row's own fields, and a row must be the same text whatever file it comes from.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from r1lit.types import Message

_ROLES = {"human": "user", "gpt": "assistant", "model": "assistant", "bot": "assistant", "observation": "tool"}
_KNOWN_ROLES = frozenset({"system", "user", "assistant", "tool"})
REASONING = ("reasoning_content", "reasoning", "thinking")
_FIELDS = (
    "type",
    "function",
    "name",
    "description",
    "parameters",
    "properties",
    "items",
    "enum",
    "default",
    "required",
)
_FLAGS = ("weight", "train", "loss")
_TOOLS = (
    "You may call these functions:\n<tools>\n{tools}\n</tools>\n\nFor each call, write a JSON object with the "
    'function\'s name and arguments within tags:\n<tool_call>\n{{"name": ..., "arguments": ...}}\n</tool_call>'
)


class BadRow(ValueError):
    """What is wrong with a row; whoever knows file and row number makes an ``InputError`` of it."""


def message_of(number: int, turn: Mapping[str, Any], tools: Sequence[Any] = ()) -> Message:
    """A message from one in any of the usual forms.

    Args:
        number: Its place in the chat, from 1, for messages.
        turn: With ``role`` and ``content``, or ``from`` and ``value``; also ``tool_calls`` and reasoning fields.
        tools: Definitions of the tools that it may call; see :func:`tools_of`.

    Raises:
        BadRow: If the role is unknown or something is no text.
    """
    role = turn.get("role", turn.get("from"))
    content = turn.get("content", turn.get("value"))
    calls = _calls(turn.get("tool_calls"), tools)
    if role == "function_call":
        role, calls, content = "assistant", _calls([from_json(content, "function_call")], tools), None
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
    return Message(str(role), content, _learn(number, turn))


def _learn(number: int, turn: Mapping[str, Any]) -> bool:
    """Whether an assistant's turn is one to learn from."""
    for name in _FLAGS:
        value = turn.get(name)
        if value is not None and value not in (0, 1):  # True and False are 1 and 0
            raise BadRow(f"message {number} has {short(value)} for {name}; give 0 or false, or 1 or true")
    return all(turn.get(name) is None or bool(turn[name]) for name in _FLAGS)


def _part(number: int, part: Any) -> str:
    if isinstance(part, Mapping) and isinstance(part.get("text"), str):
        return str(part["text"])
    raise BadRow(f"message {number} has {short(part)} for a part of its content; only text can be learnt from")


def _calls(value: Any, tools: Sequence[Any]) -> list[str]:
    if not value:
        return []
    parameters = {function.get("name"): function.get("parameters") for function in map(_function, tools)}
    found = []
    for call in value if isinstance(value, list) else [value]:
        function = _function(call)
        if not isinstance(function.get("name"), str):
            raise BadRow(f"the tool call {short(call)} has no name")
        arguments = from_json(function.get("arguments", {}), "arguments")
        arguments = _as_declared(arguments, parameters.get(function["name"]))
        body = json.dumps({"name": function["name"], "arguments": arguments}, ensure_ascii=False)
        found.append(f"<tool_call>\n{body}\n</tool_call>")
    return found


def _function(entry: Any) -> Mapping[str, Any]:
    """A function's definition or call, out of its wrapper; empty if it is none."""
    function = entry.get("function", entry) if isinstance(entry, Mapping) else None
    return function if isinstance(function, Mapping) else {}


def tools_of(row: Mapping[str, Any]) -> list[Any]:
    """The definitions in a row's ``tools``, with their fields in the usual order.

    Raises:
        BadRow: If they cannot be read.
    """
    tools = from_json(row.get("tools") or [], "tools")
    return [_in_order(tool) for tool in (tools if isinstance(tools, list) else [tools])]


def _in_order(value: Any) -> Any:
    """A definition with the fields of a JSON schema in the usual order, and required properties before others."""
    if isinstance(value, list):
        return [_in_order(part) for part in value]
    if not isinstance(value, Mapping):
        return value
    found = _sorted_by({name: _in_order(part) for name, part in value.items()}, _FIELDS)
    properties, required = found.get("properties"), found.get("required")
    if isinstance(properties, Mapping):
        found["properties"] = _sorted_by(properties, required if isinstance(required, list) else ())
    return found


def _as_declared(value: Any, schema: Any) -> Any:
    """Arguments in the order of the JSON schema that declares them."""
    schema = schema if isinstance(schema, Mapping) else {}
    if isinstance(value, list):
        return [_as_declared(part, schema.get("items")) for part in value]
    if not isinstance(value, Mapping):
        return value
    properties = schema.get("properties")
    properties = properties if isinstance(properties, Mapping) else {}
    return _sorted_by({name: _as_declared(part, properties.get(name)) for name, part in value.items()}, properties)


def _sorted_by(value: Mapping[str, Any], order: Iterable[str]) -> dict[str, Any]:
    """The entries in the given order, then those that it does not name, by name."""
    return {name: value[name] for name in (*order, *sorted(value)) if name in value}


def system_text(row: Mapping[str, Any], tools: Sequence[Any]) -> str:
    """The system message out of a row's ``system`` and its tools; empty where it has neither.

    Raises:
        BadRow: If ``system`` is no text.
    """
    system = row.get("system") or ""
    checked_text(system, "system")
    if not tools:
        return str(system)
    lines = "\n".join(json.dumps(tool, ensure_ascii=False) for tool in tools)
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
            found.append(replace(message, role=role))
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
