import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from r1lit.errors import InputError
from r1lit.grading.checkers import same_json, solves_countdown
from r1lit.grading.workers import Job
from r1lit.rewards import CHECKERS
from r1lit.types import Completion, Message, Prompt


def check(task, answer, gold=None, *, text="", kind="reasoning", meta=None):
    prompt = Prompt("p3", (Message("user", "q"),), answer=gold, task=task, kind=kind, meta=meta or {})
    return CHECKERS[task](Completion(prompt, 0, (), (), (), text, "stop", answer=answer))


@pytest.mark.parametrize(
    ("answer", "verdict"), [("4", True), (r"\boxed{4.0}", True), ("5", False), (None, False), ("", False)]
)
def test_math(answer, verdict):
    assert check("math", answer, "4") is verdict


def test_math_that_needs_algebra_is_handed_over():
    assert isinstance(check("math", "x+x", "2x"), Job)


@pytest.mark.parametrize(
    "answer", ["B", "b", "(B)", "B.", "B)", "[B]", r"\boxed{B}", r"\text{B}", "**B**", "Answer: B"]
)
def test_right_choice(answer):
    assert check("choice", answer, "B") is True
    assert check("choice", answer, "(b)") is True
    assert check("choice", answer, "C") is False


@pytest.mark.parametrize(
    "answer", ["A B", "A, B", "A or B", "ABCD", r"\boxed{A} \boxed{B}", "", "not B", "B" * 3000, "BB", None]
)
def test_wrong_or_several_choices(answer):
    assert check("choice", answer, "B") is False


def test_choice_needs_a_letter_as_reference():
    with pytest.raises(InputError, match=r"'p3'.*'42'"):
        check("choice", "B", "42")


@pytest.mark.parametrize(
    ("answer", "verdict"),
    [
        ("3 + 4 - 2", True),
        ("3+4-2", True),
        (r"\boxed{3 + 4 - 2}", True),
        ("3 + 4 - 2 = 5", False),
        ("4 + 3 - 2", False),
        ("3 + 2 - 2", False),
        ("3 - 4 + 2", False),
        ("3 + 4", False),
        ("5", False),
        ("(3 + 4) - 2", False),
        ("3 + 4 - 2; 3 + 4 - 2", False),
        ("__import__('os')", False),
        ("٣ + 4 - 2", False),
        ("3 +", False),
        ("", False),
        (None, False),
    ],
)
def test_countdown(answer, verdict):
    assert check("logic", answer, meta={"numbers": [3, 4, 2], "target": 5}) is verdict


def test_countdown_with_bad_numbers():
    with pytest.raises(InputError, match=r"'p3'.*integers"):
        check("logic", "1", meta={"numbers": ["x"], "target": 5})


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.sampled_from("+-"), st.integers(0, 99)), min_size=1, max_size=5), st.integers(-3, 3))
def test_countdown_agrees_with_arithmetic(terms, off):
    terms = [("+", terms[0][1]), *terms[1:]]
    value = sum(n if sign == "+" else -n for sign, n in terms)
    expression = " ".join(f"{sign} {n}" for sign, n in terms)[2:]
    assert solves_countdown(expression, [n for _, n in terms], value + off) is (off == 0)


def test_countdown_is_linear():
    assert not solves_countdown("1+" * 900 + "x", [1], 1)
    assert not solves_countdown("1+" * 9000 + "1", [1] * 9001, 9001)


def test_logic_by_exact_match():
    assert check("logic", " Knight,\n knave. ", "knight, Knave") is True
    assert check("logic", "knave, knight", "knight, knave") is False
    assert check("logic", None, "knight") is False


def test_reasoning_gym_entry_is_handed_over():
    spec = {"dataset": "basic_arithmetic", "entry": {"answer": "4"}}
    job = check("logic", r"\boxed{4}", meta={"reasoning_gym": spec})
    assert isinstance(job, Job)
    assert job.kind == "gym"
    assert job.request == {"prompt": "p3", **spec, "answer": "4"}
    assert check("logic", None, meta={"reasoning_gym": spec}) is False


@pytest.mark.parametrize("spec", [7, {"entry": {}}, {"dataset": "x"}, {"dataset": "x", "entry": "text"}])
def test_bad_reasoning_gym_entry(spec):
    with pytest.raises(InputError, match=r"'p3'.*reasoning_gym"):
        check("logic", "4", meta={"reasoning_gym": spec})


@pytest.mark.parametrize(
    ("answer", "gold", "verdict"),
    [
        ('{"a": 1, "b": [true, null]}', '{"b": [true, null], "a": 1.0}', True),
        ('```json\n{"a": 1}\n```', '{"a": 1}', True),
        ('{"a": true}', '{"a": 1}', False),
        ('{"a": 1}', '{"a": 1, "b": 2}', False),
        ("[1, 2]", "[2, 1]", False),
        ("[1]", "[1, 1]", False),
        ("{a: 1}", '{"a": 1}', False),
        ('{"a": 1} {"a": 1}', '{"a": 1}', False),
        ("NaN", None, False),
        ("5", None, False),
        ("[]", None, True),
        ('{"x": {}}', None, True),
        ("[" * 100_000, None, False),
        ("", None, False),
    ],
)
def test_json(answer, gold, verdict):
    assert check("json", answer, gold) is verdict


def test_json_may_stand_in_the_summary():
    assert check("json", None, text='<think>hm {"a": 2}</think>\n{"a": 1}', gold='{"a": 1}') is True
    with pytest.raises(InputError, match=r"'p3'.*not JSON"):
        check("json", "{}", "{a}")


CALL = {"name": "add", "arguments": {"a": 1, "b": [2]}}


def tagged(*calls):
    return "".join(f"<tool_call>{json.dumps(call)}</tool_call>" for call in calls)


@pytest.mark.parametrize(
    ("text", "gold", "verdict"),
    [
        (tagged(CALL), json.dumps(CALL), True),
        (f"<think>{tagged(CALL)}</think>Here:\n{tagged(CALL)}", tagged(CALL), True),
        (tagged(CALL, CALL), tagged(CALL, CALL), True),
        (tagged({**CALL, "id": 4}), tagged(CALL), True),
        (f"<think>{tagged(CALL)}</think> done", tagged(CALL), False),
        (tagged(CALL, CALL), tagged(CALL), False),
        (tagged({**CALL, "name": "sub"}), tagged(CALL), False),
        (tagged({**CALL, "arguments": {"a": 1}}), tagged(CALL), False),
        (tagged([CALL]), tagged(CALL), False),
        (json.dumps(CALL), tagged(CALL), False),
        ("<tool_call>{add</tool_call>", tagged(CALL), False),
    ],
)
def test_tool(text, gold, verdict):
    assert check("tool", None, gold, text=text) is verdict


@pytest.mark.parametrize("gold", ["[1]", "5", '{"name": "add"}', "<tool_call>1</tool_call>"])
def test_tool_with_a_bad_reference(gold):
    with pytest.raises(InputError, match=r"'p3'.*no tool call"):
        check("tool", tagged(CALL), gold)


@pytest.mark.parametrize("task", ["math", "choice", "logic", "tool"])
def test_reasoning_needs_a_reference_and_others_do_not(task):
    for gold in (None, " "):
        with pytest.raises(InputError, match=f"'p3'.*'{task}'"):
            check(task, "4", gold)
    assert check(task, "4", None, kind="helpful") is None


def test_chat_and_code():
    assert check("chat", "hello", kind="helpful") is None
    with pytest.raises(InputError, match=r"'p3'.*tests"):  # tests/rewards/test_code.py has the rest
        check("code", "print(1)", None)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.text(max_size=2),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=2), inner, max_size=3),
    max_leaves=6,
)


@settings(max_examples=200, deadline=None)
@given(VALUES, VALUES)
def test_same_json_is_equality_of_the_texts(a, b):
    assert same_json(a, json.loads(json.dumps(a)))
    assert same_json(a, b) is (json.dumps(a, sort_keys=True) == json.dumps(b, sort_keys=True))
