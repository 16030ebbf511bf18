"""The recipe's stages, their order and their commands."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from r1lit import freshness, recipe
from r1lit.errors import InputError
from r1lit.recipe import STAGES, Run, check, evaluation, plan, run_command

ROOT = Path(__file__).parents[1]


def command(name, run=Run()):  # noqa: B008 - frozen
    return " ".join(run.command(recipe.BY_NAME[name]))


def test_commands_are_those_of_the_paper():
    """Written out once by hand: what each stage reads decides what is trained on what."""
    assert command("base") == "test -c configs/tiny/base.yaml --stage.dir runs/tiny/base --seed_everything 0"
    assert command("coldstart") == (
        "fit -c configs/tiny/coldstart.yaml --stage.dir runs/tiny/coldstart --model.init_from runs/tiny/base/model "
        "--data.sources.coldstart.path runs/tiny/coldstart-data/data --seed_everything 0"
    )
    assert command("rl2") == (
        "fit -c configs/tiny/rl2.yaml --stage.dir runs/tiny/rl2 --model.init_from runs/tiny/sft2/model "
        "--stage.reward_models.helpful runs/tiny/rewards/helpful/model "
        "--stage.reward_models.safe runs/tiny/rewards/safety/model --seed_everything 0"
    )
    other = Run("smollm2", seed=3, placebo=True, steps=5, prompts="mine.jsonl", runs="out", configs="my/configs")
    assert command("zero", other) == (
        "fit -c my/configs/smollm2/zero.yaml --stage.dir out/smollm2-seed3-placebo/zero "
        "--model.init_from out/smollm2/base/model --seed_everything 3 --stage.steps 5 --stage.placebo true "
        "-c my/configs/smollm2/data.yaml --data.path mine.jsonl"
    )


def test_every_stage_comes_after_what_it_reads():
    for index, stage in enumerate(STAGES):
        assert set(stage.needs) <= {earlier.name for earlier in STAGES[:index]}, stage.name
    assert len(recipe.BY_NAME) == len(STAGES)


def test_a_target_runs_what_it_needs_and_nothing_else():
    names = [stage.name for stage in plan("reject")]
    assert names == ["base", "zero", "coldstart-data", "coldstart", "rl1", "reject"]
    assert [stage.name for stage in plan("rewards")][-2:] == ["rewards/helpful", "rewards/safety"]
    whole = {stage.name for stage in plan("r1")}
    assert {stage.name for stage in STAGES} - whole == {"rl2-hacked", "distill-on-policy"}
    with pytest.raises(InputError, match=r"no target 'rl3'; there are r1, base, zero"):
        plan("rl3")


def test_effort_is_added_up_of_earlier_stages(tmp_path):
    run = Run(runs=str(tmp_path))
    stage = recipe.BY_NAME["distill-zero-time"]
    with pytest.raises(InputError, match=r"reject/stage\.json: no such record yet; run reject first"):
        run.command(stage)
    for name, wall_s in (("reject", 2.5), ("distill", 4.0)):
        (tmp_path / "tiny" / name).mkdir(parents=True)
        (tmp_path / "tiny" / name / "stage.json").write_text(json.dumps({"wall_s": wall_s}))
    words = run.command(stage)
    assert words[words.index("--model.limits.wall_s") + 1] == "6.5"


def test_what_is_missing_is_said_before_the_first_stage(tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    check("r1", Run())
    check("zero", Run("smollm2", prompts="some.jsonl"))
    for target, run, message in (
        ("zero", Run("huge"), r"no configs/huge; PROFILE is one of: qwen2\.5-1\.5b smollm2 tiny$"),
        ("rl1", Run("qwen2.5-1.5b"), "has no configuration of: coldstart-data coldstart rl1$"),
        ("rl1", Run("smollm2", prompts="some.jsonl"), "DATA is for zero and eval"),
        ("zero", Run("tiny", prompts="some.jsonl"), r"PROFILE=tiny takes no DATA"),
    ):
        with pytest.raises(InputError, match=message):
            check(target, run)


def test_every_stage_of_a_complete_profile_has_its_files():
    for stage in STAGES:
        for name in stage.configs:
            assert (ROOT / "configs" / "tiny" / f"{name}.yaml").is_file(), name


def test_evaluation_takes_the_last_model_and_its_template(tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    run = Run(runs=str(tmp_path), seed=1)
    with pytest.raises(InputError, match=r"no stage below .* has a model yet; give MODEL"):
        evaluation(run, "tiny")
    with pytest.raises(InputError, match=r"no configs/eval/gsm9k\.yaml; BENCH is one of: aime24 codeforces"):
        evaluation(run, "gsm9k", "some/model")
    for name in ("zero", "distill"):
        (tmp_path / "tiny-seed1" / name / "model").mkdir(parents=True)
    words = evaluation(run, "tiny")
    assert words[words.index("--model.init_from") + 1] == str(tmp_path / "tiny-seed1" / "zero" / "model")
    assert "--model.policy.template" not in words
    (tmp_path / "tiny-seed1" / "rl1" / "model").mkdir(parents=True)
    words = evaluation(run, "tiny")
    assert words[words.index("--stage.dir") + 1] == f"{tmp_path}/eval/tiny/tiny-seed1-rl1"
    assert words[-2:] == ["--model.policy.template", "chat"]
    words = evaluation(Run(prompts="rows.jsonl"), "math500", "owner/name:v2")
    assert words[words.index("--stage.dir") + 1] == "runs/eval/math500/owner-name-v2"
    assert words[-2:] == ["--data.path", "rows.jsonl"]


def test_a_fresh_stage_is_skipped(tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(ROOT)
    words = ["fit", "-c", "configs/tiny/zero.yaml", "--stage.dir", str(tmp_path / "zero")]
    (tmp_path / "zero").mkdir()
    fingerprint = freshness.fingerprint(freshness.parse_command(words))
    (tmp_path / "zero" / "stage.json").write_text(json.dumps({"fingerprint": fingerprint}))
    assert run_command(words) == 0
    assert "up to date" in capfd.readouterr().out
    assert run_command([*words, "--model.no_such_key", "1"]) == 2
    assert "no_such_key" in capfd.readouterr().err


def test_sigterm_reaches_the_stage(tmp_path):
    """Make ends what it started; what that started must not train on unseen."""
    code = (
        "import sys; from r1lit.recipe import _call\n"
        "child = 'import signal, sys, time; signal.signal(signal.SIGTERM, lambda *_: sys.exit(7)); "
        'open(sys.argv[1], "w").close(); time.sleep(60)\'\n'
        f"sys.exit(_call([sys.executable, '-c', child, {str(tmp_path / 'began')!r}]))"
    )
    process = subprocess.Popen([sys.executable, "-c", code])
    until = time.monotonic() + 30
    while not (tmp_path / "began").exists() and time.monotonic() < until:
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGTERM)
    assert process.wait(20) == 7


def test_it_needs_no_package():
    """Make asks before anything is installed."""
    code = "import sys; sys.modules.update(torch=None, lightning=None, yaml=None); from r1lit import recipe; "
    code += "sys.exit(recipe.main(['check', 'r1', '--show']))"
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", f"import sys; sys.path.insert(0, 'src'); {code}"],
        cwd=ROOT, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) == len(plan("r1"))
    assert any(line.endswith("--model.limits.tokens_sampled '<tokens_sampled of reject>'") for line in lines)
