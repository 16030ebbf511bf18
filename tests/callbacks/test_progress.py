from types import SimpleNamespace

import pytest

from r1lit.callbacks import RolloutProgress
from r1lit.callbacks import progress as module_of_progress
from r1lit.callbacks.progress import clock
from r1lit.errors import InputError
from r1lit.types import Rollout

METRICS = {
    "step": 7.0, "reward/accuracy": 0.25, "reward/format": 0.5, "mean_length": 31.0, "truncated": 0.125,
    "loss": -0.5, "kl": 0.01, "tokens_per_s": 1234.0,
}  # fmt: skip


def rollout(index):
    return Rollout(index, (), (), metrics=METRICS)


@pytest.fixture
def now(monkeypatch):
    """The clock, to be set."""
    time = SimpleNamespace(value=0.0, monotonic=lambda: time.value)
    monkeypatch.setattr(module_of_progress, "time", time)
    return time


TRAINER = SimpleNamespace(is_global_zero=True, num_test_batches=[8])


def test_one_line_a_rollout_with_the_time_left(now, capsys):
    progress = RolloutProgress()
    module = SimpleNamespace(batches_done=2, max_rollouts=6)
    progress.on_train_start(TRAINER, module)
    now.value = 20.0
    progress.on_rollout_end(TRAINER, module, rollout(2))
    now.value = 60.0
    progress.on_rollout_end(TRAINER, module, rollout(3))
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == (
        "rollout 3/6 step 7 | accuracy 0.25 format 0.50 | length 31 truncated 12% | loss -0.500 kl 0.0100 | "
        "1,234 tokens/s, 1:00 left"
    )
    assert lines[1].endswith("1:00 left"), "two done by this process in a minute, two to go"


def test_no_time_left_is_told_of_an_endless_run(now, capsys):
    progress = RolloutProgress(every_n_rollouts=2)
    module = SimpleNamespace(batches_done=0, max_rollouts=None)
    for index in range(3):
        progress.on_rollout_end(TRAINER, module, rollout(index))
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[1] for line in lines] == ["1", "3"]
    assert not [line for line in lines if "left" in line]


def test_other_ranks_are_silent(now, capsys):
    other = SimpleNamespace(is_global_zero=False, num_test_batches=[8])
    progress = RolloutProgress()
    now.value = 1000.0
    progress.on_rollout_end(other, SimpleNamespace(max_rollouts=1), rollout(0))
    progress.on_completions(other, None, 1, 2, 3)
    progress.on_test_end(other, None)
    assert capsys.readouterr().out == ""


def test_a_file_gets_a_line_each_half_minute(now, capsys):
    progress = RolloutProgress()
    progress.on_train_start(TRAINER, SimpleNamespace(batches_done=0))
    for now.value, done in ((10.0, 1), (31.0, 2), (40.0, 3), (62.0, 4)):
        progress.on_completions(TRAINER, None, done, 64, 620)
    assert capsys.readouterr().out.splitlines() == [
        "  sampling: 2 of 64 completions, 20 tokens/s, 16:01 left",
        "  sampling: 4 of 64 completions, 10 tokens/s, 15:30 left",
    ]
    progress.on_test_start(TRAINER, None)
    now.value += 31
    progress.on_test_batch_end(TRAINER, None, None, [], 2)
    assert capsys.readouterr().out == "  measuring: 3 of 8 batches\n"


def test_clock():
    assert [clock(s) for s in (0, 61.4, 3600 + 62, -3)] == ["0:00", "1:01", "1:01:02", "0:00"]


def test_bad_interval():
    with pytest.raises(InputError, match=r"progress\.every_n_rollouts is 0"):
        RolloutProgress(every_n_rollouts=0)


def test_updates_of_fine_tuning_take_a_line_for_ten_and_one_for_the_last(capsys):
    progress = RolloutProgress()
    trainer = SimpleNamespace(is_global_zero=True)
    module = SimpleNamespace(batches_done=0, batches_wanted=25)
    progress.on_train_start(trainer, module)
    for index in range(25):
        metrics = {
            "step": index + 1.0, "epoch": index / 10, "loss": 1.25, "grad_norm": 0.5, "learning_rate": 5e-5,
            "tokens_per_s": 1234.0,
        }  # fmt: skip
        progress.on_metrics(trainer, module, index, metrics)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(" epoch")[0] for line in lines] == ["step 10/25", "step 20/25", "step 25/25"]
    assert "loss 1.2500 grad norm 0.50 lr 5.0e-05 | 1,234 tokens/s, 0:00 left" in lines[-1]
