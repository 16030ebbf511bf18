import json

import pytest

from r1lit.errors import InputError
from r1lit.rewards import ToolCallReward
from r1lit.types import Completion, Message, Prompt

A = {"name": "weather", "arguments": {"city": "Rome", "days": 2}}
B = {"name": "clock", "arguments": {"city": "Rome"}}


def tagged(*calls):
    return "\n".join(f"<tool_call>\n{json.dumps(call)}\n</tool_call>" for call in calls)


def score(text, gold, **options):
    prompt = Prompt("p1", (Message("user", "q"),), gold, kind="general", task="tool")
    return ToolCallReward(**options).score([Completion(prompt, 0, (), (), (), text, "stop")])[0]


ONE = json.dumps(A)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (tagged(A), 1.0),
        (f"<think>which tool?</think>I look it up. {tagged(A)}", 1.0),
        (tagged({"arguments": {"days": 2.0, "city": "Rome"}, "name": "weather", "id": "7"}), 1.0),
        (f"<think>{tagged(A)}</think>", 0.0),
        (f"<think>{tagged(A)}", 0.0),
        (tagged(A, A), 0.0),
        (tagged(A) + "<tool_call>{", 0.0),
        (tagged(B), 0.0),
        (tagged({"name": "weather", "arguments": {"city": "rome", "days": 2}}), 0.0),
        (tagged({"name": "weather", "arguments": {"city": "Rome", "days": True}}), 0.0),
        (tagged({"name": "weather", "arguments": json.dumps(A["arguments"])}), 0.0),
        (tagged({"name": "weather"}), 0.0),
        (tagged([A]), 0.0),
        (ONE, 0.0),
        ("<tool_call>weather(Rome)</tool_call>", 0.0),
        ("", 0.0),
    ],
)
def test_exactly_the_call_of_the_reference(text, expected):
    assert score(text, ONE) == expected


@pytest.mark.parametrize("gold", [json.dumps([A, B]), tagged(A, B)])
def test_several_calls_come_in_order_unless_told_otherwise(gold):
    assert score(tagged(A, B), gold) == 1.0
    assert score(tagged(B, A), gold) == 0.0
    assert score(tagged(B, A), gold, any_order=True) == 1.0
    assert score(tagged(B), gold, any_order=True) == 0.0
    assert score(tagged(B, B), gold, any_order=True) == 0.0


def test_an_empty_reference_asks_for_no_call():
    assert score("I need no tool for that.", "[]") == 1.0
    assert score(tagged(A), "[]") == 0.0
    assert score("<tool_call>{", "[]") == 0.0


def test_right_names_alone_earn_the_credit():
    other = {**A, "arguments": {"city": "Paris", "days": 2}}
    assert score(tagged(other), ONE, name_credit=0.25) == 0.25
    assert score(tagged(other), ONE) == 0.0
    assert score(tagged(A), ONE, name_credit=0.25) == 1.0
    assert score(tagged(B), ONE, name_credit=0.25) == 0.0
    assert score(tagged(other, other), ONE, name_credit=0.25) == 0.0
    assert score(tagged({"name": None}), ONE, name_credit=0.25) == 0.0
    both = json.dumps([A, B])
    assert score(tagged(B, other), both, name_credit=0.25) == 0.0
    assert score(tagged(B, other), both, name_credit=0.25, any_order=True) == 0.25


@pytest.mark.parametrize("gold", [None, " ", "weather", "5", '{"name": "weather"}', "<tool_call>{</tool_call>"])
def test_a_bad_reference_is_named(gold):
    with pytest.raises(InputError, match="'p1'"):
        score(tagged(A), gold)


def test_bad_credit():
    with pytest.raises(InputError, match="name_credit is 2"):
        ToolCallReward(name_credit=2)
