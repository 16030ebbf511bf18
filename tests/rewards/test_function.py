import pickle

import pytest

from r1lit.errors import InputError
from r1lit.rewards import FunctionReward
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
