"""Nothing that holds a model, a result or a checkpoint is removed, whatever is called in a folder, and killed when."""

import json
import os
from pathlib import Path

import pytest

from r1lit.errors import InputError
from r1lit.freshness import write_json
from r1lit.stage_folder import StageFolder, finish

CONFIG = "its config or settings changed"


def print_of(config, code="1"):
    return {"config": config, "inputs": {}, "code": code}


@pytest.fixture
def zero(tmp_path, monkeypatch):
    """A finished run of configuration "a" in the folder zero."""
    monkeypatch.chdir(tmp_path)
    folder = StageFolder(Path("zero"), print_of("a"))
    assert folder.begin() is None
    folder.confirm()
    Path("zero/last.ckpt").write_text("checkpoint")
    Path("zero/model").mkdir()
    Path("zero/model/model.safetensors").write_text("weights")
    finish(Path("zero"), {"fingerprint": print_of("a")})
    return folder


def everything():
    """All files and what they hold, but for the note of the start."""
    files = [path for path in Path().rglob("*") if path.is_file() and path.name != "started.json"]
    return {str(path): path.read_text() for path in sorted(files)}


def begin(config, code="1"):
    folder = StageFolder(Path("zero"), print_of(config, code))
    return folder, folder.begin()


def test_failing_commands_leave_everything_as_it_is(zero):
    before, files = everything(), sorted(os.listdir())
    for config in ("b", "c", "b"):
        folder, reason = begin(config)
        assert reason == CONFIG
        assert folder.undo()
        assert everything() == before
        assert sorted(os.listdir()) == files
    assert json.loads(Path("zero/started.json").read_text())["config"] == "a"


def test_killed_commands_leave_everything_for_the_next(zero):
    before = everything()
    for config in ("b", "c"):
        begin(config)  # and no more of them
        assert set(everything().values()) == set(before.values())
    folder, reason = begin("a")  # the finished run's own command
    assert reason is None
    assert everything() == before
    assert folder.is_own()


def test_started_commands_move_what_was_there_to_a_new_number(zero):
    first = everything()
    for number, config in enumerate("bcd", 1):
        folder, reason = begin(config)
        assert reason == CONFIG
        assert folder.moved == Path(f"zero.old.{number}")
        folder.confirm()
        assert not folder.undo()
        Path("zero/last.ckpt").write_text(config)
    assert {name.removeprefix("zero.old.1/") for name in everything() if name.startswith("zero.old.1/")} == {
        name.removeprefix("zero/") for name in first
    }
    assert [Path(f"zero.old.{n}/last.ckpt").read_text() for n in (1, 2, 3)] == ["checkpoint", "b", "c"]
    # Numbers are not given twice, though a user has deleted the first.
    os.rename("zero.old.2", "kept")
    folder, _ = begin("e")
    assert folder.moved == Path("zero.old.4")


def test_what_an_unstarted_command_left_is_not_kept(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for config in "abc":
        assert begin(config)[1] is None
        Path("zero/tokenised").mkdir(exist_ok=True)
    assert os.listdir() == ["zero"]


def test_files_of_a_command_that_failed_are_kept_apart(zero):
    before = everything()
    folder, _ = begin("b")
    Path("zero/lightning_logs").mkdir()
    Path("zero/lightning_logs/hparams.yaml").write_text("x")
    assert folder.undo()
    assert {name: text for name, text in everything().items() if name.startswith("zero/")} == before
    assert Path("zero.old.2/lightning_logs/hparams.yaml").read_text() == "x"


def test_a_run_is_resumed_and_its_record_kept_until_there_is_a_new_one(zero):
    folder, reason = begin("a", code="corrected")
    assert reason is None
    assert Path("zero/stage.json").is_file()
    folder.confirm()
    folder.confirm()
    assert not Path("zero/stage.json").exists()  # it is not complete now
    assert json.loads(Path("zero/stage.earlier.json").read_text())["fingerprint"] == print_of("a")
    assert Path("zero/last.ckpt").read_text() == "checkpoint"
    assert json.loads(Path("zero/started.json").read_text())["code"] == "corrected"
    finish(Path("zero"), {"fingerprint": print_of("a", "corrected")})
    assert not Path("zero/stage.earlier.json").exists()
    assert not folder.undo()


def test_a_folder_of_somebody_else_is_not_touched(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("zero").mkdir()
    Path("zero/thesis.tex").write_text("x")
    with pytest.raises(InputError, match=r"zero: .* no stage wrote"):
        begin("a")
    assert os.listdir("zero") == ["thesis.tex"]


def test_a_record_without_a_start_is_moved_aside(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("zero").mkdir()
    write_json(Path("zero/stage.json"), {"metrics": {}})
    folder, reason = begin("a")
    assert reason == "it was not recorded how it was started"
    assert (folder.moved / "stage.json").is_file()

