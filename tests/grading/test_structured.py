import time

import pytest

from r1lit.errors import InputError
from r1lit.grading.structured import parse_json, reference_calls, reply_json, same_calls, tool_texts, without_fence
from r1lit.types import Completion, Message, Prompt

PROMPT = Prompt("p7", (Message("user", "q"),))


@pytest.mark.parametrize(
    "text", ["", "NaN", "-Infinity", "1e999", "9" * 5000, "[" * 100_000, "{'a': 1}", '{"a": 1,}', "1 2", "// x\n1"]
)
def test_what_is_not_strict_json(text):
    with pytest.raises(ValueError):  # noqa: PT011 - the message is json's
        parse_json(text)


def test_large_but_finite_numbers_are_json():
    assert parse_json("[1e300, 123456789012345678901234567890]") == [1e300, 123456789012345678901234567890]


@pytest.mark.parametrize(
    ("text", "inner"),
    [
        ("```json\n[1]\n```", "[1]\n"),
        (" ```\n[1]\n``` ", "[1]\n"),
        ("```python\n[1]\n```", "```python\n[1]\n```"),
        ("so ```json\n[1]\n```", "so ```json\n[1]\n```"),
        ("```", "```"),
    ],
)
def test_only_a_fence_around_everything_is_taken_off(text, inner):
    assert without_fence(text) == inner


def test_tags_and_boxes_within_a_value_belong_to_it():
    text = '<think>x</think>{"text": "\\\\boxed{3} <answer>4</answer>"}'
    assert reply_json(Completion(PROMPT, 0, (), (), (), text, "stop", answer="4")) == {
        "text": "\\boxed{3} <answer>4</answer>"
    }


def test_many_tags_take_linear_time():
    start = time.perf_counter()
    with pytest.raises(ValueError, match="not closed"):
        tool_texts("<tool_call>" * 200_000)
    assert len(tool_texts("<tool_call></tool_call>" * 50_000)) == 50_000
    assert time.perf_counter() - start < 2


@pytest.mark.parametrize(
    "gold",
    ["{", "[1]", '{"name": 5, "arguments": {}}', '{"name": "f", "arguments": []}', '<tool_call>{"name": "f"}'],
)
def test_a_bad_reference_is_named(gold):
    with pytest.raises(InputError, match="'p7'"):
        reference_calls(PROMPT, gold)


def test_calls_in_any_order_are_counted_not_just_found():
    a, b = {"name": "a", "arguments": {}}, {"name": "b", "arguments": {"x": 1}}
    assert same_calls([b, a], [a, b], any_order=True)
    assert not same_calls([b, a], [a, b])
    assert not same_calls([a, a], [a, b], any_order=True)
    assert not same_calls([a, b, b], [a, b], any_order=True)
