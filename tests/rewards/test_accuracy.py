import os
import pickle

import pytest

from r1lit.errors import InputError
from r1lit.grading import worker_main
from r1lit.grading import workers as workers_module
from r1lit.rewards import AccuracyReward, AnswerTimeout, score_completions
from r1lit.types import Completion, Message, Prompt

TOWER = "9^{9^{9^9}}"


@pytest.fixture
def reward():
    reward = AccuracyReward(timeout_s=5.0)
    yield reward
    reward.close()


def completion(answer, gold="2x", task="math", sample=0, **prompt):
    prompt = Prompt("p5", (Message("user", "q"),), answer=gold, task=task, **prompt)
    return Completion(prompt, sample, (), (), (), f"text {answer}", "stop", answer=answer)


def test_scores_are_1_and_0_and_none(reward):
    batch = [
        completion("x+x"),
        completion("3x"),
        completion(None),
        completion("B", "b", "choice"),
        completion("hi", None, "chat", kind="helpful"),
    ]
    assert reward.score(batch) == [1.0, 0.0, 0.0, 1.0, None]
    assert [reward.is_correct(c) for c in batch] == [True, False, False, True, False]


def test_a_comparison_that_hangs_stays_unscored_and_leaves_no_process():
    reward = AccuracyReward(timeout_s=1.5)
    batch = [completion("x+x"), completion(TOWER, sample=1), completion(TOWER, sample=2), completion("x", sample=3)]
    scores = score_completions([reward], batch, step=0)
    assert {name: tuple(s.scores[name] for s in scores) for name in scores[0].scores} == {
        "accuracy": (1.0, None, None, 0.0)
    }
    assert tuple(s.total for s in scores) == (1.0, None, None, 0.0)
    evaluated = score_completions([reward], batch, step=0, judge="accuracy")
    assert [(s.scores["accuracy"], s.total) for s in evaluated] == [(1.0, 1.0), (0.0, None), (0.0, None), (0.0, 0.0)]
    with pytest.raises(AnswerTimeout, match=r"'p5', sample 1"):
        reward.is_correct(batch[1])
    processes = [worker._process for worker in workers_module._pools["math"]._workers if worker._process is not None]
    reward.score(batch[:1])
    reward.close()
    reward.close()
    for process in processes:
        with pytest.raises(ProcessLookupError):
            os.kill(process.pid, 0)
    assert reward.score(batch[:1]) == [1.0]  # a closed reward starts again
    reward.close()


def test_pickles_after_use(reward):
    reward.score([completion("x+x")])
    copy = pickle.loads(pickle.dumps(reward))
    assert (copy.name, copy.timeout_s) == ("accuracy", 5.0)
    assert copy.score([completion("x+x")]) == [1.0]


def test_missing_reference_names_the_prompt(reward):
    with pytest.raises(InputError, match=r"'p5'"):
        score_completions([reward], [completion("5", None)], step=0)


def test_bad_limit():
    with pytest.raises(InputError, match=r"timeout_s is 0"):
        AccuracyReward(timeout_s=0)


def test_reasoning_gym_scores_by_its_own_rules(reward):
    gym = pytest.importorskip("reasoning_gym", reason="needs the package reasoning-gym (extra gym)")
    entry = gym.create_dataset("countdown", size=1, seed=3)[0]
    right, name = entry["metadata"]["expression"], "countdown"

    def scored(answer, dataset=name, entry=entry):
        return reward.score(
            [completion(answer, None, "logic", meta={"reasoning_gym": {"dataset": dataset, "entry": entry}})]
        )

    assert scored(right) == [1.0]
    assert scored(rf"\boxed{{{right}}}") == [1.0]
    assert scored("1 + 1") == [0.0]
    assert scored("().__class__") == [0.0]
    with pytest.raises(InputError, match=r"'p5'.*no dataset 'nonsense'"):
        scored(right, "nonsense")
    with pytest.raises(InputError, match=r"'p5'.*cannot read the entry"):
        scored(right, "leg_counting", {})


def test_checker_of_reasoning_gym_in_this_process():
    pytest.importorskip("reasoning_gym", reason="needs the package reasoning-gym (extra gym)")
    check = worker_main.gym_checker()
    request = {"prompt": "p", "dataset": "leg_counting", "entry": {"answer": "8"}, "answer": "8"}
    assert check(request) == {"equal": True}
    assert check({**request, "answer": "18"}) == {"equal": False}  # partial credit is not correct
    assert check({**request, "answer": "__"}) == {"equal": False}
    with pytest.raises(worker_main.BadRequestError, match=r"no dataset"):
        check({**request, "dataset": "nonsense"})
    with pytest.raises(worker_main.BadRequestError, match=r"cannot read"):
        check({**request, "entry": {}})
