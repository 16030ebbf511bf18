import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from r1lit.grading.parsing import boxes, last_boxed, parse_response, split_reasoning, summary


@pytest.mark.parametrize(
    ("text", "reasoning", "answer"),
    [
        ("<think>one</think><answer>5</answer>", "one", "5"),
        ("one</think>\n<answer> 5 </answer>", "one", "5"),  # the template gave the opening tag
        ("<think> a <think> b </think> c </think> <answer>1</answer>", "a <think> b", "1"),
        ("<think>x</think> <answer>1</answer> <answer>2</answer>", "x", "2"),
        ("<think>x</think> <answer>1</answer> <answer>2", "x", "1"),  # the last complete one
        ("<think>x</think> <answer>1 <answer>2</answer>", "x", "2"),
        (r"<think>x</think> so \boxed{1}, no, \boxed{\frac{1}{2}}.", "x", r"\frac{1}{2}"),
        (r"<think>x</think> \boxed{1} <answer>2</answer>", "x", "2"),
        (r"<think>\boxed{7}</think> I do not know.", r"\boxed{7}", None),
        ("<think><answer>7</answer></think> nothing", "<answer>7</answer>", None),
        (r"<think>it is \boxed{7}", r"it is \boxed{7}", None),  # cut off while thinking
        ("<think>x <answer>7</answer>", "x <answer>7</answer>", None),
        (r"<think>x</think> \boxed{1} and \boxed{2", "x", None),  # a cut-off box brings back no earlier one
        ("<think>x</think> <answer>  </answer>", "x", None),
        (r"<think>x</think> \boxed{1} <answer></answer>", "x", None),
        (r"plain \boxed{3}", None, "3"),
        ("<answer>3</answer>", None, "3"),
        ("</answer> 3 <answer>", None, None),
        ("plain 3", None, None),
        ("", None, None),
        ("x</think>y<think>z</think><answer>1</answer>", "x", "1"),
    ],
)
def test_parse_response(text, reasoning, answer):
    assert parse_response(text) == (reasoning, answer)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (r"\boxed{\{1,2\}}", r"\{1,2\}"),
        (r"\boxed {5}", "5"),
        (r"\fbox{5}", "5"),
        (r"\boxed{a} \boxed{ b{c}d }", "b{c}d"),
        (r"\boxed{a\}", None),
        (r"\boxed 5", "5"),
        (r"\boxed12 or", "12"),
        (r"\boxed{1", None),
        ("none", None),
    ],
)
def test_last_boxed(text, expected):
    assert last_boxed(text) == expected


def test_boxes_are_the_outermost_ones():
    assert boxes(r"\boxed{1\boxed{2}} \boxed{3} \boxed{4") == [r"1\boxed{2}", "3", None]


def test_summary_is_what_follows_the_reasoning():
    assert summary("<think>a</think>\n b ") == "b"
    assert summary("all") == "all"
    assert summary("<think>a") == ""


PIECES = ["<think>", "</think>", "<answer>", "</answer>", r"\boxed{", "{", "}", "\\", "7", " x ", "\n", "\\{"]


@settings(max_examples=300, deadline=None)
@given(st.lists(st.sampled_from(PIECES), max_size=14).map("".join))
def test_answers_come_from_the_final_part_only(text):
    reasoning, answer = parse_response(text)
    start, rest = split_reasoning(text)
    assert reasoning == start
    if "<think>" in text or "</think>" in text:
        assert rest == text.partition("</think>")[2]
    if answer is not None:
        assert answer in rest
        assert answer == answer.strip() != ""


def test_long_texts_take_linear_time():
    assert boxes(r"\boxed{" * 100_000) == [None]
    assert parse_response("<answer>" * 100_000)[1] is None
    assert parse_response("<think>" * 100_000)[1] is None
