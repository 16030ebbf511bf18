"""Every published form of chats gives the same messages, and what is wrong with a row is said."""

import json

import pytest

from r1lit.data.formats import BadRow, detect, to_chat
from r1lit.errors import InputError
from r1lit.types import Message

CHAT = (Message("user", "1 + 1?"), Message("assistant", "2"))
TURNS = [{"role": "user", "content": "1 + 1?"}, {"role": "assistant", "content": "2"}]
FORMS = {
    "messages": {"messages": TURNS},
    "sharegpt": {"conversations": [{"from": "human", "value": "1 + 1?"}, {"from": "gpt", "value": "2"}]},
    "alpaca": {"instruction": "1 + 1?", "input": "", "output": "2"},
    "pairs": {"prompt": "1 + 1?", "completion": "2"},
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_gives_the_same_chat(form):
    row = FORMS[form] | {"level": 3}
    assert detect(row, "f") == form
    chat = to_chat(row, form, "here")
    assert (chat.messages, chat.source, chat.meta) == (CHAT, "here", {"level": 3})


@pytest.mark.parametrize(
    "row",
    [
        {"messages": json.dumps(TURNS)},
        {"prompt": TURNS[:1], "completion": TURNS[1:]},
        {"prompt": "1 + 1?", "response": "2"},
        {"question": "1 + 1?", "answer": "2"},
        {"messages": [{"role": "user", "content": [{"type": "text", "text": "1 + "}, {"text": "1?"}]}, TURNS[1]]},
    ],
)
def test_variants(row):
    assert to_chat(row, detect(row, "f")).messages == CHAT


def test_alpaca_input_history_and_system():
    row = {"instruction": "Add", "input": "1 1", "output": "2", "history": [["hi", "hello"]], "system": "Be brief"}
    assert [(m.role, m.content) for m in to_chat(row, "alpaca").messages] == [
        *(("system", "Be brief"), ("user", "hi"), ("assistant", "hello"), ("user", "Add\n1 1"), ("assistant", "2"))
    ]


@pytest.mark.parametrize("name", ["reasoning_content", "reasoning", "thinking"])
def test_reasoning_goes_before_the_answer(name):
    wanted = "<think>\none and one\n</think>\n\n2"
    chat = to_chat({"messages": [TURNS[0], {**TURNS[1], name: " one and one\n"}]}, "messages")
    assert chat.messages[1].content == wanted
    chat = to_chat({"prompt": "1 + 1?", "completion": "2", name: "one and one"}, "pairs")
    assert (chat.messages[1].content, chat.meta) == (wanted, {})
    tagged = "<think> a</think><answer> b</answer>"
    assert to_chat({"prompt": "q", "completion": tagged}, "pairs").messages[1].content == tagged


def test_tools_their_calls_and_results():
    call = {"function": {"name": "add", "arguments": '{"a": 1, "b": 1}'}}
    turns = [
        {"role": "user", "content": "1 + 1 and 2 + 2?"},
        {"role": "assistant", "content": None, "tool_calls": [call, {"name": "add", "arguments": {"a": 2}}]},
        {"role": "tool", "content": "2"},
        {"role": "tool", "content": "4"},
        {"role": "assistant", "content": "2 and 4"},
    ]
    row = {"messages": turns, "tools": [{"name": "add"}], "system": "Count"}
    messages = to_chat(row, "messages").messages
    assert [m.role for m in messages] == ["system", "user", "assistant", "user", "assistant"]
    assert messages[0].content.startswith("Count\n\n")
    assert '<tools>\n{"name": "add"}\n</tools>' in messages[0].content
    assert messages[2].content == (
        '<tool_call>\n{"name": "add", "arguments": {"a": 1, "b": 1}}\n</tool_call>\n'
        '<tool_call>\n{"name": "add", "arguments": {"a": 2}}\n</tool_call>'
    )
    assert messages[3].content == "<tool_response>\n2\n</tool_response>\n<tool_response>\n4\n</tool_response>"
    sharegpt = [
        {"from": "human", "value": "q"},
        {"from": "function_call", "value": '{"name": "add", "arguments": {}}'},
        {"from": "observation", "value": "2"},
        {"from": "gpt", "value": "2"},
    ]
    messages = to_chat({"conversations": sharegpt}, "sharegpt").messages
    assert messages[1] == Message("assistant", '<tool_call>\n{"name": "add", "arguments": {}}\n</tool_call>')
    assert messages[2] == Message("user", "<tool_response>\n2\n</tool_response>")


@pytest.mark.parametrize(
    ("row", "form", "told"),
    [
        ({"messages": []}, "messages", "messages is [], not a list"),
        ({"messages": None}, "messages", "messages is None"),
        ({"messages": "{"}, "messages", "not JSON"),
        ({"messages": ["hi"]}, "messages", "'hi', not a message"),
        ({"messages": [{"role": "poet", "content": "x"}]}, "messages", "message 1 has the role 'poet'"),
        ({"messages": [{"role": "user", "content": 3}]}, "messages", "message 1 (user) has 3"),
        ({"messages": [{"role": "user", "content": [{"type": "image"}]}]}, "messages", "only text"),
        ({"messages": TURNS[:1]}, "messages", "ends with 'user'"),
        ({"messages": TURNS[1:]}, "messages", "begins with the assistant"),
        ({"messages": [TURNS[0], {"role": "assistant", "content": " "}]}, "messages", "message 2 (assistant) is empty"),
        ({"messages": [*TURNS, {"role": "system", "content": "x"}, *TURNS]}, "messages", "must come first"),
        ({"messages": [TURNS[0], {**TURNS[1], "tool_calls": [{"x": 1}]}]}, "messages", "has no name"),
        ({"messages": [TURNS[0], {**TURNS[1], "reasoning": 3}]}, "messages", "3 for a reasoning"),
        ({"instruction": "x", "output": None}, "alpaca", "output is None"),
        ({"instruction": "x", "output": "y", "history": [1]}, "alpaca", "not a pair"),
        ({"prompt": "x"}, "pairs", "completion is None"),
        ({"prompt": "", "completion": "y"}, "pairs", "message 1 (user) is empty"),
    ],
)
def test_what_is_wrong_is_said(row, form, told):
    with pytest.raises(BadRow) as caught:
        to_chat(row, form)
    assert told in str(caught.value)


def test_unknown_columns_are_named():
    with pytest.raises(InputError, match=r"f\.jsonl: columns text, label are those of no known form \(messages"):
        detect({"text": 1, "label": 2}, "f.jsonl")


@pytest.mark.parametrize("flag", [{"weight": 0}, {"weight": 0.0}, {"train": False}, {"loss": False}])
def test_messages_that_are_not_to_be_learnt_from(flag):
    rows = [[TURNS[0], TURNS[1] | flag], [TURNS[0], TURNS[1] | {"weight": 1, "train": True, "loss": None}]]
    assert [to_chat({"messages": row}, "messages").messages[1].learn for row in rows] == [False, True]
    with pytest.raises(BadRow, match=r"message 2 has 0.5 for weight; give 0 or false, or 1 or true"):
        to_chat({"messages": [TURNS[0], TURNS[1] | {"weight": 0.5}]}, "messages")


@pytest.mark.parametrize("asked", ["prompt", "question", "problem", "query"])
def test_a_solution_is_preferred_to_its_bare_answer(asked):
    row = {asked: "1 + 1?", "answer": "2", "solution": "One and one is 2."}
    assert detect(row, "f") == "pairs"
    assert to_chat(row, "pairs").messages[1].content == "One and one is 2."
    assert to_chat({**row, "solution": None}, "pairs").messages[1].content == "2"  # as Arrow fills missing columns
    assert to_chat({**row, "completion": "two"}, "pairs").messages[1].content == "two"
