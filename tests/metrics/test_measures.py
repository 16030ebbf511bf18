import math

import pytest

from r1lit.errors import InputError
from r1lit.grading.parsing import parse_response
from r1lit.metrics.measures import (
    Measures,
    consistency,
    is_stepwise,
    measure,
    reasoning_of,
    reflection_count,
    word_count,
)
from r1lit.rewards import AccuracyReward, FormatReward
from r1lit.types import Completion, Message, Prompt

ENGLISH = "First add the two and then look whether the sum is what we were asked to find in the end of it all"


def prompt(name, answer="5", **kwargs):
    return Prompt(name, (Message("user", "2 + 3?"),), answer, **kwargs)


def completion(of, sample, text, tokens=4, finish_reason="stop"):
    reasoning, answer = parse_response(text)
    ids = tuple(range(tokens))
    return Completion(of, sample, (1,), ids, (0.0,) * tokens, text, finish_reason, reasoning, answer)


def answered(of, sample, answer, reasoning="", **kwargs):
    return completion(of, sample, f"<think>{reasoning}</think><answer>{answer}</answer>", **kwargs)


@pytest.fixture
def accuracy():
    reward = AccuracyReward()
    yield reward
    reward.close()


def test_reflection_words_of_both_languages():
    assert reflection_count("Wait, that is wrong. But checked words do not count") == 3
    assert reflection_count("等等，不对。但是再试") == 4, "the longer word hides the shorter one in it"
    assert reflection_count("butter awaits") == 0


def test_words_are_runs_of_letters_and_han_characters():
    assert word_count("<think> 1 + 2 = 3 </think>") == 0
    assert word_count("we try 再试") == 4


@pytest.mark.parametrize(
    ("text", "stepwise"),
    [
        ("<think>1 + 2 = 3 , no wait</think><answer>5</answer>", True),
        ("<think>1 + 2 = 3</think><answer>5</answer>", False),
        ("<think></think><answer>1 + 2 + 3 + 4 = 10</answer>", False),
        ("<answer>1 + 2 + 3 + 4 = 10</answer>", False),
        (f"<think>{ENGLISH}</think><answer>5</answer>", True),
        (ENGLISH, True),
        ("<think>1 + 2 + 3 + 4 + 5 + 6</think>", False),
    ],
)
def test_stepwise_is_what_reasons_before_the_answer(text, stepwise):
    assert is_stepwise(completion(prompt("p"), 0, text)) is stepwise


def test_reasoning_without_tags_ends_where_the_answer_begins():
    assert reasoning_of(completion(prompt("p"), 0, "so it is 5 <answer>5</answer>")) == "so it is 5 "


def test_consistency_is_due_where_there_is_reasoning():
    chinese = prompt("p", language="zh")
    assert consistency(answered(chinese, 0, "5")) is None, "a direct answer is in no language"
    assert consistency(answered(chinese, 0, "5", "2 + 3 = 5 , 5 = 5")) == 0.0, "reasoning in signs alone"
    assert consistency(answered(chinese, 0, "5", ENGLISH)) == 0.0
    assert consistency(answered(chinese, 0, "5", "we 试 2 + 3 = 5 !")) == pytest.approx(1 / 2)


def test_figures_of_a_case_done_by_hand(accuracy):
    one, two = prompt("one"), prompt("two", "7")
    steps = "2 + 3 = 5 , so wait"
    completions = [
        # 3 of 4 right, the vote is right; one is stepwise
        answered(one, 0, "5", steps, tokens=20),
        answered(one, 1, "5", tokens=4),
        answered(one, 2, " 5", tokens=4),
        answered(one, 3, "6", tokens=4, finish_reason="length"),
        # 1 of 4 right; 7 and 9 have one vote each, as no answer does not vote: expectation 1/2
        answered(two, 0, "7", tokens=4),
        answered(two, 1, "9", tokens=4),
        completion(two, 2, "nothing", tokens=4),
        completion(two, 3, "", tokens=4),
    ]
    found = measure(completions[::-1], accuracy)
    values = {name: interval["value"] for name, interval in found.items()}
    assert values == pytest.approx(
        {
            "pass@1": (3 / 4 + 1 / 4) / 2,
            "cons@4": (1 + 1 / 2) / 2,
            "format": (1 + 2 / 4) / 2,
            "truncated": (1 / 4 + 0) / 2,
            "mean_length": (8 + 4) / 2,
            "mean_length_stepwise": 20.0,
            "stepwise": (1 / 4 + 0) / 2,
            "language_consistency": 1.0,
            "reflection_per_1k_words": (1000 * 1 / 2 + 0) / 2,
        }
    )
    counts = {name: interval["n"] for name, interval in found.items()}
    assert counts.pop("mean_length_stepwise") == counts.pop("language_consistency") == 1, "only one prompt has any"
    assert set(counts.values()) == {2}
    assert all(set(i) == {"value", "low", "high", "n"} and i["low"] <= i["value"] <= i["high"] for i in found.values())


def test_a_tier_has_its_own_correctness_and_adds_nothing_to_the_main_ones_figures(accuracy):
    main, hard = prompt("main"), prompt("hard", meta={"tier": "hard"})
    mine = [answered(main, 0, "5", "2 + 3 = 5 , so wait"), answered(main, 1, "5")]
    theirs = [answered(hard, i, answer, tokens=90) for i, answer in enumerate(("5", "6", "6"))]
    found = measure([*theirs, *mine], accuracy)
    alone = measure(mine, accuracy)
    assert found["pass@1_hard"]["value"] == pytest.approx(1 / 3)
    assert found["cons@3_hard"]["value"] == 0.0
    assert {name: figure for name, figure in found.items() if not name.endswith("_hard")} == alone
    assert list(found)[:2] == ["pass@1", "cons@2"], "the main tier's come first"


def test_consensus_takes_the_most_frequent_answer_right_or_wrong(accuracy):
    of = prompt("p")
    texts = ["6", "6", "6", "5", "5"]
    found = measure([answered(of, i, t) for i, t in enumerate(texts)], accuracy)
    assert found["pass@1"]["value"] == pytest.approx(2 / 5)
    assert found["cons@5"]["value"] == 0.0


def test_what_no_prompt_has_is_null_rather_than_missing(accuracy):
    chat = prompt("chat", answer=None, kind="helpful", task="chat")
    found = measure([completion(chat, 0, "Hello")], accuracy)
    for name in ("pass@1", "cons@0", "mean_length", "mean_length_stepwise", "language_consistency"):
        assert found[name]["n"] == 0
        assert math.isnan(found[name]["value"])


def test_reasoning_prompt_without_answer_is_an_error_not_a_gap(accuracy):
    with pytest.raises(InputError, match="'p' has no reference answer"):
        measure([answered(prompt("p", answer=None), 0, "5")], accuracy)


def test_measures_keep_the_two_temperatures_apart(accuracy):
    of = prompt("p")
    style = FormatReward("think")
    measures = Measures([style, accuracy])
    assert (measures.accuracy, measures.style) == (accuracy, style)
    measures.add("eval", [completion(of, 0, "<think>x</think> \\boxed{5}")])
    measures.add("eval", [completion(of, 1, "<think>x</think> \\boxed{6}")])
    measures.add("t1", [answered(of, 0, "4"), answered(of, 1, "4"), answered(of, 2, "5")])
    found = measures.compute()
    assert list(found)[:2] == ["pass@1", "pass@1_t1"]
    assert found["pass@1"]["value"] == pytest.approx(1 / 2)
    assert found["pass@1_t1"]["value"] == pytest.approx(1 / 3)
    assert found["format"]["value"] == 1.0, "judged in the style that the run rewards"
    assert "cons@2" in found
    measures.reset()
    assert measures.compute() == {}


def test_answers_that_hang_the_judge_count_as_wrong(caplog):
    accuracy = AccuracyReward(timeout_s=1.5)
    measures = Measures([accuracy])
    asked = prompt("p", answer="x + x")
    measures.add("eval", [answered(asked, 0, "2x"), answered(asked, 1, "9^{9^{9^9}}")])
    assert measures.compute()["pass@1"]["value"] == 0.5
    assert "1 of 2 answers could not be judged in time; they count as wrong" in caplog.text
    accuracy.close()
