import math
import re

import pytest

from r1lit import Policy
from r1lit.errors import InputError
from r1lit.grading.parsing import parse_response
from r1lit.rejection.pair_generation import (
    VERDICTS,
    Candidates,
    Judgement,
    PairJudge,
    balanced,
    make_pairs,
    read_verdict,
)
from r1lit.rollout import NativeEngine
from r1lit.types import Completion, Message, Prompt, SamplingParams

REPLY = re.compile(r"<reply ([AB])>\n(.*?)\n</reply \1>", re.DOTALL)


class Judge:
    """A judge that follows a rule: it sees the two replies as the real one would, and writes what ``rule`` says."""

    def __init__(self, rule):
        self.rule, self.prompts, self.sampling = rule, [], []

    def generate(self, prompts, sampling):
        self.sampling.append(sampling)
        for prompt in reversed(prompts):  # engines yield in any order
            self.prompts.append(prompt)
            shown = dict(REPLY.findall(prompt.question))
            text = self.rule(shown["A"], shown["B"], len(self.prompts))
            yield Completion(prompt, 0, (), (), (), text, "stop", *parse_response(text))


def by_digits(a, b, _):
    """Prefers the reply with the larger number: much better from a difference of 2 on."""
    difference = max(-2, min(2, int(a) - int(b)))
    return f"My own would be 9. [[{next(name for name, value in VERDICTS.items() if value == difference)}]]"


def candidates(*pairs):
    return [
        Candidates(Prompt(f"p{i}", (Message("user", f"Question {i}?"),)), str(a), str(b))
        for i, (a, b) in enumerate(pairs)
    ]


def test_verdicts_are_read_after_the_reasoning():
    assert read_verdict("<think> [[A>>B]] at first </think> better: [[B>A]]") == -1
    assert read_verdict("[[A=B]] or rather [[ A>>B ]]") == 2
    assert read_verdict("<think> [[A>B]]") is None
    assert read_verdict("A is better") is None
    assert read_verdict("[[A<B]]") is None
    assert sorted(VERDICTS.values()) == [-2, -1, 0, 1, 2]


def test_each_pair_is_judged_four_times_half_of_them_swapped():
    engine = Judge(by_digits)
    judge = PairJudge(engine)
    found = judge.judge(candidates((5, 1), (1, 2), (3, 3), (1, 9)))
    assert [judgement.verdicts for judgement in found] == [(2,) * 4, (-1,) * 4, (0,) * 4, (-2,) * 4]
    assert judge.counts["calls"] == 16
    assert len({prompt.id for prompt in engine.prompts}) == 16  # the noise of each call is its own
    first = [dict(REPLY.findall(p.question))["A"] for p in engine.prompts if p.id.startswith("p0/")]
    assert sorted(first) == ["1", "1", "5", "5"]
    assert "Question 0?" in next(p for p in engine.prompts if p.id.startswith("p0/")).question
    assert engine.sampling[0].n == 1


def test_a_judge_that_prefers_the_first_place_prefers_nothing():
    found = PairJudge(Judge(lambda a, b, _: "[[A>>B]]")).judge(candidates(*[(i, i + 1) for i in range(8)]))
    assert all(judgement.margin == 0 for judgement in found)
    assert {judgement.verdicts[0] for judgement in found} == {2, -2}  # the first order is random


def test_the_judge_sees_summaries_alone():
    engine = Judge(by_digits)
    prompt = Prompt("p", (Message("system", "Be brief."), Message("user", "How many?")))
    (found,) = PairJudge(engine).judge([Candidates(prompt, "<think> 1 or 2 </think> 7", "<think> 900 </think> 1")])
    assert found.margin == 2
    assert "900" not in engine.prompts[0].question
    assert "Be brief." in engine.prompts[0].question
    assert engine.prompts[0].messages[0].role == "system"


def test_calls_without_a_verdict_are_repeated_and_counted():
    judge = PairJudge(Judge(lambda a, b, count: "no idea" if count <= 3 else by_digits(a, b, count)))
    (found,) = judge.judge(candidates((5, 1)))
    assert found.verdicts == (2,) * 4
    assert judge.counts == {"calls": 7, "unreadable": 3, "unjudged": 0}
    stubborn = PairJudge(Judge(lambda a, b, count: "no idea"), attempts=2)
    (found,) = stubborn.judge(candidates((5, 1)))
    assert found.verdicts == ()
    assert stubborn.counts == {"calls": 8, "unreadable": 8, "unjudged": 1}


def test_settings():
    for settings, message in (({"calls": 3}, "calls is 3"), ({"calls": 0}, "calls is"), ({"attempts": 0}, "attempts")):
        with pytest.raises(InputError, match=message):
            PairJudge(Judge(by_digits), **settings)
    with pytest.raises(InputError, match="the same prompt id"):
        PairJudge(Judge(by_digits)).judge(candidates((1, 2)) * 2)


def test_a_policy_in_this_process_can_judge():
    policy = Policy.from_pretrained("package:r1lit/assets/tiny/base", template="chat")
    judge = PairJudge(
        NativeEngine(policy), SamplingParams(max_new_tokens=4), calls=2, attempts=1, instructions="Compare."
    )
    (found,) = judge.judge(candidates((5, 1)))
    assert judge.counts["calls"] == 2
    assert found.verdicts == ()  # it has never seen a judge at work
    assert judge.counts["unjudged"] == 1


# What is kept


def judgement(a, b, *verdicts, name="p"):
    return Judgement(Candidates(Prompt(name, (Message("user", "Hi?"),)), a, b), verdicts)


def test_kept_where_the_mean_verdict_exceeds_one():
    made = make_pairs(
        [
            judgement("good", "poor", 2, 1, 1, 1),
            judgement("poor", "good", -2, -2, -1, 0),
            judgement("fair", "so-so", 1, 1, 1, 1),
            judgement("a", "b", 2, 2, -1, 0),
            judgement("same", "<think> x </think> same", 2, 2, 2, 2),
            judgement("<think> only", "b", 2, 2, 2, 2),
            judgement("a", "b"),
        ]
    )
    assert [(pair.chosen, pair.rejected, margin) for pair, margin in made.pairs] == [
        ("good", "poor", 1.25),
        ("good", "poor", 1.25),
    ]
    assert made.dropped == {"unjudged": 1, "empty": 1, "equal": 1, "close": 2, "length": 0}


def test_lengths_are_balanced_by_dropping_the_fewest_extremes():
    ratios = [math.log(r) for r in (3.0, 2.0, 1.1, 1.0, 0.9, 0.8, 1.2)]
    kept = balanced(ratios)
    assert kept == [2, 3, 4, 5, 6]
    assert abs(sum(ratios[i] for i in kept)) / len(kept) <= 0.05
    assert balanced([-r for r in ratios]) == kept
    assert balanced([]) == []
    assert balanced([1.0, 1.0]) == []
    assert balanced([1.0, -1.0]) == [0, 1]
    made = make_pairs([judgement("x" * 40, "y" * 10, 2, 2, 2, 2), judgement("x" * 10, "y" * 10, 2, 2, 2, 2)])
    assert (len(made.pairs), made.dropped["length"]) == (1, 1)
