"""Threads are chosen for the model's size before torch is loaded, and what a user has set wins."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import r1lit
from r1lit.threads import SMALL_MB, choose_threads, weights_mb

ROOT = Path(__file__).parents[1]
SRC = Path(r1lit.__file__).parents[1]
TINY = "package:r1lit/assets/tiny/base"


@pytest.fixture
def models(tmp_path):
    """Files of a small and of a large model, and a configuration for each."""
    for name, size in (("small", 1000), ("large", int(SMALL_MB * 1e6) + 1)):
        (tmp_path / name).mkdir()
        with (tmp_path / name / "model.safetensors").open("wb") as file:
            file.truncate(size)
        config = f"model:\n  init_args:\n    policy:\n      init_args:\n        init_from: {tmp_path / name}\n"
        (tmp_path / f"{name}.yaml").write_text(config)
    return tmp_path


def test_the_size_of_a_commands_models(models):
    small, large = ["-c", str(models / "small.yaml")], [f"--config={models / 'large.yaml'}"]
    assert weights_mb(["fit", *small]) == pytest.approx(0.001)
    assert weights_mb(["fit", *large]) > SMALL_MB
    assert weights_mb(["fit", *small, *large]) > SMALL_MB  # the later file overrides
    assert weights_mb(["fit", *large, "--model.init_from", str(models / "small")]) < SMALL_MB
    assert weights_mb(["fit", *large, f"--model.policy.init_args.init_from={models / 'small'}"]) < SMALL_MB
    assert weights_mb(["fit", *small, "--model.teacher.init_from", str(models / "large")]) > SMALL_MB
    assert weights_mb(["fit", *small, "--model.init_from", "owner/name"]) is None
    assert weights_mb(["fit", *small, "--model.init_from", "package:no_such_package/x"]) is None
    assert weights_mb(["fit", "--model.init_from", TINY]) == pytest.approx(2, abs=2)
    assert weights_mb(["report", "runs/tiny"]) is None
    assert weights_mb(["fit", "-c", str(models / "missing.yaml")]) is None
    (models / "small.yaml").write_text("a: [")
    assert weights_mb(["fit", *small]) is None


def test_reward_models_count(models):
    small, large = models / "small", models / "large"
    scorer = f"{{class_path: r1lit.policy.ModelScorer, init_args: {{path: {large}}}}}"
    reward = f"{{class_path: RewardModelReward, init_args: {{name: helpful, scorer: {scorer}}}}}"
    config = f"model: {{init_args: {{policy: {{init_args: {{init_from: {small}}}}}, rewards: [{reward}]}}}}"
    (models / "rl2.yaml").write_text(config)
    argv = ["fit", "-c", str(models / "rl2.yaml")]
    assert weights_mb(argv) > SMALL_MB
    assert weights_mb([*argv, "--stage.reward_models.helpful", str(small)]) < SMALL_MB
    assert weights_mb([*argv, f"--stage.reward_models={{helpful: {small}, safe: {large}}}"]) > SMALL_MB
    assert weights_mb([*argv, "--stage.reward_models.helpful", "owner/name"]) is None


@pytest.mark.parametrize(
    "name", ["", "~nobody_here/x", "a\0b", "package:", "package:/x", "package:a.b/x", "/dev/null/x"]
)
def test_names_that_cannot_be_looked_up(name):
    found = {}
    choose_threads(["fit", "--model.init_from", name], found)
    assert "OMP_NUM_THREADS" not in found


@pytest.mark.parametrize("config", ["tiny/zero", "tiny/sft2", "tiny/distill", "tiny/rl2", "eval/tiny"])
def test_the_toys_stages_take_one_thread(config):
    found = {}
    flags = ["--model.init_from", TINY]
    if config == "tiny/rl2":
        flags += ["--stage.reward_models.helpful", TINY, "--stage.reward_models.safe", TINY]
    choose_threads(["fit", "-c", str(ROOT / "configs" / f"{config}.yaml"), *flags], found)
    assert found["OMP_NUM_THREADS"] == "1"


def test_large_and_unknown_models_keep_their_threads_which_sleep(models):
    for argv in (["fit", "-c", str(models / "large.yaml")], ["fit", "--model.init_from", "owner/name"], ["report"]):
        found = {}
        choose_threads(argv, found)
        assert "OMP_NUM_THREADS" not in found
        assert found["OMP_WAIT_POLICY"] == "passive"


@pytest.mark.parametrize(
    "own",
    [{"OMP_NUM_THREADS": "7"}, {"MKL_NUM_THREADS": "3"}, {"OMP_WAIT_POLICY": "active"}, {"GOMP_SPINCOUNT": "5"}],
)
def test_a_users_own_settings_win(own, models):
    found = dict(own)
    choose_threads(["fit", "-c", str(models / "small.yaml")], found)
    assert found.items() >= own.items()
    if "NUM_THREADS" in next(iter(own)):
        assert {name for name in found if name.endswith("NUM_THREADS")} == set(own)
    else:
        assert len({"OMP_WAIT_POLICY", "GOMP_SPINCOUNT"} & found.keys()) == 1


@pytest.mark.parametrize(("own", "threads"), [({}, 1), ({"OMP_NUM_THREADS": "2"}, 2)])
def test_torch_is_loaded_after_the_choice(own, threads):
    """The installed command and ``python -m r1lit`` alike: nothing loads torch before the environment is set."""
    code = (
        "import json, sys, r1lit.__main__ as entry\n"
        "before = 'torch' in sys.modules\n"
        "from r1lit import threads\n"
        f"threads.choose_threads(['fit', '--model.init_from', '{TINY}'])\n"
        "import torch\n"
        "print(json.dumps([before, torch.get_num_threads()]))"
    )
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("OMP_", "MKL_", "GOMP_"))}
    run = subprocess.run(
        [sys.executable, "-c", code], env=environment | own, cwd=SRC, capture_output=True, text=True, check=True
    )
    assert json.loads(run.stdout) == [False, threads]


def test_the_command_goes_through_the_choice():
    scripts = (ROOT / "pyproject.toml").read_text()
    assert 'r1lit = "r1lit.__main__:main"' in scripts
    run = subprocess.run(
        [sys.executable, "-m", "r1lit", "fit", "-c", "no.yaml"], cwd=SRC, capture_output=True, text=True
    )
    assert run.returncode == 2
    assert "no.yaml" in run.stderr
