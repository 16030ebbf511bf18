"""The command line on the tiny base: stages from start to finish, and one line for each kind of bad input."""

import copy
import json
import shutil
from pathlib import Path

import huggingface_hub.constants
import pyarrow.parquet as pq
import pytest
import yaml
from lightning.pytorch.utilities.exceptions import SIGTERMException
from transformers import AutoModelForCausalLM, AutoTokenizer

import r1lit
from r1lit import freshness
from r1lit.callbacks.metrics_file import read_rows
from r1lit.cli import main, resolved, rollouts_for
from r1lit.configuration import read_configuration, resolve_names

CONFIGS = Path(__file__).parents[1] / "configs" / "tiny"
BASE = Path(r1lit.__file__).parent / "assets" / "tiny" / "base"
SMALL = ("--data.val_limit", "6", "--model.evaluation.n", "2", "--model.evaluation.max_new_tokens", "40")
SMALL_RL = (
    *("--data.train.n", "8", "--data.prompts_per_rollout", "4"),
    *("--model.sampling.n", "2", "--model.sampling.max_new_tokens", "40"),
)
CONTRACT = {
    *("pass@1", "cons@2", "pass@1_t1", "mean_length", "mean_length_stepwise", "format", "language_consistency"),
    *("reflection_per_1k_words", "truncated"),
}


# Stages


@pytest.fixture(scope="module")
def stages(tmp_path_factory):
    """Runs base and zero as make does; returns their folder and the command of zero."""
    runs = tmp_path_factory.mktemp("runs")
    base = [
        "test",
        "-c",
        str(CONFIGS / "base.yaml"),
        "--stage.dir",
        str(runs / "base"),
        "--seed_everything",
        "0",
        *SMALL,
    ]
    zero = ["fit", "-c", str(CONFIGS / "zero.yaml"), "--stage.dir", str(runs / "zero"), "--seed_everything", "0"]
    zero += ["--model.init_from", str(runs / "base" / "model"), "--stage.steps", "2", *SMALL, *SMALL_RL]
    assert main(base) == 0
    assert main(zero) == 0
    return runs, zero


def record(folder):
    return json.loads((folder / "stage.json").read_text())


@pytest.mark.parametrize("name", ["base", "zero"])
def test_stage_json_keeps_the_contract(stages, name):
    found = record(stages[0] / name)
    assert set(found["metrics"]) >= CONTRACT
    for interval in found["metrics"].values():
        assert set(interval) == {"value", "low", "high", "n"}
        if interval["n"]:
            assert interval["low"] <= interval["value"] <= interval["high"]
    assert found["metrics"]["pass@1"]["n"] == 3  # the others are of harder tiers, or requests
    assert found["wall_s"] > 0
    assert found["peak_rss_gb"] > 0.1
    assert found["config"]["model"]["init_args"]["evaluation"]["n"] == 2


def test_effort_is_counted(stages):
    base, zero = (record(stages[0] / name) for name in ("base", "zero"))
    assert (base["updates"], base["tokens_sampled"], base["previous"]) == (0, 0, None)
    assert (zero["updates"], zero["rollouts"], zero["previous"]) == (2, 2, "base")
    rows = pq.read_table(stages[0] / "zero" / "samples.parquet").to_pylist()
    rows = [row for row in rows if row["split"] == "train"]
    assert len(rows) == 2 * 4 * 2
    assert zero["tokens_sampled"] == sum(row["tokens"] for row in rows)
    assert {row["reward/accuracy"] for row in rows} <= {0.0, 1.0}


def test_untrained_base_is_exported_unchanged_and_zero_changed(stages):
    first, base, zero = (
        AutoModelForCausalLM.from_pretrained(path).state_dict()
        for path in (BASE, stages[0] / "base" / "model", stages[0] / "zero" / "model")
    )
    assert all(first[name].equal(base[name]) for name in first)
    assert any(not first[name].equal(zero[name]) for name in first)
    assert AutoTokenizer.from_pretrained(stages[0] / "zero" / "model").chat_template


def test_metrics_and_curves_are_written(stages):
    rows = read_rows(stages[0] / "zero" / "metrics.csv")
    assert [row["step"] for row in rows] == ["1", "2"]
    assert {"reward/accuracy", "reward/format", "loss", "kl", "mean_length", "entropy", "stepwise"} <= set(rows[0])
    assert (stages[0] / "zero" / "evolution.png").read_bytes().startswith(b"\x89PNG")


def test_finished_stage_is_up_to_date_until_its_command_changes(stages, capsys):
    _, zero = stages
    assert freshness.main(zero) == 0
    assert "up to date" in capsys.readouterr().out
    assert freshness.main([*zero, "--stage.placebo", "true"]) == 1


def test_the_same_command_again_keeps_what_was_trained(stages, tmp_path, capsys):
    runs, zero = stages
    folder = tmp_path / "zero"
    shutil.copytree(runs / "zero", folder)
    weights = (folder / "model" / "model.safetensors").read_bytes()
    before = record(folder)
    (folder / "stage.json").unlink()
    zero = [str(folder) if word == str(runs / "zero") else word for word in zero]
    assert main(zero) == 0
    assert "resuming from" in capsys.readouterr().out
    assert (folder / "model" / "model.safetensors").read_bytes() == weights
    after = record(folder)
    assert after["metrics"] == before["metrics"]
    assert after["tokens_sampled"] == before["tokens_sampled"]
    assert len(read_rows(folder / "metrics.csv")) == 2


def contents(folder):
    return {path.relative_to(folder): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_commands_that_fail_take_nothing_from_a_finished_stage(stages, tmp_path, capsys):
    runs, zero = stages
    folder = tmp_path / "zero"
    shutil.copytree(runs / "zero", folder)
    no_weights = runs / "no-weights"
    shutil.copytree(BASE, no_weights, ignore=shutil.ignore_patterns("*.safetensors"))
    before = contents(folder)
    zero = [str(folder) if word == str(runs / "zero") else word for word in zero]
    for words in (
        ("--model.sampling.max_new_tokens", "999999"),  # told when the module is set up
        ("--trainer.accelerator", "mps"),  # by the Trainer
        ("--model.init_from", str(no_weights)),  # when the model is built
        ("--data.prompts_per_rollout", "0"),
    ):
        assert main([*zero, *words]) == 2
        assert "r1lit: " in capsys.readouterr().err
        assert contents(folder) == before, words
        assert list(tmp_path.iterdir()) == [folder]
    assert freshness.main(zero) == 0
    changed = [*zero, "--model.optimizer.lr", "1e-5"]
    assert main(changed) == 0
    assert f"what was there moves to {folder}.old.1" in capsys.readouterr().out
    assert contents(tmp_path / "zero.old.1").keys() == before.keys()
    assert (tmp_path / "zero.old.1" / "model" / "model.safetensors").read_bytes() == before[
        Path("model/model.safetensors")
    ]
    assert record(folder)["previous"] == "base"


def test_evaluations_do_not_displace_each_other(stages, tmp_path, capsys):
    runs, _ = stages
    command = ["test", "-c", str(CONFIGS.parent / "eval" / "tiny.yaml"), "--stage.dir", str(tmp_path / "eval"), *SMALL]
    of_base = [*command, "--model.init_from", str(runs / "base" / "model")]
    of_zero = [*command, "--model.init_from", str(runs / "zero" / "model")]
    for evaluation in (of_base, of_zero, [*of_zero, "--seed_everything", "1"]):
        assert main(evaluation) == 0
    assert "this one is in " + str(tmp_path / "eval-3") in capsys.readouterr().out
    assert sorted(path.name for path in tmp_path.iterdir()) == ["eval", "eval-2", "eval-3"]
    assert [record(tmp_path / name)["init_from"] for name in ("eval", "eval-2", "eval-3")] == [
        str(runs / name / "model") for name in ("base", "zero", "zero")
    ]
    assert freshness.main(of_base) == freshness.main(of_zero) == 0


def test_progress_and_summary_are_printed(tmp_path, capsys):
    command = ["fit", "-c", str(CONFIGS / "zero.yaml"), "--stage.dir", str(tmp_path / "zero"), "--stage.steps", "1"]
    assert main([*command, *SMALL, *SMALL_RL, "--stage.title", "a short run", "--stage.placebo", "true"]) == 0
    out, err = capsys.readouterr()
    assert "rollout 1/1 step 1 | accuracy " in out
    assert "0:00 left" in out
    assert "zero: a short run" in out
    assert "│ pass@1_t1 " in out
    assert "Traceback" not in err
    assert record(tmp_path / "zero")["placebo"] is True


def test_short_flags_stand_for_long_ones():
    assert resolved(["fit", "--model.init_from=a", "--data.path", "b c", "--x", "1"]) == [
        *("fit", "--model.policy.init_from=a", "--data.train.path=b c", "--data.val.path=b c", "--x=1"),
    ]
    assert resolved(["fit", "--data.path"]) == ["fit", "--data.train.path", "--data.val.path"]


@pytest.mark.parametrize(("steps", "rollouts"), [(1, 1), (6, 1), (7, 2), (12, 2)])
def test_steps_are_policy_updates(steps, rollouts):
    assert rollouts_for(steps, {"minibatches": 3, "inner_epochs": 2}) == rollouts


# Bad input


CONFIG = resolve_names(read_configuration([CONFIGS / "zero.yaml"]), [])[0]
CONFIG["model"]["init_args"] |= {"sampling": {"n": 2, "max_new_tokens": 40}, "max_rollouts": 1}
CONFIG["data"]["init_args"] |= {
    "train": {"class_path": "TinyWorldPrompts", "init_args": {"n": 8}},
    "val": {"class_path": "TinyWorldPrompts", "init_args": {"split": "held_out", "n": 6}},
    "prompts_per_rollout": 4,
}


def put(path, value):
    """A change of the configuration: ``value`` at the dotted ``path``, below init_args."""

    def change(config):
        part, *keys = path.split(".")
        place = config[part]["init_args"] if keys else config
        for key in keys[:-1]:
            place = place[key]
        place[keys[-1] if keys else part] = value

    return change


def rewards(*entries):
    return put("model.rewards", [{"class_path": name, "init_args": dict(args)} for name, args in entries])


@pytest.fixture
def fails(tmp_path, capsys, monkeypatch):
    """Runs ``fit`` with a changed configuration; returns its one line of complaint."""
    monkeypatch.chdir(tmp_path)

    def run(change=None, *words, status=2):
        config = copy.deepcopy(CONFIG)
        if change is not None:
            change(config)
        Path("config.yaml").write_text(yaml.safe_dump(config))
        assert main(["fit", "-c", "config.yaml", "--stage.dir", "stage", *map(str, words)]) == status
        lines = [line for line in capsys.readouterr().err.splitlines() if "Seed set to" not in line]
        assert len(lines) == 1, lines
        assert lines[0].startswith("r1lit: ")
        assert len(lines[0]) < 400
        return lines[0].removeprefix("r1lit: ")

    return run


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (put("modle", 1), ["no key 'modle'"]),
        (put("model.minibatchs", 2), ["model", "no key 'minibatchs'"]),
        (put("model.sampling.temprature", 2), ["model.sampling", "no key 'temprature'"]),
        (put("data.prompts", 2), ["data", "no key 'prompts'"]),
        (put("model.minibatches", "two"), ["model.minibatches", "expected int", "two"]),
        (put("model.objective.loss", "ppo"), ["model.objective.loss", "'grpo'", "ppo"]),
        (put("model.sampling.n", 1), ["sampling.n is 1", "at least 2"]),
        (put("model.minibatches", 3), ["minibatches is 3", "8 completions"]),
        (put("data.prompts_per_rollout", 0), ["prompts_per_rollout is 0"]),
        (rewards(("NoReward", {})), ["model.rewards", "'NoReward'"]),
        (rewards(("r1lit.rewards.NoReward", {})), ["model.rewards", "'NoReward'"]),
        (rewards(("AccuracyReward", {"wight": 1})), ["AccuracyReward", "'wight'"]),
        (rewards(("AccuracyReward", {}), ("FormatReward", {"name": "accuracy"})), ["two rewards", "'accuracy'"]),
        (put("data.train", {"class_path": "NoPrompts"}), ["data.train", "'NoPrompts'"]),
    ],
)
def test_bad_configuration(fails, change, told):
    line = fails(change)
    assert all(part in line for part in told), line


def test_bad_flags(fails):
    assert "no-such-flag" in fails(None, "--no-such-flag", 1)
    assert fails(None, "--stage.steps", 0).startswith("stage.steps is 0")
    assert fails(None, "--stage.steps", "x") == "stage.steps: expected int, got x"
    assert "prompts_per_rollout is 0" in fails(None, "--data.prompts_per_rollout", 0)
    assert "checkpoint.every_n_rollouts" in fails(None, "--checkpoint.every_n_rollouts", 0)
    assert "--bogus" in fails(None, "--bogus=1")


def test_missing_config_file(tmp_path, capsys):
    assert main(["fit", "-c", str(tmp_path / "nowhere.yaml")]) == 2
    assert str(tmp_path / "nowhere.yaml") in capsys.readouterr().err


def from_file(path, **arguments):
    return put("data.train", {"class_path": "FilePrompts", "init_args": {"path": str(path), **arguments}})


GOOD_ROWS = [{"question": f"{i} + 1?", "answer": str(i + 1)} for i in range(8)]


@pytest.mark.parametrize(
    ("rows", "arguments", "told"),
    [
        (None, {}, ["rows.jsonl", "no such file"]),
        ([], {}, ["rows.jsonl", "empty"]),
        (GOOD_ROWS, {"columns": {"question": "problem"}}, ["rows.jsonl", "'problem'", "question, answer"]),
        ([*GOOD_ROWS, {"question": "1?", "answer": None}], {}, ["rows.jsonl, row 9", "'answer'", "missing"]),
        ([*GOOD_ROWS, {"question": "1?"}], {"answer_pattern": "#### (.+)$"}, ["rows.jsonl, row 1", "####"]),
        ([*GOOD_ROWS, {"question": "1 + 1 " * 400, "answer": "2"}], {}, ["rows.jsonl", "rows/9", "tokens"]),
    ],
)
def test_bad_data(fails, rows, arguments, told):
    if rows is not None:
        Path("rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    line = fails(from_file("rows.jsonl", **arguments))
    assert all(part in line for part in told), line


def test_bad_data_leaves_an_earlier_result_alone(fails):
    Path("stage").mkdir()
    freshness.write_json(Path("stage/started.json"), {"config": "another", "inputs": {}, "code": ""})
    fails(from_file("missing.jsonl"))
    assert Path("stage/started.json").is_file()
    assert not Path("stage.old.1").exists()


def test_folder_of_other_files_is_refused(fails):
    Path("stage").mkdir()
    Path("stage/thesis.txt").write_text("years of work")
    assert "files that no stage wrote" in fails()


@pytest.fixture
def model(tmp_path):
    """A copy of the tiny base without its weights; enough for what is checked before they are read."""
    folder = tmp_path / "model"
    shutil.copytree(BASE, folder, ignore=shutil.ignore_patterns("*.safetensors"))
    return folder


def test_missing_model(fails, model):
    assert "no/such/model" in fails(None, "--model.init_from", "no/such/model")
    assert "lack" in (line := fails(None, "--model.init_from", model)) or "weights" in line
    (model / "config.json").unlink()
    assert "has no config.json" in fails(None, "--model.init_from", model)


def test_unreachable_hub(fails, monkeypatch):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    line = fails(None, "--model.init_from", "nobody/no-such-model")
    assert "nobody/no-such-model" in line
    assert "hub" in line


def test_model_without_chat_template(fails, model):
    (model / "chat_template.jinja").unlink()
    line = fails(put("model.policy.init_args.template", "chat"), "--model.init_from", model)
    assert str(model) in line
    assert "no chat template" in line


def test_pad_token_that_ends_every_answer(fails, model):
    for name in ("tokenizer_config.json", "tokenizer.json"):
        content = json.loads((model / name).read_text())
        if name == "tokenizer.json":
            for token in content["added_tokens"]:
                token["special"] = token["content"] == "<|end|>"
        else:
            content["pad_token"] = content["eos_token"]
        (model / name).write_text(json.dumps(content))
    line = fails(None, "--model.init_from", model)
    assert f"pad == eos in {model}" in line


def test_failing_reward_stops_the_run_with_its_completion(fails):
    line = fails(rewards(("FunctionReward", {"function": "math.fsum"})), status=1)
    assert "reward 'fsum' raised TypeError" in line
    assert "prompt 'tiny/" in line


def test_a_terminated_run_is_no_success(monkeypatch, capsys):
    def terminated(argv):
        raise SIGTERMException

    monkeypatch.setattr("r1lit.cli.R1LitCLI", terminated)
    assert main(["fit"]) == 143
    assert "resumes from the last checkpoint" in capsys.readouterr().err


def test_a_bug_keeps_its_traceback(monkeypatch):
    def broken(argv):
        raise KeyError("bug")

    monkeypatch.setattr("r1lit.cli.R1LitCLI", broken)
    with pytest.raises(KeyError, match="bug"):
        main(["fit"])
