"""Two processes do what one does: under DDP and under FSDP2, and after a kill."""

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import load_file

import r1lit
from r1lit import Policy

pytestmark = pytest.mark.distributed
FSDP2 = ("--trainer.devices", "2", "--trainer.strategy", "fsdp2")
COMPARED = ("loss", "kl", "ratio_mean", "clip_fraction", "grad_norm", "reward", "entropy", "learning_rate", "step")


def check_equal(stage, single):
    read = (pq.read_table(folder / "samples.parquet").to_pylist() for folder in (stage, single))
    ours, wanted = ([row for row in rows if row["split"] == "train"] for rows in read)
    assert len(ours) == len(wanted) == 5 * 20
    for a, b in zip(ours, wanted, strict=True):
        assert (a["prompt_id"], a["sample"], a["text"], a["tokens"]) == (
            b["prompt_id"],
            b["sample"],
            b["text"],
            b["tokens"],
        )
        assert a["advantage"] == pytest.approx(b["advantage"], abs=1e-6)
    rows = []
    for folder in (stage, single):
        with (folder / "metrics.csv").open(newline="") as file:
            rows.append(list(csv.DictReader(file)))
    for a, b in zip(*rows, strict=True):
        for name in COMPARED:
            assert float(a[name]) == pytest.approx(float(b[name]), abs=2e-5, rel=1e-3), name
    ours, wanted = (load_file(folder / "model" / "model.safetensors") for folder in (stage, single))
    for name, value in wanted.items():
        torch.testing.assert_close(ours[name], value, atol=2e-4, rtol=1e-3, msg=lambda m, n=name: f"{n}: {m}")
    Policy.from_pretrained(str(stage / "model"), template="{question}")


def test_two_processes_equal_one_and_a_sharded_run_resumes(command_line):
    steps = ("--model.max_rollouts", "5")
    single, codes = command_line("single", *steps)
    assert codes == [0]

    # DDP through Lightning's own launcher, as a user starts it.
    arguments = command_line.arguments("ddp", *steps, "--trainer.devices", "2", "--trainer.strategy", "ddp")
    paths = [str(command_line.folder), str(Path(r1lit.__file__).parents[1])]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(paths), "MASTER_ADDR": "127.0.0.1"}
    subprocess.run([sys.executable, "-m", "r1lit.cli", *arguments], env=environment, check=True, timeout=240)
    check_equal(command_line.folder / "ddp", single)

    sharded, codes = command_line("sharded", *steps, *FSDP2, kill_at="after checkpoint 3", ranks=2)
    assert codes == [-9, -9]
    assert (sharded / "last.ckpt").is_dir()
    sharded, codes = command_line("sharded", *steps, *FSDP2, ranks=2)
    assert codes == [0, 0]
    check_equal(sharded, single)
    assert sorted(path.name for path in sharded.glob("last.ckpt*")) == ["last.ckpt"]


def test_a_reward_that_fails_on_one_rank_stops_all(command_line):
    reward = {"class_path": "FunctionReward", "init_args": {"function": "r1lit_test_parts.broken_on_second_rank"}}
    arguments = ("--trainer.devices", "2", "--trainer.strategy", "ddp", "--model.rewards", json.dumps([reward]))
    _, codes = command_line("broken", *arguments, ranks=2)
    assert codes == [1, 1]
    for rank in range(2):
        lines = [line for line in command_line.output("broken", rank).splitlines() if line.startswith("r1lit: ")]
        assert len(lines) == 1
        assert "step 1 (rollout 0): reward 'broken_on_second_rank' raised KeyError: 'no such column'" in lines[0]
        assert "sample 2" in lines[0]
