import pickle

import numpy as np
import pytest

from r1lit.errors import InputError, TrainingError
from r1lit.rewards import UNSCORED, Reward, score_completions
from r1lit.types import Completion, Message, Prompt


class Fixed(Reward):
    """Returns a given value by prompt id and remembers what it was asked."""

    def __init__(self, name, values, **options):
        super().__init__(name, **options)
        self.values = values
        self.asked = []

    def score(self, completions):
        self.asked.append([(c.prompt.id, c.sample) for c in completions])
        return [self.values[c.prompt.id] for c in completions]


class Broken(Reward):
    def __init__(self, result):
        super().__init__("broken")
        self.result = result

    def score(self, completions):
        return self.result(completions)


def completion(prompt_id, sample=0, kind="reasoning", text="x" * 200):
    return Completion(Prompt(prompt_id, (Message("user", "q"),), kind=kind), sample, (), (), (), text, "stop")


def test_weighted_sum_in_order():
    first, second = Fixed("first", {"a": 1.0, "b": 0.5}), Fixed("second", {"a": 3, "b": None}, weight=-0.5)
    batch = [completion("b"), completion("a", 0), completion("a", 1)]
    scores = score_completions([first, second], batch, step=0)
    assert {name: tuple(s.scores[name] for s in scores) for name in scores[0].scores} == {
        "first": (0.5, 1.0, 1.0),
        "second": (None, 3.0, 3.0),
    }
    assert tuple(s.total for s in scores) == (0.5, -0.5, -0.5)
    assert first.asked == [[("b", 0), ("a", 0), ("a", 1)]]


def test_only_what_a_reward_applies_to_is_handed_over():
    rule = Fixed("rule", {"r": 1.0}, kinds=("reasoning",))
    model = Fixed("model", {"h": 0.25}, kinds=("helpful",), from_step=10)
    batch = [completion("h", kind="helpful"), completion("r")]
    scores = score_completions([rule, model], batch, step=10)
    assert tuple(s.total for s in scores) == (0.25, 1.0)
    assert {name: tuple(s.scores[name] for s in scores) for name in scores[0].scores} == {
        "rule": (None, 1.0),
        "model": (0.25, None),
    }
    assert (rule.asked, model.asked) == ([[("r", 0)]], [[("h", 0)]])
    assert tuple(s.total for s in score_completions([rule, model], batch, step=9)) == (
        None,
        1.0,
    )  # left out, until the model's step
    assert model.asked == [[("h", 0)]]
    with pytest.raises(InputError, match=r"'x' \(kind 'harmless'.*step 9"):
        score_completions([rule, model], [completion("x", kind="harmless")], step=9)


def test_a_late_reward_leaves_those_that_are_due_alone():
    form = Fixed("form", {"h": 1.0})
    model = Fixed("model", {"h": 0.25}, kinds=("helpful",), from_step=10)
    batch = [completion("h", kind="helpful")]
    assert [tuple(s.total for s in score_completions([form, model], batch, step)) for step in (9, 10)] == [
        (1.0,),
        (1.25,),
    ]


def test_a_weight_of_zero_is_scored_but_does_not_count():
    rule, shadow = Fixed("rule", {"a": 1.0, "b": 0.0}), Fixed("shadow", {"a": 0.3, "b": UNSCORED}, weight=0.0)
    scores = score_completions([rule, shadow], [completion("a"), completion("b")], step=0)
    assert tuple(s.total for s in scores) == (1.0, 0.0)
    assert tuple(s.scores["shadow"] for s in scores) == (0.3, None)
    with pytest.raises(InputError, match="weight other than 0"):
        score_completions([shadow], [completion("a")], step=0)
    late = Fixed("late", {"a": 1.0}, from_step=5)
    assert tuple(s.total for s in score_completions([late, shadow], [completion("a")], step=0)) == (None,)


def test_a_run_that_must_stop_is_not_asked_again():
    calls = []

    def stop(completions):
        calls.append(len(completions))
        raise TrainingError("the server stays away")

    with pytest.raises(TrainingError, match=r"^the server stays away$"):
        score_completions([Broken(stop)], [completion("a"), completion("b")], step=0)
    assert calls == [2]


def test_unscored_differs_from_not_applicable():
    timed, other = Fixed("timed", {"a": UNSCORED, "b": None}), Fixed("other", {"a": 1.0, "b": 1.0})
    scores = score_completions([timed, other], [completion("a"), completion("b")], step=0)
    assert {name: tuple(s.scores[name] for s in scores) for name in scores[0].scores} == {
        "timed": (None, None),
        "other": (1.0, 1.0),
    }
    assert tuple(s.total for s in scores) == (None, 1.0)


def test_unscored_alone_is_no_input_error():
    assert tuple(s.total for s in score_completions([Fixed("timed", {"a": UNSCORED})], [completion("a")], step=0)) == (
        None,
    )


def test_unscored_stays_itself():
    assert pickle.loads(pickle.dumps(UNSCORED)) is UNSCORED


def test_every_reward_not_applicable():
    with pytest.raises(InputError, match="no reward applies to prompt 'a'"):
        score_completions([Fixed("x", {"a": None})], [completion("a")], step=0)
    with pytest.raises(InputError, match="no reward applies"):
        score_completions([], [completion("a")], step=0)


def test_nothing_to_score():
    scores = score_completions([Fixed("x", {})], [], step=0)
    assert scores == []


def test_numbers_of_other_types():
    scores = score_completions([Fixed("x", {"a": True, "b": np.float32(0.5)})], [completion("a"), completion("b")], 0)
    assert tuple(s.total for s in scores) == (1.0, 0.5)
    assert all(type(s.total) is float for s in scores)


@pytest.mark.parametrize(
    ("result", "problem"),
    [
        (lambda batch: [1.0], "returned 1 scores for 2 completions"),
        (lambda batch: [1.0, 2.0, 3.0], "returned 3 scores for 2 completions"),
        (lambda batch: [float("nan"), 1.0], "returned nan"),
        (lambda batch: [float("-inf"), 1.0], "returned -inf"),
        (lambda batch: ["1", 1.0], "returned a str"),
        (lambda batch: None, "raised TypeError"),
    ],
)
def test_bad_results_stop_the_run(result, problem):
    with pytest.raises(TrainingError) as caught:
        score_completions([Broken(result)], [completion("a", 3), completion("a", 4)], step=0)
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith(f"reward 'broken' {problem}")
    assert message.endswith(f"prompt 'a', sample 3, text '{'x' * 80}'")


def test_the_completion_that_makes_a_reward_fail_is_named():
    def fails_on_b(batch):
        if any(c.prompt.id == "b" for c in batch):
            raise ValueError("two\nlines")
        return [0.0] * len(batch)

    batch = [completion("a"), completion("b", 1, text="a\nb"), completion("c")]
    with pytest.raises(TrainingError) as caught:
        score_completions([Broken(fails_on_b)], batch, step=0)
    assert str(caught.value) == r"reward 'broken' raised ValueError: two lines: prompt 'b', sample 1, text 'a\nb'"
    assert isinstance(caught.value.__cause__, ValueError)


def test_a_failure_of_the_batch_only_names_the_first():
    def fails_on_batches(batch):
        assert len(batch) == 1
        return [0.0]

    with pytest.raises(TrainingError, match="prompt 'a'"):
        score_completions([Broken(fails_on_batches)], [completion("a"), completion("b")], step=0)


def test_bad_input_stays_bad_input():
    def refuses(batch):
        raise InputError("prompt 'a' has no reference")

    with pytest.raises(InputError, match="no reference"):
        score_completions([Broken(refuses)], [completion("a")], step=0)


def test_names_are_checked():
    with pytest.raises(InputError, match="two rewards are named 'x'"):
        score_completions([Fixed("x", {}), Fixed("x", {})], [], step=0)
