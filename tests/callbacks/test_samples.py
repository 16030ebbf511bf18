import os
from dataclasses import replace
from types import SimpleNamespace

import pyarrow.parquet as pq
import pytest

from r1lit.callbacks import RolloutCheckpoint, SamplesTable
from r1lit.errors import InputError


def test_every_completion_is_kept_with_its_rewards(small_run, tmp_path):
    small_run([SamplesTable(every_n_rollouts=0)], rollouts=3)
    rows = pq.read_table(tmp_path / "samples.parquet").to_pylist()
    assert [(r["rollout"], r["prompt_id"], r["sample"]) for r in rows] == [
        (rollout, prompt, sample) for rollout in range(3) for prompt in ("p0", "p1") for sample in range(2)
    ]
    assert rows[3] == {
        "split": "train", "rollout": 0, "step": 1, "prompt_id": "p1", "sample": 1, "kind": "reasoning",
        "task": "math", "tier": None, "language": "en", "question": "question 1", "reference": "1",
        "text": "some [bold]text[/bold]", "answer": None, "finish_reason": "stop", "tokens": 2,
        "total": 1.0, "advantage": 0.5, "reward/mark": 1.0, "reward/none": None,
    }  # fmt: skip
    assert sorted(os.listdir(tmp_path / "samples")) == ["000000.parquet", "000001.parquet", "000002.parquet"]


def test_a_column_that_is_empty_in_one_rollout_is_filled_in_another(small_run, rollout_of, tmp_path):
    def rollout(index):
        found = rollout_of(index)
        if index == 1:
            scored = [
                replace(s, completion=replace(s.completion, answer="42"), scores={**s.scores, "late": 0.5})
                for s in found.scored
            ]
            found = replace(found, scored=tuple(scored))
        return found

    small_run([SamplesTable(every_n_rollouts=0)], rollouts=3, rollout=rollout)
    table = pq.read_table(tmp_path / "samples.parquet")
    assert table["answer"].to_pylist() == [None] * 4 + ["42"] * 4 + [None] * 4
    assert table["reward/late"].to_pylist() == [None] * 4 + [0.5] * 4 + [None] * 4


def test_a_resumed_run_writes_each_rollout_once(small_run, tmp_path):
    small_run([SamplesTable(0), RolloutCheckpoint(10)], rollouts=2)
    small_run([SamplesTable(0), RolloutCheckpoint(10)], rollouts=4, ckpt_path=tmp_path / "last.ckpt")
    assert pq.read_table(tmp_path / "samples.parquet")["rollout"].to_pylist() == [i for i in range(4) for _ in range(4)]


def test_a_run_that_starts_anew_leaves_nothing_of_the_one_before(small_run, tmp_path):
    small_run([SamplesTable(0)], rollouts=4)
    small_run([SamplesTable(0)], rollouts=2)
    assert set(pq.read_table(tmp_path / "samples.parquet")["rollout"].to_pylist()) == {0, 1}


def test_the_table_shows_the_best_and_the_worst_of_one_prompt(small_run, rollout_of, capsys):
    def rollout(index):
        found = rollout_of(index, n=5)
        scored = [
            replace(s, completion=replace(c, text=f"[red]text of sample {c.sample} to {c.prompt.id}"))
            for s, c in zip(found.scored, found.completions, strict=True)
        ]
        return replace(found, scored=tuple(scored))

    small_run([SamplesTable(every_n_rollouts=2, rows=3)], rollouts=3, rollout=rollout)
    shown = capsys.readouterr().out
    assert "rollout 0, step 1" in shown
    assert "rollout 1," not in shown
    assert "rollout 2, step 3" in shown
    first = shown[: shown.index("rollout 2, step 3")]
    for sample, is_shown in ((4, True), (3, True), (2, False), (1, False), (0, True)):
        assert (f"text of sample {sample} to p0" in first) is is_shown
    assert "[red]" in first  # what a model writes is no markup
    assert "to p1" not in first
    assert "+2.00" in first


def test_a_long_text_is_cut_in_the_table_alone(small_run, rollout_of, tmp_path, capsys):
    long = "a" * 400 + "MIDDLE" + "b" * 400
    small_run([SamplesTable(1)], rollouts=1, rollout=lambda index: rollout_of(index, text=long))
    assert "MIDDLE" not in capsys.readouterr().out
    assert pq.read_table(tmp_path / "samples.parquet")["text"][0].as_py() == long


def test_files_can_be_turned_off(small_run, tmp_path):
    small_run([SamplesTable(every_n_rollouts=0, write=False)], rollouts=1)
    assert not list(tmp_path.rglob("*.parquet"))


@pytest.mark.parametrize("arguments", [(-1, 3), (0, 0)])
def test_settings_out_of_range_are_refused(arguments):
    with pytest.raises(InputError, match="samples: every_n_rollouts is"):
        SamplesTable(*arguments)


def test_what_a_stage_is_measured_by_follows_trainings_rows_and_replaces_an_earlier_measuring(small_run, tmp_path):
    table = SamplesTable(0)
    small_run([table], rollouts=2)
    training = pq.read_table(tmp_path / "samples.parquet").to_pylist()
    trainer = SimpleNamespace(default_root_dir=str(tmp_path), is_global_zero=True)
    for mark in (0.0, 1.0):
        row = {"prompt_id": "h", "sample": 0, "text": "held out", "answer": "5", "tokens": 3, "reward/accuracy": mark}
        table.on_measured(trainer, None, {"eval": [row], "t1": [row | {"figure/words": 2.0}]})
    found = pq.read_table(tmp_path / "samples.parquet").to_pylist()
    assert [row["split"] for row in found] == ["train"] * 8 + ["eval", "t1"]
    assert [{name: row[name] for name in training[0]} for row in found[:8]] == training
    assert [(row["text"], row["reward/accuracy"]) for row in found[8:]] == [("held out", 1.0)] * 2
    assert [row["figure/words"] for row in found[7:]] == [None, None, 2.0]


def test_a_stage_without_rollouts_keeps_what_it_is_measured_by(tmp_path):
    rows = {"eval": [{"prompt_id": "h", "sample": 0, "text": "held out"}]}
    for rank, write in ((1, True), (0, False), (0, True)):
        assert not (tmp_path / "samples.parquet").exists()
        trainer = SimpleNamespace(default_root_dir=str(tmp_path), is_global_zero=rank == 0)
        SamplesTable(0, write=write).on_measured(trainer, None, rows)
    assert pq.read_table(tmp_path / "samples.parquet").to_pylist() == [{"split": "eval", **rows["eval"][0]}]
