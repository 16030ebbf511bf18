"""A run that was killed, and killed again, ends as one that was not."""

import csv
import json
import signal

import pyarrow.parquet as pq
from safetensors.torch import load_file

CLOCK = {"generate_s", "train_s", "tokens_per_s"}


def metrics_of(stage):
    with (stage / "metrics.csv").open(newline="") as file:
        return [{name: value for name, value in row.items() if name not in CLOCK} for row in csv.DictReader(file)]


def test_a_run_that_is_killed_four_times_equals_one_that_is_not(command_line):
    straight, codes = command_line("straight")
    assert codes == [0]
    for moment, done in (
        ("update 5", 2),  # within the third rollout; the second ended an epoch
        ("after checkpoint 3", 3),
        ("before checkpoint 5", 4),  # the fifth rollout stands in metrics.csv already
        ("before test 0", 6),  # all done but stage.json
    ):
        killed, codes = command_line("killed", kill_at=moment)
        assert codes == [-signal.SIGKILL]
        assert not (killed / "stage.json").exists()
        assert len(metrics_of(killed)) >= done
    killed, codes = command_line("killed")
    assert codes == [0]

    ours, wanted = (load_file(stage / "model" / "model.safetensors") for stage in (killed, straight))
    assert ours.keys() == wanted.keys()
    assert all(ours[name].equal(value) for name, value in wanted.items())
    assert [row["rollout"] for row in metrics_of(killed)] == ["0", "1", "2", "3", "4", "5"]
    assert metrics_of(killed) == metrics_of(straight)
    ours, wanted = (pq.read_table(stage / "samples.parquet") for stage in (killed, straight))
    assert ours["split"].to_pylist().count("train") == 6 * 20
    assert ours.equals(wanted)
    ours, wanted = (json.loads((stage / "stage.json").read_text()) for stage in (killed, straight))
    for name in ("metrics", "updates", "rollouts", "tokens_sampled"):
        assert ours[name] == wanted[name], name
    assert ours["updates"] == 12
    # What is compared took part: the schedule ran on, the reference lags behind and is not the start.
    kl = [float(row["kl"]) for row in metrics_of(straight)]
    assert all(value > 0 for value in kl)
    assert float(metrics_of(straight)[-1]["learning_rate"]) < 3e-3 * 0.9**10
