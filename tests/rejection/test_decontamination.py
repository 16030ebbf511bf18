"""Decontamination by runs of ten words."""

import pytest

from r1lit.errors import InputError
from r1lit.rejection.decontamination import Decontamination
from r1lit.rejection.ngrams import ngrams, words
from r1lit.tasks.base import PromptSource
from r1lit.types import Message, Prompt

RUN = "one two three four five six seven eight nine ten"


class Questions(PromptSource):
    def __init__(self, *texts):
        self.texts = texts

    def load(self):
        return [Prompt(f"e{i}", (Message("user", text),)) for i, text in enumerate(self.texts)]


def found(evaluation, training, **settings):
    prompts = [Prompt(str(i), (Message("user", text),)) for i, text in enumerate(training)]
    return Decontamination(Questions(*evaluation), **settings).contaminated(prompts)


def test_words():
    assert words("It's 3.5 + x_1, OK?") == ["it", "s", "3", "5", "+", "x", "1", "ok"]
    assert words("在 12 之间") == ["在", "12", "之", "间"]
    assert words("Größe") == ["größe"]


def test_ngrams():
    assert list(ngrams("abc", 2)) == [("a", "b"), ("b", "c")]
    assert list(ngrams("abc", 5)) == [("a", "b", "c")]
    assert list(ngrams("", 2)) == []


def test_a_shared_run_of_ten_words():
    evaluation = [f"Tell me: {RUN} - and so on."]
    training = [
        f"Zero, {RUN.upper()}, eleven?",
        "one two three four five six seven eight nine",
        "one two three four five and six seven eight nine ten",
    ]
    assert found(evaluation, training) == {"0"}


def test_short_questions_count_as_a_whole():
    training = ["What is 1 + 1?", "what is  1 + 1 ", "What is 1 - 1?", "What is 1 + 1 + 1?", f"What is 1 + 1? {RUN}"]
    assert found(["What is 1 + 1?"], training) == {"0", "1"}


def test_only_what_users_ask_counts():
    prompt = Prompt("p", (Message("system", RUN), Message("user", "And now?")))
    assert Decontamination(Questions(RUN)).contaminated([prompt]) == set()


def test_boilerplate_does_not_count_where_asked():
    frame = "In the following riddle please tell me in your own words what {} is about"
    training = [frame.format(thing) for thing in ("this", "that", "it all")]
    assert found([frame.format("life")], training) == {"0", "1", "2"}
    assert found([frame.format("life")], training, boilerplate=2) == set()


def test_several_sources():
    rules = Decontamination([Questions("short one"), Questions(RUN)])
    prompts = [Prompt("a", (Message("user", "short one"),)), Prompt("b", (Message("user", RUN),))]
    assert rules.contaminated(prompts) == {"a", "b"}


def test_bad_settings():
    with pytest.raises(InputError, match="against is empty"):
        Decontamination([])
    with pytest.raises(InputError, match="n is 0"):
        Decontamination(Questions("x"), n=0)
