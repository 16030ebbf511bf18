import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from r1lit import freshness
from r1lit.errors import InputError
from r1lit.stage_folder import StageFolder

SRC = Path(freshness.__file__).parents[1]


@pytest.fixture
def stage(tmp_path, monkeypatch):
    """A working folder with a config, an input model and a data file; returns the command of a stage."""
    monkeypatch.chdir(tmp_path)
    Path("configs").mkdir()
    Path("configs/zero.yaml").write_text("lr: 1\n")
    Path("runs/base/model").mkdir(parents=True)
    Path("runs/base/model/config.json").write_text("{}")
    Path("runs/base/model/model.safetensors").write_bytes(b"\0\1")
    Path("data").mkdir()
    Path("data/train.jsonl").write_text('{"question": "1+1"}\n')
    return [
        *("fit", "-c", "configs/zero.yaml", "--stage.dir", "runs/zero", "--seed_everything", "0"),
        *("--model.init_from", "runs/base/model", "--data.path=data/train.jsonl"),
    ]


def finish(argv):
    """Runs the stage as the command line does: begin, work, stage.json last."""
    command = freshness.parse_command(argv)
    current = freshness.fingerprint(command)
    folder = StageFolder(command.stage_dir, current)
    reason = folder.begin()
    folder.confirm()
    (command.stage_dir / "model").mkdir(exist_ok=True)
    freshness.write_json(command.stage_dir / "stage.json", {"fingerprint": current, "outputs": ["model"]})
    return reason


def reason(argv):
    command = freshness.parse_command(argv)
    return freshness.stale_reason(command.stage_dir, freshness.fingerprint(command))


def test_command_is_sorted_into_dir_configs_inputs_and_settings(stage):
    command = freshness.parse_command([*stage, "--config=configs/b.yaml", "--model.id", "owner/name", "--fast"])
    assert command.stage_dir == Path("runs/zero")
    assert command.configs == (Path("configs/zero.yaml"), Path("configs/b.yaml"))
    assert command.inputs == {"--model.init_from": Path("runs/base/model"), "--data.path": Path("data/train.jsonl")}
    assert command.settings == ("fit", "--seed_everything=0", "--model.id=owner/name", "--fast")


@pytest.mark.parametrize("value", ["-1", "-.5", "-1e-3"])
def test_negative_number_is_a_value(value):
    command = freshness.parse_command(["fit", "--stage.dir", "x", "--a", value, "--b", "--c", "1"])
    assert command.settings == ("fit", f"--a={value}", "--b", "--c=1")


def test_both_ways_to_give_a_value_are_the_same(stage):
    finish(stage)
    same = [word for word in stage if word not in ("--seed_everything", "0")]
    same.insert(5, "--seed_everything=0")
    assert reason(same) is None


def test_finished_stage_is_fresh_until_something_changes(stage):
    assert reason(stage) == "it has not run yet"
    finish(stage)
    assert reason(stage) is None


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda: Path("configs/zero.yaml").write_text("lr: 2\n"), "its config or settings changed"),
        (lambda: Path("runs/base/model/model.safetensors").write_bytes(b"\0\2"), "(--model.init_from)"),
        (lambda: Path("runs/base/model/new.json").write_text("{}"), "(--model.init_from)"),
        (lambda: Path("data/train.jsonl").write_text("{}"), "(--data.path)"),
        (lambda: Path("data/train.jsonl").unlink(), "changed"),
        (lambda: Path("runs/zero/model").rmdir(), "its output is gone (model)"),
        (lambda: Path("runs/zero/stage.json").unlink(), "it was interrupted"),
    ],
)
def test_each_change_makes_the_stage_stale(stage, change, expected):
    finish(stage)
    change()
    assert expected in reason(stage)


def test_other_settings_make_the_stage_stale(stage):
    finish(stage)
    assert reason([*stage, "--stage.steps", "3"]) == "its config or settings changed"
    assert reason([word.replace("0", "1") for word in stage]) == "its config or settings changed"


def test_file_times_and_places_do_not_matter(stage):
    finish(stage)
    os.utime("configs/zero.yaml", (1, 1))
    os.utime("runs/base/model/config.json", (1, 1))
    Path("runs").rename("elsewhere")
    assert reason([word.replace("runs/", "elsewhere/") for word in stage]) is None


def test_order_of_configs_matters_as_the_later_overrides(stage):
    Path("configs/b.yaml").write_text("lr: 3\n")
    pair = [Path("configs/zero.yaml"), Path("configs/b.yaml")]
    assert freshness.config_hash(pair) != freshness.config_hash(pair[::-1])
    assert freshness.config_hash(pair, ["a", "b"]) != freshness.config_hash(pair, ["ab"])


def test_artefact_hash_sees_names_and_contents(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "x.json").write_text("1")
    assert freshness.artefact_hash(tmp_path / "a") == freshness.artefact_hash(tmp_path / "b")
    (tmp_path / "b" / "x.json").rename(tmp_path / "b" / "y.json")
    assert freshness.artefact_hash(tmp_path / "a") != freshness.artefact_hash(tmp_path / "b")


def test_code_version_follows_code_and_data_but_not_what_no_stage_runs(tmp_path):
    files = ["functional/losses.py", "assets/base.safetensors", "report/html.py", "freshness.py", "types.py"]
    for name in files:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("1")
    first = freshness.code_version(tmp_path)
    (tmp_path / "functional" / "__pycache__").mkdir()
    (tmp_path / "functional" / "__pycache__" / "losses.pyc").write_text("1")
    for name in ("report/html.py", "freshness.py"):
        (tmp_path / name).write_text("2")
    assert freshness.code_version(tmp_path) == first
    for name in ("functional/losses.py", "assets/base.safetensors", "types.py"):
        (tmp_path / name).write_text("2")
        changed = freshness.code_version(tmp_path)
        assert changed != first
        first = changed


def test_change_of_code_makes_the_stage_stale(stage, monkeypatch):
    finish(stage)
    monkeypatch.setattr(freshness, "code_version", lambda: "another")
    assert reason(stage) == "the code changed"


def test_write_json_is_valid_without_nan_and_leaves_no_draft(tmp_path):
    freshness.write_json(tmp_path / "a.json", {"x": float("nan"), "y": [1.5, float("inf")], "z": {"语": True}})
    assert json.loads((tmp_path / "a.json").read_text(encoding="utf-8")) == {
        "x": None,
        "y": [1.5, None],
        "z": {"语": True},
    }
    assert os.listdir(tmp_path) == ["a.json"]


@pytest.mark.parametrize("text", ["{", "[]"])
def test_broken_stage_file_is_named(stage, text):
    finish(stage)
    Path("runs/zero/stage.json").write_text(text)
    with pytest.raises(InputError, match=r"runs/zero/stage.json: .* delete it"):
        reason(stage)


def test_names_of_shipped_configurations(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    named = freshness.parse_command(["fit", "-c", "tiny/zero", "--stage.dir", "d"])
    whole = freshness.parse_command(
        ["fit", "-c", str(freshness.shipped_configs() / "tiny/zero.yaml"), "--stage.dir", "d"]
    )
    assert freshness.fingerprint(named) == freshness.fingerprint(whole)
    with pytest.raises(InputError, match=r"tiny/zro: there is no such config file; shipped ones are spelt tiny/zero"):
        freshness.fingerprint(freshness.parse_command(["fit", "-c", "tiny/zro", "--stage.dir", "d"]))


def test_missing_paths_are_named(tmp_path):
    with pytest.raises(InputError, match=r"no\.yaml: there is no such config file"):
        freshness.config_hash([tmp_path / "no.yaml"])
    with pytest.raises(InputError, match="gone: there is no such file or folder"):
        freshness.artefact_hash(tmp_path / "gone")


def test_an_evaluation_is_looked_for_in_its_own_folder(stage, capsys):
    def evaluated(argv):
        command = freshness.parse_command(argv)
        current = freshness.fingerprint(command)
        folder = StageFolder(freshness.evaluation_folder(command.stage_dir, current), current, evaluation=True)
        folder.begin()
        folder.confirm()
        folder.release()
        freshness.write_json(folder.path / "stage.json", {"fingerprint": current})
        return folder.path

    other = [*stage, "--model.samples", "4"]
    assert evaluated(stage) == Path("runs/zero")
    assert freshness.main(other) == 1
    assert evaluated(other) == Path("runs/zero-2")
    assert evaluated([*stage, "--model.samples", "8"]) == Path("runs/zero-3")
    assert evaluated(other) == Path("runs/zero-2")
    assert freshness.main(stage) == freshness.main(other) == 0
    assert capsys.readouterr().out.splitlines()[-2:] == ["runs/zero: up to date", "runs/zero-2: up to date"]


def test_an_evaluation_is_found_next_to_a_run_of_another_kind(stage):
    finish(stage)
    other = [*stage, "--model.samples", "4"]
    assert freshness.main(other) == 1
    current = freshness.fingerprint(freshness.parse_command(other))
    folder = StageFolder(freshness.evaluation_folder(Path("runs/zero"), current), current, evaluation=True)
    folder.begin()
    folder.confirm()
    freshness.write_json(folder.path / "stage.json", {"fingerprint": current})
    assert folder.path == Path("runs/zero-2")
    assert freshness.main(other) == freshness.main(stage) == 0


def call(argv):
    return subprocess.run(
        [sys.executable, "-m", "r1lit.freshness", *argv],
        env={**os.environ, "PYTHONPATH": str(SRC)},
        capture_output=True,
        text=True,
    )


def test_command_line_says_fresh_stale_or_wrong_by_its_status(stage):
    run = call(stage)
    assert (run.returncode, run.stdout) == (1, "runs/zero: runs, as it has not run yet\n")
    finish(stage)
    run = call(stage)
    assert (run.returncode, run.stdout) == (0, "runs/zero: up to date\n")
    run = call(["fit", "-c", "configs/none.yaml", "--stage.dir", "runs/zero"])
    assert (run.returncode, run.stderr) == (2, "r1lit: configs/none.yaml: there is no such config file\n")
    run = call(["fit"])
    assert run.returncode == 2
    assert "--stage.dir is missing" in run.stderr


def test_check_is_quick(stage):
    finish(stage)
    times = []
    for _ in range(3):
        start_s = time.perf_counter()
        assert call(stage).returncode == 0
        times.append(time.perf_counter() - start_s)
    # 0.3 s is the aim on a quiet machine; the heavy imports alone would take many times this bound.
    assert min(times) < 1.0
