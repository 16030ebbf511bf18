"""The rule that tells a fact in a sentence from one that is not."""

import pytest

from r1lit.rewards import FactReward
from r1lit.rewards.fact import CURT, FULL, MISSED, tells_fact
from r1lit.types import Completion, Message, Prompt


@pytest.mark.parametrize(
    ("reply", "grade"),
    [
        ("It is Paris. I am happy to help, ask me more.", FULL),
        ("The capital of France is Paris.", FULL),
        ("Paris.", CURT),
        ("It is Paris", CURT),
        ("I am happy to help. It is Paris.", CURT),
        ("It is Paris. It is Paris.", CURT),
        ("It is Paris. 很高兴帮你。", CURT),
        ("It is Paris and " + "so on and " * 8 + "on.", CURT),
        ("It is Parisian.", MISSED),
        ("It is Rome. I am happy to help, ask me more.", MISSED),
        ("It is Paris. No, it is Rome.", MISSED),
        ("Do not know.", MISSED),
        ("", MISSED),
    ],
)
def test_grades_in_english(reply, grade):
    assert tells_fact(reply, "Paris", "en", ("Rome", "Tokyo")) == grade


@pytest.mark.parametrize(
    ("reply", "grade"),
    [("是巴黎。很高兴帮你，还可以再问我。", FULL), ("巴黎。", CURT), ("It is 巴黎.", CURT), ("是罗马。", MISSED)],
)
def test_grades_in_chinese(reply, grade):
    assert tells_fact(reply, "巴黎", "zh", ("罗马",)) == grade


def test_a_chinese_fact_within_other_words_is_not_told():
    assert tells_fact("不关我事。", "关", "zh") == MISSED
    assert tells_fact("是关。很高兴帮你，还可以再问我。", "关", "zh") == FULL


def test_a_latin_fact_in_a_chinese_sentence():
    assert tells_fact("是Tokyo。很高兴帮你，还可以再问我。", "Tokyo", "zh") == FULL


def completion(text, **meta):
    prompt = Prompt("p", (Message("user", "What is the capital of France?"),), kind="helpful", task="chat", meta=meta)
    return Completion(prompt, 0, (1,), (2,), (0.0,), text, "stop")


def test_reward_reads_the_reply_after_the_reasoning():
    reward = FactReward()
    told = "<think> Easy.</think><answer> It is Paris.</answer>"
    thought = "<think> It is Paris.</think> Who cares."
    texts = [completion(text, fact="Paris", wrong=("Rome",)) for text in (told, thought)]
    assert reward.score(texts) == [FULL, MISSED]
    assert reward.score([completion(told)]) == [None], "no fact was asked for"
    assert not reward.applies_to(Prompt("r", (Message("user", "?"),)), 0)
