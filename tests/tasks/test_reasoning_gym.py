import subprocess
import sys
from typing import Any

import pytest

from r1lit.errors import InputError
from r1lit.tasks import ReasoningGymPrompts

reasoning_gym = pytest.importorskip("reasoning_gym", reason="needs the package reasoning-gym (extra gym)")


def test_puzzles_carry_what_scores_them() -> None:
    prompts = ReasoningGymPrompts(["chain_sum", "countdown"], size=3, seed=5).load()
    assert [p.id for p in prompts] == [f"{name}-5/{i}" for name in ("chain_sum", "countdown") for i in (1, 2, 3)]
    assert all(p.task == "logic" and p.kind == "reasoning" for p in prompts)
    for prompt in prompts:
        held = prompt.meta["reasoning_gym"]
        score = reasoning_gym.get_score_answer_fn(held["dataset"])
        assert score(prompt.answer, held["entry"]) == 1.0
        assert score("wrong", held["entry"]) < 1.0
        assert prompt.question == held["entry"]["question"]


def test_the_seed_fixes_the_puzzles() -> None:
    def questions(**options: Any) -> list[str]:
        return [p.question for p in ReasoningGymPrompts(["chain_sum"], **options).load()]

    assert questions(size=4, seed=1) == questions(size=6, seed=1)[:4]
    assert questions(size=4, seed=1) != questions(size=4, seed=2)


def test_a_data_set_takes_its_own_arguments() -> None:
    prompts = ReasoningGymPrompts(
        {"chain_sum": {"min_terms": 2, "max_terms": 2, "size": 2, "seed": 9}, "countdown": None}, size=1
    ).load()
    assert [p.id for p in prompts] == ["chain_sum-9/1", "chain_sum-9/2", "countdown-0/1"]
    assert prompts[0].meta["reasoning_gym"]["entry"]["metadata"]["num_terms"] == 2


@pytest.mark.parametrize(
    ("datasets", "message"),
    [
        (["no_such"], "reasoning-gym has no data set 'no_such', only .*chain_sum"),
        ({"chain_sum": {"terms": 2}}, "'chain_sum' refuses .*terms"),
        ({"chain_sum": {"min_terms": 0}}, "'chain_sum' refuses .*min_terms must be"),
    ],
)
def test_unknown_names_and_arguments_are_refused(datasets: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        ReasoningGymPrompts(datasets).load()


@pytest.mark.parametrize(("arguments", "message"), [(([],), "datasets is empty"), ((["chain_sum"], 0), "size is 0")])
def test_impossible_arguments_are_refused_at_once(arguments: tuple[Any, ...], message: str) -> None:
    with pytest.raises(InputError, match=message):
        ReasoningGymPrompts(*arguments)


def test_without_the_extra_the_command_is_told() -> None:
    code = "import sys; sys.modules['reasoning_gym'] = None\nfrom r1lit.tasks import ReasoningGymPrompts\n"
    code += "try:\n    ReasoningGymPrompts(['chain_sum']).load()\nexcept Exception as error:\n    print(error)"
    line = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout
    assert "pip install 'r1lit[gym]'" in line
