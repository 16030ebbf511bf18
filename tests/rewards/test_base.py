import copy
import gc
import os
import pickle
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
import torch
from lightning.pytorch import LightningModule, Trainer

from r1lit.errors import InputError
from r1lit.rewards import FormatReward, Reward, check_names
from r1lit.rewards import base as base_module
from r1lit.types import Completion, Message, Prompt


class Counting(Reward):
    """A reward with state: how many completions it has seen."""

    def __init__(self, name, **options):
        super().__init__(name, **options)
        self.seen = 0
        self.closed = 0

    def score(self, completions):
        self.seen += len(completions)
        return [1.0] * len(completions)

    def state_dict(self):
        return {"seen": self.seen}

    def load_state_dict(self, state_dict):
        self.seen = state_dict["seen"]

    def close(self):
        self.closed += 1


def completion():
    return Completion(Prompt("p", (Message("user", "q"),)), 0, (), (), (), "", "stop")


class Module(LightningModule):
    """Scores by its rewards in each step, the second reward twice as many completions."""

    def __init__(self, rewards, fail=False):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))
        self.rewards = rewards
        self.fail = fail

    def configure_callbacks(self):
        return list(self.rewards)

    def training_step(self, batch):
        for n, reward in enumerate(self.rewards, start=1):
            reward.score([completion()] * n)
        if self.fail:
            raise RuntimeError("the step fails")
        return self.weight.sum()

    def train_dataloader(self):
        return torch.utils.data.DataLoader(torch.zeros(3, 1))

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


def trainer(tmp_path, **options):
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False, "accelerator": "cpu"}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return Trainer(default_root_dir=tmp_path, enable_checkpointing=False, **quiet, **options)


def test_state_of_two_rewards_of_one_class_survives_a_checkpoint(tmp_path):
    first, second = Counting("first"), Counting("second")
    one = trainer(tmp_path, max_epochs=1)
    one.fit(Module([first, second]))
    assert (first.seen, second.seen) == (3, 6)
    assert min(first.closed, second.closed) >= 1  # by teardown
    one.save_checkpoint(tmp_path / "a.ckpt")
    saved = torch.load(tmp_path / "a.ckpt", weights_only=True)["callbacks"]
    assert saved == {"Reward[first]": {"seen": 3}, "Reward[second]": {"seen": 6}}

    first, second = Counting("first"), Counting("second")
    trainer(tmp_path, max_epochs=2).fit(Module([first, second]), ckpt_path=tmp_path / "a.ckpt", weights_only=True)
    assert (first.seen, second.seen) == (6, 12)


def test_closed_when_a_run_fails(tmp_path):
    reward = Counting("x")
    with pytest.raises(RuntimeError, match="the step fails"):
        trainer(tmp_path, max_epochs=1).fit(Module([reward], fail=True))
    assert reward.closed >= 1


def test_closed_at_exit():
    reward, gone = Counting("x"), Counting("y")
    del gone
    gc.collect()
    base_module._close_live()
    assert reward.closed == 1


def test_no_worker_outlives_its_process():
    code = (
        "from r1lit.rewards import AccuracyReward\n"
        "from r1lit.grading import workers\n"
        "from r1lit.types import *\n"
        "p = Prompt('p', (), answer='2x')\n"
        "assert AccuracyReward().score([Completion(p, 0, (), (), (), '', 'stop', answer='x+x')]) == [1.0]\n"
        "print([w._process.pid for w in workers._pools['math']._workers if w._process][0])\n"
    )
    source = Path(base_module.__file__).parents[2]
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=source)
    assert run.returncode == 0, run.stderr
    with pytest.raises(ProcessLookupError):
        os.kill(int(run.stdout), 0)


def test_applies_to():
    reward = Counting("x", kinds=["reasoning"], tasks="math", from_step=5)
    assert (reward.kinds, reward.tasks) == (("reasoning",), ("math",))
    math = Prompt("p", ())
    assert reward.applies_to(math, 5)
    assert not reward.applies_to(math, 4)
    assert not reward.applies_to(Prompt("p", (), kind="helpful"), 5)
    assert not reward.applies_to(Prompt("p", (), task="code"), 5)
    assert Counting("y").applies_to(Prompt("p", (), kind="harmless", task="chat"), 0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"name": ""}, "name is empty"),
        ({"weight": float("inf")}, "'x': weight is inf"),
        ({"from_step": -1}, "'x': from_step is -1"),
        ({"kinds": ("maths",)}, "'x': kinds has 'maths'; choose from reasoning"),
        ({"tasks": ("sums",)}, "'x': tasks has 'sums'; choose from math"),
    ],
)
def test_bad_arguments(options, message):
    with pytest.raises(InputError, match=message):
        Counting(**{"name": "x", **options})


def test_two_of_one_name_are_refused():
    check_names([Counting("x"), Counting("y")])
    with pytest.raises(InputError, match=r"'x' \(Counting and FormatReward\)"):
        check_names([Counting("x"), FormatReward(name="x")])


def test_score_is_abstract():
    with pytest.raises(TypeError, match="score"):
        Reward("x")


def test_pickles_and_copies():
    reward = Counting("x", weight=0.5)
    for twin in (pickle.loads(pickle.dumps(reward)), copy.deepcopy(reward)):
        assert (twin.name, twin.weight, twin.state_key) == ("x", 0.5, "Reward[x]")
        base_module._close_live()
        assert twin.closed >= 1


def test_a_reward_without_resources_closes():
    FormatReward().close()
