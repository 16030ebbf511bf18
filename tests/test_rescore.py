"""``r1lit rescore``: the same figures from the stored samples, and what another judge changes."""

import json
import shutil
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import yaml

import r1lit
from r1lit.cli import main
from r1lit.errors import InputError
from r1lit.rescore import rescore
from r1lit.rewards import UNSCORED, AccuracyReward, FunctionReward

TINY = Path(r1lit.__file__).parent / "assets" / "tiny" / "base"
CONFIG = {
    "model": {
        "class_path": "EvaluationModule",
        "init_args": {
            "policy": {"class_path": "Policy", "init_args": {"init_from": str(TINY), "template": "{question}"}},
            "rewards": [{"class_path": "AccuracyReward"}, {"class_path": "FormatReward"}],
            "evaluation": {"n": 3, "max_new_tokens": 40},
            "pass_at": [1, 3],
        },
    },
    "data": {
        "class_path": "PromptDataModule",
        "init_args": {"val": {"class_path": "TinyWorldPrompts", "init_args": {"split": "held_out", "n": 4}}},
    },
    "trainer": {"accelerator": "cpu", "devices": 1},
}
CONFIG["model"]["init_args"]["policy"]["init_args"]["template"] = "User: {question}\nAssistant:"


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """The folder of an evaluation of the tiny base."""
    folder = tmp_path_factory.mktemp("evaluation")
    (folder / "eval.yaml").write_text(yaml.safe_dump(CONFIG))
    assert main(["test", "-c", str(folder / "eval.yaml"), "--stage.dir", str(folder / "run")]) == 0
    return folder / "run"


def record(run):
    return json.loads((run / "stage.json").read_text())


def test_the_same_judge_gives_the_same_to_the_last_bit(run, capsys):
    assert main(["rescore", str(run)]) == 0
    assert "Identical: every score and every figure is as before." in capsys.readouterr().out
    found = json.loads((run / "rescored.json").read_text())
    assert found["identical"] is True
    assert found["changed"] == []
    assert json.dumps(found["metrics"]) == json.dumps(record(run)["metrics"])
    assert {"pass@1", "pass@3", "cons@3", "reward/format"} <= set(found["metrics"])
    assert found["count"] == 12


def always_right(completions):
    return [1.0] * len(completions)


def test_another_judge_changes_the_figures(run, tmp_path):
    judge = FunctionReward(always_right, name="accuracy")
    found = rescore(run, [judge], out=tmp_path / "other.json")
    rows = pq.read_table(run / "samples.parquet").to_pylist()
    wrong = [row for row in rows if row["correct"] == 0]
    assert found["metrics"]["pass@1"]["value"] == 1
    assert found["before"] == record(run)["metrics"]
    assert [(c["prompt_id"], c["sample"]) for c in found["changed"]] == [(r["prompt_id"], r["sample"]) for r in wrong]
    assert found["identical"] is (not wrong)
    assert json.loads((tmp_path / "other.json").read_text())["metrics"]["pass@1"]["value"] == 1


def test_samples_alone_with_a_configuration(run, tmp_path, capsys):
    alone = tmp_path / "moved.parquet"
    shutil.copy(run / "samples.parquet", alone)
    assert main(["rescore", str(alone)]) == 2
    assert "give a config with -c" in capsys.readouterr().err
    (tmp_path / "rewards.yaml").write_text("rewards: [{class_path: AccuracyReward}]\n")
    assert main(["rescore", str(alone), "-c", str(tmp_path / "rewards.yaml"), "--out", str(tmp_path / "o.json")]) == 0
    found = json.loads((tmp_path / "o.json").read_text())
    assert found["metrics"]["pass@1"] == record(run)["metrics"]["pass@1"]
    assert "reward/format" not in found["metrics"]
    # The configuration of an evaluation has them too.
    words = ["rescore", str(alone), "-c", str(run.parent / "eval.yaml"), "--judge", "format"]
    assert main([*words, "--out", str(tmp_path / "format.json")]) == 0
    assert json.loads((tmp_path / "format.json").read_text())["judge"] == "format"


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["nowhere"], "nowhere: no such file"),
        (["file.txt"], "file.txt: not a readable Parquet file"),
        (["other.parquet"], "other.parquet: no column 'prompt_id'"),
        ([], "run"),
        (["RUN", "--judge", "x"], "judge is 'x', which is none of the rewards: accuracy, format"),
        (["RUN", "-c", "nowhere.yaml"], "nowhere.yaml: there is no such config file"),
        (["RUN", "-c", "file.txt"], "file.txt: it names no rewards"),
        (["RUN", "--rewards", "[{class_path: NoReward}]"], "NoReward"),
    ],
)
def test_bad_input(run, tmp_path, capsys, monkeypatch, words, told):
    monkeypatch.chdir(tmp_path)
    Path("file.txt").write_text("some words")
    pq.write_table(pq.read_table(run / "samples.parquet", columns=["text"]), "other.parquet")
    assert main(["rescore", *(str(run) if word == "RUN" else word for word in words)]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert told in lines[0]


def test_what_cannot_be_judged_in_time_counts_as_wrong_as_in_the_evaluation(run, tmp_path):
    def late(completions):
        return [UNSCORED if completion.sample == 0 else 1.0 for completion in completions]

    found = rescore(run, [FunctionReward(late)], out=tmp_path / "o.json")
    assert found["metrics"]["pass@1"]["value"] == pytest.approx(2 / 3)
    assert found["metrics"]["unscored"]["value"] == pytest.approx(1 / 3)


def test_a_failed_judge_leaves_no_file(run, tmp_path):
    def broken(completions):
        raise KeyError("no such column")

    with pytest.raises(Exception, match="no such column"):
        rescore(run, [FunctionReward(broken)], out=tmp_path / "o.json")
    assert list(tmp_path.iterdir()) == []


def test_prompts_come_back_as_they_were(run):
    from r1lit.samples.evaluated import read_evaluated
    from r1lit.tiny_world import TinyWorldPrompts

    stored = [group[0].completion.prompt for group in read_evaluated(run / "samples.parquet")]
    made = TinyWorldPrompts(split="held_out", n=4).load()
    assert [(p.id, p.messages, p.answer, p.kind, p.task, p.language) for p in stored] == [
        (p.id, p.messages, p.answer, p.kind, p.task, p.language) for p in made
    ]
    assert [AccuracyReward().applies_to(p, 0) for p in stored] == [True] * 4
    with pytest.raises(InputError, match="no such file"):
        read_evaluated(run / "nothing.parquet")
