"""The chain from the base to R1 through make, on a recipe cut to seconds: killed at random, it ends the same."""

import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from r1lit.configuration import read_configuration, resolve_names

ROOT = Path(__file__).parents[1]
MODELS = ("base", "zero", "coldstart", "rl1", "sft2", "rl2")
REWARDS = ("helpful", "safety")
STORES = ("coldstart-data", "reject")
KILLS = 10


def small(config, name):
    """Cuts a stage's config to a few seconds."""
    args = config["model"]["init_args"]
    if "evaluation" in args:
        args["evaluation"] |= {"n": 2, "max_new_tokens": 64}
    if name in ("zero", "rl1", "rl2"):
        args["max_rollouts"] = 4
        args["sampling"] |= {"n": 4, "max_new_tokens": 96}
        config["data"]["init_args"]["prompts_per_rollout"] = 8 if name == "rl2" else 4
        config["checkpoint"] = {"every_n_rollouts": 1}
    if name in STORES:
        config["data"]["init_args"]["train"]["init_args"]["n"] = 48
        args["chunk_prompts"] = 8
        args["sampling"] |= {"n": 4, "max_new_tokens": 96}
    if name in ("coldstart", "sft2"):
        config["data"]["init_args"] |= {"batch_size": 4, "epochs": 1}
        config["checkpoint"] = {"every_n_rollouts": 1}
    if name == "rl2":  # general prompts and preference rewards join in the third rollout
        for part in (*args["rewards"], *config["data"]["init_args"]["train"]["init_args"]["parts"].values()):
            late = part if "from_rollout" in part else part.get("init_args", {})
            late |= {key: 2 for key in ("from_rollout", "from_step") if key in late}
    if name.startswith("rewards"):
        config["data"]["init_args"]["sources"]["init_args"]["n"] = 256
        config["checkpoint"] = {"every_n_rollouts": 1}
    for source in config["data"]["init_args"].get("val", []):
        source["init_args"]["n"] = 8
    return config


@pytest.fixture
def configs(tmp_path):
    folder = tmp_path / "configs" / "tiny"
    folder.mkdir(parents=True)
    for name in (*MODELS, *STORES, *(f"rewards-{name}" for name in REWARDS)):
        config = resolve_names(read_configuration([ROOT / "configs" / "tiny" / f"{name}.yaml"]), [])[0]
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(small(config, name)), encoding="utf-8")
    return folder.parent


def command(configs, runs):
    environment = Path(sys.executable).parents[1]
    return ["make", "rl2", f"CONFIGS={configs}", f"RUNS={runs}", f"VENV={environment}"]


def make(configs, runs, kill_after_s=None):
    """Runs the chain; returns make's exit code, or None where all its processes were killed."""
    env = os.environ | {"OMP_NUM_THREADS": "1"}
    with (runs.parent / f"{runs.name}.log").open("a") as log:
        process = subprocess.Popen(
            command(configs, runs), cwd=ROOT, env=env, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
        )
        try:
            return process.wait(kill_after_s)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            return None


def artefacts(runs):
    """Hashes of what the stages leave to the next ones."""
    files = [runs / "tiny" / stage / "model" / "model.safetensors" for stage in MODELS]
    files += [runs / "tiny" / "rewards" / name / "model" / "model.safetensors" for name in REWARDS]
    found = {file.parts[-3]: hashlib.sha256(file.read_bytes()).hexdigest() for file in files}
    for stage in STORES:
        found[stage] = json.loads((runs / "tiny" / stage / "data" / "manifest.json").read_text())["content"]
    return found


@pytest.mark.slow
def test_a_chain_killed_ten_times_equals_one_that_was_not(configs, tmp_path):
    straight = tmp_path / "straight"
    began = time.monotonic()
    assert make(configs, straight) == 0, (tmp_path / "straight.log").read_text()[-3000:]
    took_s = time.monotonic() - began

    began = time.monotonic()
    assert make(configs, straight) == 0
    assert time.monotonic() - began < took_s / 5
    wanted = artefacts(straight)

    killed = tmp_path / "killed"
    rng = random.Random(int(os.environ.get("CHAIN_SEED", "0")))
    kills = 0
    while kills < KILLS:
        if make(configs, killed, kill_after_s=rng.uniform(0.03, 0.15) * took_s) == 0:
            break
        kills += 1
    print(f"killed {kills} times")
    assert kills >= KILLS // 2
    assert make(configs, killed) == 0, (tmp_path / "killed.log").read_text()[-3000:]
    assert artefacts(killed) == wanted


@pytest.mark.slow
def test_one_stage_redoes_what_depends_on_it(configs, tmp_path):
    runs = tmp_path / "runs"
    assert make(configs, runs) == 0, (tmp_path / "runs.log").read_text()[-3000:]

    def written():
        return {stage: (runs / "tiny" / stage / "stage.json").stat().st_mtime_ns for stage in (*MODELS, *STORES)}

    before = written()
    config = configs / "tiny" / "rl1.yaml"
    changed = yaml.safe_load(config.read_text())
    changed["model"]["init_args"]["optimizer"]["init_args"]["lr"] = 1e-4
    config.write_text(yaml.safe_dump(changed))
    assert make(configs, runs) == 0
    after = written()
    assert {stage for stage in after if after[stage] != before[stage]} == {"rl1", "reject", "sft2", "rl2"}

    (runs / "tiny" / "coldstart-data" / "stage.json").unlink()
    assert make(configs, runs) == 0
    # The cold start's data come out the same, so nothing after them is stale.
    assert {stage for stage, stamp in written().items() if stamp != after[stage]} == {"coldstart-data"}
