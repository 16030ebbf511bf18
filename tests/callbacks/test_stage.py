import json
from types import SimpleNamespace

import pytest

from r1lit.callbacks import StageRecord
from r1lit.callbacks.stage import earlier_stage, git_commit, peak_rss_gb, shown, versions
from r1lit.stage_folder import StageFolder

HALF = {"value": 0.5, "low": 0.25, "high": 0.75, "n": 8}


def module(init_from, **metrics):
    policy = SimpleNamespace(init_from=str(init_from))
    counts = {"tokens_sampled": 1000, "updates": 4, "rollouts": 2, "seed": 3, "placebo": False, "device": "cpu"}
    return SimpleNamespace(policy=policy, test_results=metrics, record={}, **counts)


def trainer(folder, rank=0):
    folder.mkdir(parents=True, exist_ok=True)
    return SimpleNamespace(default_root_dir=folder, is_global_zero=rank == 0, world_size=2)


def test_record_holds_the_measures_and_the_effort(tmp_path):
    folder = tmp_path / "zero"
    record = StageRecord(stage_folder=StageFolder(folder, {"config": "a"}), config={"lr": 1}, title="RL")
    record.on_test_end(trainer(folder), module("some/model", **{"pass@1": HALF}))
    found = json.loads((folder / "stage.json").read_text())
    assert found["stage"] == "zero"
    assert found["metrics"] == {"pass@1": HALF}
    assert (found["tokens_sampled"], found["updates"], found["seed"], found["world_size"]) == (1000, 4, 3, 2)
    assert 0 <= found["wall_s"] < 60
    assert 0.01 < found["peak_rss_gb"] < 64
    assert found["fingerprint"] == {"config": "a"}
    assert found["config"] == {"lr": 1}
    assert found["outputs"] == ["model"]
    assert found["previous"] is None
    assert found["versions"]["torch"]


def test_undefined_measures_are_null(tmp_path):
    nan = {"value": float("nan"), "low": float("nan"), "high": float("nan"), "n": 0}
    StageRecord().on_test_end(trainer(tmp_path), module("m", **{"pass@1": nan}))
    found = json.loads((tmp_path / "stage.json").read_text())
    assert found["metrics"]["pass@1"] == {"value": None, "low": None, "high": None, "n": 0}


def test_only_the_first_rank_writes(tmp_path):
    StageRecord().on_test_end(trainer(tmp_path, rank=1), module("m"))
    assert list(tmp_path.iterdir()) == []


def test_summary_sets_before_beside_after(tmp_path, capsys):
    base, zero = tmp_path / "base", tmp_path / "zero"
    StageRecord(title="as it came").on_test_end(trainer(base), module("hub/id", **{"pass@1": HALF, "format": HALF}))
    assert "as it came" in capsys.readouterr().out
    after = {"value": 0.875, "low": 0.75, "high": 1.0, "n": 8}
    record = StageRecord(next_command="make r1")
    record.on_test_end(trainer(zero), module(base / "model", **{"pass@1": after, "cons@2": after}))
    out = capsys.readouterr().out
    assert "before (base)" in out
    assert "after (zero)" in out
    (row,) = [line for line in out.splitlines() if "pass@1" in line]
    assert row.index("0.500 [0.250, 0.750]") < row.index("0.875 [0.750, 1.000]")
    (row,) = [line for line in out.splitlines() if "cons@2" in line]
    assert [cell.strip() for cell in row.strip("│").split("│")][1] == "-", "the base did not measure it"
    assert "4 updates, 1,000 tokens sampled" in out
    assert "Next: make r1" in out
    assert json.loads((zero / "stage.json").read_text())["previous"] == "base"


def test_time_of_interrupted_runs_is_added():
    record = StageRecord()
    record.load_state_dict({"wall_s": 100.0})
    assert 100 <= record.state_dict()["wall_s"] < 160


def test_models_that_no_stage_made_have_no_record(tmp_path):
    assert earlier_stage("HuggingFaceTB/SmolLM2-135M") is None
    assert earlier_stage(str(tmp_path / "model")) is None


@pytest.mark.parametrize(
    ("interval", "text"),
    [
        (HALF, "0.500 [0.250, 0.750]"),
        ({"value": 28.44, "low": 20.0, "high": 37.5, "n": 8}, "28.4 [20.0, 37.5]"),
        (None, "-"),
        ({"value": None, "low": None, "high": None, "n": 0}, "-"),
    ],
)
def test_interval_as_text(interval, text):
    assert shown(interval) == text


def test_a_package_that_is_not_installed_costs_no_record(monkeypatch):
    monkeypatch.setattr("r1lit.callbacks.stage.PACKAGES", ("torch", "no-such-package"))
    assert versions()["no-such-package"] is None
    assert versions()["torch"]


def test_surroundings():
    assert peak_rss_gb() > 0.01
    assert {"python", "torch", "transformers", "lightning"} <= set(versions())
    assert versions()["python"] is not None
    commit = git_commit()
    assert commit is None or len(commit) == 40
