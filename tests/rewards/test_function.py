import pickle
import time

import pytest

from r1lit.errors import InputError, TrainingError
from r1lit.rewards import UNSCORED, FunctionReward, score_completions
from r1lit.types import Completion, Message, Prompt

COMPLETION = Completion(Prompt("p", (Message("user", "q"),)), 0, (), (), (), "four", "stop")


def lengths(completions):
    return [float(len(c.text)) for c in completions]


def test_wraps_a_function():
    reward = FunctionReward(lengths, weight=2.0)
    assert (reward.name, reward.weight) == ("lengths", 2.0)
    assert reward.score([COMPLETION]) == [4.0]


def test_dotted_path_is_imported_and_pickled():
    reward = pickle.loads(pickle.dumps(FunctionReward("builtins.len", name="count")))
    assert reward.name == "count"
    assert reward.score([COMPLETION, COMPLETION]) == 2  # what it returns is checked by score_completions


@pytest.mark.parametrize("path", ["no_such_module.f", "math.no_such_function", "lengths"])
def test_unknown_path_is_named(path):
    with pytest.raises(InputError, match=path):
        FunctionReward(path)


def test_not_callable():
    with pytest.raises(InputError, match=r"'math\.pi' is a float"):
        FunctionReward("math.pi")


def test_callable_object_is_named_by_its_class():
    class Constant:
        def __call__(self, completions):
            return [1.0 for _ in completions]

    assert FunctionReward(Constant()).name == "Constant"


MODULE = '''
import time


def mark(completions):
    """What happens depends on the text of the completion."""
    text = completions[0].text
    if text == "hang in C":
        return [float(9 ** (9 ** 9) > 0)]  # one call into C that holds the interpreter's lock for hours
    if text == "sleep":
        time.sleep(1000)
    if text == "raise":
        raise ValueError("two\\nlines")
    if text == "exit":
        raise SystemExit(3)
    if text == "unscored":
        from r1lit.rewards import UNSCORED

        return [UNSCORED]
    return {"nan": [float("nan")], "count": [1.0, 2.0], "type": ["1"], "none": [None], "true": [True]}.get(
        text, [float(len(text))]
    )
'''


@pytest.fixture
def in_worker(tmp_path, monkeypatch):
    """Makes rewards whose function runs in worker processes; closes them."""
    (tmp_path / "r1lit_marks.py").write_text(MODULE)
    monkeypatch.syspath_prepend(tmp_path)
    made = []

    def make(timeout_s=20.0, **options):
        made.append(FunctionReward("r1lit_marks.mark", timeout_s=timeout_s, **options))
        return made[-1]

    yield make
    for reward in made:
        reward.close()


def completions(*texts):
    return [Completion(COMPLETION.prompt, i, (), (), (), text, "stop") for i, text in enumerate(texts)]


def test_scores_in_a_worker(in_worker):
    reward = in_worker(concurrency=2)
    assert reward.score(completions("four", "none", "unscored", "true", "")) == [4.0, None, UNSCORED, 1.0, 0.0]
    assert pickle.loads(pickle.dumps(reward)).score(completions("four")) == [4.0]
    processes = [worker._process for worker in reward._pool._workers]
    reward.close()
    assert all(process.returncode is not None for process in processes if process)
    assert reward.score(completions("four")) == [4.0]


def test_what_hangs_in_c_is_killed_tried_again_and_unscored(in_worker):
    reward = in_worker(timeout_s=0.7)
    reward.score(completions("four"))  # the start of the worker is no part of the limit
    start = time.monotonic()
    scores = score_completions([reward], completions("four", "hang in C", "sleep", "exit", "fives"), 0)
    assert {name: tuple(s.scores[name] for s in scores) for name in scores[0].scores} == {
        "mark": (4.0, None, None, None, 5.0)
    }
    assert 2.8 < time.monotonic() - start < 15


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("raise", "raised ValueError: two lines"),
        ("nan", "returned nan"),
        ("count", "returned 2 scores for 1 completion"),
        ("type", "returned a str instead of a float"),
    ],
)
def test_what_goes_wrong_in_a_worker_names_the_completion(in_worker, text, problem):
    with pytest.raises(TrainingError, match=rf"reward 'mark' {problem}: prompt 'p', sample 1, text '{text}'"):
        score_completions([in_worker()], completions("four", text), 0)


def test_a_function_that_workers_cannot_import():
    with pytest.raises(InputError, match="put it into a module"):
        FunctionReward(lambda cs: [0.0], name="mark", timeout_s=1.0).score(completions("four"))


@pytest.mark.parametrize("options", [
    {"concurrency": -1},
    {"timeout_s": 0.0},
    {"timeout_s": 1.0, "concurrency": 0},
    {"timeout_s": 1.0, "groupwise": True},
])  # fmt: skip
def test_options_that_make_no_sense(options):
    with pytest.raises(InputError, match="reward 'lengths'"):
        FunctionReward(lengths, **options)
