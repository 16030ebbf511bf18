"""Each rule has texts that pass and texts that do not."""

import numpy as np
import pytest

from r1lit.errors import InputError
from r1lit.grading.parsing import parse_response
from r1lit.rejection.filters import (
    Correct,
    Finished,
    NoCode,
    NoRepetition,
    OneLanguage,
    Reasons,
    ShortParagraphs,
    WellFormed,
    WithoutPhrases,
    longest_run,
    paper_filters,
    repeated_share,
)
from r1lit.types import Completion, Message, Prompt, ScoredCompletion


def candidate(text, finish="stop", language="en", **scores):
    reasoning, answer = parse_response(text)
    prompt = Prompt("p", (Message("user", "?"),), language=language)
    completion = Completion(prompt, 0, (), (), (), text, finish, reasoning, answer)
    return ScoredCompletion(completion, scores or {"accuracy": 1.0}, 1.0)


def thought(reasoning, **kwargs):
    return candidate(f"<think>{reasoning}</think><answer>4</answer>", **kwargs)


VARIED = " ".join(f"Step {i} takes {i * 7} and gives {i * i}." for i in range(60))


@pytest.mark.parametrize(
    ("rule", "good", "bad"),
    [
        (Finished(), thought("a"), thought("a", finish="length")),
        (Correct(), thought("a", accuracy=1.0), thought("a", accuracy=0.0)),
        (Correct(at_least=0.5), thought("a", accuracy=0.5), thought("a", accuracy=0.4)),
        (Correct(unchecked=True), thought("a", accuracy=None), thought("a", accuracy=0.0)),
        (Correct(), thought("a", accuracy=1.0), thought("a", accuracy=None)),
        (WellFormed(), thought("so it is"), candidate("so it is<answer>4</answer>")),
        (WellFormed(), thought("so it is"), thought(" ")),
        (WellFormed(allow_empty_reasoning=True), thought(" "), candidate("<think>a</think>4")),
        (WellFormed("think"), candidate("<think>a</think>It is 4."), candidate("<think>a</think>")),
        (Reasons(4), thought("3 + 1 = 4"), thought("Easy.")),
        (Reasons(4), thought("三加一是四"), thought("很简")),
        (OneLanguage(), thought("We add one and one."), thought("We add 一 and 一 of 那些 numbers.")),
        (OneLanguage(), thought("我们把两个数相加。", language="zh"), thought("We add the numbers.", language="zh")),
        (OneLanguage(0.5), thought("We add 一 and one."), thought("我们把 one 加上 two")),
        (OneLanguage(), thought("Take $\\alpha + 一$ here, as said."), thought("3 + 1 = 4")),
        (OneLanguage(wordless=True), thought("3 + 1 = 4"), thought("我们")),
        (ShortParagraphs(20), thought("short line\n" * 5), thought("this line is too long for it")),
        (NoCode(), thought("use `x + 1` here"), thought("so:\n```python\nprint(4)\n```\nyes")),
        (NoCode(), candidate("<think>a</think>\n```python\nprint(4)\n```"), thought("so:\n  ~~~\nx\n~~~")),
        (WithoutPhrases(["I give up"]), thought("I do not give up"), thought("no. i GIVE up.")),
        (WithoutPhrases(["too hard", "放弃"]), candidate("<think>a</think>我放弃"), thought("我放弃。")),
        (NoRepetition(), thought(VARIED), thought(VARIED + VARIED)),
        (NoRepetition(), thought("no no no"), thought("no " * 20)),
        (NoRepetition(), thought(VARIED), thought(VARIED + " Wait, let me check that again." * 6)),
        (NoRepetition(), thought("等等，再试一次。我算好了。"), thought("等等，再试一次。" * 5)),
    ],
    ids=lambda value: type(value).__name__,
)
def test_rule(rule, good, bad):
    assert rule.keeps(good)
    assert not rule.keeps(bad)


def test_rules_look_at_the_reasoning_alone_where_they_say_so():
    answer = candidate("<think>We add.</think>答案是四。\n```python\nprint(4)\n```\n" + "x" * 5000)
    assert OneLanguage().keeps(answer)
    assert NoCode().keeps(answer)
    assert ShortParagraphs().keeps(answer)


def test_a_rule_for_a_reward_that_is_not_there_names_those_that_are():
    with pytest.raises(InputError, match=r"no reward 'helpful', only accuracy"):
        Correct("helpful").keeps(thought("a"))


def test_an_unknown_language_names_the_prompt():
    with pytest.raises(InputError, match=r"prompt 'p': language 'xx'"):
        OneLanguage().keeps(thought("some words", language="xx"))


@pytest.mark.parametrize(
    "make",
    [
        lambda: OneLanguage(0),
        lambda: OneLanguage(1.1),
        lambda: ShortParagraphs(0),
        lambda: NoRepetition(n=0),
        lambda: NoRepetition(max_share=2),
        lambda: NoRepetition(max_loops=0),
        lambda: Reasons(0),
        lambda: WithoutPhrases([]),
        lambda: WithoutPhrases([""]),
    ],
)
def test_thresholds_out_of_range(make):
    with pytest.raises(InputError, match="filter '"):
        make()


def test_names_of_the_papers_rules_are_distinct():
    names = [rule.name for rule in paper_filters()]
    assert len(set(names)) == len(names) == 7


def test_repeated_share():
    assert repeated_share(list("abcd"), 2) == 0
    assert repeated_share(list("abab"), 2) == pytest.approx(1 / 3)
    assert repeated_share([], 2) == 0
    assert repeated_share(["a"], 2) == 0


def test_longest_run():
    assert longest_run(np.array([True, True, False, True, True, True])) == 3
    assert longest_run(np.array([False, False])) == 0
    assert longest_run(np.array([], dtype=bool)) == 0
