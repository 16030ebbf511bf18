import json
from collections import Counter

import pytest

from r1lit.errors import InputError
from r1lit.rewards import ChoiceReward, choice_answer, parse_response
from r1lit.tasks.benchmarks import ChoicePrompts, GPQAPrompts
from r1lit.types import Completion, Message, Prompt

GPQA = {
    "Question": "Which is even?",
    "Correct Answer": "two\n",
    "Incorrect Answer 1": "one",
    "Incorrect Answer 2": "three",
    "Incorrect Answer 3": "five",
    "Record ID": "rec1",
    "Subdomain": "numbers",
}


def write(path, *rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def completion(prompt, text):
    return Completion(prompt, 0, (), (), (), text, "stop", *parse_response(text))


def test_gpqa(tmp_path):
    path = write(tmp_path / "a.jsonl", GPQA)
    (prompt,) = GPQAPrompts(path=path).load()
    assert prompt.id == "gpqa_diamond/rec1"
    assert prompt.meta["options"]["ABCD".index(prompt.answer)] == "two"
    assert sorted(prompt.meta["options"]) == ["five", "one", "three", "two"]
    assert prompt.meta["Subdomain"] == "numbers"
    for letter, option in zip("ABCD", prompt.meta["options"], strict=True):
        assert f"\n{letter}) {option}\n" in prompt.question
    assert "ANSWER: X" in prompt.question
    assert "two" not in prompt.meta.values()
    assert GPQAPrompts(path=path).load() == [prompt]


def test_the_right_option_stands_at_every_place_alike(tmp_path):
    path = write(tmp_path / "a.jsonl", *({**GPQA, "Record ID": f"r{i}"} for i in range(400)))
    places = Counter(prompt.answer for prompt in GPQAPrompts(path=path).load())
    assert set(places) == set("ABCD")
    assert min(places.values()) > 70
    again = [prompt.answer for prompt in GPQAPrompts(path=path, seed=1).load()]
    assert again != [prompt.answer for prompt in GPQAPrompts(path=path).load()]
    assert {prompt.answer for prompt in GPQAPrompts(path=path, shuffle=False).load()} == {"A"}


TEN = [f"o{i}" for i in range(10)]


@pytest.mark.parametrize(
    ("row", "right"),
    [
        ({"question": "?", "choices": ["x", "y", "z", "w"], "answer": 2}, "z"),
        ({"question": "?", "options": TEN, "answer": "J", "answer_index": 9}, "o9"),
        ({"question": "?", "options": json.dumps(["x", "y"]), "answer": "y"}, "y"),
        ({"question": "?", "options": {"A": "x", "B": "y"}, "answer": "b"}, "y"),
        ({"question": "?", "choices": {"text": ["x", "y"], "label": ["A", "B"]}, "answerKey": "A"}, "x"),
        ({"question": "?", "A": "x", "B": "y", "C": "z", "D": "w", "answer": "C"}, "z"),
        ({"question": "?", "option_a": "x", "option_b": "y", "answer": "x"}, "x"),
        ({"query": "?", "choice1": "x", "choice2": "y", "label": 1}, "y"),
    ],
)
def test_many_forms(tmp_path, row, right):
    (prompt,) = ChoicePrompts(path=write(tmp_path / "a.jsonl", row)).load()
    assert prompt.meta["options"]["ABCDEFGHIJ".index(prompt.answer)] == right
    assert ChoiceReward().score([completion(prompt, f"ANSWER: {prompt.answer}")]) == [1.0]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"question": "?", "choices": ["x", "y"]}, "column 'answer': the answer is missing"),
        ({"question": "?", "choices": ["x", "y"], "answer": "C"}, "'C' is no letter, number or text of one of 2"),
        ({"question": "?", "choices": ["x", "y"], "answer": 2}, "'2' is no letter"),
        ({"question": "?", "choices": ["x"], "answer": "A"}, "1 options; 2 to 10"),
        ({"question": "?", "choices": "x, y", "answer": "A"}, "no list of options, nor JSON"),
        ({"question": "?", "answer": "A"}, "row 1: no options found in columns question, answer"),
    ],
)
def test_bad_rows(tmp_path, row, message):
    with pytest.raises(InputError, match=message):
        ChoicePrompts(path=write(tmp_path / "a.jsonl", row)).load()


def test_numbers_may_count_from_one(tmp_path):
    path = write(tmp_path / "a.jsonl", {"question": "?", "choices": ["x", "y"], "answer": 1})
    (prompt,) = ChoicePrompts(path=path, index_from=1, shuffle=False).load()
    assert prompt.answer == "A"


def test_shots_end_in_the_answers_line(tmp_path):
    rows = [{"question": f"q{i}", "choices": ["x", "y"], "answer": 0, "explanation": f"because {i}"} for i in range(3)]
    path = write(tmp_path / "a.jsonl", *rows)
    prompt = ChoicePrompts(path=path, shots=2, shots_path=path).load()[0]
    assert prompt.question.count("\nANSWER: ") == 2
    assert "because 0" not in prompt.question


PROMPT = Prompt(
    "p",
    (Message("user", "?"),),
    "B",
    task="choice",
    meta={"options": ["4 m", "5 m", r"\frac{1}{2}", "none of these"]},
)


@pytest.mark.parametrize(
    ("text", "letter"),
    [
        ("ANSWER: B", "B"),
        ("Thus, A is wrong.\n\n**Answer: (B)**", "B"),
        ("ANSWER: A\nNo, wait.\nANSWER: B", "B"),
        (r"So \boxed{B}", "B"),
        (r"So \boxed{\text{(b)}}", "B"),
        (r"ANSWER: A, I mean \boxed{5 m}", "B"),
        ("<answer>none of these</answer>", "D"),
        ("<answer>B) 5 m</answer>", "B"),
        ("<answer>B) 4 m</answer>", None),
        ("<think>ANSWER: A</think>The final answer is B.", "B"),
        ("<think>ANSWER: A</think>I do not know.", None),
        ("<think>ANSWER: A", None),
        ("答案是B。", "B"),
        ("I think\n5 m", "B"),
        ("ANSWER: Because", None),
        (r"\boxed{A, B}", None),
        ("", None),
    ],
)
def test_what_a_reply_names(text, letter):
    assert choice_answer(completion(PROMPT, text)) == letter
    assert ChoiceReward().score([completion(PROMPT, text)]) == [float(letter == "B")]


def test_a_last_line_is_an_answer_that_can_be_voted_with():
    assert parse_response("<think>x</think>It is so.\nANSWER: c\n") == ("x", "C")
    assert parse_response("ANSWER: C\nbut then again") == (None, None)


def test_a_reference_that_is_no_letter():
    bad = Prompt("q", (), "E", task="choice", meta={"options": ["x", "y"]})
    with pytest.raises(InputError, match="prompt 'q': answer 'E' is not the letter of one of 2 options"):
        ChoiceReward().score([completion(bad, "ANSWER: A")])
