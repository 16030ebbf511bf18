import os

import pytest
import torch

from r1lit.callbacks import RolloutCheckpoint
from r1lit.callbacks.checkpoint import find_checkpoint
from r1lit.errors import InputError


class Watched(RolloutCheckpoint):
    """Keeps after which rollouts it saved."""

    def __init__(self, every_n_rollouts):
        super().__init__(every_n_rollouts)
        self.seen = []

    def _save(self, trainer):
        super()._save(trainer)
        self.seen.append(trainer.lightning_module.rollouts)


def test_saves_every_n_rollouts_and_after_the_last(small_run, tmp_path):
    watched = Watched(3)
    small_run([watched], rollouts=8)
    assert watched.seen == [3, 6, 8]
    assert torch.load(tmp_path / "last.ckpt", weights_only=False)["rollouts"] == 8
    assert os.listdir(tmp_path) == ["last.ckpt"]


def test_saves_nothing_twice(small_run):
    watched = Watched(2)
    small_run([watched], rollouts=4)
    assert watched.seen == [2, 4]


def test_saves_at_the_end_where_the_trainers_limit_ends_the_run_and_resumes(small_run, tmp_path):
    straight = small_run([Watched(4)], epochs=2)
    assert straight.rollouts == 10
    watched = Watched(4)
    assert small_run([watched], epochs=1).rollouts == 5
    assert watched.seen == [4, 5]
    resumed = small_run([Watched(4)], epochs=2, ckpt_path=tmp_path / "last.ckpt")
    assert resumed.rollouts == 10
    assert torch.equal(resumed.weight, straight.weight)


@pytest.mark.parametrize("rollouts", [3, 5])  # amid an epoch of five, and at its end
def test_a_resumed_run_equals_one_that_ran_through(small_run, tmp_path, rollouts):
    straight = small_run([RolloutCheckpoint(1)], rollouts=8)
    small_run([RolloutCheckpoint(10)], rollouts=rollouts)
    resumed = small_run([RolloutCheckpoint(10)], rollouts=8, ckpt_path=tmp_path / "last.ckpt")
    assert resumed.rollouts == 8
    assert torch.equal(resumed.weight, straight.weight)


def test_finds_the_newest_whole_checkpoint(tmp_path):
    assert find_checkpoint(tmp_path) is None
    (tmp_path / "last.ckpt.new").mkdir()  # a kill while it was written
    assert find_checkpoint(tmp_path) is None
    (tmp_path / "last.ckpt.old").mkdir()  # a kill between the two renames
    assert find_checkpoint(tmp_path) == tmp_path / "last.ckpt.old"
    (tmp_path / "last.ckpt").mkdir()
    assert find_checkpoint(tmp_path) == tmp_path / "last.ckpt"


def test_what_a_kill_left_behind_goes_only_when_there_is_a_newer_checkpoint(small_run, tmp_path):
    """A kill came between the two renames; now saving fails as well."""
    (tmp_path / "last.ckpt.old").mkdir()
    (tmp_path / "last.ckpt.new").mkdir()

    class FullDisk(small_run.module):
        def on_save_checkpoint(self, checkpoint):
            raise OSError("no space left")

    with pytest.raises(OSError, match="no space left"):
        small_run([RolloutCheckpoint(1)], module=FullDisk(2))
    assert find_checkpoint(tmp_path) == tmp_path / "last.ckpt.old"
    small_run([RolloutCheckpoint(1)], rollouts=2)
    assert os.listdir(tmp_path) == ["last.ckpt"]
    assert (tmp_path / "last.ckpt").is_file()


def test_an_interval_below_one_is_refused():
    with pytest.raises(InputError, match=r"checkpoint\.every_n_rollouts is 0"):
        RolloutCheckpoint(0)
