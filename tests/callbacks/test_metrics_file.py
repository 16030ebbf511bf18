import os

import torch

from r1lit.callbacks import MetricsFile, RolloutCheckpoint
from r1lit.callbacks.metrics_file import read_header, read_rows


def test_a_row_for_each_rollout(small_run, tmp_path):
    small_run([MetricsFile()], rollouts=3)
    assert read_header(tmp_path / "metrics.csv") == ["rollout", "step", "loss"]
    assert read_rows(tmp_path / "metrics.csv") == [
        {"rollout": "0", "step": "1", "loss": "0"},
        {"rollout": "1", "step": "2", "loss": "0.25"},
        {"rollout": "2", "step": "3", "loss": "0.5"},
    ]


def test_a_metric_may_come_late_and_may_be_missing(small_run, rollout_of, tmp_path):
    def rollout(index):
        return rollout_of(index, **({"kl": 0.125} if index == 1 else {}))

    small_run([MetricsFile()], rollouts=3, rollout=rollout)
    assert [row["kl"] for row in read_rows(tmp_path / "metrics.csv")] == ["", "0.125", ""]
    assert os.listdir(tmp_path) == ["metrics.csv"]


def test_a_resumed_run_drops_the_rows_of_rollouts_that_it_does_again(small_run, tmp_path):
    path = tmp_path / "metrics.csv"
    small_run([MetricsFile(), RolloutCheckpoint(10)], rollouts=3)
    with path.open("a") as file:  # as if killed after rollout 3 was written and while 4 was
        file.write("3,9,9\r\n4,5")
    small_run([MetricsFile(), RolloutCheckpoint(10)], rollouts=6, ckpt_path=tmp_path / "last.ckpt")
    rows = read_rows(path)
    assert [row["rollout"] for row in rows] == ["0", "1", "2", "3", "4", "5"]
    assert rows[3] == {"rollout": "3", "step": "4", "loss": "0.75"}


def test_a_run_that_starts_anew_drops_all_rows(small_run, tmp_path):
    small_run([MetricsFile()], rollouts=4)
    small_run([MetricsFile()], rollouts=2)
    assert [row["rollout"] for row in read_rows(tmp_path / "metrics.csv")] == ["0", "1"]


def test_what_is_no_number_is_written_as_such(small_run, rollout_of, tmp_path):
    small_run([MetricsFile()], rollouts=1, rollout=lambda index: rollout_of(index, reward=float("nan")))
    (row,) = read_rows(tmp_path / "metrics.csv")
    assert torch.tensor(float(row["reward"])).isnan()


def test_no_file_has_no_header(tmp_path):
    assert read_header(tmp_path / "metrics.csv") == []
