"""Nothing that holds a model, a result or a checkpoint is removed, whatever is called in a folder, and killed when."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from r1lit import stage_folder
from r1lit.errors import InputError
from r1lit.freshness import evaluation_folder, in_use, write_json
from r1lit.stage_folder import StageFolder, finish, settle

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
    folder.release()
    return folder


def everything():
    """All files and what they hold, but for the note of the start and the lock."""
    files = [path for path in Path().rglob("*") if path.is_file() and path.name not in ("started.json", ".lock")]
    return {str(path): path.read_text() for path in sorted(files)}


def begin(config, code="1"):
    folder = StageFolder(Path("zero"), print_of(config, code))
    reason = folder.begin()
    folder.release()  # as if the command had ended
    return folder, reason


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


OTHER = """
import os, sys, time
from pathlib import Path
from r1lit.stage_folder import StageFolder
folder = StageFolder(Path("{path}"), {{"config": "{config}", "inputs": {{}}, "code": "1"}}, {evaluation})
folder.begin()
{then}
print("begun", flush=True)
time.sleep(60)
"""


@pytest.fixture
def elsewhere():
    """Begins a run in another process, which goes on until it is killed."""
    started = []

    def start(config, path="zero", evaluation=False, then=""):
        code = OTHER.format(path=path, config=config, evaluation=evaluation, then=then)
        process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
        started.append(process)
        assert process.stdout.readline() == "begun\n"
        return process

    yield start
    for process in started:
        process.kill()
        process.wait()
        process.stdout.close()


def test_two_commands_do_not_work_in_one_folder(zero, elsewhere):
    before = everything()
    other = elsewhere("b")  # it loads its model
    for config in "abc":
        with pytest.raises(InputError, match=rf"zero: process {other.pid} works there; wait"):
            begin(config)
    other.kill()
    other.wait()
    assert begin("a")[1] is None
    assert everything() == before
    other = elsewhere("a")  # it resumes
    with pytest.raises(InputError, match=f"process {other.pid} works there"):
        begin("b")
    assert everything() == before


def test_what_a_killed_command_leaves_running_does_not_keep_the_folder(zero, elsewhere):
    child = "child = os.fork()\nif not child:\n    os.close(1)\n    time.sleep(5)\n    os._exit(0)"
    other = elsewhere("a", then=child)
    assert in_use(Path("zero"))
    other.kill()
    other.wait()
    assert begin("a")[1] is None
    assert in_use(Path("zero")) is None


def test_evaluations_at_the_same_time_have_folders_of_their_own(tmp_path, monkeypatch, elsewhere):
    monkeypatch.chdir(tmp_path)
    elsewhere("a", "measured", evaluation=True)
    assert evaluation_folder(Path("measured"), print_of("a")) == Path("measured")
    assert evaluation_folder(Path("measured"), print_of("b")) == Path("measured-2")
    elsewhere("b", "measured-2", evaluation=True).kill()
    assert evaluation_folder(Path("measured"), print_of("c")) in (Path("measured-2"), Path("measured-3"))


def test_an_evaluation_does_not_take_the_place_of_what_a_killed_command_moved(zero):
    before = everything()
    begin("b")
    assert settle(Path("zero"))
    assert not settle(Path("zero"))
    assert everything() == before
    assert evaluation_folder(Path("zero"), print_of("c")) == Path("zero-2")


@pytest.mark.parametrize("after", [0, 1, 2])
def test_a_full_disk_and_a_kill_at_any_place_lose_nothing(zero, monkeypatch, after):
    """The steps of ``begin`` that change something, broken off one after the other."""
    before = everything()
    steps = []

    def broken(function):
        def step(*arguments):
            steps.append(arguments)
            if len(steps) > after:
                raise OSError(28, "No space left on device")
            return function(*arguments)

        return step

    with monkeypatch.context() as patched:
        patched.setattr(stage_folder, "write_json", broken(write_json))
        patched.setattr(Path, "rename", broken(Path.rename))
        folder = StageFolder(Path("zero"), print_of("b"))
        with pytest.raises(OSError, match="No space"):
            folder.begin()
    if after != 1:  # a command that is killed undoes nothing
        folder.undo()
    folder.release()
    assert set(everything().values()) == set(before.values())
    folder, reason = begin("a")
    assert reason is None
    assert everything() == before
    assert sorted(os.listdir()) == ["zero"]


def test_a_run_is_not_moved_aside_from_within(zero, monkeypatch):
    monkeypatch.chdir("zero")
    with pytest.raises(InputError, match="cannot be moved aside from within"):
        StageFolder(Path("."), print_of("b")).begin()


def test_locks_are_optional(zero, monkeypatch):
    def none(*arguments):
        raise OSError("No locks available")

    monkeypatch.setattr(stage_folder.fcntl, "flock", none)
    assert begin("b")[1] == CONFIG
    assert in_use(Path("zero")) is None
