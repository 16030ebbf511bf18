"""Rewards that hang, raise or return nonsense, in a training run."""

import threading

import pytest

from r1lit.callbacks import RolloutCallback
from r1lit.errors import TrainingError
from r1lit.rewards import FunctionReward

MODULE = '''
def hangs_on_third(completions):
    """Never returns for sample 2: one call into C that holds the interpreter's lock."""
    return [float(9 ** (9 ** 9) > 0) if c.sample == 2 else float(c.sample) for c in completions]
'''


class Keep(RolloutCallback):
    def __init__(self):
        self.rollouts = []

    def on_rollout_end(self, trainer, pl_module, rollout):
        self.rollouts.append(rollout)


def raises(completions):
    for c in completions:
        if c.sample == 2:
            raise KeyError("no such column")
    return [0.0] * len(completions)


def returns_nan(completions):
    return [float("nan") if c.sample == 2 else 0.0 for c in completions]


def returns_too_few(completions):
    return [0.0] * (len(completions) - 1)


@pytest.fixture(autouse=True)
def _no_threads_left():
    yield
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("r1lit-reward")]


def test_what_hangs_in_c_is_left_out_and_counted(run, tmp_path, monkeypatch):
    (tmp_path / "r1lit_hangs.py").write_text(MODULE)
    monkeypatch.syspath_prepend(tmp_path)
    reward = FunctionReward("r1lit_hangs.hangs_on_third", timeout_s=1.0, concurrency=2)
    keep = Keep()
    run(rollouts=1, rewards=[reward], per_rollout=2, callbacks=[keep])
    (rollout,) = keep.rollouts
    assert rollout.metrics["unscored"] == 2
    totals = [s.total for s in rollout.scored]
    for completion, total, advantage in zip(rollout.completions, totals, rollout.advantages, strict=True):
        assert total == (None if completion.sample == 2 else completion.sample)
        assert (advantage == 0.0) == (completion.sample == 2)
    assert all(worker._process is None for worker in reward._pool._workers)


@pytest.mark.parametrize(
    ("function", "problem"),
    [
        (raises, r"raised KeyError: 'no such column': prompt 'tiny.*, sample 2"),
        (returns_nan, r"returned nan: prompt 'tiny.*, sample 2"),
        (returns_too_few, r"returned \d+ scores for \d+ completions, the first of them: prompt 'tiny"),
    ],
)
def test_what_goes_wrong_stops_the_run_with_the_completion_named(run, function, problem):
    keep = Keep()
    with pytest.raises(TrainingError, match=rf"step 1 \(rollout 0\): reward '{function.__name__}' {problem}"):
        run(rewards=[FunctionReward(function)], per_rollout=2, callbacks=[keep])
    assert keep.rollouts == []
