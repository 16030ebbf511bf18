"""Rewriting: by rules, and by a teacher."""

import re
from dataclasses import replace

import pytest

from r1lit.errors import InputError
from r1lit.rejection.rewriting import INSTRUCTION, RuleRewriter, TeacherRewriter, drop_repeats, tidy_space
from r1lit.samples.entries import completion_of
from r1lit.types import Message, Prompt, SamplingParams


def completion(reasoning="  So   7 \\frac{1}{2}.\n\n\n\nSo it is. So it is. ", answer="{x}", language="en", sample=0):
    prompt = Prompt("p", (Message("user", "What is {answer}?"),), language=language)
    text = f"<think>{reasoning}</think><answer>{answer}</answer>"
    return completion_of(prompt, {"sample": sample, "text": text, "finish_reason": "stop", "tokens": 9})


def rewritten(rewriter, *completions):
    found = dict(rewriter.rewrite(completions))
    return [found[place] for place in range(len(completions))]


def test_rules():
    assert tidy_space(" a \t b \n\n\n\n c\n") == "a b\n\nc"
    assert drop_repeats("I try. No. No. Then this.\nThen this.\nYes.") == "I try. No. Then this.\nYes."
    assert drop_repeats("不对。不对。再试。") == "不对。再试。"


def test_rule_rewriter():
    text = "<think>So 7 \\frac{1}{2}.\n\nSo it is.</think><answer>{x}</answer>"
    assert rewritten(RuleRewriter(), completion()) == [text]


def test_rule_rewriter_with_a_summary_in_the_prompts_language():
    rewriter = RuleRewriter("<think>{reasoning}</think>{summary}", rules=[])
    texts = rewritten(rewriter, completion("a"), completion("a", language="zh"), completion("a", language="fr"))
    assert texts == [
        "<think>a</think>The answer is {x}.",
        "<think>a</think>答案是 {x}。",
        "<think>a</think>The answer is {x}.",
    ]


def test_what_has_no_answer_is_not_rewritten():
    bare = completion_of(completion().prompt, {"sample": 0, "text": "just words", "finish_reason": "stop", "tokens": 9})
    assert rewritten(RuleRewriter(), bare) == [None]


class Teacher:
    """Replies with what a function makes of the request; the last request first."""

    def __init__(self, reply, finish_reason="stop"):
        self.reply, self.finish_reason, self.asked = reply, finish_reason, []

    def generate(self, prompts, sampling):
        self.asked += prompts
        for prompt in reversed(prompts):
            for sample in range(sampling.n):
                row = {
                    "sample": sample,
                    "text": self.reply(prompt, sample),
                    "finish_reason": self.finish_reason,
                    "tokens": 9,
                }
                yield completion_of(prompt, row)


GOOD = "<think>I shall.</think><reasoning>First I\nadd.</reasoning> <summary>It is so.</summary>"


def test_teacher_rewriter():
    def reply(prompt, sample):
        number = re.search(r"Solution: thought (\d)", prompt.question)[1]
        return GOOD.replace("add", f"add {number}")

    teacher = Teacher(reply)
    completions = [completion(f"thought {i}", sample=i) for i in range(3)]
    layout = "<think>{reasoning}</think>{summary} {answer}"
    texts = rewritten(TeacherRewriter(teacher, layout=layout), *completions)
    assert texts == [f"<think>First I\nadd {i}.</think>It is so. {{x}}" for i in range(3)]
    asked = teacher.asked[0].question
    assert "What is {answer}?" in asked  # fields in texts are texts
    assert "in English only" in asked
    assert "Final answer: {x}" in asked
    assert len({prompt.id for prompt in teacher.asked}) == 3


@pytest.mark.parametrize(
    "text", ["", "no tags", "<reasoning>a</reasoning>", "<think><reasoning>a</reasoning><summary>b</summary>"]
)
def test_a_reply_without_its_parts_is_none(text):
    assert rewritten(TeacherRewriter(Teacher(lambda prompt, sample: text)), completion()) == [None]


def test_a_reply_that_was_cut_off_is_none():
    assert rewritten(TeacherRewriter(Teacher(lambda prompt, sample: GOOD, "length")), completion()) == [None]


def test_the_first_usable_sample_is_taken():
    def reply(prompt, sample):
        return GOOD.replace("First", f"Sample {sample}") if sample else "sorry"

    rewriter = TeacherRewriter(Teacher(reply), SamplingParams(n=3), layout="{reasoning}{answer}")
    assert rewritten(rewriter, completion()) == ["Sample 1 I\nadd.{x}"]


def test_bad_settings():
    with pytest.raises(InputError, match="reasoning"):
        RuleRewriter("{answer}")
    with pytest.raises(InputError, match="answer"):
        RuleRewriter("{reasoning}")
    with pytest.raises(InputError, match="no rule 'translate'"):
        RuleRewriter(rules=["translate"])
    with pytest.raises(InputError, match="no 'en'"):
        RuleRewriter("{reasoning}{summary}", summary={"zh": "{answer}"})
    with pytest.raises(InputError, match="question"):
        TeacherRewriter(Teacher(None), instruction="Write {reasoning}")
    assert all(field in INSTRUCTION for field in ("{question}", "{reasoning}", "{answer}", "{language}"))


def test_language_of_the_instruction():
    teacher = Teacher(lambda prompt, sample: GOOD)
    original = completion(language="zh")
    rewritten(TeacherRewriter(teacher), original, replace(original, sample=1))
    assert "in Chinese only" in teacher.asked[0].question
