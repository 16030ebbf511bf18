import pytest

from r1lit.errors import InputError
from r1lit.rewards import FormatReward, follows_format
from r1lit.types import Completion, Message, Prompt


def completion(text):
    return Completion(Prompt("p", (Message("user", "q"),)), 0, (), (), (), text, "stop")


GOOD = "<think>because</think>\n<answer>5</answer>"


@pytest.mark.parametrize(
    ("text", "right"),
    [
        (GOOD, True),
        (f"\n {GOOD} \n", True),
        ("<think></think><answer>5</answer>", True),
        ("<think>because</think> so <answer>5</answer>", False),
        (f"well {GOOD}", False),
        (f"{GOOD} done", False),
        (f"{GOOD}{GOOD}", False),
        ("<think>because</think><answer> </answer>", False),
        ("<think>because</think>", False),
        ("<think>because</think><answer>5", False),
        ("<think>a<think>b</think><answer>5</answer>", False),
        ("<think>a</think><answer>5</answer></answer>", False),
        ("<think>a <answer>1</answer></think><answer>5</answer>", False),
        ("<answer>5</answer><think>because</think>", False),
        ("because</think><answer>5</answer>", False),
        ("", False),
    ],
)
def test_think_answer(text, right):
    assert follows_format(text) is right
    assert FormatReward().score([completion(text)]) == [float(right)]


@pytest.mark.parametrize(
    ("text", "right"),
    [
        ("<think>because</think>It is 5.", True),
        ("<think>because</think> ", False),
        ("<think>because</think>5</think>", False),
        ("<think>because", False),
        ("so <think>because</think>5", False),
        (GOOD, True),
    ],
)
def test_think(text, right):
    assert FormatReward(style="think").score([completion(text)]) == [float(right)]


def test_empty_reasoning_may_be_refused():
    text = "<think> </think><answer>5</answer>"
    assert FormatReward().score([completion(text)]) == [1.0]
    assert FormatReward(allow_empty_reasoning=False).score([completion(text), completion(GOOD)]) == [0.0, 1.0]


def test_unknown_style():
    with pytest.raises(InputError, match=r"'xml'.*think_answer, think"):
        FormatReward(style="xml")
