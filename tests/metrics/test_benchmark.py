"""All figures of a benchmark by hand, by label, and the same from one, two and three processes."""

import json
import math
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch.distributed as dist

import r1lit
from r1lit.errors import InputError
from r1lit.metrics.benchmark import BenchmarkMetrics, by_label, judge_of, powers
from r1lit.rewards import AccuracyReward, FormatReward
from r1lit.types import Completion, Message, Prompt, ScoredCompletion


def group(place, rows, task="math", **meta):
    """A judged group of (answer, accuracy, format, tokens, finish reason) rows."""
    prompt = Prompt(f"p/{place}", (Message("user", "?"),), "1", task=task, meta=meta)
    samples = [
        ScoredCompletion(
            Completion(prompt, i, (), (), (), "text", reason, None, answer, tokens),
            {"accuracy": accuracy, "format": style},
            None if accuracy is None else accuracy,
        )
        for i, (answer, accuracy, style, tokens, reason) in enumerate(rows)
    ]
    return place, samples


GROUPS = [
    group(0, [("1", 1.0, 1.0, 10, "stop"), ("1.0", 1.0, 0.0, 20, "stop")], level=1),
    group(1, [("2", 0.0, 1.0, 30, "stop"), (None, 0.0, 0.0, 40, "length")], level=2),
    group(2, [("1", 1.0, 1.0, 50, "stop"), ("3", 0.0, 1.0, 60, "length")], level=2),
    group(3, [("1", None, 1.0, 70, "stop"), ("4", 0.0, 1.0, 80, "stop")], level=2),
]
WANTED = {
    "pass@1": (1 + 0 + 0.5 + 0) / 4,
    "pass@2": (1 + 0 + 1) / 3,  # of the last prompt one sample only is judged
    "cons@2": (1 + 0 + 0.5 + 0) / 4,
    "mean_length": (15 + 35 + 55 + 75) / 4,
    "truncated": (0 + 0.5 + 0.5 + 0) / 4,
    "unparsable": (0 + 0.5 + 0 + 0) / 4,
    "unscored": 0.5 / 4,
    "reward/format": (0.5 + 0.5 + 1 + 1) / 4,
}


def measured(groups):
    metrics = BenchmarkMetrics(["accuracy", "format"], "accuracy", 2)
    metrics.update(groups)
    return metrics.compute()


def test_by_hand():
    found = measured(GROUPS)
    assert {name: interval["value"] for name, interval in found.items()} == pytest.approx(WANTED)
    assert [found[name]["n"] for name in ("pass@1", "pass@2")] == [4, 3]


def test_partial_credit_is_not_correct_but_its_mean_is_told():
    found = measured([group(0, [("1", 0.5, 1.0, 1, "stop"), ("1", 1.0, 1.0, 1, "stop")])])
    assert found["pass@1"]["value"] == 0.5
    assert found["reward/accuracy"]["value"] == 0.75


def test_answers_that_cannot_be_voted_on_have_no_consensus():
    found = measured([group(0, [(None, 1.0, 1.0, 1, "stop"), (None, 0.0, 1.0, 1, "stop")], task="code")])
    assert found["pass@1"]["value"] == 0.5
    assert not {"cons@2", "unparsable"} & found.keys()


def test_by_label():
    found = by_label(GROUPS, "accuracy")
    assert {name: interval["value"] for name, interval in found.items()} == {
        "pass@1/level=1": 1.0,
        "pass@1/level=2": pytest.approx(0.5 / 3),
    }
    assert by_label(GROUPS[1:], "accuracy") == {}
    many = [group(i, [("1", 1.0, 1.0, 1, "stop")], level=i) for i in range(30)]
    assert by_label(many, "accuracy") == {}


def test_k_of_pass_at_k():
    assert powers(16) == [2, 4, 8, 16]
    assert powers(5) == [2, 4, 5]
    assert powers(2) == [2]
    metrics = BenchmarkMetrics(["accuracy"], "accuracy", 1)
    metrics.update([group(0, [("1", 1.0, 1.0, 1, "stop")])])
    assert not [name for name in metrics.compute() if name.startswith(("pass@k", "cons"))]


def test_the_judge():
    rewards = [FormatReward(), AccuracyReward()]
    assert judge_of(rewards, None) == "format"
    assert judge_of(rewards, "accuracy") == "accuracy"
    with pytest.raises(InputError, match="none of the rewards: format, accuracy"):
        judge_of(rewards, "exactness")
    with pytest.raises(InputError, match="rewards is empty"):
        judge_of([], None)


def share_of_rank(rank, ranks, port, count):
    """What one process computes of its share of the first ``count`` groups."""
    dist.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=ranks)
    found = measured(GROUPS[:count][rank::ranks])
    dist.barrier()
    dist.destroy_process_group()
    return found


@pytest.mark.distributed
@pytest.mark.parametrize(("ranks", "count"), [(2, 4), (3, 2)], ids=["two", "three, one without prompts"])
def test_several_processes_give_the_same_to_the_last_bit(ranks, count):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    paths = os.pathsep.join([str(Path(r1lit.__file__).parents[1]), os.environ.get("PYTHONPATH", "")])
    processes = [
        subprocess.Popen(
            [sys.executable, __file__, *map(str, (rank, ranks, port, count))],
            env=os.environ | {"PYTHONPATH": paths},
            stdout=subprocess.PIPE,
        )
        for rank in range(ranks)
    ]
    found = [process.communicate(timeout=180)[0] for process in processes]
    alone = measured(GROUPS[:count])
    assert not any(math.isnan(interval["value"]) for interval in alone.values())
    assert [json.loads(line) for line in found] == [alone] * ranks


if __name__ == "__main__":
    print(json.dumps(share_of_rank(*map(int, sys.argv[1:]))))
