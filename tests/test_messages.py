import pytest
from jsonargparse import ArgumentError
from lightning.fabric.utilities.exceptions import MisconfigurationException

from r1lit.errors import InputError, TrainingError
from r1lit.messages import deliberate, one_line, parser_message, user_message


def wall(*causes, key="model", given="{'class_path': 'GRPOModule'}"):
    """The message that jsonargparse makes of a value that fits none of several types."""
    branches = "\n".join("    - " + cause.replace("\n", "\n      ") for cause in causes)
    return (
        f'Parser key "{key}":\n  Does not validate against any of the Union subtypes\n'
        f"  Subtypes: [<class 'r1lit.PolicyModule'>, <class 'NoneType'>]\n  Errors:\n{branches}\n"
        f"  Given value type: <class 'dict'>\n  Given value: {given}"
    )


NONE = "Expected a <class 'NoneType'>"
MODULE = "Problem with given class_path 'r1lit.GRPOModule':\n    "
REWARD = (
    MODULE + "Parser key \"rewards\":\n      Problem with given class_path 'r1lit.rewards.AccuracyReward':\n        "
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            wall(REWARD + "Option 'wight' is not accepted", NONE),
            "model.rewards (AccuracyReward): there is no key 'wight'",
        ),
        (
            wall(REWARD + "Parser key \"weight\":\n          Expected a <class 'float'>. Got value: heavy", NONE),
            "model.rewards.weight (AccuracyReward): expected float, got heavy",
        ),
        (
            wall(MODULE + 'Parser key "rewards":\n      Expected a dot import path string: NoReward', NONE),
            "model.rewards (GRPOModule): there is no class 'NoReward'; check the name, or write its dotted path",
        ),
        (
            wall(MODULE + "Group 'sampling' does not accept option 'temprature'", NONE),
            "model.sampling (GRPOModule): there is no key 'temprature'",
        ),
        (
            wall(
                MODULE + "Parser key \"loss\":\n      Expected a typing.Literal['grpo', 'gspo']. Got value: ppo", NONE
            ),
            "model.loss (GRPOModule): expected one of 'grpo', 'gspo', got ppo",
        ),
        (
            wall(
                MODULE
                + 'Parser key "engine":\n      Type collections.abc.Callable[[r1lit.Policy], r1lit.Engine] expects '
                "a function or a callable class: Option 'rows' is not accepted. Got value: Namespace(class_path='x')",
                NONE,
            ),
            "model.engine (GRPOModule): there is no key 'rows'",
        ),
        (
            wall("Expected a <class 'int'>. Got value: a", "Expected a <class 'str'>", key="devices", given="[1, 'a']"),
            "devices: expected int or str, got [1, 'a']",
        ),
        (wall("Expected a <class 'int'>", NONE, key="stage.steps", given="x"), "stage.steps: expected int, got x"),
        ("Subcommand 'fit' does not accept option 'modle'", "there is no key 'modle'"),
        ("unrecognized arguments: --bogus 3", "unrecognized arguments: --bogus 3"),
        ("", ""),
    ],
)
def test_the_innermost_cause_is_found_with_its_keys(text, expected):
    assert parser_message(text) == expected


def test_alternatives_are_not_mixed_with_a_deeper_cause():
    inner = wall("Expected a <class 'list'>", REWARD + "Option 'x' is not accepted", NONE, key="train")
    assert parser_message(inner) == "train.rewards (AccuracyReward): there is no key 'x'"


def raised(*errors):
    """The last error of a chain, each raised from the one before."""
    cause = None
    for error in errors:
        error.__cause__ = cause
        cause = error
    return cause


def test_own_errors_shine_through_what_wraps_them():
    wrapped = raised(InputError("row 3:\nno answer"), ValueError(wall("x")), ValueError(wall("y")))
    assert user_message(wrapped) == "row 3: no answer"
    assert isinstance(deliberate(raised(TrainingError("loss is nan"), RuntimeError("worker"))), TrainingError)


def test_only_errors_of_the_user_are_shortened():
    assert user_message(KeyError("a bug")) is None
    assert user_message(ValueError("a bug")) is None
    assert user_message(ArgumentError(None, "unrecognized\narguments: x")) == "unrecognized arguments: x"
    assert user_message(MisconfigurationException("No GPU\nfound")) == "No GPU found"


def test_one_line_is_cut():
    assert one_line("a\n  b\tc") == "a b c"
    assert one_line("x" * 700, most=10) == "x" * 10 + " [...]"
